//! What a client sends: frames of known messages, the same in every run.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    Binary,
    Ascii,
    Mixed,
}

/// Messages, and their frames on the wire.
pub struct Traffic {
    pub name: String,
    pub content: Content,
    /// Bytes of each message.
    pub payload: usize,
    pub fragmented: bool,
    pub bytes: &'static [u8],
    pub messages: &'static [Vec<u8>],
}

/// Xorshift: the traffic is random and repeatable.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Returns exactly this many bytes.
pub fn content(content: Content, len: usize, random: &mut Random) -> Vec<u8> {
    const JSON: &[u8] = br#"{"id":12345,"text":"the quick brown fox","ok":true} "#;
    const WORDS: [&str; 6] = ["Привет, мир ", "hello ", "日本語テキスト", "emoji 🎉🚀 ", "señor ", "data "];
    match content {
        Content::Binary => (0..len).map(|_| random.next() as u8).collect(),
        Content::Ascii => (0..len).map(|_| JSON[random.next() as usize % JSON.len()]).collect(),
        Content::Mixed => {
            let mut text = String::new();
            loop {
                for c in WORDS[random.next() as usize % WORDS.len()].chars() {
                    if text.len() + c.len_utf8() > len {
                        text.extend(std::iter::repeat_n('.', len - text.len()));
                        return text.into_bytes();
                    }
                    text.push(c);
                }
            }
        }
    }
}

/// Appends a masked frame.
pub fn frame(wire: &mut Vec<u8>, fin: bool, opcode: u8, payload: &[u8], key: [u8; 4]) {
    wire.push(u8::from(fin) << 7 | opcode);
    match payload.len() {
        len @ 0..=125 => wire.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            wire.push(0x80 | 126);
            wire.extend((len as u16).to_be_bytes());
        }
        len => {
            wire.push(0x80 | 127);
            wire.extend((len as u64).to_be_bytes());
        }
    }
    wire.extend(key);
    wire.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// About 1 MiB of messages of this size, in fragments of at most so many bytes.
pub fn traffic(name: String, kind: Content, payload: usize, fragment: Option<usize>) -> Traffic {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut bytes, mut messages) = (vec![], vec![]);
    for _ in 0..((1 << 20) / (payload + 8)).max(2) {
        let message = content(kind, payload, &mut random);
        let opcode = if kind == Content::Binary { 2 } else { 1 };
        let pieces: Vec<&[u8]> = message.chunks(fragment.unwrap_or(payload)).collect();
        for (i, piece) in pieces.iter().enumerate() {
            let key = (random.next() as u32).to_le_bytes();
            frame(&mut bytes, i + 1 == pieces.len(), if i == 0 { opcode } else { 0 }, piece, key);
        }
        messages.push(message);
    }
    Traffic {
        name,
        content: kind,
        payload,
        fragmented: fragment.is_some(),
        bytes: bytes.leak(),
        messages: messages.leak(),
    }
}

/// Returns the messages, with their opcodes, that a server has sent in these frames.
pub fn messages(mut wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut messages = vec![];
    let mut begun: Option<(u8, Vec<u8>)> = None;
    while let [first, second, rest @ ..] = wire {
        let (len, header) = match second {
            126 => (usize::from(u16::from_be_bytes(rest[..2].try_into().unwrap())), 4),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize, 10),
            len => (usize::from(*len), 2),
        };
        assert!(*second < 128, "a server must not mask");
        let payload = &wire[header..header + len];
        match first & 15 {
            0 => begun.as_mut().expect("a continuation of nothing").1.extend_from_slice(payload),
            opcode => begun = Some((opcode, payload.to_vec())),
        }
        if first & 0x80 != 0 {
            messages.extend(begun.take());
        }
        wire = &wire[header + len..];
    }
    messages
}
