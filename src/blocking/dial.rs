//! From a host's name to a TCP connection.

#![forbid(unsafe_code)]

use core::time::Duration;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::string::String;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;
use std::vec::Vec;

use crate::host::target::share;

/// The most look-ups that run at once in a process, including those whose caller has stopped waiting.
const LOOKUPS: usize = 16;

/// The addresses of a host, in the order of the system's resolver. An IP address is not looked up.
pub(super) fn resolve(host: &str, port: u16, timeout: Option<Duration>) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(Vec::from([SocketAddr::new(address, port)]));
    }
    let name = String::from(host);
    let look_up = move || Ok((name.as_str(), port).to_socket_addrs()?.collect::<Vec<_>>());
    let found = match timeout {
        Some(timeout) => within(timeout, look_up)?,
        None => look_up()?,
    };
    if found.is_empty() {
        return Err(io::Error::new(ErrorKind::NotFound, "the host has no address"));
    }
    Ok(found)
}

/// A connection to the first address that takes one, with `TCP_NODELAY`; else why there was none to each.
///
/// They are tried one after the other. Each gets a [`share`] of the time that is left.
pub(super) fn connect(
    addresses: &[SocketAddr],
    timeout: Option<Duration>,
) -> Result<(TcpStream, SocketAddr), Vec<(SocketAddr, io::Error)>> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut attempts = Vec::new();
    for (address, tried) in addresses.iter().zip(0..) {
        let connected = match deadline {
            None => TcpStream::connect(address),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                match share(left, addresses.len().saturating_sub(tried)) {
                    Duration::ZERO => Err(ErrorKind::TimedOut.into()),
                    share => TcpStream::connect_timeout(address, share),
                }
            }
        };
        match connected {
            Ok(tcp) => {
                // A socket without the option works too, later.
                let _ = tcp.set_nodelay(true);
                return Ok((tcp, *address));
            }
            Err(error) => attempts.push((*address, error)),
        }
    }
    Err(attempts)
}

/// Runs `look_up`, which nothing can interrupt, in a thread of its own, and waits for it no longer than this.
fn within<T: Send + 'static>(
    timeout: Duration,
    look_up: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let late = || io::Error::new(ErrorKind::TimedOut, "the look-up took too long");
    let began = Instant::now();
    let place = Place::take(timeout).ok_or_else(late)?;
    let (found, finding) = mpsc::sync_channel(1);
    let mut thread = thread::Builder::new().name("sansocket-resolve".into());
    if cfg!(target_os = "espidf") {
        // The default there is for less than lwIP's resolver needs.
        thread = thread.stack_size(8 * 1024);
    }
    thread.spawn(move || {
        let result = look_up();
        // Before the result is sent: its receiver may start the next look-up at once.
        drop(place);
        let _ = found.send(result);
    })?;
    match finding.recv_timeout(timeout.saturating_sub(began.elapsed())) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(late()),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the look-up ended without a result")),
    }
}

/// One of the look-ups that may run at once.
struct Place;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

impl Place {
    /// `None` if none becomes free within this time.
    fn take(timeout: Duration) -> Option<Self> {
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = ENDED.wait_timeout_while(running, timeout, |running| *running >= LOOKUPS);
        let (mut running, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *running >= LOOKUPS {
            return None;
        }
        *running = running.saturating_add(1);
        Some(Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        *running = running.saturating_sub(1);
        ENDED.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::sync::mpsc::channel;

    use super::*;

    /// What cannot be interrupted continues, and counts, until it ends by itself.
    #[test]
    fn look_ups_are_bounded_in_time_and_number() {
        let time = Duration::from_secs(10);
        let (ends, mut waiting) = (Vec::from_iter((0..LOOKUPS).map(|_| channel::<()>())), Vec::new());
        for (end, ending) in ends {
            let error = within(Duration::from_millis(1), move || {
                let _ = ending.recv();
                Ok(())
            });
            assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
            waiting.push(end);
        }
        // No place, so not even begun.
        let error = within(Duration::from_millis(1), || -> io::Result<()> { panic!("begun") });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::TimedOut);
        let next = thread::spawn(move || within(time, || Ok(7)));
        waiting.pop();
        assert_eq!(next.join().unwrap().unwrap(), 7);
        assert_eq!(
            within(time, || Err::<(), _>(ErrorKind::NotFound.into())).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }

    #[test]
    fn an_address_is_not_looked_up() {
        let found = resolve("::1", 80, None).unwrap();
        assert_eq!(found, [SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 80))]);
    }

    #[test]
    fn every_address_is_tried_in_order() {
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let closed = [listen(), listen()].map(|listener| listener.local_addr().unwrap());
        let open = listen();
        let addresses = [closed[0], closed[1], open.local_addr().unwrap()];
        for timeout in [None, Some(Duration::from_secs(10))] {
            let (tcp, address) = connect(&addresses, timeout).unwrap();
            assert_eq!((tcp.peer_addr().unwrap(), address), (addresses[2], addresses[2]));
            assert!(tcp.nodelay().unwrap());
            let attempts = connect(&closed, timeout).unwrap_err();
            assert_eq!(attempts.iter().map(|(address, _)| *address).collect::<Vec<_>>(), closed);
            assert!(
                attempts.iter().all(|(_, error)| error.kind() == ErrorKind::ConnectionRefused),
                "{attempts:?}"
            );
        }
    }

    /// Linux drops what a full backlog has no room for: the client hears nothing.
    #[cfg(target_os = "linux")]
    #[test]
    fn an_address_that_is_silent_leaves_time_for_the_next() {
        let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        silent.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        silent.listen(0).unwrap();
        let full = silent.local_addr().unwrap().as_socket().unwrap();
        let _waiting = TcpStream::connect(full).unwrap();

        let [(address, error)] = &connect(&[full], Some(Duration::from_millis(50))).unwrap_err()[..] else {
            panic!("one attempt")
        };
        assert_eq!((*address, error.kind()), (full, ErrorKind::TimedOut));

        let open = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addresses = [full, open.local_addr().unwrap()];
        let (_, address) = connect(&addresses, Some(Duration::from_secs(4))).unwrap();
        assert_eq!(address, addresses[1]);
        // Nothing is left for the second of two where the first has less than its share.
        assert_eq!(connect(&[full, full], Some(Duration::from_millis(50))).unwrap_err().len(), 2);
    }
}
