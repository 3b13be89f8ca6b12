//! The PROXY protocol, versions 1 and 2, as a server reads it: a load balancer that passes TCP on puts the client's
//! address before the first byte of the client.
//!
//! <https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt>
//!
//! Only a connection from a load balancer may begin with it, and each of these must: any other client that sends such a header
//! claims an address that is not his.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The longest header of version 1, with its CR LF.
const V1: usize = 107;
/// What a header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The most that is read behind the 16 bytes that each header of version 2 has: addresses, and fields that nobody here
/// looks at.
const V2: usize = 4096;

/// Reads the header, and no byte behind it, within this time. `None` where it has no address: the load balancer itself
/// has connected to see whether this server lives, or does not know the client's.
///
/// # Errors
/// [`ErrorKind::InvalidData`] for what is no header, and the stream's: drop the connection.
pub(crate) fn read(stream: &TcpStream, patience: Duration) -> io::Result<Option<SocketAddr>> {
    header(&mut Until { stream, end: Instant::now() + patience })
}

/// Reads the header as [`read`] does, from any stream and without a limit of time.
pub(crate) fn header(stream: &mut impl Read) -> io::Result<Option<SocketAddr>> {
    // No header of either version is shorter.
    let mut start = [0; 12];
    stream.read_exact(&mut start)?;
    if start == *SIGNATURE {
        version_2(stream)
    } else if start.starts_with(b"PROXY ") {
        version_1(stream, &start)
    } else {
        Err(malformed("there is no PROXY header"))
    }
}

fn version_1(stream: &mut impl Read, start: &[u8]) -> io::Result<Option<SocketAddr>> {
    let mut line = start.to_vec();
    // Byte by byte: what is behind the line is the client's.
    while !line.ends_with(b"\r\n") {
        if line.len() == V1 {
            return Err(malformed("the PROXY header is longer than 107 bytes"));
        }
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.extend(byte);
    }
    line.truncate(line.len() - 2);
    if line == b"PROXY UNKNOWN" || line.starts_with(b"PROXY UNKNOWN ") {
        return Ok(None);
    }
    let line = String::from_utf8(line).unwrap_or_default();
    let words: Vec<&str> = line.split(' ').collect();
    let address = match words[..] {
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, source_port, destination_port] => {
            let end = |ip: &str, port: &str| {
                let ip: IpAddr = ip.parse().ok()?;
                (ip.is_ipv4() == (family == "TCP4")).then_some(SocketAddr::new(ip, decimal(port)?))
            };
            end(source, source_port).filter(|_| end(destination, destination_port).is_some())
        }
        _ => None,
    };
    address.map(Some).ok_or_else(|| malformed("the PROXY header is malformed"))
}

/// "Heading zeroes are not permitted."
fn decimal(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    (digits && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok())?
}

fn version_2(stream: &mut impl Read) -> io::Result<Option<SocketAddr>> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed)?;
    let [command, family, high, low] = fixed;
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len > V2 {
        return Err(malformed("the PROXY header is too long"));
    }
    let mut rest = vec![0; len];
    stream.read_exact(&mut rest)?;
    let address = match (command, family) {
        // LOCAL: the load balancer speaks for itself. "The receiver must [...] use the real connection endpoints".
        (0x20, _) => return Ok(None),
        // PROXY, with an address that is none of IP's.
        (0x21, 0x00 | 0x31 | 0x32) => return Ok(None),
        // Source and destination, then their ports.
        (0x21, 0x11) => rest.get(..12).and_then(|rest| {
            let ip: [u8; 4] = rest.get(..4)?.try_into().ok()?;
            Some((IpAddr::from(ip), rest.get(8..10)?))
        }),
        (0x21, 0x21) => rest.get(..36).and_then(|rest| {
            let ip: [u8; 16] = rest.get(..16)?.try_into().ok()?;
            Some((IpAddr::from(ip), rest.get(32..34)?))
        }),
        _ => None,
    };
    let address =
        address.and_then(|(ip, port)| Some(SocketAddr::new(ip, u16::from_be_bytes(port.try_into().ok()?))));
    address.map(Some).ok_or_else(|| malformed("the PROXY header is malformed"))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// A stream that is read until a moment.
struct Until<'s> {
    stream: &'s TcpStream,
    end: Instant,
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, "the PROXY header takes too long"));
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => io::Error::new(ErrorKind::TimedOut, "the PROXY header takes too long"),
            _ => error,
        })
    }
}
