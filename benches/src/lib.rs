//! Criterion benches, one file a stage of the line.

use std::time::Instant;

/// The time at which a bench begins. State machines take it as an argument, and no figure depends on it.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one file of this package that reads the clock")]
pub fn start() -> Instant {
    Instant::now()
}

/// A PUBLISH at QoS 1 with 100 bytes of payload, on one of a thousand topics; on 5.0 with an empty property list.
#[must_use]
pub fn publish(v5: bool, id: u16) -> Vec<u8> {
    let topic = format!("ais/{}/position", 244_660_000 + u32::from(id % 1_000));
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend(topic.as_bytes());
    body.extend(id.to_be_bytes());
    if v5 {
        body.push(0);
    }
    body.extend([b'x'; 100]);
    assert!(body.len() < 128, "the remaining length is one byte");
    let mut packet = vec![0x32, body.len() as u8];
    packet.extend(body);
    packet
}
