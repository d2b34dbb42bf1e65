//! Decoding: PUBLISH packets of 100 bytes of payload at QoS 1, as many as one read brings.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fairlead::mqtt::{CHUNK, Codec, Input, Limits, Packet, Protocol};
use fairlead_benches::publish;

/// Packets of one chunk.
const MESSAGES: usize = 1_500;
const LIMITS: Limits = Limits { max_packet: 16 * 1024 * 1024, skip_oversized: false, topic_alias_maximum: 64 };

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
        let stream: Vec<u8> = (1..=MESSAGES as u16).flat_map(|id| publish(protocol == Protocol::V5, id)).collect();
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
