//! C, Debian's libwslay.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::slice;

use super::{App, LIMIT, Mode};
use crate::memory_socket::MemorySocket;

const ERR_WOULDBLOCK: c_int = -401;

type Context = *mut c_void;

#[repr(C)]
struct Received {
    rsv: u8,
    opcode: u8,
    payload: *const u8,
    len: usize,
    status: u16,
}

#[repr(C)]
struct Message {
    opcode: u8,
    payload: *const u8,
    len: usize,
}

#[repr(C)]
struct Callbacks {
    recv: unsafe extern "C" fn(Context, *mut u8, usize, c_int, *mut c_void) -> isize,
    send: unsafe extern "C" fn(Context, *const u8, usize, c_int, *mut c_void) -> isize,
    genmask: *const c_void,
    frame_start: *const c_void,
    frame_chunk: *const c_void,
    frame_end: *const c_void,
    message: unsafe extern "C" fn(Context, *const Received, *mut c_void),
}

#[link(name = "wslay")]
unsafe extern "C" {
    fn wslay_event_context_server_init(
        context: *mut Context,
        callbacks: *const Callbacks,
        user: *mut c_void,
    ) -> c_int;
    fn wslay_event_context_free(context: Context);
    fn wslay_event_recv(context: Context) -> c_int;
    fn wslay_event_get_read_enabled(context: Context) -> c_int;
    fn wslay_event_send(context: Context) -> c_int;
    fn wslay_event_set_error(context: Context, error: c_int);
    fn wslay_event_queue_msg(context: Context, message: *const Message) -> c_int;
    fn wslay_event_config_set_max_recv_msg_length(context: Context, len: u64);
}

struct State<'a> {
    socket: MemorySocket,
    app: &'a mut App,
    total: u64,
    mode: Mode,
    /// One read was made of this turn: the replies come before the next.
    fed: bool,
}

pub(super) fn run(socket: MemorySocket, total: u64, mode: Mode, app: &mut App) -> MemorySocket {
    let (unused, mut context) = (ptr::null(), ptr::null_mut());
    let callbacks = Callbacks {
        recv,
        send,
        genmask: unused,
        frame_start: unused,
        frame_chunk: unused,
        frame_end: unused,
        message,
    };
    let mut state = State { socket, app, total, mode, fed: false };
    let user = &raw mut state;
    // SAFETY: the callbacks and the state live until the context is freed; between the calls nobody else uses the state.
    unsafe {
        assert_eq!(wslay_event_context_server_init(&raw mut context, &raw const callbacks, user.cast()), 0);
        wslay_event_config_set_max_recv_msg_length(context, LIMIT as u64);
        while (*user).app.messages < total {
            (*user).fed = false;
            assert_eq!(wslay_event_recv(context), 0);
            assert_eq!(wslay_event_get_read_enabled(context), 1, "it has closed");
            assert_eq!(wslay_event_send(context), 0);
        }
        wslay_event_context_free(context);
    }
    state.socket
}

unsafe extern "C" fn recv(context: Context, into: *mut u8, len: usize, _: c_int, user: *mut c_void) -> isize {
    // SAFETY: `run` passed the state, wslay the memory.
    let (state, into) = unsafe { (&mut *user.cast::<State<'_>>(), slice::from_raw_parts_mut(into, len)) };
    let over = state.app.messages >= state.total || (state.mode == Mode::EchoGathered && state.fed);
    let n = if over { 0 } else { state.socket.recv(into) };
    state.fed = true;
    if n == 0 {
        // SAFETY: the context that calls.
        unsafe { wslay_event_set_error(context, ERR_WOULDBLOCK) };
        return -1;
    }
    n as isize
}

unsafe extern "C" fn send(_: Context, bytes: *const u8, len: usize, _: c_int, user: *mut c_void) -> isize {
    // SAFETY: as in `recv`.
    unsafe { (*user.cast::<State<'_>>()).socket.send(slice::from_raw_parts(bytes, len)) as isize }
}

unsafe extern "C" fn message(context: Context, received: *const Received, user: *mut c_void) {
    // SAFETY: as in `recv`; the payload lives during the call, and wslay copies what is queued.
    unsafe {
        let (state, received) = (&mut *user.cast::<State<'_>>(), &*received);
        let Received { opcode, payload, len, .. } = *received;
        state.app.message(slice::from_raw_parts(payload, len));
        if state.mode != Mode::Decode {
            assert_eq!(wslay_event_queue_msg(context, &Message { opcode, payload, len }), 0);
            if state.mode == Mode::Echo {
                assert_eq!(wslay_event_send(context), 0);
            }
        }
    }
}
