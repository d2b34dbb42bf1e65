//! MQTT packets as they lie in a stream of bytes.

/// The whole packets in bytes, and the rest.
pub(super) fn packets(mut bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut packets = Vec::new();
    while let Some((length, width)) = length(bytes).filter(|(length, width)| 1 + width + length <= bytes.len()) {
        let (packet, rest) = bytes.split_at(1 + width + length);
        packets.push(packet);
        bytes = rest;
    }
    (packets, bytes)
}

/// The remaining length, and its bytes.
pub(super) fn length(packet: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (index, byte) in packet.get(1..)?.iter().enumerate().take(4) {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((length, index + 1));
        }
    }
    None
}
