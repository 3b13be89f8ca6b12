//! What a client sends: JSON-like messages, each another one and the same in every run.

use crate::codec::Codec;
use crate::wire::{Random, frame};

pub struct Traffic {
    pub messages: Vec<Vec<u8>>,
    /// Compressed, without a frame.
    pub payloads: Vec<Vec<u8>>,
    /// Masked frames with RSV1.
    pub wire: Vec<u8>,
}

impl Traffic {
    /// About half a MiB of messages of this size. With `context` a message refers to earlier ones; the first to none.
    pub fn new(len: usize, context: bool) -> Self {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut codec = Codec::new(6, 15, 8, context);
        let (mut payloads, mut wire, mut room) = (vec![], vec![], vec![0; len * 2 + 100]);
        let messages: Vec<Vec<u8>> =
            (0..((512 << 10) / len).clamp(32, 2048)).map(|_| message(len, &mut random)).collect();
        for message in &messages {
            let compressed = codec.deflate(message, &mut room);
            let payload = room[..compressed].to_vec();
            let at = wire.len();
            frame(&mut wire, true, 1, &payload, (random.next() as u32).to_le_bytes());
            wire[at] |= 0x40;
            payloads.push(payload);
        }
        Self { messages, payloads, wire }
    }
}

fn message(len: usize, random: &mut Random) -> Vec<u8> {
    const NAMES: [&str; 8] = ["anna", "boris", "carla", "deniz", "emil", "fatima", "goran", "helga"];
    const STATES: [&str; 4] = ["open", "closed", "pending", "failed"];
    let mut text = String::new();
    while text.len() < len {
        let r = random.next();
        text += &format!(
            "{{\"id\":{},\"user\":\"{}\",\"state\":\"{}\",\"value\":{}.{:02},\"time\":{}}},",
            r % 1_000_000,
            NAMES[(r >> 20) as usize % 8],
            STATES[(r >> 24) as usize % 4],
            (r >> 28) % 10_000,
            (r >> 42) % 100,
            1_760_000_000 + (r >> 49)
        );
    }
    text.truncate(len);
    text.into_bytes()
}
