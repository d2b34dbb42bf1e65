//! Decoding: PUBLISH packets of 100 bytes of payload at QoS 1, as many as one read brings.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fairlead::mqtt::{CHUNK, Codec, Input, Limits, Packet, Protocol};

/// Packets of one chunk.
const MESSAGES: usize = 1_500;
const LIMITS: Limits = Limits { max_packet: 16 * 1024 * 1024, skip_oversized: false, topic_alias_maximum: 64 };

fn publish(protocol: Protocol, id: u16) -> Vec<u8> {
    let topic = format!("ais/{}/position", 244_660_000 + u32::from(id % 1_000));
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend(topic.as_bytes());
    body.extend(id.to_be_bytes());
    if protocol == Protocol::V5 {
        body.push(0);
    }
    body.extend([b'x'; 100]);
    assert!(body.len() < 128, "the remaining length is one byte");
    let mut packet = vec![0x32, body.len() as u8];
    packet.extend(body);
    packet
}

fn filled(stream: &[u8]) -> Input {
    let mut input = Input::default();
    input.spare()[..stream.len()].copy_from_slice(stream);
    input.advance(stream.len());
    input
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    for (name, protocol) in [("3.1.1", Protocol::V311), ("5.0", Protocol::V5)] {
        let stream: Vec<u8> = (1..=MESSAGES as u16).flat_map(|id| publish(protocol, id)).collect();
        assert!(stream.len() < CHUNK);
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || (Codec::new(protocol, LIMITS), filled(&stream)),
                |(codec, input)| {
                    for _ in 0..MESSAGES {
                        let packet = codec.decode(input).expect("valid").expect("whole");
                        assert!(matches!(packet, Packet::Publish { .. }));
                    }
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group!(benches, decode);
criterion_main!(benches);
