//! Bytes on their way from one task to another, in memory of a fixed size.

pub struct Pipe<'b> {
    memory: &'b mut [u8],
    start: usize,
    end: usize,
    ended: bool,
}

impl<'b> Pipe<'b> {
    pub const fn new(memory: &'b mut [u8]) -> Self {
        Self { memory, start: 0, end: 0, ended: false }
    }

    /// The bytes that are in the pipe.
    pub fn filled(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// The free memory; none after the end.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.ended {
            return &mut [];
        }
        self.memory.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        &mut self.memory[self.end..]
    }

    /// `n` bytes were written into `spare`.
    pub fn fill(&mut self, n: usize) {
        self.end += n;
    }

    /// Nothing follows what is in the pipe.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Puts in as much of `bytes` as there is room for, and returns how much that was.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let n = copy(self.spare(), bytes);
        self.fill(n);
        n
    }

    /// Takes out as much as `bytes` has room for, and returns how much that was.
    pub fn take(&mut self, bytes: &mut [u8]) -> usize {
        let n = copy(bytes, self.filled());
        self.consume(n);
        n
    }

    /// Takes out the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        self.start += n;
    }

    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub const fn is_ended(&self) -> bool {
        self.ended
    }
}

fn copy(to: &mut [u8], from: &[u8]) -> usize {
    let n = to.len().min(from.len());
    to[..n].copy_from_slice(&from[..n]);
    n
}
