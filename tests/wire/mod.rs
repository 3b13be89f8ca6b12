//! Requests and frames of a peer, written and read without the library.
#![allow(dead_code, unreachable_pub, reason = "each test crate uses a part of this")]

use std::iter;

/// A request for `/ws`, with the key of RFC 6455 §1.3.
pub const REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// First bytes of frames: FIN and an opcode.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const LAST: u8 = 0x80;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8A;
/// The same without FIN.
pub const TEXT_PART: u8 = 0x01;
pub const BINARY_PART: u8 = 0x02;
pub const PART: u8 = 0x00;

/// The key of RFC 6455 §5.7.
pub const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A header with a length that need not be true.
pub fn header(first: u8, key: Option<[u8; 4]>, len: u64) -> Vec<u8> {
    let mask = if key.is_some() { 0x80 } else { 0 };
    let mut out = vec![first];
    match len {
        0..=125 => out.push(mask | len as u8),
        126..=0xFFFF => {
            out.push(mask | 126);
            out.extend((len as u16).to_be_bytes());
        }
        _ => {
            out.push(mask | 127);
            out.extend(len.to_be_bytes());
        }
    }
    out.extend(key.iter().flatten());
    out
}

/// A frame, written byte by byte from the RFC.
pub fn frame(first: u8, key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut out = header(first, key, payload.len() as u64);
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key.map_or(0, |key| key[i % 4])));
    out
}

/// A frame of a client.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, Some(KEY), payload)
}

/// The body of a Close.
pub fn close_body(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

/// A frame that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub first: u8,
    pub key: Option<[u8; 4]>,
    pub payload: Vec<u8>,
}

impl Sent {
    /// The code of a Close.
    pub fn code(&self) -> Option<u16> {
        self.payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }
}

/// How many bytes a header has, by its second byte.
pub fn header_len(second: u8) -> usize {
    let extended = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + extended + if second & 0x80 == 0 { 0 } else { 4 }
}

/// The length of the payload after a whole header. It has to be in the shortest form.
pub fn payload_len(header: &[u8]) -> usize {
    let long = |bytes: &[u8]| bytes.iter().fold(0, |len, byte| len << 8 | u64::from(*byte));
    let (len, least) = match header[1] & 0x7F {
        126 => (long(&header[2..4]), 126),
        127 => (long(&header[2..10]), 0x1_0000),
        len => (len.into(), 0),
    };
    assert!(len >= least, "a length of {len} in too long a form");
    len.try_into().expect("a length that memory has")
}

/// Takes the first frame off `bytes`, if it is whole.
pub fn take_frame(bytes: &mut &[u8]) -> Option<Sent> {
    let second = *bytes.get(1)?;
    let (header, rest) = bytes.split_at_checked(header_len(second))?;
    let (payload, rest) = rest.split_at_checked(payload_len(header))?;
    let key = if second & 0x80 == 0 { None } else { header.last_chunk().copied() };
    let payload =
        payload.iter().enumerate().map(|(i, byte)| byte ^ key.map_or(0, |key| key[i % 4])).collect();
    *bytes = rest;
    Some(Sent { first: header[0], key, payload })
}

/// Reads whole frames to the end of `bytes`.
pub fn whole_frames(mut bytes: &[u8]) -> Vec<Sent> {
    let frames = iter::from_fn(|| take_frame(&mut bytes)).collect();
    assert!(bytes.is_empty(), "half a frame: {}", bytes.escape_ascii());
    frames
}
