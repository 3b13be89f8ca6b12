//! What the owner of a program chooses about compression.

#![forbid(unsafe_code)]

/// How connections compress messages (RFC 7692): windows, contexts, memory and effort.
///
/// The defaults suit servers with many connections: no context is kept between messages, so an idle connection has no codec.
/// With few connections, [`context`](Self::context) makes small messages several times smaller, for about 210 KB a connection.
///
/// Compression reveals lengths: who can insert text into a message beside a secret, and sees the length of the result, can guess
/// the secret. Send such messages uncompressed.
///
/// ```
/// use sansocket::deflate::DeflateOptions;
///
/// let options = DeflateOptions::new().context(true).send_window_bits(15).level(6);
/// assert_eq!((options.send_context, options.send_window_bits, options.level), (true, 15, 6));
/// assert_eq!(options.min_len, None); // all messages are compressed, as a context is kept
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeflateOptions {
    /// The window that messages are compressed with has 2 to the power of this many bytes: 9 to 15. The peer may ask for less.
    pub send_window_bits: u8,
    /// The window that the peer may compress with: 8 to 15. With less than 15, a server declines offers of clients that
    /// cannot be told so (Firefox), and zlib-rs takes the memory for 15 in any case.
    pub receive_window_bits: u8,
    /// Whether a message that is sent may refer to earlier ones. Each connection then keeps a compressor.
    pub send_context: bool,
    /// Whether the peer's messages may refer to earlier ones. Each connection then keeps a decompressor.
    pub receive_context: bool,
    /// How much the compressor searches: 1 (fastest) to 9 (smallest).
    pub level: u8,
    /// How much memory the compressor takes for symbols that are not yet written: 1 to 9.
    pub memory_level: u8,
    /// Shorter messages are sent uncompressed, in bytes. `None`: 256 if no context is kept, as shorter texts hardly shrink then;
    /// otherwise 0.
    pub min_len: Option<usize>,
    /// How many messages can be decompressed at the same time on connections that keep no context for it.
    pub decompressors: usize,
    /// How many messages can be compressed at the same time on connections that keep no context for it.
    pub compressors: usize,
}

impl DeflateOptions {
    /// Creates the defaults: no context, windows of 12 bits to send and 15 to receive, level 2, memory level 5; 32
    /// decompressors and 8 compressors.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            send_window_bits: 12,
            receive_window_bits: 15,
            send_context: false,
            receive_context: false,
            level: 2,
            memory_level: 5,
            min_len: None,
            decompressors: 32,
            compressors: 8,
        }
    }

    /// Sets whether messages refer to earlier ones, in both directions. Default: no.
    #[must_use]
    pub const fn context(self, keep: bool) -> Self {
        self.send_context(keep).receive_context(keep)
    }

    /// Sets whether messages that are sent refer to earlier ones. Default: no.
    #[must_use]
    pub const fn send_context(mut self, keep: bool) -> Self {
        self.send_context = keep;
        self
    }

    /// Sets whether messages that are received may refer to earlier ones. Default: no.
    #[must_use]
    pub const fn receive_context(mut self, keep: bool) -> Self {
        self.receive_context = keep;
        self
    }

    /// Sets the window for messages that are sent; 9 to 15 are taken. Default: 12.
    #[must_use]
    pub const fn send_window_bits(mut self, bits: u8) -> Self {
        self.send_window_bits = clamp(bits, 9, 15);
        self
    }

    /// Sets the window for messages that are received; 8 to 15 are taken. Default: 15.
    #[must_use]
    pub const fn receive_window_bits(mut self, bits: u8) -> Self {
        self.receive_window_bits = clamp(bits, 8, 15);
        self
    }

    /// Sets the effort of the compressor; 1 to 9 are taken. Default: 2.
    #[must_use]
    pub const fn level(mut self, level: u8) -> Self {
        self.level = clamp(level, 1, 9);
        self
    }

    /// Sets the memory of the compressor; 1 to 9 are taken. Default: 5.
    #[must_use]
    pub const fn memory_level(mut self, level: u8) -> Self {
        self.memory_level = clamp(level, 1, 9);
        self
    }

    /// Sets the length in bytes below which messages are sent uncompressed. Default: 256 without context, 0 with it.
    #[must_use]
    pub const fn min_len(mut self, bytes: usize) -> Self {
        self.min_len = Some(bytes);
        self
    }

    /// Sets how many decompressors connections without context share. If none is free, a connection that receives a compressed
    /// message ends with 1011. Each takes 48 KB. Default: 32.
    #[must_use]
    pub const fn decompressors(mut self, count: usize) -> Self {
        self.decompressors = count;
        self
    }

    /// Sets how many compressors connections without context share. If none is free, a message is sent uncompressed. Each takes
    /// 165 KB with the defaults. Default: 8.
    #[must_use]
    pub const fn compressors(mut self, count: usize) -> Self {
        self.compressors = count;
        self
    }

    /// These options with all values in their ranges, as the fields are public.
    pub(crate) const fn checked(self) -> Self {
        self.send_window_bits(self.send_window_bits)
            .receive_window_bits(self.receive_window_bits)
            .level(self.level)
            .memory_level(self.memory_level)
    }
}

impl Default for DeflateOptions {
    fn default() -> Self {
        Self::new()
    }
}

const fn clamp(value: u8, least: u8, most: u8) -> u8 {
    if value < least {
        least
    } else if value > most {
        most
    } else {
        value
    }
}
