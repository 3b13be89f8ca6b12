//! The echo server of the examples, driven through `ServerSession` in buffers of several sizes and with its input cut in
//! every way.

#[path = "../examples/echo/handler.rs"]
mod handler;
mod session_driver;
mod wire;

use core::fmt::Arguments;
use std::cell::RefCell;
use std::time::Duration;

use handler::Echo;
use proptest::prelude::*;
use sansocket::Config;
use sansocket::error::{EndReason, Timeout, Violation};
use sansocket::session::Outcome;
use session_driver::*;

/// Sizes of the receive and transmit buffers.
const SIZES: [(usize, usize); 4] = [(140, 140), (16384, 16384), (140, 16384), (16384, 140)];
const WELCOME: &str = "Welcome to the WebSocket Echo Server (post-handshake)!";
const TEXT: u8 = 1;
const BINARY: u8 = 2;

type Log = RefCell<Vec<String>>;

fn echo(log: &Log) -> Echo<impl FnMut(Arguments<'_>)> {
    Echo::new(|line: Arguments<'_>| log.borrow_mut().push(line.to_string()))
}

fn quiet() -> Echo<impl FnMut(Arguments<'_>)> {
    Echo::new(|_: Arguments<'_>| {})
}

/// The frames of a message, cut as `parts` are.
fn fragments(opcode: u8, parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let last = parts.len() - 1;
    let first = |i| if i == 0 { opcode } else { 0 } | if i == last { 0x80 } else { 0 };
    parts.iter().enumerate().map(|(i, part)| masked(first(i), part)).collect()
}

/// What can be told apart from its neighbours at every place, and no line of it is a trigger.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| b'!' + (i % 89) as u8).collect()
}

/// Opens `path` and sends `input`, cut in every way and in buffers of every size, and shows `check` what the
/// server has sent by then, and whether the peer read it promptly.
fn every_way(path: &str, input: &[u8], mut check: impl FnMut(&[u8], bool)) {
    let config = Config::new();
    for (rx, tx) in SIZES {
        let mut memory = Memory::new(512, rx, tx);
        for (i, pieces) in cuts(input).enumerate() {
            let mut drive = Drive::new(&mut memory, &config, quiet());
            // Peers that read at once, and some that read a little at a time.
            drive.take = [usize::MAX, 1, 50, usize::MAX][i % 4];
            drive.open(&upgrade(path, &[]));
            pieces.iter().for_each(|piece| drive.send(piece));
            check(&drive.taken(), i % 4 == 0 || i % 4 == 3);
            drive.finish();
        }
    }
}

#[test]
fn frames_come_back_as_they_were() {
    let long = pattern(130);
    let sent: &[(u8, &[u8])] = &[
        (0x81, b"Hello"),
        (0x82, b"\x00\xFF\x81"),
        (0x81, b""),
        (0x82, b""),
        (0x01, b"Hel"),
        (0x89, b"a ping"),
        (0x00, b"lo "),
        (0x89, b""),
        (0x80, b"World"),
        (0x02, b""),
        (0x8A, b"a pong, to which nobody answers"),
        (0x00, b"\xFF"),
        (0x80, b""),
        // Cut inside a code point, which is the sender's good right.
        (0x01, b"\xCE\xBA\xCF"),
        (0x80, b"\x8C\xCF\x83"),
        (0x81, &long[..125]),
        (0x82, &long[..126]),
        (0x81, &long),
        (0x82, &long),
    ];
    let input: Vec<u8> = sent.iter().flat_map(|(first, payload)| masked(*first, payload)).collect();
    let expected = sent.iter().filter(|(first, _)| *first != 0x8A).map(|(first, payload)| {
        let opcode = if *first == 0x89 { 0xA } else { first & 0xF };
        frame(first & 0x80 != 0, opcode, payload)
    });
    let expected: Vec<_> = expected.collect();
    let split = |frames: &[Frame]| frames.iter().cloned().partition::<Vec<_>, _>(|frame| frame.opcode < 8);
    every_way("/ws", &input, |out, prompt| {
        let sent = frames(out);
        if prompt {
            assert_eq!(sent, expected);
        } else {
            // "MAY elect to send a Pong frame for only the most recently processed Ping frame" (§5.5.3), and
            // where it finds room.
            let ((data, pongs), (expected, _)) = (split(&sent), split(&expected));
            assert_eq!(data, expected);
            assert_eq!(pongs.last(), Some(&frame(true, 0xA, b"")));
        }
    });
}

#[test]
fn messages_larger_than_the_buffers_come_back() {
    let config = Config::new();
    for (rx, tx) in SIZES {
        let mut memory = Memory::new(512, rx, tx);
        for len in
            [125, 126, 134, 135, 136, 137, 138, 139, 140, 141, 142, 500, 16370, 16380, 16384, 40_000, 70_000]
        {
            let payload = pattern(len);
            for opcode in [TEXT, BINARY] {
                let input = masked(0x80 | opcode, &payload);
                for (size, take) in
                    [(1, usize::MAX), (7, 11), (140, 1000), (1000, 140), (usize::MAX, usize::MAX)]
                {
                    // A byte at a time is for those that are not that long.
                    let (size, take) = if len > 1000 { (size.max(50), take.max(50)) } else { (size, take) };
                    let mut drive = Drive::new(&mut memory, &config, quiet());
                    drive.take = take;
                    drive.open(&upgrade("/ws", &[]));
                    drive.send_by(&input, size.min(input.len()));
                    let sent = frames(&drive.taken());
                    assert_eq!(messages(&sent), [(opcode, payload.clone())], "{len} in {rx}, {tx}");
                    // A frame that fits both buffers is one frame, however it was cut; a binary one always.
                    let fits = len <= rx && len + 4 <= tx;
                    assert!(
                        sent.len() == 1 || opcode == TEXT && !fits,
                        "{len} in {rx}, {tx}: {} frames",
                        sent.len()
                    );
                    drive.finish();
                }
            }
        }
    }
}

#[test]
fn long_fragments_with_pings_between_come_back() {
    let payload = pattern(3_000);
    for opcode in [TEXT, BINARY] {
        let parts = fragments(opcode, &[&payload[..1_000], b"", &payload[1_000..1_100], &payload[1_100..]]);
        let ping = masked(0x89, b"between");
        let input = parts.join(&ping[..]);
        let config = Config::new();
        for (rx, tx) in SIZES {
            let mut memory = Memory::new(512, rx, tx);
            for (size, take) in [(1, usize::MAX), (100, 1), (139, 139), (5_000, usize::MAX)] {
                let mut drive = Drive::new(&mut memory, &config, quiet());
                drive.take = take;
                drive.open(&upgrade("/ws", &[]));
                drive.send_by(&input, size);
                let sent = frames(&drive.taken());
                assert_eq!(messages(&sent), [(opcode, payload.clone())]);
                let pongs: Vec<_> = sent.iter().filter(|frame| frame.opcode >= 8).collect();
                assert!(!pongs.is_empty() && pongs.iter().all(|pong| **pong == frame(true, 0xA, b"between")));
                drive.finish();
            }
        }
    }
}

#[test]
fn invalid_text_is_echoed_up_to_its_first_wrong_byte_and_answered_with_1007() {
    let config = Config::new();
    for (rx, tx) in SIZES {
        let mut memory = Memory::new(512, rx, tx);
        let mut payload = pattern(1_000);
        payload[900] = 0xFF;
        for size in [1, 140, 2_000] {
            let mut drive = Drive::new(&mut memory, &config, quiet());
            drive.open(&upgrade("/ws", &[]));
            drive.feed(&masked(0x81, b"first"));
            masked(0x81, &payload).chunks(size).for_each(|piece| _ = drive.feed(piece));
            drive.end();
            let sent = frames(&drive.taken());
            assert_eq!(sent[0], frame(true, 1, b"first"));
            assert_eq!(*sent.last().unwrap(), frame(true, 8, 1007_u16.to_be_bytes()));
            let echoed: Vec<u8> =
                sent[1..sent.len() - 1].iter().flat_map(|frame| frame.payload.clone()).collect();
            assert!(payload[..900].starts_with(&echoed));
            let Some(Outcome::Closed(cause)) = drive.outcome else { panic!("{:?}", drive.outcome) };
            assert_eq!(cause.reason, EndReason::Violation(Violation::InvalidUtf8));
        }
    }
}

#[test]
fn a_trigger_is_recognised_however_it_is_cut() {
    let trigger = (Vec::new(), &b"\x81\x0AAsync data"[..], &b""[..]);
    let ping = (Vec::new(), &b""[..], &b"\x89\x00"[..]);
    let echoed = |text: &str| (text.as_bytes().to_vec(), &b""[..], &b""[..]);
    let cases: &[(&[&str], _)] = &[
        (&["Trigger async"], trigger.clone()),
        (&["Trigger asynchronously, please"], trigger.clone()),
        (&["Tri", "gger async"], trigger.clone()),
        (&["Trigger asyn", "c"], trigger.clone()),
        (&["", "T", "", "rigger async", "", "hronous"], trigger.clone()),
        (&["Trigger async", " and more", ""], trigger.clone()),
        (&["Ping"], ping.clone()),
        (&["Pinging"], ping.clone()),
        (&["Pi", "ng"], ping.clone()),
        (&["P", "i", "n", "g", "!"], ping.clone()),
        (&["Ping", ""], ping.clone()),
        (&["", "Ping"], ping.clone()),
        (&["Pin", "k"], echoed("Pink")),
        (&["Pin", ""], echoed("Pin")),
        (&["Pin"], echoed("Pin")),
        (&["P"], echoed("P")),
        (&["", "", ""], echoed("")),
        (&["Tri", "ck"], echoed("Trick")),
        (&["Trigger asyn"], echoed("Trigger asyn")),
        (&["Trigger ", "asyn", "onym, and then some"], echoed("Trigger asynonym, and then some")),
        (&["T", "r", "i", "P", "ing"], echoed("TriPing")),
        (&["ping"], echoed("ping")),
        (&[" Ping"], echoed(" Ping")),
        (&["trigger async"], echoed("trigger async")),
        (&["Say ", "Trigger async"], echoed("Say Trigger async")),
    ];
    let config = Config::new();
    for (parts, (echo, later, soon)) in cases {
        let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
        // Twice, so that nothing is left of the first message when the next begins.
        let once = fragments(TEXT, &parts).concat();
        let input = [&once[..], &masked(0x81, b"between"), &once].concat();
        for (rx, tx) in [(140, 140), (16384, 16384)] {
            let mut memory = Memory::new(512, rx, tx);
            for pieces in cuts(&input) {
                let mut drive = Drive::new(&mut memory, &config, quiet());
                drive.open(&upgrade("/ws", &[]));
                pieces.iter().for_each(|piece| drive.send(piece));
                let sent = frames(&drive.taken());
                let text = |text: &[u8]| (TEXT, text.to_vec());
                let swallowed = !later.is_empty() || !soon.is_empty();
                let expected = if swallowed {
                    vec![text(b"between")]
                } else {
                    vec![text(echo), text(b"between"), text(echo)]
                };
                assert_eq!(messages(&sent), expected, "{parts:?}");
                let pings = sent.iter().filter(|sent| **sent == frame(true, 9, b"")).count();
                assert_eq!(pings, if soon.is_empty() { 0 } else { 2 }, "{parts:?}");
                drive.pass(Duration::from_millis(50));
                assert_eq!(drive.taken(), [*later, later].concat(), "{parts:?}");
                drive.finish();
            }
        }
    }
}

#[test]
fn every_trigger_has_its_answer() {
    let config = Config::new();
    let mut memory = Memory::new(512, 140, 140);
    let mut drive = Drive::new(&mut memory, &config, quiet());
    drive.open(&upgrade("/ws", &[]));
    // A client that asks more often than it is answered is not put off for ever.
    for _ in 0..20 {
        drive.send(&masked(0x81, b"Trigger async"));
        drive.pass(Duration::from_millis(10));
    }
    let early = frames(&drive.taken()).len();
    assert!((10..=20).contains(&early), "{early}");
    drive.pass(Duration::from_millis(100));
    assert_eq!(early + frames(&drive.taken()).len(), 20);
}

#[test]
fn asynchronous_data_waits_for_the_end_of_another_message() {
    let config = Config::new();
    let mut memory = Memory::new(512, 140, 140);
    let mut drive = Drive::new(&mut memory, &config, quiet());
    drive.open(&upgrade("/ws", &[]));
    drive.send(&masked(0x81, b"Trigger async"));
    drive.send(&masked(0x81, b"Ping"));
    assert_eq!(drive.taken(), b"\x89\x00");
    // A frame of which half is here, then a message of which one fragment is.
    let long = masked(0x02, &pattern(1_000));
    drive.send(&long[..500]);
    for _ in 0..10 {
        drive.pass_deadline();
    }
    drive.send(&long[500..]);
    drive.pass(Duration::from_secs(1));
    drive.send(&masked(0x80, b"end"));
    assert_eq!(messages(&frames(&drive.taken())), [(BINARY, [&pattern(1_000)[..], b"end"].concat())]);
    drive.pass(Duration::from_secs(1));
    assert_eq!(drive.taken(), b"\x81\x0AAsync data");
    drive.finish();
}

#[test]
fn binary_is_never_a_trigger() {
    let sent = [
        frame(true, 2, b"Trigger async"),
        frame(true, 2, b"Ping"),
        frame(false, 2, b"Pi"),
        frame(true, 0, b"ng"),
    ];
    let input =
        [masked(0x82, b"Trigger async"), masked(0x82, b"Ping"), masked(0x02, b"Pi"), masked(0x80, b"ng")];
    every_way("/ws", &input.concat(), |out, _| assert_eq!(frames(out), sent));
}

#[test]
fn the_partial_route_echoes_parts_of_64_bytes() {
    for (opcode, lens, parts) in [
        (TEXT, &[200][..], &[64, 64, 64, 8][..]),
        (BINARY, &[200], &[64, 64, 64, 8]),
        (TEXT, &[100, 100], &[64, 64, 64, 8]),
        (BINARY, &[1, 0, 198, 1, 0], &[64, 64, 64, 8]),
        (TEXT, &[0], &[0]),
        (BINARY, &[0, 0, 0], &[0]),
        (TEXT, &[1], &[1]),
        (TEXT, &[63], &[63]),
        (BINARY, &[64], &[64]),
        (BINARY, &[64, 0], &[64]),
        (TEXT, &[65], &[64, 1]),
        (TEXT, &[64, 1], &[64, 1]),
        (BINARY, &[128], &[64, 64]),
        (TEXT, &[13], &[13]),
    ] {
        let payload = if lens == [13] { b"Trigger async".to_vec() } else { pattern(lens.iter().sum()) };
        let mut rest = &payload[..];
        let sent: Vec<_> = lens.iter().map(|len| rest.split_off(..*len).unwrap()).collect();
        let mut rest = &payload[..];
        let expected = parts.iter().enumerate().map(|(i, len)| {
            let opcode = if i == 0 { opcode } else { 0 };
            frame(i + 1 == parts.len(), opcode, rest.split_off(..*len).unwrap())
        });
        // Twice: the second message begins anew.
        let expected: Vec<_> = expected.collect();
        let input = [fragments(opcode, &sent).concat(), fragments(opcode, &sent).concat()].concat();
        every_way("/ws_partial", &input, |out, _| {
            assert_eq!(frames(out), [&expected[..], &expected].concat(), "{lens:?}");
        });
    }
}

#[test]
fn the_partial_route_echoes_long_messages_in_parts() {
    let config = Config::new();
    for (rx, tx) in SIZES {
        let mut memory = Memory::new(512, rx, tx);
        for len in [1_000, 1_024, 20_000] {
            let payload = pattern(len);
            for (size, take) in [(1_000, 1), (50, 50), (100_000, usize::MAX)] {
                let mut drive = Drive::new(&mut memory, &config, quiet());
                drive.take = take;
                drive.open(&upgrade("/ws_partial", &[]));
                drive.send_by(&masked(0x82, &payload), size);
                let sent = frames(&drive.taken());
                assert!(sent.iter().rev().skip(1).all(|frame| !frame.fin && frame.payload.len() == 64));
                assert_eq!(sent.len(), len.div_ceil(64));
                assert_eq!(messages(&sent), [(BINARY, payload.clone())]);
                drive.finish();
            }
        }
    }
}

#[test]
fn the_auth_route_needs_its_token_and_says_hello() {
    let config = Config::new();
    for (rx, tx) in SIZES {
        let mut memory = Memory::new(512, rx, tx);
        for (path, status) in [
            ("/auth?token=valid", 101),
            ("/auth?a=b&token=valid&c", 101),
            ("/auth", 401),
            ("/auth?", 401),
            ("/auth?token", 401),
            ("/auth?token=", 401),
            ("/auth?token=Valid", 401),
            ("/auth?token=valid2", 401),
            ("/auth?xtoken=valid", 401),
            ("/auth?token=wrong&token=valid", 401),
            ("/auth/?token=valid", 404),
        ] {
            let mut drive = Drive::new(&mut memory, &config, quiet());
            drive.send(&upgrade(path, &[]));
            let answer = Http::take(&mut drive.out);
            assert_eq!(answer.status, status, "{path}");
            if status == 101 {
                assert_eq!(frames(&drive.taken()), [frame(true, 1, WELCOME)]);
                drive.send(&masked(0x81, b"Hello"));
                drive.send(&masked(0x81, b"Ping"));
                assert_eq!(frames(&drive.taken()), [frame(true, 1, b"Hello"), frame(true, 9, b"")]);
                drive.finish();
            } else {
                assert!(!drive.out.is_empty() && !drive.out.starts_with(b"\x81"));
            }
        }
    }
}

#[test]
fn hello_comes_first_also_if_the_client_does_not_wait() {
    let config = Config::new();
    let input = [upgrade("/auth?token=valid", &[]), masked(0x81, b"Hello")].concat();
    for (rx, tx) in SIZES {
        let mut memory = Memory::new(512, rx, tx);
        for (i, pieces) in cuts(&input).enumerate() {
            let mut drive = Drive::new(&mut memory, &config, quiet());
            drive.take = [usize::MAX, 1, 50][i % 3];
            pieces.iter().for_each(|piece| drive.send(piece));
            assert_eq!(Http::take(&mut drive.out).status, 101);
            assert_eq!(frames(&drive.taken()), [frame(true, 1, WELCOME), frame(true, 1, b"Hello")]);
            drive.finish();
        }
    }
}

#[test]
fn the_page_is_served_and_other_paths_are_404() {
    let config = Config::new();
    let mut memory = Memory::new(512, 140, 140);
    let page = include_bytes!("../examples/echo/page.html");
    for (method, path, status) in [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/?x", 200),
        ("POST", "/", 405),
        ("GET", "/favicon.ico", 404),
        ("GET", "/ws", 426),
        ("GET", "/ws_partial", 426),
        ("GET", "/auth", 401),
        ("GET", "/auth?token=valid", 426),
    ] {
        let mut drive = Drive::new(&mut memory, &config, quiet());
        drive.send(&request(method, path, &["Host: a"]));
        drive.end();
        let answer = Http::parse(&drive.out);
        assert_eq!(answer.status, status, "{method} {path}");
        answer.check_closing(method != "HEAD");
        if status == 200 {
            assert_eq!(answer.field("Content-Length"), Some(&*page.len().to_string()));
            assert!(method == "HEAD" || answer.body == page);
        }
        assert_eq!(answer.field("Allow"), (status == 405).then_some("GET, HEAD"));
        assert_eq!((drive.refused(), drive.shutdowns), (Some(status), 1));
    }
}

#[test]
fn each_route_agrees_to_its_subprotocols() {
    let config = Config::new();
    let mut memory = Memory::new(512, 140, 140);
    for (path, offer, agreed) in [
        ("/ws", "echo", Some("echo")),
        ("/ws", "echo, chat", Some("chat")),
        ("/ws", "other", None),
        ("/ws_partial", "echo", None),
        ("/auth?token=valid", "chat", None),
    ] {
        let mut drive = Drive::new(&mut memory, &config, quiet());
        let answer = drive.open(&upgrade(path, &[&format!("Sec-WebSocket-Protocol: {offer}")]));
        assert_eq!(answer.field("Sec-WebSocket-Protocol"), agreed, "{path}, {offer}");
    }
}

#[test]
fn each_frame_is_logged_once() {
    let config = Config::new();
    let long = pattern(1_000);
    let escaped = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let sent: &[(u8, &[u8])] = &[
        (0x81, b"Hello"),
        (0x82, b"\x00\xFF\"\r\n"),
        (0x81, b""),
        (0x01, b"Hel"),
        (0x80, b"lo"),
        (0x81, b"Ping"),
        (0x82, &long[..128]),
        (0x82, &long[..129]),
        (0x81, &long[..129]),
        (0x81, &long),
        (0x82, &long),
        (0x81, b"last"),
    ];
    let input: Vec<u8> = sent.iter().flat_map(|(first, payload)| masked(*first, payload)).collect();
    for path in ["/ws", "/ws_partial"] {
        for (rx, tx) in SIZES {
            let mut memory = Memory::new(512, rx, tx);
            for (size, take) in
                [(1, 1), (1, usize::MAX), (50, 60), (10_000, 50), (10_000, 1), (10_000, usize::MAX)]
            {
                let log = Log::default();
                let mut drive = Drive::new(&mut memory, &config, echo(&log));
                drive.take = take;
                drive.open(&upgrade(path, &[]));
                drive.send_by(&input, size);
                drive.read_all();
                drive.send(&masked(0x88, b"\x03\xE8bye"));
                drive.end();
                let lines = log.take();
                let mut lines = lines.iter().map(String::as_str);
                for (first, payload) in sent {
                    let context = format!("{} bytes in {rx}, {tx} by {size}, {take}", payload.len());
                    assert_eq!(lines.next(), Some(&*format!("frame len is {}", payload.len())), "{context}");
                    let message = lines.next().unwrap().strip_prefix("Got packet with message: ").unwrap();
                    if payload.len() > rx {
                        // As much of it as was here first.
                        let message = message.strip_suffix("...").unwrap_or(message);
                        assert!(
                            !message.is_empty() && escaped(&payload[..128]).starts_with(message),
                            "{context}"
                        );
                    } else {
                        let more = if payload.len() > 128 { "..." } else { "" };
                        let shown = escaped(&payload[..payload.len().min(128)]);
                        assert_eq!(message, shown + more, "{context}");
                    }
                    assert_eq!(lines.next(), Some(&*format!("Packet type: {}", first & 0xF)), "{context}");
                }
                assert_eq!(lines.next(), Some("Closed: closed cleanly, code 1000, \"bye\""));
                assert_eq!(lines.next(), None);
            }
        }
    }
}

#[test]
fn every_end_is_logged() {
    let config = Config::new();
    let mut memory = Memory::new(512, 140, 140);
    for (input, line) in [
        (masked(0x88, b""), "Closed: closed cleanly, code 1005, \"\""),
        (masked(0x88, b"\x0F\xA0caf\xC3\xA9"), "Closed: closed cleanly, code 4000, \"caf\u{e9}\""),
        (vec![], "Closed: disconnected without a Close, code 1006, \"\""),
        (
            vec![0x81, 0x05],
            "Closed: the peer broke a rule: a frame from the client is not masked, code 1006, \"\"",
        ),
    ] {
        let log = Log::default();
        let mut drive = Drive::new(&mut memory, &config, echo(&log));
        drive.open(&upgrade("/ws", &[]));
        drive.send(&input);
        drive.end();
        drive.pump();
        assert_eq!(log.take(), [line]);
    }
}

#[test]
fn a_slow_reader_costs_no_memory_and_loses_nothing() {
    let config = Config::new();
    let long = pattern(50_000);
    let messages_sent: Vec<(u8, Vec<u8>)> = (0..300)
        .map(|i| (if i % 3 == 0 { TEXT } else { BINARY }, pattern(i * 7 % 400)))
        .chain([(TEXT, long.clone()), (BINARY, long.clone()), (TEXT, b"last".to_vec())])
        .collect();
    let input: Vec<u8> =
        messages_sent.iter().flat_map(|(opcode, payload)| masked(0x80 | opcode, payload)).collect();
    for path in ["/ws", "/ws_partial"] {
        for (rx, tx) in SIZES {
            let mut memory = Memory::new(512, rx, tx);
            for take in [40, 139, 5_000] {
                let mut drive = Drive::new(&mut memory, &config, quiet());
                drive.open(&upgrade(path, &[]));
                let (mut read, mut out) = (0, Vec::new());
                while read < input.len() {
                    // The peer writes as long as it can, and reads nothing.
                    drive.take = 0;
                    let polls = drive.polls;
                    let n = drive.feed(&input[read..]);
                    read += n;
                    // Two full buffers, whose smallest frames are three times as long where they are masked.
                    assert!(n <= rx + 3 * tx + 64, "{n} bytes were taken, and nothing was written");
                    assert!(drive.polls - polls <= n + 10, "polls that bring nothing");
                    if read < input.len() {
                        assert!(drive.session.spare(&mut drive.head, &mut drive.rx).is_empty());
                        assert_eq!(drive.feed(&input[read..]), 0);
                    }
                    assert!(drive.out.is_empty());
                    // Then it reads, now and then.
                    let n = drive.tx.pending().len().min(take);
                    out.extend_from_slice(&drive.tx.pending()[..n]);
                    drive.tx.consume(n);
                }
                drive.read_all();
                out.extend(drive.taken());
                assert!(messages(&frames(&out)) == messages_sent, "{path} in {rx}, {tx}");
                drive.finish();
            }
        }
    }
}

#[test]
fn a_peer_that_never_reads_is_disconnected_at_the_write_deadline() {
    let config = Config::new();
    for (rx, tx) in SIZES {
        let mut memory = Memory::new(512, rx, tx);
        let log = Log::default();
        let mut drive = Drive::new(&mut memory, &config, echo(&log));
        drive.open(&upgrade("/ws", &[]));
        drive.take = 0;
        let endless = masked(0x82, &pattern(100_000));
        assert!(drive.feed(&endless) < endless.len());
        let started = drive.now;
        while drive.outcome.is_none() {
            drive.pass_deadline();
        }
        assert_eq!(started.saturating_duration_until(drive.now), Duration::from_secs(30));
        let Some(Outcome::Closed(cause)) = drive.outcome else { panic!("{:?}", drive.outcome) };
        assert_eq!(cause.reason, EndReason::Timeout(Timeout::Write));
        assert_eq!(
            log.take().last().unwrap(),
            "Closed: a deadline passed: the peer reads nothing, code 1006, \"\""
        );
    }
}

/// What a peer does.
#[derive(Debug, Clone)]
enum Act {
    Send(Vec<u8>),
    /// It reads so much at once from now on.
    Take(usize),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let payload = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        (0..600_usize).prop_map(pattern),
        Just(b"Trigger async".to_vec()),
        Just(b"Ping".to_vec()),
    ];
    let first = prop_oneof![6 => prop_oneof![Just(0x81), Just(0x82), Just(0x01), Just(0x80), Just(0x00), Just(0x89)], 1 => any::<u8>()];
    let whole = (first, payload).prop_map(|(first, payload)| masked(first, &payload));
    // All of a frame, or the beginning of it.
    let frame = (whole, prop_oneof![4 => Just(usize::MAX), 1 => 0..600_usize]);
    let frame = frame.prop_map(|(bytes, n)| bytes[..n.min(bytes.len())].to_vec());
    let paths =
        prop_oneof![Just("/ws"), Just("/ws_partial"), Just("/auth?token=valid"), Just("/"), Just("/x")];
    prop_oneof![
        8 => frame.prop_map(Act::Send),
        2 => paths.prop_map(|path| Act::Send(upgrade(path, &["Sec-WebSocket-Protocol: echo"]))),
        1 => proptest::collection::vec(any::<u8>(), 0..300).prop_map(Act::Send),
        1 => Just(Act::Send(masked(0x88, b"\x03\xE8"))),
        3 => prop_oneof![0..3_usize, 100..200_usize, Just(usize::MAX)].prop_map(Act::Take),
        2 => prop_oneof![0..100_u64, 0..40_000_u64].prop_map(Act::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a peer does: no panic, no poll without end, and an end soon after the end of the stream. What
    /// an adapter relies on is checked in `Drive`.
    #[test]
    fn whatever_a_peer_does(
        upgrades in any::<bool>(),
        acts in proptest::collection::vec(act(), 0..30),
        size in prop_oneof![Just(1_usize), Just(usize::MAX), 1..300_usize],
        head in prop_oneof![Just(140_usize), Just(300), Just(1024)],
        rx in prop_oneof![Just(140_usize), 140..300_usize, Just(2_000)],
        tx in prop_oneof![Just(140_usize), 140..300_usize, Just(2_000)],
    ) {
        let config = Config::new();
        let mut memory = Memory::new(head, rx, tx);
        let log = Log::default();
        let mut drive = Drive::new(&mut memory, &config, echo(&log));
        let (mut read, mut pieces) = (0, 0);
        if upgrades {
            read += drive.feed(&upgrade("/ws", &[]));
        }
        for act in acts {
            match act {
                Act::Send(bytes) => {
                    // What is not read is lost, as if the peer had not sent it: any bytes will do.
                    for piece in bytes.chunks(size.min(bytes.len().max(1))) {
                        read += drive.feed(piece);
                        pieces += 1;
                    }
                }
                Act::Take(n) => drive.take = n,
                Act::Pass(millis) => drive.pass(Duration::from_millis(millis)),
            }
        }
        drive.end();
        // The page aside, what is sent is not much more than what was read.
        let sent = drive.out.len();
        prop_assert!(drive.polls <= 10 * (read + pieces + sent + 100), "{} polls for {read} and {sent} bytes", drive.polls);
        drive.read_all();
        for _ in 0..100 {
            if drive.outcome.is_none() && drive.deadline.is_some() {
                drive.pass_deadline();
            }
        }
        prop_assert!(drive.outcome.is_some());
        let closed = log.take().iter().filter(|line| line.starts_with("Closed")).count();
        prop_assert_eq!(closed, usize::from(matches!(drive.outcome, Some(Outcome::Closed(_)))));
        // The same for ever after.
        drive.pass(Duration::from_secs(1_000));
        drive.pump();
    }
}
