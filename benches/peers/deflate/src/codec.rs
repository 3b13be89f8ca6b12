//! zlib-rs without a WebSocket around it: the floor, and what the generator compresses with.

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush};

const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

pub struct Codec {
    inflate: Inflate,
    deflate: Deflate,
    context: bool,
}

impl Codec {
    pub fn new(level: u8, bits: u8, memory: u8, context: bool) -> Self {
        let config = DeflateConfig {
            level: level.into(),
            window_bits: -i32::from(bits),
            mem_level: memory.into(),
            ..DeflateConfig::default()
        };
        Self { inflate: Inflate::new(false, 15), deflate: Deflate::new_with_config(config), context }
    }

    /// Decompresses a message without its tail, and returns the length.
    pub fn inflate(&mut self, wire: &[u8], into: &mut [u8]) -> usize {
        let before = self.inflate.total_out();
        self.inflate.decompress(wire, into, InflateFlush::NoFlush).unwrap();
        let len = (self.inflate.total_out() - before) as usize;
        self.inflate.decompress(&TAIL, &mut into[len..], InflateFlush::SyncFlush).unwrap();
        if !self.context {
            self.inflate.reset(false);
        }
        len
    }

    /// Compresses a message, and returns the length without the tail.
    pub fn deflate(&mut self, message: &[u8], into: &mut [u8]) -> usize {
        let before = self.deflate.total_out();
        self.deflate.compress(message, into, DeflateFlush::SyncFlush).unwrap();
        let len = (self.deflate.total_out() - before) as usize;
        assert_eq!(into[len - 4..len], TAIL);
        if !self.context {
            self.deflate.reset();
        }
        len - 4
    }
}
