//! ESP-IDF's seam: what the C file `sansocket_port.c` implements. The one place with `unsafe` in it.

#![allow(unsafe_code, reason = "calls C")]

use core::cell::UnsafeCell;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::hub::driver::SocketFailed;
use crate::time::Instant;

const AGAIN: i32 = -1;
pub(crate) const READ: u32 = 1;
pub(crate) const WRITE: u32 = 2;

/// `struct sansocket_interest`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Interest {
    pub(crate) socket: i32,
    pub(crate) wants: u32,
    pub(crate) ready: u32,
}

/// The descriptor of a connected lwIP socket that belongs to its holder alone.
#[derive(Debug, PartialEq, Eq)]
pub struct EspIdfDescriptor(i32);

impl EspIdfDescriptor {
    /// Takes over a descriptor.
    ///
    /// # Safety
    /// The descriptor is an open lwIP socket, and nothing else reads, writes or closes it until it is given back: to the
    /// `release` function of [`EspIdfSocket::adopt`](crate::hub::EspIdfSocket::adopt), or by
    /// [`EspIdfSocket::into_descriptor`](crate::hub::EspIdfSocket::into_descriptor).
    #[must_use]
    pub const unsafe fn new(descriptor: i32) -> Self {
        Self(descriptor)
    }

    pub(crate) const fn get(&self) -> i32 {
        self.0
    }
}

unsafe extern "C" {
    safe fn sansocket_port_start() -> i32;
    safe fn sansocket_port_listen(port: u16, backlog: u32) -> i32;
    safe fn sansocket_port_accept(listener: i32, address: &mut [u8; 16], port: &mut u16) -> i32;
    safe fn sansocket_port_adopt(socket: i32, address: &mut [u8; 16], port: &mut u16) -> i32;
    fn sansocket_port_recv(socket: i32, into: *mut u8, len: u32) -> i32;
    fn sansocket_port_send(socket: i32, from: *const u8, len: u32) -> i32;
    safe fn sansocket_port_shutdown(socket: i32) -> i32;
    safe fn sansocket_port_close(socket: i32);
    fn sansocket_port_wait(sockets: *mut Interest, count: u32, timeout: i64) -> i32;
    safe fn sansocket_port_wake();
    safe fn sansocket_port_lock();
    safe fn sansocket_port_unlock();
    safe fn sansocket_port_now() -> u64;
}

pub(crate) fn start() -> Result<(), SocketFailed> {
    done(sansocket_port_start())
}

pub(crate) fn listen(port: u16, backlog: u32) -> Result<i32, SocketFailed> {
    let socket = sansocket_port_listen(port, backlog);
    if socket < 0 { Err(SocketFailed) } else { Ok(socket) }
}

/// The next connection, and where it comes from.
pub(crate) fn accept(listener: i32) -> Result<Option<(i32, SocketAddr)>, SocketFailed> {
    let (mut address, mut port) = ([0; 16], 0);
    let socket = sansocket_port_accept(listener, &mut address, &mut port);
    Ok(some(socket)?.map(|_| (socket, peer(address, port))))
}

/// Prepares a socket that was accepted elsewhere; where it comes from.
pub(crate) fn adopt(socket: i32) -> Result<SocketAddr, SocketFailed> {
    let (mut address, mut port) = ([0; 16], 0);
    done(sansocket_port_adopt(socket, &mut address, &mut port))?;
    Ok(peer(address, port))
}

pub(crate) fn recv(socket: i32, into: &mut [u8]) -> Result<Option<usize>, SocketFailed> {
    // SAFETY: the function writes at most so many bytes there, and keeps nothing.
    some(unsafe { sansocket_port_recv(socket, into.as_mut_ptr(), len(into)) })
}

pub(crate) fn send(socket: i32, from: &[u8]) -> Result<Option<usize>, SocketFailed> {
    // SAFETY: the function reads at most so many bytes there, and keeps nothing.
    some(unsafe { sansocket_port_send(socket, from.as_ptr(), len(from)) })
}

pub(crate) fn shutdown(socket: i32) -> Result<(), SocketFailed> {
    done(sansocket_port_shutdown(socket))
}

pub(crate) fn close(socket: i32) {
    sansocket_port_close(socket);
}

/// Until one of the sockets is ready, the wake-up comes, or the deadline.
pub(crate) fn wait(
    sockets: &mut [Interest],
    now: Instant,
    deadline: Option<Instant>,
) -> Result<(), SocketFailed> {
    let timeout = deadline.map_or(-1, |deadline| {
        i64::try_from(now.saturating_duration_until(deadline).as_micros()).unwrap_or(-1)
    });
    // SAFETY: so many lie there, and the function keeps nothing.
    done(unsafe { sansocket_port_wait(sockets.as_mut_ptr(), sockets.len() as u32, timeout) })
}

pub(crate) fn wake() {
    sansocket_port_wake();
}

pub(crate) fn now() -> Instant {
    Instant::from_micros(sansocket_port_now())
}

/// What the tasks share, behind the port's lock.
pub(crate) struct Locked<T>(UnsafeCell<T>);

// SAFETY: `with` is the only way in, and one task at a time is there.
unsafe impl<T: Send> Sync for Locked<T> {}

impl<T> Locked<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Must not be called from within itself.
    pub(crate) fn with<R>(&self, use_it: impl FnOnce(&mut T) -> R) -> R {
        struct Guard;
        impl Drop for Guard {
            fn drop(&mut self) {
                sansocket_port_unlock();
            }
        }
        sansocket_port_lock();
        let _guard = Guard;
        // SAFETY: the lock is held until the guard is dropped.
        use_it(unsafe { &mut *self.0.get() })
    }
}

fn peer(address: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)).to_canonical(), port)
}

fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn done(result: i32) -> Result<(), SocketFailed> {
    if result < 0 { Err(SocketFailed) } else { Ok(()) }
}

fn some(result: i32) -> Result<Option<usize>, SocketFailed> {
    match usize::try_from(result) {
        Ok(n) => Ok(Some(n)),
        Err(_) if result == AGAIN => Ok(None),
        Err(_) => Err(SocketFailed),
    }
}
