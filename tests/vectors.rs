//! The examples of RFC 6455 §5.7 in both directions, cut at every place, with buffers of several sizes.

mod endpoint;
mod wire;

use endpoint::*;
use sansocket::config::Delivery;
use sansocket::proto::{Encoder, Header, HeaderRules, MIN_BUFFER_LEN};
use sansocket::{Config, Kind, Server, TransmitBuffer};

/// What is on the wire, and what it means. The long ones carry bytes that are not text.
fn vectors() -> Vec<(Vec<u8>, Vec<Got>)> {
    let long: Vec<u8> = (0..65536_u32).map(|i| (i * 7) as u8).collect();
    let frame = |head: &[u8], payload: &[u8]| [head, payload].concat();
    vec![
        // "A single-frame unmasked text message"
        (frame(&[0x81, 0x05], b"Hello"), vec![Got::message(Kind::Text, b"Hello")]),
        // "A single-frame masked text message"
        (
            vec![0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58],
            vec![Got::message(Kind::Text, b"Hello")],
        ),
        // "A fragmented unmasked text message"
        (
            vec![0x01, 0x03, 0x48, 0x65, 0x6C, 0x80, 0x02, 0x6C, 0x6F],
            vec![Got::frame(Kind::Text, b"Hel", true, false), Got::frame(Kind::Text, b"lo", false, true)],
        ),
        // "Unmasked Ping request and masked Ping response"
        (frame(&[0x89, 0x05], b"Hello"), vec![Got::Ping(b"Hello".to_vec())]),
        (
            vec![0x8A, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58],
            vec![Got::Pong(b"Hello".to_vec())],
        ),
        // "256 bytes binary message in a single unmasked frame"
        (frame(&[0x82, 0x7E, 0x01, 0x00], &long[..256]), vec![Got::message(Kind::Binary, &long[..256])]),
        // "64KiB binary message in a single unmasked frame"
        (frame(&[0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0], &long), vec![Got::message(Kind::Binary, &long)]),
    ]
}

fn masked(wire: &[u8]) -> bool {
    wire[1] & 0x80 != 0
}

fn config(delivery: Delivery) -> Config {
    let mut config = Config::new();
    config.delivery = delivery;
    config.control = sansocket::config::ControlFrames::Manual;
    config
}

const DELIVERIES: [Delivery; 3] = [Delivery::Frames, Delivery::Chunks, Delivery::CodePoints];

/// What arrives where the wire is cut at these places.
fn receive(wire: &[u8], config: &Config, buffer: usize, pieces: &[&[u8]]) -> Vec<Got> {
    fn run<R: TestRole>(config: &Config, buffer: usize, pieces: &[&[u8]]) -> Vec<Got> {
        let mut memory = Memory::new(buffer, MIN_BUFFER_LEN);
        let mut end = Endpoint::<R>::new(config, &mut memory);
        for piece in pieces {
            end.feed(piece);
        }
        assert!(end.closed.is_none() && end.tx.is_empty());
        assert!(end.rx.is_empty(), "nothing is left over");
        join(end.events)
    }
    if masked(wire) {
        run::<Server>(config, buffer, pieces)
    } else {
        run::<TestClient>(config, buffer, pieces)
    }
}

#[test]
fn received_at_every_split_in_every_delivery() {
    for (wire, want) in vectors() {
        for delivery in DELIVERIES {
            let config = config(delivery);
            for buffer in [140, 141, 255, 256, 270, 65_550] {
                assert_eq!(receive(&wire, &config, buffer, &[&wire]), want, "{delivery:?} in {buffer}");
                // The longest one is cut at all places near its ends, and at some between.
                let near = |at: &usize| *at < 30 || at.is_multiple_of(16_381) || at + 5 > wire.len();
                for at in (1..wire.len()).filter(|at| wire.len() < 300 || near(at)) {
                    let (front, back) = wire.split_at(at);
                    let got = receive(&wire, &config, buffer, &[front, back]);
                    assert!(got == want, "{delivery:?} in {buffer}, cut at {at}");
                }
            }
        }
    }
}

#[test]
fn received_byte_by_byte() {
    for (wire, want) in vectors() {
        for delivery in DELIVERIES {
            for buffer in [140, 300, 65_550] {
                let bytes: Vec<&[u8]> = wire.chunks(1).collect();
                assert!(
                    receive(&wire, &config(delivery), buffer, &bytes) == want,
                    "{delivery:?} in {buffer}"
                );
            }
        }
    }
}

/// A frame that fits comes in one event in the default delivery, however it was cut.
#[test]
fn a_frame_that_fits_is_one_event() {
    let wire = frame(BINARY, Some(KEY), &[7; 140]);
    for piece in 1..wire.len() {
        let config = config(Delivery::Frames);
        let mut memory = Memory::new(140, MIN_BUFFER_LEN);
        let mut server = Endpoint::<Server>::new(&config, &mut memory);
        server.feed_in(&wire, piece);
        assert_eq!(server.events, [Got::message(Kind::Binary, &[7; 140])]);
    }
}

#[test]
fn the_frames_of_the_rfc_are_sent_as_printed() {
    for (wire, want) in vectors() {
        for buffer in [140, 300, 65_550] {
            let sent =
                if masked(&wire) { send(client(), &want, buffer) } else { send(Server, &want, buffer) };
            assert!(sent == wire, "in {buffer}");
        }
    }
}

/// 65535 too in four bytes: ESP-IDF takes ten for it.
#[test]
fn lengths_are_sent_in_the_shortest_form() {
    for (len, head) in [
        (125, &[0x82, 125][..]),
        (126, &[0x82, 126, 0, 126]),
        (65_535, &[0x82, 126, 0xFF, 0xFF]),
        (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
    ] {
        let payload = vec![7; len];
        for buffer in [140, 65_550] {
            let sent = send(Server, &[Got::message(Kind::Binary, &payload)], buffer);
            assert!(sent == [head, &payload].concat(), "{len} in {buffer}");
        }
    }
}

/// Sends what the events say, whole where it fits and in pieces where it does not.
fn send<R: sansocket::proto::Role>(role: R, events: &[Got], buffer: usize) -> Vec<u8> {
    let mut memory = vec![0; buffer];
    let mut tx = TransmitBuffer::new(&mut memory).expect("140 bytes at least");
    let mut sender = Encoder::new(role);
    let mut out = Vec::new();
    for event in events {
        match event {
            Got::Ping(payload) => sender.ping(&mut tx, payload).expect("room"),
            Got::Pong(payload) => sender.pong(&mut tx, payload).expect("room"),
            Got::Close(..) => unreachable!("no example has a Close"),
            Got::Data(data) if data.payload.len() + 10 <= buffer => {
                sender.fragment(&mut tx, data.kind, &data.payload, data.fin).expect("room");
            }
            Got::Data(data) => {
                sender.begin_frame(&mut tx, data.kind, data.payload.len() as u64, data.fin).expect("room");
                let mut rest = &data.payload[..];
                while !rest.is_empty() {
                    let n = sender.write(&mut tx, rest).expect("no overrun");
                    rest = &rest[n..];
                    out.extend(tx.pending());
                    tx.consume(usize::MAX);
                }
            }
        }
        out.extend(tx.pending());
        tx.consume(usize::MAX);
    }
    out
}

/// Headers that lack their last byte say so, and never more.
#[test]
fn a_header_is_whole_or_not_there() {
    for (wire, _) in vectors() {
        let rules =
            HeaderRules { masked: masked(&wire), rsv: Default::default(), allow_long_length_form: false };
        let (header, len) = Header::decode(&wire, &rules).expect("right").expect("whole");
        assert_eq!(Header::decode(&wire[..len], &rules), Ok(Some((header, len))));
        for short in 0..len {
            assert_eq!(Header::decode(&wire[..short], &rules), Ok(None));
        }
    }
}
