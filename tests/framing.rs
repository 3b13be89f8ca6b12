//! Frames of a hostile peer: which Close it gets, what the application hears, and that nothing is delivered or kept before.

mod endpoint;
mod wire;

use std::cell::Cell;
use std::time::Duration;

use endpoint::*;
use sansocket::config::{ControlFrames, Delivery};
use sansocket::error::{EndReason, MessageTooBig, Timeout, Violation};
use sansocket::message::{Assembler, MessageStorage, SliceStorage};
use sansocket::proto::{
    ConnectionState, Encoder, Header, HeaderRules, MIN_BUFFER_LEN, ReservedBits, Utf8Validator,
};
use sansocket::{
    Chunk, Client, CloseCode, Config, Connection, Kind, MessageRef, SendError, Server, TransmitBuffer,
};

/// How a connection ended that the peer ended by breaking a rule.
#[derive(Clone, Debug, PartialEq)]
struct Failure {
    violation: Violation,
    /// The code in the Close that went to the peer.
    code: u16,
    /// How many bytes it took.
    at: usize,
    events: Vec<Got>,
}

/// Feeds bytes that break a rule, one by one and in one piece, into buffers of the least size.
fn fail<R: TestRole>(config: &Config, wire: &[u8]) -> Failure {
    let run = |piece: usize| {
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let mut end = Endpoint::<R>::new(config, &mut memory);
        let mut at = 0;
        for piece in wire.chunks(piece) {
            if end.connection.state() != ConnectionState::Open {
                break;
            }
            end.feed(piece);
            at += piece.len();
        }
        assert!(end.connection.state() != ConnectionState::Open, "{wire:02x?} breaks no rule");
        let (sent, cause) = end.finish();
        let EndReason::Violation(violation) = cause.reason else { panic!("{wire:02x?} ends in {cause:?}") };
        let [close] = &sent[..] else { panic!("{sent:?} is not one Close") };
        assert_eq!((close.first, close.key.is_some()), (CLOSE, !R::SERVER));
        assert_eq!((cause.sent.map(|code| code.get()), cause.received), (close.code(), None));
        assert_eq!(cause.code(), 1006);
        assert!(end.rx.is_empty(), "what comes behind is discarded");
        Failure { violation, code: close.code().expect("a code"), at, events: join(end.events) }
    };
    let slow = run(1);
    let fast = run(wire.len());
    assert_eq!(slow, Failure { at: slow.at, ..fast }, "{wire:02x?} in one piece");
    slow
}

/// The same in both roles, where the masking is no matter; at which byte of an unmasked frame it shows.
fn fail_both(config: &Config, first: u8, payload: &[u8]) -> [Failure; 2] {
    [
        fail::<Server>(config, &Server::incoming(first, payload)),
        fail::<TestClient>(config, &TestClient::incoming(first, payload)),
    ]
}

#[test]
fn lengths_of_64_bits_are_not_truncated() {
    let native = usize::MAX as u64;
    let huge = [(1 << 32) + 5, (1 << 32) + 65_536, (1 << 63) - 1, 1 << 63, u64::MAX, native - 1, native];
    for len in huge.into_iter().chain(native.checked_add(1)) {
        let over = len >> 63 != 0;
        let (violation, code) =
            if over { (Violation::LengthBit, 1002) } else { (Violation::FrameTooBig, 1009) };
        let wire = [header(BINARY, Some(KEY), len), vec![0; 20]].concat();
        let failure = fail::<Server>(&Config::DEFAULT, &wire);
        // The bit that must be 0 is in the third byte.
        let at = if over { 3 } else { 14 };
        assert_eq!(failure, Failure { violation, code, at, events: vec![] }, "{len:#x}");
        let wire = [header(BINARY, None, len), vec![0; 20]].concat();
        let failure = fail::<TestClient>(&Config::DEFAULT, &wire);
        assert_eq!(failure, Failure { violation, code, at: at.min(10), events: vec![] }, "{len:#x}");
    }
}

#[test]
fn payloads_longer_than_32_bits_are_counted() {
    let mut config = Config::new();
    config.limits.frame = u64::MAX;
    config.limits.message = u64::MAX;
    for len in [(1 << 32) + 5, (1 << 63) - 1, usize::MAX as u64 >> 1] {
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let mut server = Endpoint::<Server>::new(&config, &mut memory);
        server.feed(&header(BINARY, Some([0; 4]), len));
        assert_eq!(server.connection.external_read_limit(&server.rx), len);
        for chunk in 0..10 {
            server.feed(&[chunk; 100]);
        }
        let mut offset = 0;
        for event in &server.events {
            let Got::Data(data) = event else { panic!("{event:?}") };
            assert_eq!(
                (data.offset, data.offset + data.payload.len() as u64 + data.remaining),
                (offset, len)
            );
            offset += data.payload.len() as u64;
        }
        assert_eq!(offset, 1000);
        assert_eq!(server.connection.state(), ConnectionState::Open);
    }
}

/// Whatever a frame begins with, each call takes something or waits, and the end comes.
#[test]
fn every_call_returns_after_bounded_work() {
    let seconds = [0x00, 0x01, 0x02, 0x7D, 0x7E, 0x7F, 0x80, 0x81, 0x82, 0xFD, 0xFE, 0xFF];
    for first in 0..=255 {
        for second in seconds {
            for rest in [0x00, 0xFF] {
                let wire = [&[first, second][..], &[rest; 30]].concat();
                let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
                let mut server = Endpoint::<Server>::new(&Config::DEFAULT, &mut memory);
                assert!(server.feed(&wire).len() < 40);
                server.finish();
                let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
                let mut client = Endpoint::<TestClient>::new(&Config::DEFAULT, &mut memory);
                assert!(client.feed(&wire).len() < 40);
                client.finish();
            }
        }
    }
}

#[test]
fn a_claimed_length_of_a_gigabyte_takes_no_memory() {
    let mut config = Config::new();
    config.limits.frame = 1 << 31;
    config.limits.message = 1 << 31;
    for delivery in [Delivery::Frames, Delivery::Chunks, Delivery::CodePoints] {
        config.delivery = delivery;
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let mut server = Endpoint::<Server>::new(&config, &mut memory);
        assert_eq!(server.feed(&header(TEXT, Some(KEY), 1 << 30)), ["Wait"]);
        assert!(server.events.is_empty());
        // Nothing lies in the buffer: its memory can serve another connection meanwhile.
        assert!(server.rx.is_empty() && server.tx.is_empty());
        assert_eq!(server.connection.external_read_limit(&server.rx), 1 << 30);
        // Silence is answered as ever.
        assert_eq!(server.at_deadline(), ["Wait"]);
        assert_eq!(server.sent()[0].first, PING);
        server.at_deadline();
        assert_eq!(server.finish().1.reason, EndReason::Timeout(Timeout::Pong));
    }
}

#[test]
fn the_message_limit_holds_over_fragments() {
    let mut config = Config::new();
    config.limits.message = 1000;
    for delivery in [Delivery::Frames, Delivery::Chunks] {
        config.delivery = delivery;
        let part = |first, len| frame(first, Some(KEY), &vec![b'x'; len]);
        let ten = [part(TEXT_PART, 100), part(PART, 100).repeat(8), part(PART, 100)].concat();
        // As much as is allowed, and no byte more; refused with the header, before anything is received.
        let failure = fail::<Server>(&config, &[ten.clone(), part(LAST, 1)].concat());
        assert_eq!((failure.violation, failure.code), (Violation::MessageTooBig, 1009));
        assert_eq!((failure.events.len(), failure.at), (10, ten.len() + 6));
        // The limit is for each message.
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let mut server = Endpoint::<Server>::new(&config, &mut memory);
        for _ in 0..3 {
            server.feed(&[ten.clone(), part(LAST, 0)].concat());
            server.frame(BINARY, &[0; 1000]);
        }
        assert_eq!(messages(&server.events).len(), 6);
        // In one frame.
        for (len, at) in [(1001, 8), (70_000, 14)] {
            let failure = fail::<Server>(&config, &part(BINARY, len));
            let want = Failure { violation: Violation::MessageTooBig, code: 1009, at, events: vec![] };
            assert_eq!(failure, want);
        }
    }
    config.limits.frame = 99;
    let failures = fail_both(&config, TEXT, &[b'x'; 100]);
    assert!(
        failures
            .iter()
            .all(|f| (f.violation, f.code) == (Violation::FrameTooBig, 1009) && f.events.is_empty())
    );
}

#[test]
fn a_million_fragments_meet_the_limit_of_fragments() {
    for payload in [&b""[..], b"x"] {
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let mut server = Endpoint::<Server>::new(&Config::DEFAULT, &mut memory);
        server.frame(BINARY_PART, payload);
        let many = frame(PART, Some(KEY), payload).repeat(20);
        let mut sent = 1;
        while server.connection.state() == ConnectionState::Open && sent < 1_000_000 {
            server.feed(&many);
            server.events.truncate(1);
            sent += 20;
        }
        assert_eq!(sent / 20, 131_072_usize.div_ceil(20));
        let (sent, cause) = server.finish();
        assert_eq!(cause.reason, EndReason::Violation(Violation::TooManyFragments));
        assert_eq!(sent[0].code(), Some(1008));
    }
    // Counted for each message, and exactly.
    let mut config = Config::new();
    config.limits.fragments = 3;
    let part = |first| frame(first, Some(KEY), b"x");
    let three = [part(TEXT_PART), part(PART), part(LAST)].concat();
    let wire = [three.repeat(3), part(TEXT_PART), part(PART), part(PART), part(LAST)].concat();
    let failure = fail::<Server>(&config, &wire);
    assert_eq!((failure.violation, failure.events.len()), (Violation::TooManyFragments, 12));
}

#[test]
fn a_server_refuses_an_unmasked_frame() {
    for first in [TEXT, BINARY, TEXT_PART, PING, PONG, CLOSE] {
        for len in [0, 1, 125] {
            let wire = frame(first, None, &vec![b'x'; len]);
            let failure = fail::<Server>(&Config::DEFAULT, &wire);
            let want = Failure { violation: Violation::NotMasked, code: 1002, at: 2, events: vec![] };
            assert_eq!(failure, want);
        }
    }
}

#[test]
fn a_client_refuses_a_masked_frame() {
    for first in [TEXT, BINARY, TEXT_PART, PING, PONG, CLOSE] {
        for len in [0, 1, 125] {
            let wire = frame(first, Some(KEY), &vec![b'x'; len]);
            let failure = fail::<TestClient>(&Config::DEFAULT, &wire);
            assert_eq!(failure, Failure { violation: Violation::Masked, code: 1002, at: 2, events: vec![] });
        }
    }
}

/// Each with the byte that shows it.
#[test]
fn a_wrong_header_fails_at_its_first_wrong_byte() {
    let mut table = vec![
        (vec![PING & 0x7F], Violation::FragmentedControl, 1),
        (vec![PONG & 0x7F], Violation::FragmentedControl, 1),
        (vec![CLOSE & 0x7F], Violation::FragmentedControl, 1),
        (vec![PING, 126, 0, 126], Violation::LongControl, 2),
        (vec![PONG, 127, 0, 0, 0, 0, 0, 1, 0, 0], Violation::LongControl, 2),
        (vec![CLOSE, 126, 0, 5], Violation::LongControl, 2),
        (vec![BINARY, 126, 0, 125], Violation::LongLengthForm, 4),
        (vec![BINARY, 126, 0, 0], Violation::LongLengthForm, 4),
        // No last two bytes make a length out of this that needs eight.
        (vec![BINARY, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], Violation::LongLengthForm, 8),
        (vec![BINARY, 127, 0, 0, 0, 0, 0, 0, 0, 0], Violation::LongLengthForm, 8),
        (vec![BINARY, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], Violation::LengthBit, 3),
        (vec![PART, 0], Violation::UnexpectedContinuation, 1),
        (vec![LAST, 5], Violation::UnexpectedContinuation, 1),
        (vec![LAST, 127, 1, 0, 0, 0, 0, 0, 0, 0], Violation::UnexpectedContinuation, 1),
    ];
    for opcode in (3..=7).chain(0xB..=0xF) {
        table.push((vec![0x80 | opcode], Violation::ReservedOpcode(opcode), 1));
        table.push((vec![opcode], Violation::ReservedOpcode(opcode), 1));
    }
    for opcode in [1, 2, 8, 9, 10] {
        for rsv in 1..=7 {
            table.push((vec![0x80 | rsv << 4 | opcode], Violation::ReservedBits(rsv), 1));
        }
    }
    for (mut wire, violation, at) in table {
        let want = Failure { violation, code: 1002, at, events: vec![] };
        // Two bytes more than what is wrong, so that it would be noticed too late.
        wire.extend([0; 16]);
        assert_eq!(fail::<TestClient>(&Config::DEFAULT, &wire), want, "{wire:02x?}");
        wire[1] |= 0x80;
        assert_eq!(fail::<Server>(&Config::DEFAULT, &wire), want, "{wire:02x?}");
    }
}

#[test]
fn a_broken_rule_of_fragmentation_fails_at_the_first_byte_of_its_frame() {
    let begun = frame(TEXT_PART, None, b"once upon");
    for (first, violation) in [
        (TEXT, Violation::UnfinishedMessage),
        (BINARY, Violation::UnfinishedMessage),
        (TEXT_PART, Violation::UnfinishedMessage),
        (BINARY_PART, Violation::UnfinishedMessage),
        (0x40 | LAST, Violation::ReservedBits(4)),
        (0x70 | PART, Violation::ReservedBits(7)),
    ] {
        let wire = [begun.clone(), frame(first, None, b" a time")].concat();
        let failure = fail::<TestClient>(&Config::DEFAULT, &wire);
        let events = vec![Got::frame(Kind::Text, b"once upon", true, false)];
        assert_eq!(failure, Failure { violation, code: 1002, at: begun.len() + 1, events });
    }
}

#[test]
fn a_length_in_too_many_bytes_is_accepted_only_by_setting() {
    let mut config = Config::new();
    config.allow_long_length_form = true;
    for (head, len) in [
        (vec![BINARY, 126, 0, 5], 5),
        (vec![BINARY, 126, 0, 0], 0),
        (vec![BINARY, 127, 0, 0, 0, 0, 0, 0, 0, 5], 5),
        (vec![BINARY, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], 65_535),
    ] {
        let wire = [head, vec![7; len]].concat();
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let mut end = Endpoint::<TestClient>::new(&config, &mut memory);
        end.feed(&wire);
        assert_eq!(join(end.events), [Got::message(Kind::Binary, &vec![7; len])]);
    }
    // This and no more.
    let failure = fail::<TestClient>(&config, &[BINARY, 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(failure.violation, Violation::LengthBit);
    let failure = fail::<TestClient>(&config, &[PING, 126, 0, 1, 0]);
    assert_eq!(failure.violation, Violation::LongControl);
}

#[test]
fn a_close_with_an_invalid_code_is_a_violation() {
    for failure in fail_both(&Config::DEFAULT, CLOSE, &[3]) {
        assert_eq!((failure.violation, failure.code), (Violation::CloseBody, 1002));
        assert!(failure.events.is_empty());
    }
    let allowed = |code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    let mut told = Config::new();
    told.control = ControlFrames::Reported;
    // Every code there is.
    for code in 0..=u16::MAX {
        if allowed(code) {
            let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
            let mut server = Endpoint::<Server>::new(&told, &mut memory);
            server.frame(CLOSE, &close_body(code, "why"));
            assert_eq!(server.events, [Got::Close(Some(code), "why".into())]);
            assert_eq!(server.connection.close_reason(), "why");
            // "the endpoint typically echos the status code it received"
            let (sent, cause) = server.finish();
            assert_eq!((sent[0].code(), cause.code(), cause.reason), (Some(code), code, EndReason::Clean));
        } else {
            let wire = Server::incoming(CLOSE, &close_body(code, "why"));
            let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
            let mut server = Endpoint::<Server>::new(&told, &mut memory);
            server.feed(&wire);
            assert_eq!(server.events, []);
            let (sent, cause) = server.finish();
            assert_eq!(
                (sent[0].code(), cause.reason),
                (Some(1002), EndReason::Violation(Violation::CloseCode(code)))
            );
            assert_eq!((cause.received, server.connection.close_reason()), (None, ""));
        }
    }
}

#[test]
fn a_close_reason_that_is_not_utf8_is_a_violation() {
    let reasons: [&[u8]; 5] = [b"\xFF", b"ok\xC3", b"\xED\xA0\x80", b"\xC0\xAF", b"\xF4\x90\x80\x80"];
    for reason in reasons {
        for failure in fail_both(&Config::DEFAULT, CLOSE, &[&[3, 0xE8], reason].concat()) {
            assert_eq!((failure.violation, failure.code), (Violation::InvalidUtf8, 1007));
        }
    }
}

#[test]
fn input_after_a_close_is_ignored() {
    let close = Server::incoming(CLOSE, &close_body(1001, "bye"));
    let behind = [
        Server::incoming(TEXT, b"more"),
        Server::incoming(CLOSE, &close_body(4000, "again")),
        Server::incoming(PING, b"there?"),
        vec![0xFF; 50],
    ];
    for control in [ControlFrames::Automatic, ControlFrames::Reported, ControlFrames::Manual] {
        for behind in &behind {
            let mut config = Config::new();
            config.control = control;
            let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
            let mut server = Endpoint::<Server>::new(&config, &mut memory);
            server.feed(&[&close[..], behind].concat());
            server.feed(behind);
            if control == ControlFrames::Manual {
                server.out().close(None, "").expect("room");
            }
            let told = if control == ControlFrames::Automatic { 0 } else { 1 };
            assert_eq!(server.events.len(), told, "the Close and nothing else");
            let (sent, cause) = server.finish();
            assert_eq!((sent.len(), sent[0].first), (1, CLOSE), "no Pong, no second Close");
            assert_eq!(
                (cause.reason, cause.code(), server.connection.close_reason()),
                (EndReason::Clean, 1001, "bye")
            );
        }
    }
}

/// The same verdict as the standard library's, at the first byte that settles it, wherever the text is cut.
#[test]
fn invalid_utf8_fails_at_its_first_wrong_byte() {
    let texts: [&[u8]; 24] = [
        "κόσμε".as_bytes(),
        "a¢€𐍈z".as_bytes(),
        "\u{0}\u{7F}\u{80}\u{7FF}\u{800}\u{D7FF}\u{E000}\u{FFFF}\u{10000}\u{10FFFF}".as_bytes(),
        b"",
        // Surrogates.
        b"a\xED\xA0\x80b",
        b"\xED\xBF\xBF",
        b"\xED\xA0\x80\xED\xB0\x80",
        // Overlong.
        b"a\xC0\x80b",
        b"\xC1\xBF",
        b"\xE0\x80\x80",
        b"\xE0\x9F\xBF",
        b"\xF0\x80\x80\x80",
        b"\xF0\x8F\xBF\xBF",
        // Above U+10FFFF.
        b"ab\xF4\x90\x80\x80cd",
        b"\xF5\x80\x80\x80",
        b"\xFF",
        b"\xF8\x88\x80\x80\x80",
        // A continuation without a start, a start without its continuation.
        b"\x80",
        b"a\xBFb",
        b"\xC3(",
        b"\xE2\x82(",
        // Cut at the end.
        b"ok\xC3",
        b"ok\xE2\x82",
        b"ok\xF0\x9F\x98",
    ];
    for text in texts {
        // The first byte that no continuation makes right; where only the end is missing, the end.
        let wrong = (1..=text.len())
            .find(|n| std::str::from_utf8(&text[..*n]).is_err_and(|error| error.error_len().is_some()));
        for delivery in [Delivery::Frames, Delivery::Chunks, Delivery::CodePoints] {
            let mut config = Config::new();
            config.delivery = delivery;
            for cut in 0..=text.len() + 1 {
                // In two frames, and the last time in one.
                let wire = if cut > text.len() {
                    frame(TEXT, Some(KEY), text)
                } else {
                    let (front, back) = text.split_at(cut);
                    [frame(TEXT_PART, Some(KEY), front), frame(LAST, Some(KEY), back)].concat()
                };
                if std::str::from_utf8(text).is_ok() {
                    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
                    let mut server = Endpoint::<Server>::new(&config, &mut memory);
                    server.feed_in(&wire, 1);
                    assert_eq!(messages(&server.events), [(Kind::Text, text.to_vec())]);
                    continue;
                }
                let at = match wrong {
                    Some(n) if n <= cut => 6 + n,
                    Some(n) => 12 + n,
                    None => wire.len(),
                };
                let failure = fail::<Server>(&config, &wire);
                let got = (failure.violation, failure.code, failure.at);
                assert_eq!(got, (Violation::InvalidUtf8, 1007, at), "{text:02x?} cut at {cut}");
                assert!(failure.events.len() <= 1, "the frame that is wrong is not delivered whole");
            }
        }
    }
}

/// A frame that is larger than the buffer fails long before its end.
#[test]
fn a_long_invalid_text_fails_before_its_end() {
    for delivery in [Delivery::Frames, Delivery::Chunks, Delivery::CodePoints] {
        let mut config = Config::new();
        config.delivery = delivery;
        for good in [0, 1, 100, 139, 140, 141, 1000] {
            let text = ["x".repeat(good).as_bytes(), b"\xED\xA0", &vec![b'x'; 60_000]].concat();
            let failure = fail::<Server>(&config, &frame(TEXT, Some(KEY), &text));
            assert_eq!((failure.violation, failure.at), (Violation::InvalidUtf8, 8 + good + 2));
        }
    }
}

/// Everything of up to three bytes from a set with every class of byte, and every cut of it.
#[test]
fn utf8_agrees_with_the_standard_library() {
    let classes =
        [0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED];
    let classes = [&classes[..], &[0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]].concat();
    let mut texts: Vec<Vec<u8>> = vec![vec![]];
    let mut from = 0;
    for _ in 0..4 {
        let to = texts.len();
        for i in from..to {
            let text = texts[i].clone();
            texts.extend(classes.iter().map(|class| [&text[..], &[*class]].concat()));
        }
        from = to;
    }
    for text in &texts {
        for cut in 0..=text.len() {
            let mut utf8 = Utf8Validator::NEW;
            let (front, back) = text.split_at(cut);
            let fed = utf8.feed(front).and_then(|()| utf8.feed(back));
            let verdict = std::str::from_utf8(text);
            assert_eq!(
                fed.is_ok(),
                verdict.is_ok_and(|_| true) || verdict.is_err_and(|e| e.error_len().is_none())
            );
            if fed.is_ok() {
                let valid = verdict.map_or_else(|error| error.valid_up_to(), str::len);
                assert_eq!(utf8.incomplete(), text.len() - valid);
            }
        }
    }
}

/// No chunk ends within a code point where that was asked for; the text is the same.
#[test]
fn chunks_of_text_end_at_code_points() {
    let text = "a¢€𐍈".repeat(100);
    let mut config = Config::new();
    config.delivery = Delivery::CodePoints;
    for piece in 1..12 {
        for cut in [text.len(), 500, 501, 502, 503, 504] {
            let (front, back) = text.as_bytes().split_at(cut);
            let wire = [frame(TEXT_PART, Some(KEY), front), frame(LAST, Some(KEY), back)].concat();
            let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
            let mut server = Endpoint::<Server>::new(&config, &mut memory);
            server.feed_in(&wire, piece);
            for event in &server.events {
                let Got::Data(data) = event else { panic!("{event:?}") };
                // A frame may end within one, and the next then begins within it.
                if data.remaining > 0 && data.offset > 0 {
                    let end = data.payload.iter().rev().take_while(|byte| **byte & 0xC0 == 0x80).count();
                    let tail = &data.payload[data.payload.len().saturating_sub(end + 1)..];
                    assert!(std::str::from_utf8(tail).is_ok() || end == data.payload.len(), "{tail:02x?}");
                }
            }
            assert_eq!(messages(&server.events), [(Kind::Text, text.clone().into_bytes())]);
        }
    }
}

/// The memory is full of bytes that nobody wrote; none of them goes out.
#[test]
fn no_byte_of_old_memory_is_sent() {
    let text = "x".repeat(3000);
    for buffer in (MIN_BUFFER_LEN..300).step_by(7) {
        let mut memory = Memory::new(MIN_BUFFER_LEN, buffer);
        let mut client = Endpoint::<TestClient>::new(&Config::DEFAULT, &mut memory);
        let mut random = Random::new(buffer as u64);
        let mut wire = Vec::new();
        let mut want = Vec::new();
        for _ in 0..200 {
            let payload = &text.as_bytes()[..random.below(buffer)];
            let done = match random.below(4) {
                0 => client.out().send(payload).map(|()| (BINARY, payload)),
                1 => client
                    .out()
                    .ping(&payload[..payload.len().min(125)])
                    .map(|()| (PING, &payload[..payload.len().min(125)])),
                2 => client.out().fragment(Kind::Text, payload, true).map(|()| (TEXT, payload)),
                _ => client.out().pong(b"").map(|()| (PONG, &b""[..])),
            };
            match done {
                Ok((first, payload)) => want.push(Sent { first, key: Some(KEY), payload: payload.to_vec() }),
                Err(error) => assert!(matches!(error, SendError::Blocked | SendError::TooLarge)),
            }
            let n = random.below(client.tx.pending().len() + 1);
            wire.extend(&client.tx.pending()[..n]);
            client.tx.consume(n);
        }
        wire.extend(client.written());
        assert_eq!(whole_frames(&wire), want);
    }
    // What a violation, a Ping and a Close put out by themselves.
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&Config::DEFAULT, &mut memory);
    server.frame(PING, b"ping");
    server.feed(&[0xFF]);
    let want = [
        Sent { first: PONG, key: None, payload: b"ping".to_vec() },
        Sent { first: CLOSE, key: None, payload: vec![3, 0xEA] },
    ];
    assert_eq!(server.sent(), want);
}

/// Between fragments, in both roles, at every split and in every mode.
#[test]
fn control_frames_are_received_between_fragments() {
    fn run<R: TestRole>() {
        let text = "κόσμε".as_bytes();
        for cut in 0..=text.len() {
            let wire = [
                R::incoming(TEXT_PART, &text[..cut]),
                R::incoming(PING, b"one"),
                R::incoming(PART, b""),
                R::incoming(PONG, &[b'p'; 125]),
                R::incoming(LAST, &text[cut..]),
            ]
            .concat();
            for control in [ControlFrames::Automatic, ControlFrames::Reported, ControlFrames::Manual] {
                for piece in [1, 2, 3, 7, wire.len()] {
                    let mut config = Config::new();
                    config.control = control;
                    config.delivery = Delivery::Chunks;
                    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
                    let mut end = Endpoint::<R>::new(&config, &mut memory);
                    end.feed_in(&wire, piece);
                    assert_eq!(messages(&end.events), [(Kind::Text, text.to_vec())]);
                    let controls: Vec<_> =
                        end.events.iter().filter(|e| !matches!(e, Got::Data(_))).cloned().collect();
                    let told = vec![Got::Ping(b"one".to_vec()), Got::Pong(vec![b'p'; 125])];
                    assert_eq!(controls, if control == ControlFrames::Automatic { vec![] } else { told });
                    let sent: Vec<_> = end.sent().into_iter().map(|s| (s.first, s.payload)).collect();
                    let pong = vec![(PONG, b"one".to_vec())];
                    assert_eq!(sent, if control == ControlFrames::Manual { vec![] } else { pong });
                }
            }
        }
    }
    run::<Server>();
    run::<TestClient>();
}

#[test]
fn control_frames_are_sent_between_fragments() {
    fn run<R: TestRole>() {
        let mut memory = Memory::new(MIN_BUFFER_LEN, 300);
        let mut end = Endpoint::<R>::new(&Config::DEFAULT, &mut memory);
        end.out().fragment(Kind::Text, b"one ", false).expect("room");
        end.frame(PING, b"?");
        end.out().ping(b"!").expect("room");
        // Inside a frame nothing may come between: the answer waits for its end.
        end.out().begin_frame(Kind::Text, 6, false).expect("room");
        assert_eq!(end.out().ping(b"no"), Err(SendError::FrameOpen));
        assert_eq!(end.out().write(b"two"), Ok(3));
        end.frame(PING, b"late");
        assert_eq!(end.out().write(b" an"), Ok(3));
        end.run();
        end.out().fragment(Kind::Text, b"d three", true).expect("room");
        let sent: Vec<_> = end.sent().into_iter().map(|s| (s.first, s.payload)).collect();
        let want: [(u8, &[u8]); 6] = [
            (TEXT_PART, b"one "),
            (PONG, b"?"),
            (PING, b"!"),
            (PART, b"two an"),
            (PONG, b"late"),
            (LAST, b"d three"),
        ];
        assert_eq!(sent, want.map(|(first, payload)| (first, payload.to_vec())));
    }
    run::<Server>();
    run::<TestClient>();
}

#[test]
fn each_ping_is_answered_while_there_is_room() {
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&Config::DEFAULT, &mut memory);
    let pings: Vec<u8> = (0..10).flat_map(|i| Server::incoming(PING, &[i; 10])).collect();
    server.feed(&pings);
    let pongs: Vec<_> = (0..10).map(|i| Sent { first: PONG, key: None, payload: vec![i; 10] }).collect();
    assert_eq!(server.sent(), pongs);
}

#[test]
fn a_flood_of_pings_takes_one_slot_if_the_peer_does_not_read() {
    fn run<R: TestRole>() {
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let mut end = Endpoint::<R>::new(&Config::DEFAULT, &mut memory);
        for i in 0..10_000_u32 {
            end.frame(PING, &[&i.to_be_bytes()[..], &[0; 121]].concat());
            assert!(end.tx.pending().len() <= MIN_BUFFER_LEN);
        }
        // The first found room, and of all that did not the last.
        let number = |sent: &Sent| (sent.first, sent.payload[..4].to_vec());
        let first = end.sent();
        assert_eq!(first.iter().map(number).collect::<Vec<_>>(), [(PONG, vec![0, 0, 0, 0])]);
        end.run();
        let last = end.sent();
        assert_eq!(last.iter().map(number).collect::<Vec<_>>(), [(PONG, 9_999_u32.to_be_bytes().to_vec())]);
        end.run();
        assert!(end.tx.is_empty());
        assert_eq!(end.connection.state(), ConnectionState::Open);
        // A Close beats the Pong that waits, and what is behind it is not answered.
        end.frame(PING, &[1; 125]);
        end.frame(PING, &[2; 125]);
        end.frame(CLOSE, &close_body(1000, ""));
        assert_eq!(end.sent().iter().map(|sent| sent.first).collect::<Vec<_>>(), [PONG, CLOSE]);
        let (sent, cause) = end.finish();
        assert_eq!((sent, cause.reason), (vec![], EndReason::Clean));
    }
    run::<Server>();
    run::<TestClient>();
}

/// Every frame takes one key from the caller's source, and a frame that is not sent takes none.
#[test]
fn each_frame_has_a_fresh_masking_key() {
    let count = Cell::new(0_u32);
    let source = || {
        count.set(count.get() + 1);
        (0xA1B2_C300 + count.get()).to_be_bytes()
    };
    let config = Config::new();
    let mut memory = Memory::new(MIN_BUFFER_LEN, 400);
    let mut end = Endpoint::of(Connection::new(Client::new(source), &config, Instant::START), &mut memory);
    end.out().send("a").expect("room");
    end.out().send("a").expect("room");
    end.out().fragment(Kind::Binary, b"b", false).expect("room");
    end.out().begin_frame(Kind::Binary, 7, true).expect("room");
    for piece in [&b"be"[..], b"g", b"in", b"", b"ni"] {
        assert_eq!(end.out().write(piece), Ok(piece.len()));
    }
    assert_eq!(count.get(), 4);
    // None of these is sent.
    assert_eq!(end.out().send(&[0; 400]), Err(SendError::TooLarge));
    assert_eq!(end.out().send(&[0; 380]), Err(SendError::Blocked));
    assert_eq!(end.out().ping(&[0; 126]), Err(SendError::ControlTooLong));
    assert_eq!(count.get(), 4);
    let mut rest = &[b's'; 200][..];
    end.out().send_fragmented(Kind::Text, &mut rest, true).expect("room");
    end.frame(PING, b"p");
    end.frame(CLOSE, b"");
    let sent = end.sent();
    let keys: Vec<_> = sent.iter().map(|sent| u32::from_be_bytes(sent.key.expect("masked"))).collect();
    assert_eq!(keys, (1..=count.get()).map(|i| 0xA1B2_C300 + i).collect::<Vec<_>>());
    let payloads: Vec<_> = sent.iter().map(|sent| &sent.payload[..]).collect();
    let want: [&[u8]; 7] = [b"a", b"a", b"b", b"beginni", &[b's'; 200], b"p", b""];
    assert_eq!(payloads, want);
}

#[test]
fn a_peer_that_does_not_read_is_disconnected_at_the_write_deadline() {
    fn run<R: TestRole>() {
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let mut end = Endpoint::<R>::new(&Config::DEFAULT, &mut memory);
        let mut sent = 0;
        while end.out().send("some text").is_ok() {
            sent += 1;
        }
        let before = end.tx.pending().to_vec();
        assert_eq!(end.out().send("some text"), Err(SendError::Blocked));
        assert_eq!(end.out().fragment(Kind::Text, b"some text", false), Err(SendError::Blocked));
        assert_eq!(end.out().ping(b"some text"), Err(SendError::Blocked));
        assert_eq!(end.out().close(Some(CloseCode::NORMAL), "some text"), Err(SendError::Blocked));
        assert_eq!(end.tx.pending(), before);
        assert_eq!(end.connection.state(), ConnectionState::Open);
        // It still receives.
        end.frame(TEXT, b"hello");
        assert_eq!(end.events, [Got::message(Kind::Text, b"hello")]);
        assert_eq!(end.sent().len(), sent);
        end.out().send("some text").expect("room again");
        // And when the peer takes nothing for too long, that is the end.
        end.run();
        assert_eq!(end.deadline, Some(Instant::from_millis(30_000)));
        end.after(29_999);
        assert_eq!(end.closed, None);
        end.after(1);
        assert_eq!(end.closed.map(|cause| cause.reason), Some(EndReason::Timeout(Timeout::Write)));
    }
    run::<Server>();
    run::<TestClient>();
}

#[test]
fn a_peer_that_never_answers_a_close_is_disconnected_at_the_close_deadline() {
    fn run<R: TestRole>() {
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let mut end = Endpoint::<R>::new(&Config::DEFAULT, &mut memory);
        end.out().close(None, "").expect("room");
        assert_eq!(end.run(), ["Wait"]);
        assert_eq!(end.sent().len(), 1);
        // What it sends instead is received, and does not move the deadline.
        for _ in 0..4 {
            end.after(1000);
            end.frame(TEXT, b"still here");
        }
        assert_eq!(end.events.len(), 4);
        assert_eq!(end.deadline, Some(Instant::from_millis(5000)));
        assert_eq!(end.at_deadline(), ["Shutdown", "Done"]);
        assert_eq!(end.closed.map(|cause| cause.reason), Some(EndReason::Timeout(Timeout::Close)));
    }
    run::<Server>();
    run::<TestClient>();
}

#[test]
fn a_peer_that_never_closes_the_transport_is_disconnected_at_the_close_deadline() {
    fn run<R: TestRole>(first: [&str; 2], last: &[&str]) {
        let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
        let mut end = Endpoint::<R>::new(&Config::DEFAULT, &mut memory);
        assert_eq!(end.frame(CLOSE, b""), ["Wait"]);
        assert_eq!(end.sent().len(), 1);
        assert_eq!(end.run(), first.iter().filter(|step| !step.is_empty()).copied().collect::<Vec<_>>());
        // Not even one that goes on sending.
        end.now = Instant::from_millis(4999);
        end.frame(TEXT, b"and another thing");
        assert!(end.events.is_empty() && end.closed.is_none());
        assert_eq!(end.at_deadline(), last);
        assert_eq!(end.now, Instant::from_millis(5000));
        assert_eq!(end.closed.map(|cause| (cause.reason, cause.code())), Some((EndReason::Clean, 1005)));
    }
    // "the server MUST close the WebSocket connection immediately; a client SHOULD wait for the server"
    run::<Server>(["Shutdown", "Wait"], &["Done"]);
    run::<TestClient>(["", "Wait"], &["Shutdown", "Done"]);
}

/// The low layer keeps to the same rules.
#[test]
fn headers_decode_exactly_what_they_encode() {
    let rules = HeaderRules {
        masked: false,
        rsv: ReservedBits::RSV1.union(ReservedBits::RSV3),
        allow_long_length_form: false,
    };
    let (header, _) = Header::decode(&[0xD1, 0], &rules).expect("claimed").expect("whole");
    assert!(
        header.rsv.contains(ReservedBits::RSV1)
            && header.rsv.contains(ReservedBits::RSV3)
            && !header.rsv.contains(ReservedBits::RSV2)
    );
    assert_eq!(Header::decode(&[0xA1, 0], &rules), Err(Violation::ReservedBits(2)));
    assert_eq!(Header::decode(&[0xC9, 0], &rules), Err(Violation::ReservedBits(4)), "not on control frames");
}

/// A sender refuses 2^63 bytes, and takes one byte less.
#[test]
fn lengths_are_sent_in_the_shortest_form() {
    let mut memory = [0; MIN_BUFFER_LEN];
    let mut tx = TransmitBuffer::new(&mut memory).expect("enough");
    let mut sender = Encoder::new(Server);
    assert_eq!(sender.begin_frame(&mut tx, Kind::Binary, 1 << 63, true), Err(SendError::Overrun));
    assert!(tx.is_empty() && sender.frame_remaining() == 0);
    sender.begin_frame(&mut tx, Kind::Binary, (1 << 63) - 1, true).expect("a length that can be sent");
    assert_eq!(tx.pending(), [&[BINARY, 127, 0x7F][..], &[0xFF; 7]].concat());
    assert_eq!(sender.frame_remaining(), (1 << 63) - 1);
}

// ---- payload that is read past the buffer ----

/// A frame larger than the receive buffer, most of which the transport reads straight into other memory.
#[test]
fn a_payload_is_received_into_external_memory() {
    fn run<R: TestRole>() {
        let text = "κόσμε".repeat(200);
        for delivery in [Delivery::Frames, Delivery::Chunks, Delivery::CodePoints] {
            let mut config = Config::new();
            config.delivery = delivery;
            for front in [0, 1, 2, 3, 50, 139] {
                for piece in [1, 2, 3, 5, 64, 3000] {
                    let wire = R::incoming(TEXT, text.as_bytes());
                    let start = wire.len() - text.len();
                    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
                    let mut end = Endpoint::<R>::new(&config, &mut memory);
                    // What came with the header goes through the buffer.
                    end.feed(&wire[..start + front]);
                    let mut rest = wire[start + front..].to_vec();
                    let mut rest = &mut rest[..];
                    // In between, and at the end of a code point, it may go through the buffer again.
                    let mut turn = 0;
                    while !rest.is_empty() {
                        let left = end.connection.external_read_limit(&end.rx);
                        turn += 1;
                        let n = piece.min(rest.len());
                        let (now, later) = rest.split_at_mut(n);
                        if left == 0 || turn % 5 == 0 {
                            end.feed(now);
                        } else {
                            assert_eq!(left, n as u64 + later.len() as u64);
                            let data = end.connection.receive_external(end.now, now).expect("payload");
                            end.events.push(Got::Data(data.into()));
                        }
                        rest = later;
                    }
                    assert_eq!(end.connection.external_read_limit(&end.rx), 0);
                    assert_eq!(join(end.events.clone()), [Got::message(Kind::Text, text.as_bytes())]);
                    end.events.clear();
                    end.frame(TEXT, b"and on");
                    assert_eq!(end.events, [Got::message(Kind::Text, b"and on")]);
                }
            }
        }
    }
    run::<Server>();
    run::<TestClient>();
}

/// The assembled message, if it is complete and a text.
fn assembled_text<S: MessageStorage>(assembler: &Assembler<S>) -> Option<&str> {
    match assembler.message()? {
        MessageRef::Text(text) => Some(text),
        MessageRef::Binary(_) => None,
    }
}

#[test]
fn external_reads_check_text_and_limits() {
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&Config::DEFAULT, &mut memory);
    server.feed(&header(TEXT, Some([0; 4]), 1000));
    let good = server
        .connection
        .receive_external(server.now, &mut b"good \xE2".to_owned())
        .map(|data| (data.start, data.remaining));
    assert_eq!(good, Some((true, 994)));
    // It fails at the first wrong byte, long before the frame's end.
    assert_eq!(server.connection.receive_external(server.now, &mut b"(".to_owned()), None);
    assert_eq!(server.connection.external_read_limit(&server.rx), 0);
    assert_eq!(server.connection.receive_external(server.now, &mut b"more".to_owned()), None);
    let (sent, cause) = server.finish();
    assert_eq!((sent[0].code(), cause.reason), (Some(1007), EndReason::Violation(Violation::InvalidUtf8)));

    // Cut at the end of the message.
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&Config::DEFAULT, &mut memory);
    server.feed(&header(TEXT, Some([0; 4]), 2));
    assert_eq!(server.connection.receive_external(server.now, &mut b"a\xE2".to_owned()), None);
    assert_eq!(server.finish().1.reason, EndReason::Violation(Violation::InvalidUtf8));

    // No external read: between frames, inside a control frame, where the buffer holds payload.
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&Config::DEFAULT, &mut memory);
    let mut memory = *b"bytes";
    assert_eq!(server.connection.external_read_limit(&server.rx), 0);
    assert_eq!(server.connection.receive_external(server.now, &mut memory), None);
    server.feed(&header(PING, Some([0; 4]), 3));
    assert_eq!(server.connection.external_read_limit(&server.rx), 0);
    assert_eq!(server.connection.receive_external(server.now, &mut memory), None);
    server.feed(b"abc");
    server.feed(&header(BINARY, Some([0; 4]), 100));
    assert_eq!(server.connection.external_read_limit(&server.rx), 100);
    server.feed(b"x");
    assert_eq!(server.connection.external_read_limit(&server.rx), 0);
    assert_eq!(&memory, b"bytes", "and nothing was unmasked");
    // A sign of life as any other: for the peer's silence, and for the answer to a Ping.
    let mut config = Config::new();
    config.timeouts.idle = Some(Duration::from_secs(30));
    config.timeouts.ping = Some(Duration::from_secs(20));
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut server = Endpoint::<Server>::new(&config, &mut memory);
    server.feed(&header(BINARY, Some([0; 4]), 100));
    server.after(29_999);
    assert_eq!(server.sent()[0].first, PING);
    assert!(server.connection.receive_external(server.now, &mut [0; 50]).is_some());
    server.after(29_999);
    assert_eq!(server.connection.state(), ConnectionState::Open);
}

// ---- messages put together ----

/// Pushes what a wire delivers; what came of it.
fn assemble<S: MessageStorage>(
    assembler: &mut Assembler<S>,
    wire: &[u8],
) -> Vec<Result<(Kind, Vec<u8>), MessageTooBig>> {
    let mut config = Config::new();
    config.delivery = Delivery::Chunks;
    let mut memory = Memory::new(MIN_BUFFER_LEN, MIN_BUFFER_LEN);
    let mut client = Endpoint::<TestClient>::new(&config, &mut memory);
    client.feed_in(wire, 7);
    let mut out = Vec::new();
    for event in &client.events {
        let Got::Data(data) = event else { continue };
        match assembler.push(&data.chunk()) {
            Ok(None) => assert_eq!(assembled_text(assembler), None, "not complete"),
            Ok(Some(kind)) => {
                let text =
                    (kind == Kind::Text).then(|| std::str::from_utf8(assembler.as_bytes()).expect("text"));
                assert_eq!(assembled_text(assembler), text);
                out.push(Ok((kind, assembler.as_bytes().to_vec())));
            }
            Err(full) => {
                assert_eq!((assembler.as_bytes(), assembled_text(assembler)), (&[][..], None));
                out.push(Err(full));
            }
        }
    }
    out
}

/// Messages of these lengths, in fragments of 10 with a Ping between them.
fn fragmented(lens: &[usize]) -> (Vec<u8>, Vec<(Kind, Vec<u8>)>) {
    let (mut wire, mut want) = (Vec::new(), Vec::new());
    for (i, len) in lens.iter().enumerate() {
        let kind = if i % 2 == 0 { Kind::Text } else { Kind::Binary };
        let payload: Vec<u8> = (0..*len).map(|j| b'a' + ((i + j) % 26) as u8).collect();
        let mut first = if kind == Kind::Text { TEXT_PART } else { BINARY_PART };
        for piece in payload.chunks(10) {
            wire.extend(frame(first, None, piece));
            wire.extend(frame(PING, None, b"between"));
            first = PART;
        }
        wire.extend(frame(first | 0x80, None, b""));
        want.push((kind, payload));
    }
    (wire, want)
}

/// What does not fit is refused once for each message, and what comes after it is right.
#[test]
fn an_assembler_over_a_slice_holds_messages_up_to_its_length() {
    let (wire, want) = fragmented(&[5, 64, 65, 0, 300, 64, 66, 67, 1]);
    let mut memory = [0; 64];
    let mut assembler = Assembler::new(SliceStorage::new(&mut memory));
    assert_eq!((assembler.as_bytes(), assembled_text(&assembler)), (&[][..], None));
    let got = assemble(&mut assembler, &wire);
    let want: Vec<_> =
        want.into_iter().map(|m| if m.1.len() > 64 { Err(MessageTooBig) } else { Ok(m) }).collect();
    assert_eq!(got, want);
    assert_eq!(assembler.into_inner().as_bytes(), b"i");
}

/// A message that did not fit is none, when its end comes.
#[test]
fn an_assembler_does_not_return_a_message_that_overflowed() {
    let mut memory = [0; 4];
    let mut assembler = Assembler::new(SliceStorage::new(&mut memory));
    for (payload, end) in [("much too long", false), ("and its end", true)] {
        let mut data = Chunk::new(Kind::Text, payload);
        (data.start, data.end, data.fin) = (!end, end, end);
        assert_eq!(assembler.push(&data), if end { Ok(None) } else { Err(MessageTooBig) });
        assert_eq!((assembled_text(&assembler), assembler.as_bytes()), (None, &[][..]));
    }
}

#[cfg(feature = "bytes")]
#[test]
fn an_assembler_over_growing_memory_holds_every_message() {
    let (wire, want) = fragmented(&[5, 64, 0, 3000, 1]);
    let want: Vec<_> = want.into_iter().map(Ok).collect();
    let mut assembler = Assembler::new(Vec::new());
    assert_eq!(assemble(&mut assembler, &wire), want);
    assert_eq!(assembler.into_inner(), b"e");
    let mut assembler = Assembler::new(bytes::BytesMut::new());
    assert_eq!(assemble(&mut assembler, &wire), want);
}
