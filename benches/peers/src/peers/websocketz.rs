use ::websocketz::{Message, WebSocket, next};
use rand_core::{Infallible, TryRng};

use super::{App, BUFFER, Mode};
use crate::memory_socket::{MemorySocket, block_on};

/// Buffers for the largest message of the works.
const LARGEST: usize = (1 << 20) + BUFFER;

/// A server masks nothing, so it asks for no key.
pub struct NoKeys;

impl TryRng for NoKeys {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!()
    }

    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Infallible> {
        unreachable!()
    }
}

pub(super) fn run(socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    thread_local! {
        static MEMORY: std::cell::RefCell<[Vec<u8>; 3]> = [const { Vec::new() }; 3].into();
    }
    MEMORY.with_borrow_mut(|memory| {
        for buffer in &mut *memory {
            buffer.resize(LARGEST, 0);
        }
        let [rx, tx, fragments] = memory;
        block_on(async {
            let mut ws = WebSocket::server(socket, NoKeys, rx, tx, fragments);
            // A message borrows the socket, so that it cannot be sent back without a copy.
            let mut copy: Vec<u8> = vec![];
            for _ in 0..total {
                let text = match next!(ws).unwrap().unwrap() {
                    Message::Text(text) => {
                        app.message(text.as_bytes());
                        if mode != Mode::Decode {
                            copy.clear();
                            copy.extend_from_slice(text.as_bytes());
                        }
                        true
                    }
                    Message::Binary(bytes) => {
                        app.message(bytes);
                        if mode != Mode::Decode {
                            copy.clear();
                            copy.extend_from_slice(bytes);
                        }
                        false
                    }
                    other => panic!("{other:?}"),
                };
                if mode != Mode::Decode {
                    // SAFETY: these are the bytes of a `&str`.
                    let reply = if text {
                        Message::Text(unsafe { str::from_utf8_unchecked(&copy) })
                    } else {
                        Message::Binary(&copy)
                    };
                    ws.send(reply).await.unwrap();
                }
            }
            ws.into_inner()
        })
    })
}
