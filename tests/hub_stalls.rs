//! A hub tries the transport of a peer once more before it enforces a deadline, whatever readiness the driver reported.
#![cfg(feature = "hub")]

mod hub_world;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use hub_world::*;
use sansocket::Config;
use sansocket::hub::HubSettings;
use sansocket::message::Prepared;

fn settings(change: impl FnOnce(&mut sansocket::config::Timeouts)) -> HubSettings {
    let mut config = Config::new();
    config.timeouts.ping = None;
    change(&mut config.timeouts);
    HubSettings::new(Arc::new(config))
}

/// So long nobody turned the hub, and what happened to this peer meanwhile is not told.
fn stall(world: &mut World<App>, peer: &Peer, time: Duration) {
    peer.untold();
    world.now = world.now.saturating_add(time);
    world.settle();
}

#[test]
fn unreported_input_is_read_before_a_peer_counts_as_silent() {
    let mut world = echoes(settings(|timeouts| timeouts.idle = Some(2 * SECOND)));
    let (peer, other) = (world.open(), world.open());
    peer.text("z");
    stall(&mut world, &peer, 3 * SECOND);
    assert_eq!(peer.got(), [text("z")]);
    assert_eq!(other.got(), [Got::Close(1001)]);
    world.pass(3 * SECOND);
    assert_eq!(peer.got(), [Got::Close(1001)]);
    assert_eq!(world.end().closed.silent_peer, 2);
}

#[test]
fn an_unreported_end_of_stream_is_not_a_timeout() {
    let mut world = echoes(settings(|timeouts| timeouts.idle = Some(2 * SECOND)));
    let peer = world.open();
    peer.fin();
    stall(&mut world, &peer, 3 * SECOND);
    assert_eq!(world.end().closed.disconnected, 1);
}

#[test]
fn an_unreported_request_is_answered() {
    for cut in [0, 1, 100, REQUEST.len() - 1] {
        let mut settings = settings(|timeouts| timeouts.handshake = Some(2 * SECOND));
        (settings.receive_buffer, settings.transmit_buffer) = (140, 140);
        let mut world = echoes(settings);
        let peer = world.connect();
        peer.feed(&REQUEST[..cut]);
        world.settle();
        peer.feed(&REQUEST[cut..]);
        stall(&mut world, &peer, 3 * SECOND);
        assert!(peer.bytes().starts_with(b"HTTP/1.1 101 "));
        peer.text("hello");
        world.settle();
        assert_eq!(peer.got(), [text("hello")]);
    }
}

#[test]
fn an_unreported_body_is_answered() {
    let mut world = echoes(settings(|timeouts| timeouts.handshake = Some(2 * SECOND)));
    let (peer, late) = (world.connect(), world.connect());
    for peer in [&peer, &late] {
        peer.feed(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\nx");
    }
    world.settle();
    peer.feed(&[b'x'; 89_999]);
    stall(&mut world, &peer, 3 * SECOND);
    let (answer, refusal) = (peer.bytes(), late.bytes());
    assert!(!answer.is_empty() && !answer.starts_with(b"HTTP/1.1 408 "), "{}", answer.escape_ascii());
    assert!(refusal.starts_with(b"HTTP/1.1 408 "), "{}", refusal.escape_ascii());
}

#[test]
fn an_unreported_close_is_clean() {
    for len in [0, 100_000] {
        let mut world = echoes(settings(|timeouts| timeouts.close = Some(2 * SECOND)));
        let peer = world.open();
        world.handle.close(peer.id, sansocket::CloseCode::NORMAL, "").unwrap();
        world.settle();
        assert_eq!(peer.got(), [Got::Close(1000)]);
        // Behind a message that was on its way.
        peer.frame(0x82, &vec![7; len]);
        peer.bye(1000);
        stall(&mut world, &peer, 3 * SECOND);
        assert_eq!(world.end().closed.clean, 1);
    }
}

#[test]
fn unreported_room_is_used_before_the_write_deadline() {
    // From the transmit buffer, and from where the message lies.
    for len in [100, 10_000] {
        let mut world = echoes(settings(|timeouts| timeouts.write = Some(2 * SECOND)));
        let (peer, other) = (world.open(), world.open());
        for peer in [&peer, &other] {
            peer.block();
            world.handle.send(peer.id, Prepared::binary(vec![5; len])).unwrap();
        }
        world.settle();
        peer.allow(usize::MAX);
        stall(&mut world, &peer, 3 * SECOND);
        assert_eq!(peer.got(), [binary(&vec![5; len])]);
        assert!(other.is_gone() && !peer.is_gone());
        assert_eq!(world.end().closed.unread_output, 1);
    }
}

/// The network stack is a task of this program, and may have stood still as long as the hub.
#[test]
fn input_within_the_grace_is_read() {
    let mut settings = settings(|timeouts| timeouts.idle = Some(2 * SECOND));
    settings.read_grace = Duration::from_millis(100);
    let mut world = echoes(settings);
    let (peer, other) = (world.open(), world.open());
    stall(&mut world, &peer, 3 * SECOND);
    assert_eq!((peer.got(), other.got()), (vec![], vec![]));
    world.now = world.now.saturating_add(Duration::from_millis(50));
    peer.text("z");
    world.settle();
    world.pass(Duration::from_millis(100));
    assert_eq!((peer.got(), other.got()), (vec![text("z")], vec![Got::Close(1001)]));
    world.pass(3 * SECOND);
    assert_eq!(peer.got(), [Got::Close(1001)]);
    assert_eq!(world.end().closed.silent_peer, 2);
}
