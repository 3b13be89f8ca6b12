//! What the fuzz targets share: an input is a script of bytes, and what is received is logged.

use sansocket::{Chunk, Event, Kind};
use sansocket::config::Delivery;

/// The input; 0 for ever after its end.
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// The lengths of reads: up to 15, which repeat; none is 0.
    pub fn pieces(&mut self) -> impl Iterator<Item = usize> + use<> {
        let count = self.byte() & 15;
        let mut lens: Vec<usize> = (0..count).map(|_| self.byte().max(1).into()).collect();
        if lens.is_empty() {
            lens.push(usize::MAX);
        }
        lens.into_iter().cycle()
    }
}

/// What was received, with the chunks of a frame joined.
#[derive(Debug, Default, PartialEq)]
pub struct Log {
    pub frames: Vec<Frame>,
    /// The last frame has not ended.
    pub open: bool,
    /// The text at hand.
    text: Vec<u8>,
}

#[derive(Debug, PartialEq)]
pub enum Frame {
    Data { kind: Kind, start: bool, end: bool, fin: bool, payload: Vec<u8> },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, Vec<u8>),
}

impl Log {
    pub fn event(&mut self, event: Event<'_>, delivery: Delivery) {
        match event {
            Event::Data(data) => self.data(data, delivery),
            Event::Ping(payload) => self.control(Frame::Ping(payload.to_vec())),
            Event::Pong(payload) => self.control(Frame::Pong(payload.to_vec())),
            Event::Close(code, reason) => {
                std::str::from_utf8(&reason).expect("a reason is text");
                self.control(Frame::Close(code.map(|code| code.get()), reason.to_vec()));
            }
            other => panic!("{other:?}"),
        }
    }

    fn control(&mut self, frame: Frame) {
        assert!(!self.open, "a control frame inside a frame");
        self.frames.push(frame);
    }

    pub fn data(&mut self, data: Chunk<'_>, delivery: Delivery) {
        let chunk = data.payload.as_bytes();
        if self.open {
            let Some(Frame::Data { kind, end, fin, payload, .. }) = self.frames.last_mut() else { panic!() };
            assert_eq!((*kind, *fin, payload.len() as u64), (data.kind, data.fin, data.offset));
            assert!(!data.start && (!chunk.is_empty() || data.remaining == 0));
            payload.extend(chunk);
            *end = data.end;
        } else {
            assert_eq!(data.offset, 0);
            let Chunk { kind, start, end, fin, .. } = data;
            self.frames.push(Frame::Data { kind, start, end, fin, payload: chunk.to_vec() });
        }
        self.open = data.remaining > 0;
        assert_eq!(data.end, data.fin && !self.open);
        if data.kind == Kind::Text {
            if data.start {
                self.text.clear();
            }
            self.text.extend(chunk);
            let whole = data.end || self.open && delivery == Delivery::CodePoints;
            match std::str::from_utf8(&self.text) {
                Ok(_) => {}
                Err(error) => assert!(!whole && error.error_len().is_none(), "text: {error}"),
            }
        }
        if data.kind == Kind::Text && data.start && data.end {
            assert!(data.payload.to_str().is_some());
        }
    }

    /// Whether both heard the same, as far as they heard it: of a frame that did not end one may have heard
    /// more than the other.
    pub fn agrees(&self, other: &Self) -> bool {
        let (whole, rest) = self.split();
        let (other_whole, other_rest) = other.split();
        let begins = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
        whole == other_whole && begins(rest, other_rest)
    }

    /// All whole frames, and the payload of the last where it is not.
    fn split(&self) -> (&[Frame], &[u8]) {
        match self.frames.split_last() {
            Some((Frame::Data { payload, .. }, whole)) if self.open => (whole, payload),
            _ => (&self.frames, &[]),
        }
    }
}
