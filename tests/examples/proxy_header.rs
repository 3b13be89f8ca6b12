//! The PROXY protocol: what is a header, and who may send one.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::hub_server::{REQUEST, connect, echo, head, masked, next, opened};
use crate::program::Program;
use crate::proxy::header;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What the client sends behind the header.
const BEHIND: &[u8] = b"GET / HTTP/1.1\r\n";
/// LOCAL and PROXY.
const COMMANDS: [u8; 2] = [0x20, 0x21];
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// A stream that gives so many bytes a call.
struct Pieces<'b>(&'b [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.1.min(buffer.len());
        (&mut self.0).take(n as u64).read(buffer)
    }
}

/// What is read of a header, in pieces of every size, with nothing behind it lost; `None` for no header.
fn parse(bytes: &[u8]) -> Option<Option<SocketAddr>> {
    let whole = [bytes, BEHIND].concat();
    let read = |size| {
        let mut stream = Pieces(&whole, size);
        header(&mut stream).map(|address| (address, stream.0.to_vec())).map_err(|error| error.kind())
    };
    let first = read(usize::MAX);
    for size in [1, 2, 3, 7, 13, 16, 100] {
        assert_eq!(read(size), first, "{}", bytes.escape_ascii());
    }
    match first {
        Ok((address, rest)) => {
            assert_eq!(rest, BEHIND, "{}", bytes.escape_ascii());
            // Cut anywhere it is incomplete.
            for len in 0..bytes.len() {
                let cut = header(&mut &bytes[..len]).unwrap_err();
                assert_eq!(cut.kind(), ErrorKind::UnexpectedEof, "{}", bytes[..len].escape_ascii());
            }
            Some(address)
        }
        Err(kind) => {
            assert_eq!(kind, ErrorKind::InvalidData, "{}", bytes.escape_ascii());
            None
        }
    }
}

/// A header of version 2.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = (rest.len() as u16).to_be_bytes();
    [SIGNATURE, &[command, family], &len, rest].concat()
}

fn v4_addresses() -> Vec<u8> {
    [&[192, 0, 2, 1, 198, 51, 100, 2][..], &50_000_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
}

fn v6_addresses() -> Vec<u8> {
    let ip: Ipv6Addr = "2001:db8::1".parse().unwrap();
    [&ip.octets()[..], &[0; 16], &50_000_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
}

/// A TLV of HAProxy's: the name that the client has asked for.
fn tlv() -> Vec<u8> {
    [&[0x02, 0, 11][..], b"app.example"].concat()
}

#[test]
fn version_1_has_the_clients_address() {
    let longest = format!("PROXY TCP6 {0} {0} 65535 65535\r\n", ["ffff"; 8].join(":"));
    let cases = [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n", "192.0.2.1:50000"),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0"),
        ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", "[2001:db8::1]:1"),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "[::ffff:192.0.2.1]:1"),
        (&longest, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
    ];
    for (header, address) in cases {
        assert_eq!(parse(header.as_bytes()), Some(Some(address.parse().unwrap())), "{header}");
    }
    for unknown in ["", " ", " anything 1 2 3", " 0000:0000 ffff 65535 65535 ", &" ".repeat(92)] {
        assert_eq!(parse(format!("PROXY UNKNOWN{unknown}\r\n").as_bytes()), Some(None));
    }
    assert_eq!(parse(b"PROXY UNKNOWN \xff\0\r\r\n"), Some(None));
}

#[test]
fn an_invalid_header_of_version_1_is_refused() {
    for wrong in [
        "PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 50000\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 50000 443 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 50000 443 1\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.2 50000 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 50000 65536\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 050000 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +50000 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 50000 x\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.2 50000 443\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.2 50000 443\r\n",
        "PROXY TCP4 192.0.2.1 name 50000 443\r\n",
        "PROXY TCP4 ::1 ::1 50000 443\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 50000 443\r\n",
        "PROXY TCP6 [::1] [::1] 50000 443\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 50000 443\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.2 50000 443\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY unknown\r\n",
        "PROXY  UNKNOWN\r\n",
        "PROXY \r\n\r\n\r\n",
        "proxy UNKNOWN\r\n",
        "PROXY\tTCP4 192.0.2.1 198.51.100.2 50000 443\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
    }
    // 107 bytes, with CR LF, are the most.
    assert_eq!(parse(format!("PROXY UNKNOWN {}\r\n", "x".repeat(91)).as_bytes()), Some(None));
    assert_eq!(parse(format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)).as_bytes()), None);
    assert_eq!(parse(&[b'x'; 200]), None);
}

#[test]
fn version_2_has_the_clients_address() {
    let four = Some("192.0.2.1:50000".parse().unwrap());
    let six = Some("[2001:db8::1]:50000".parse().unwrap());
    for tlvs in [vec![], tlv(), tlv().repeat(20), vec![0; 3840]] {
        assert_eq!(parse(&v2(0x21, TCP4, &[v4_addresses(), tlvs.clone()].concat())), Some(four));
        assert_eq!(parse(&v2(0x21, TCP6, &[v6_addresses(), tlvs.clone()].concat())), Some(six));
        // Of no family of IP: the client's address is not known. Unix sockets have 216 bytes of addresses.
        for family in [0x00, 0x31, 0x32] {
            assert_eq!(parse(&v2(0x21, family, &[vec![1; 216], tlvs.clone()].concat())), Some(None));
        }
        // LOCAL: whatever the family is, the load balancer speaks for itself.
        for family in [0x00, TCP4, TCP6, 0xFF] {
            assert_eq!(parse(&v2(0x20, family, &tlvs)), Some(None));
        }
    }
}

#[test]
fn an_invalid_header_of_version_2_is_refused() {
    for command in (0..=255).filter(|command| !COMMANDS.contains(command)) {
        assert_eq!(parse(&v2(command, TCP4, &v4_addresses())), None, "{command:x}");
    }
    for family in (0..=255).filter(|family| ![0x00, TCP4, TCP6, 0x31, 0x32].contains(family)) {
        assert_eq!(parse(&v2(0x21, family, &v6_addresses())), None, "{family:x}");
    }
    // Too short for the family, and longer than anybody needs.
    assert_eq!(parse(&v2(0x21, TCP4, &v4_addresses()[..11])), None);
    assert_eq!(parse(&v2(0x21, TCP6, &v6_addresses()[..35])), None);
    assert_eq!(parse(&v2(0x21, TCP4, &vec![0; 5000])), None);
    assert_eq!(parse(&v2(0x20, 0x00, &vec![0; 65535])), None);
    for at in 0..SIGNATURE.len() {
        let mut wrong = v2(0x21, TCP4, &v4_addresses());
        wrong[at] ^= 0x20;
        assert_eq!(parse(&wrong), None, "{at}");
    }
}

proptest! {
    /// Nor is more of it read than a header may have.
    #[test]
    fn whatever_comes_is_a_header_or_none(
        seed in 0..4_usize,
        edits in vec((0..120_usize, any::<u8>()), 0..4),
        behind in vec(any::<u8>(), 0..5000),
    ) {
        let mut bytes = [
            b"PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n".to_vec(),
            b"PROXY TCP6 2001:db8::1 ::1 50000 443\r\n".to_vec(),
            v2(0x21, TCP4, &[v4_addresses(), tlv()].concat()),
            v2(0x21, TCP6, &v6_addresses()),
        ][seed].clone();
        for (at, byte) in edits {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.extend(behind);
        let mut rest = bytes.as_slice();
        let first = header(&mut rest).map_err(|error| error.kind());
        prop_assert!(bytes.len() - rest.len() <= 16 + 4096);
        let mut pieces = Pieces(&bytes, 1);
        prop_assert_eq!(header(&mut pieces).map_err(|error| error.kind()), first);
        prop_assert_eq!(pieces.0, rest);
    }
}

/// A connection of a load balancer.
fn balanced(server: &Program, header: &[u8]) -> TcpStream {
    let mut stream = connect(server.address());
    stream.write_all(header).unwrap();
    stream
}

/// The line in the log for a connection that has ended.
fn logged(server: &mut Program) -> (String, String) {
    let line = server.line();
    let (peer, what) = line.split_once(": ").unwrap();
    (peer.to_owned(), what.to_owned())
}

fn close(mut client: TcpStream) {
    client.write_all(&masked(0x88, &1000_u16.to_be_bytes())).unwrap();
    assert_eq!(next(&mut client).unwrap().0, 0x88);
}

#[test]
fn the_address_that_a_load_balancer_names_is_the_clients() {
    let mut server =
        Program::start("echo_threads", &["--listen", "127.0.0.1:0", "--proxy-from", "127.0.0.1"]);
    let headers = [
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n".to_vec(), Some("192.0.2.1:50000")),
        (b"PROXY TCP6 2001:db8::1 ::1 50000 443\r\n".to_vec(), Some("[2001:db8::1]:50000")),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (v2(0x21, TCP4, &[v4_addresses(), tlv()].concat()), Some("192.0.2.1:50000")),
        (v2(0x21, TCP6, &v6_addresses()), Some("[2001:db8::1]:50000")),
        (v2(0x20, 0x00, &[]), None),
    ];
    for (header, address) in headers {
        // The header, and the request in the same segment, or each byte in one of its own.
        for together in [true, false] {
            let mut client = balanced(&server, &[]);
            let local = client.local_addr().unwrap().to_string();
            if together {
                client.write_all(&[&header, REQUEST].concat()).unwrap();
            } else {
                for byte in header.iter().chain(REQUEST) {
                    client.write_all(&[*byte]).unwrap();
                }
            }
            opened(&mut client);
            echo(&mut client, "hello");
            close(client);
            let (peer, what) = logged(&mut server);
            assert_eq!(peer, address.unwrap_or(&local));
            assert_eq!(what, "closed: closed cleanly, code 1000");
        }
    }
    // A refusal is the client's too.
    let request = b"PROXY TCP4 192.0.2.7 198.51.100.2 7 443\r\nGET /ws HTTP/1.1\r\nHost: a\r\nOrigin: http://evil.example\r\n\
        Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";
    let answer = io::read_to_string(balanced(&server, request)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let (peer, why) = logged(&mut server);
    assert_eq!(peer, "192.0.2.7:7");
    assert!(why.starts_with("refused with 403: the origin is not allowed"), "{why}");
    assert!(why.ends_with("; Origin http://evil.example"), "{why}");
}

#[test]
fn a_load_balancers_connection_without_a_header_is_dropped() {
    let mut server =
        Program::start("echo_threads", &["--listen", "127.0.0.1:0", "--proxy-from", "127.0.0.1"]);
    let too_long = [&b"PROXY "[..], &[b'x'; 200]].concat();
    let wrong: [(&[u8], &str); 8] = [
        (REQUEST, "there is no PROXY header"),
        (b"PROXY TCP4 192.0.2.1\r\n\r\n", "the PROXY header is malformed"),
        (&too_long, "the PROXY header is longer than 107 bytes"),
        (&v2(0x21, TCP4, &[]), "the PROXY header is malformed"),
        (&v2(0x21, TCP4, &[0; 5000]), "the PROXY header is too long"),
        // It does not come, or not whole.
        (b"", "the PROXY header takes too long"),
        (b"PROXY TCP4 ", "the PROXY header takes too long"),
        (SIGNATURE, "the PROXY header takes too long"),
    ];
    let mut clients = wrong.map(|(header, why)| (balanced(&server, header), why));
    // Nor does one outlive its deadline that never ends.
    let mut endless = balanced(&server, b"PROXY TCP4 ");
    let ends = endless.local_addr().unwrap();
    let mut expected = vec![(ends.to_string(), "the PROXY header takes too long".to_owned())];
    while endless.write_all(b"1").is_ok() {
        thread::sleep(Duration::from_millis(200));
    }
    for (client, why) in &mut clients {
        let mut answer = Vec::new();
        if let Err(error) = client.read_to_end(&mut answer) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        assert_eq!(answer.escape_ascii().to_string(), "");
        expected.push((client.local_addr().unwrap().to_string(), why.to_string()));
    }
    let mut told: Vec<_> = expected.iter().map(|_| logged(&mut server)).collect();
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
}

#[test]
fn a_proxy_header_from_another_address_is_refused() {
    let others: [&[&str]; 3] =
        [&[], &["--proxy-from", "192.0.2.1"], &["--proxy-from", "::1", "--proxy-from", "127.0.0.2"]];
    for trusted in others {
        let mut server = Program::start("echo_threads", &[&["--listen", "127.0.0.1:0"], trusted].concat());
        let v1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n".to_vec();
        for header in [v1, v2(0x21, TCP4, &v4_addresses())] {
            let mut client = balanced(&server, &[&header, REQUEST].concat());
            let local = client.local_addr().unwrap().to_string();
            assert!(head(&mut client).unwrap().starts_with(b"HTTP/1.1 400 "));
            drop(client);
            assert_eq!(logged(&mut server), (local, "refused with 400: not an HTTP/1.1 request".into()));
        }
        let mut client = balanced(&server, REQUEST);
        opened(&mut client);
        echo(&mut client, "hello");
    }
}

/// A listener of both families shows a peer of IPv4 as an address of IPv6.
#[test]
fn a_load_balancer_of_ipv4_is_known_on_a_listener_of_ipv6() {
    let mut server = Program::start("echo_threads", &["--listen", "[::]:0", "--proxy-from", "127.0.0.1"]);
    let mut client = connect((Ipv4Addr::LOCALHOST, server.address().port()).into());
    client.write_all(&[b"PROXY TCP4 192.0.2.1 198.51.100.2 50000 443\r\n", REQUEST].concat()).unwrap();
    opened(&mut client);
    close(client);
    let ip: IpAddr = logged(&mut server).0.parse::<SocketAddr>().unwrap().ip();
    assert_eq!(ip, Ipv4Addr::new(192, 0, 2, 1));
}
