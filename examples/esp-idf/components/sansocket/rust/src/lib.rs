//! The echo server as a static library for ESP-IDF: what `sansocket.h` declares.
//!
//! What is done on a connection is the same `examples/echo/handler.rs` as on a PC. This file gives it to the hub, and the
//! hub to C.

#![no_std]
#![deny(unsafe_op_in_unsafe_fn)]

extern crate alloc;

#[path = "../../../../../echo/handler.rs"]
mod handler;
mod system;

use alloc::boxed::Box;
use alloc::string::String;
use core::cell::UnsafeCell;
use core::ffi::{c_char, c_void};
use core::fmt;
use core::slice;
use core::time::Duration;

use handler::Echo;
use sansocket::{CloseCode, Config};
use sansocket::handshake::Request;
use sansocket::config::QueueLimits;
use sansocket::hub::driver::{EspIdfDescriptor, EspIdfClock};
use sansocket::hub::{EspIdfSocket, 
    Application, Capacity, EspIdfServer, HandleError, HubContext, HubHandle, HubSettings, RequestAction, SessionId,
    SessionInfo,
};
use sansocket::message::Prepared;

const OK: i32 = 0;
const FULL: i32 = -1;
const STOPPED: i32 = -2;
const INVALID: i32 = -3;

/// `struct sansocket`.
pub struct Sansocket {
    server: UnsafeCell<Option<EspIdfServer<Echoes>>>,
    handle: HubHandle,
}

/// `struct sansocket_settings`.
#[repr(C)]
pub struct SansocketSettings {
    port: u16,
    connections: u32,
    waiting: u32,
    head: u32,
    rx: u32,
    tx: u32,
    commands: u32,
    queue: u32,
    queue_bytes: u32,
    handshake: u32,
    ping: u32,
    pong: u32,
    close: u32,
    write: u32,
}

/// An echo on every connection.
struct Echoes;

type Log = fn(fmt::Arguments<'_>);

impl Application for Echoes {
    type Handler = Echo<Log>;

    fn request<'s>(&'s mut self, _: &mut SessionInfo, _: &Request<'_>) -> RequestAction<'s, Self::Handler> {
        RequestAction::Serve(Echo::new(system::log))
    }
}

/// # Safety
/// `settings` points to settings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sansocket_new(settings: *const SansocketSettings) -> *mut Sansocket {
    // SAFETY: the caller's.
    let settings = unsafe { &*settings };
    let seconds = |n: u32| (n > 0).then(|| Duration::from_secs(n.into()));
    let mut config = Config::new();
    config.limits.head = settings.head as usize;
    config.timeouts.handshake = seconds(settings.handshake);
    config.timeouts.ping = seconds(settings.ping);
    config.timeouts.pong = seconds(settings.pong);
    config.timeouts.close = seconds(settings.close);
    config.timeouts.write = seconds(settings.write);
    let queue = QueueLimits::new().messages(settings.queue as usize).bytes(settings.queue_bytes as usize);
    let hub = HubSettings::new(config)
        .max_sessions(settings.connections as usize)
        .capacity(Capacity::Refuse(settings.waiting as usize))
        .head_buffer(settings.head as usize)
        .receive_buffer(settings.rx as usize)
        .transmit_buffer(settings.tx as usize)
        .pooled_buffers(1)
        .max_commands(settings.commands as usize)
        .queue(queue);
    match EspIdfServer::bind(settings.port, hub, |_| Echoes) {
        Ok(server) => {
            let handle = server.handle();
            Box::into_raw(Box::new(Sansocket { server: UnsafeCell::new(Some(server)), handle }))
        }
        Err(error) => {
            system::log(format_args!("no server: {error}"));
            core::ptr::null_mut()
        }
    }
}

/// # Safety
/// `server` is of `sansocket_new`, not free, and only run once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sansocket_run(server: *const Sansocket) {
    // SAFETY: no other function touches this field, but that which frees.
    let server = unsafe { &mut *(*server).server.get() };
    // At the end it is dropped, so that a later request gets an error.
    if let Some(server) = server.take() {
        if server.run().is_err() {
            system::log(format_args!("the port cannot wait"));
        }
    }
}

/// # Safety
/// `server` is of `sansocket_new`, and nobody uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sansocket_free(server: *mut Sansocket) {
    // SAFETY: the caller's.
    drop(unsafe { Box::from_raw(server) });
}

/// # Safety
/// `server` is of `sansocket_new`, and not free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sansocket_stop(server: *const Sansocket) {
    // Where it has stopped already there is nothing to do.
    // SAFETY: the caller's.
    let _ = unsafe { &(*server).handle }.stop(CloseCode::GOING_AWAY);
}

/// # Safety
/// As `sansocket_stop`; `descriptor` is an open lwIP socket that nothing else uses until `release` is called, which may be in
/// the loop's task, with `context`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sansocket_adopt(
    server: *const Sansocket,
    descriptor: i32,
    release: unsafe extern "C" fn(*mut c_void),
    context: *mut c_void,
) -> i32 {
    struct Lease(unsafe extern "C" fn(*mut c_void), *mut c_void);
    // SAFETY: the caller's.
    unsafe impl Send for Lease {}
    impl Lease {
        fn end(self) {
            // SAFETY: the caller's, and only once.
            unsafe { (self.0)(self.1) }
        }
    }
    let lease = Lease(release, context);
    // SAFETY: the caller's.
    let descriptor = unsafe { EspIdfDescriptor::new(descriptor) };
    let Ok((socket, peer)) = EspIdfSocket::adopt(descriptor, move |_| lease.end()) else { return INVALID };
    let adopt = move |hub: &mut HubContext<'_>| {
        if let Some(hub) = hub.hub::<EspIdfSocket, Echoes>() {
            // One for which there is no room is given back by that.
            let _ = hub.adopt(EspIdfClock::now(), socket, peer, Echo::new(system::log), None);
        }
    };
    // SAFETY: the caller's.
    result(unsafe { &(*server).handle }.call(adopt))
}

/// # Safety
/// As `sansocket_stop`; at `text` there are `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sansocket_broadcast(
    server: *const Sansocket,
    text: *const c_char,
    len: usize,
) -> i32 {
    // SAFETY: the caller's.
    match unsafe { message(text, len) } {
        // SAFETY: the caller's.
        Some(message) => result(unsafe { &(*server).handle }.broadcast(message)),
        None => INVALID,
    }
}

/// # Safety
/// As `sansocket_stop`; at `ids` there is room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sansocket_clients(server: *const Sansocket, ids: *mut u64, room: u32) -> u32 {
    // SAFETY: the caller's.
    let sessions = unsafe { &(*server).handle }.sessions();
    for (i, session) in sessions.iter().take(room as usize).enumerate() {
        // SAFETY: the caller's.
        unsafe { ids.add(i).write(session.id().get()) };
    }
    sessions.len() as u32
}

/// # Safety
/// As `sansocket_broadcast`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sansocket_send(
    server: *const Sansocket,
    id: u64,
    text: *const c_char,
    len: usize,
) -> i32 {
    // SAFETY: the caller's.
    match unsafe { message(text, len) } {
        // SAFETY: the caller's.
        Some(message) => result(unsafe { &(*server).handle }.send(SessionId::new(id), message)),
        None => INVALID,
    }
}

/// # Safety
/// As `sansocket_stop`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sansocket_close(server: *const Sansocket, id: u64, code: u16) -> i32 {
    match CloseCode::new(code) {
        // SAFETY: the caller's.
        Some(code) => result(unsafe { &(*server).handle }.close(SessionId::new(id), code, "")),
        None => INVALID,
    }
}

/// # Safety
/// At `text` there are `len` bytes; where there are none, it may be null.
unsafe fn message(text: *const c_char, len: usize) -> Option<Prepared> {
    // SAFETY: the caller's.
    let bytes = if len == 0 { &[] } else { unsafe { slice::from_raw_parts(text.cast(), len) } };
    core::str::from_utf8(bytes).ok().map(|text| Prepared::text(String::from(text)))
}

fn result(result: Result<(), HandleError>) -> i32 {
    match result {
        Ok(()) => OK,
        Err(HandleError::Full) => FULL,
        Err(HandleError::Stopped) => STOPPED,
        Err(_) => INVALID,
    }
}
