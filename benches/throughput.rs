//! Throughput beside tungstenite and a bare reference decoder, in the same run.
//!
//!     cargo bench --bench throughput --features hub         everything, some minutes; without the feature no broadcast
//!     cargo bench --bench throughput -- 'echo/binary 125'   one group
//!
//! Messages are counted as elements: the time of a message is the reciprocal. Times depend on the machine and
//! on what else runs on it: compare within a run. Instructions are counted by `callgrind.rs`.

#![allow(missing_docs, reason = "criterion's macros define functions")]

#[cfg(feature = "hub")]
#[path = "../tests/hub_world/mod.rs"]
mod hub_world;
mod subject;
#[cfg(feature = "hub")]
#[path = "../tests/wire/mod.rs"]
mod wire;

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sansocket::proto::{Utf8Validator, mask};

use subject::{HandshakeMemory, Wire, request, subject};

fn group<'c>(c: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = c.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(50);
    group
}

fn unmask(c: &mut Criterion) {
    let mut group = group(c, "unmask");
    for size in [16, 125, 1024, 16 * 1024, 64 * 1024] {
        // The payload of a frame begins anywhere.
        let mut memory = vec![0; size + 1];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("sansocket", size), |b| {
            b.iter(|| mask(black_box([1, 2, 3, 4]), black_box(&mut memory[1..])));
        });
        // The limit: the memory is read and written in place.
        group.bench_function(BenchmarkId::new("limit", size), |b| {
            b.iter(|| {
                for block in black_box(&mut memory[1..]).chunks_mut(64) {
                    block.iter_mut().for_each(|byte| *byte ^= 0x5A);
                }
            });
        });
        group.bench_function(BenchmarkId::new("bytes", size), |b| {
            b.iter(|| {
                let key = black_box([1, 2, 3, 4]);
                for (i, byte) in black_box(&mut memory[1..]).iter_mut().enumerate() {
                    *byte ^= key[i & 3];
                }
            });
        });
    }
}

fn utf8(c: &mut Criterion) {
    for (name, sample) in [("ASCII", ASCII), ("mixed", MIXED)] {
        let mut group = group(c, &format!("UTF-8/{name}"));
        for size in [16, 125, 1024, 16 * 1024] {
            let text = text(sample, size);
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new("sansocket", size), |b| {
                b.iter(|| Utf8Validator::default().feed(black_box(text.as_bytes())).unwrap());
            });
            group.bench_function(BenchmarkId::new("std", size), |b| {
                b.iter(|| std::str::from_utf8(black_box(text.as_bytes())).unwrap());
            });
        }
    }
}

fn messages(c: &mut Criterion) {
    let mut inputs = vec![];
    for (name, size) in [("16", 16), ("125", 125), ("1Ki", 1024), ("16Ki", 16 * 1024), ("64Ki", 64 * 1024)] {
        inputs.push((format!("binary {name}"), Wire::new(false, &vec![0x55; size])));
    }
    for (name, size) in [("16", 16), ("125", 125), ("1Ki", 1024)] {
        inputs.push((format!("ASCII {name}"), Wire::new(true, text(ASCII, size).as_bytes())));
        inputs.push((format!("mixed {name}"), Wire::new(true, text(MIXED, size).as_bytes())));
    }
    let decode = ["receive", "poll", "tungstenite-receive", "reference-receive"];
    let echo = ["echo", "tungstenite-echo", "reference-echo"];
    for (what, subjects) in [("decode", &decode[..]), ("echo", &echo)] {
        for (name, wire) in &inputs {
            let mut group = group(c, &format!("{what}/{name}"));
            group.throughput(Throughput::Elements(wire.messages as u64));
            for name in subjects {
                let mut run = subject(name, wire.clone());
                group.bench_function(*name, |b| b.iter(&mut run));
            }
        }
    }
}

fn handshakes(c: &mut Criterion) {
    let mut group = group(c, "handshake");
    for cookie in [16, 256, 1024] {
        let request = request(cookie);
        group.throughput(Throughput::Elements(1));
        let mut memory = HandshakeMemory::default();
        group
            .bench_function(BenchmarkId::new("sansocket", cookie), |b| b.iter(|| memory.handshake(&request)));
        group.bench_function(BenchmarkId::new("tungstenite", cookie), |b| {
            b.iter(|| tungstenite::accept(Pipe { request: &request, response: vec![] }).unwrap());
        });
    }
}

/// A transport that has the request to read, and keeps the response.
#[derive(Debug)]
struct Pipe<'a> {
    request: &'a [u8],
    response: Vec<u8>,
}

impl Read for Pipe<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.request.read(into)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.response.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One message to all sessions of a hub, over pipes in memory. Elements are recipients.
#[cfg(feature = "hub")]
fn broadcast(c: &mut Criterion) {
    use sansocket::hub::HubSettings;
    use sansocket::message::Prepared;

    const SESSIONS: usize = 1000;
    let mut group = group(c, "broadcast");
    group.throughput(Throughput::Elements(SESSIONS as u64));
    let mut world = hub_world::echoes(HubSettings::default().max_sessions(SESSIONS));
    let peers: Vec<_> = (0..SESSIONS).map(|_| world.open()).collect();
    for size in [64, 4096] {
        let message = Prepared::binary(vec![0x55; size]);
        group.bench_function(BenchmarkId::new("sansocket", size), |b| {
            b.iter(|| {
                world.handle.broadcast(message.clone()).unwrap();
                world.settle();
                for peer in &peers {
                    let mut wire = peer.wire();
                    assert!(wire.from_hub.len() > size, "a member got nothing");
                    wire.from_hub.clear();
                }
            });
        });
    }
}

#[cfg(not(feature = "hub"))]
fn broadcast(_: &mut Criterion) {}

const ASCII: &str = "The quick brown fox jumps over the lazy dog. ";
const MIXED: &str = "Größe 12 µm, prix 3 €, 世界, Привет, 🌍. ";

/// `size` bytes of text.
fn text(sample: &str, size: usize) -> String {
    let mut text = sample.repeat(size / sample.len() + 1);
    while !text.is_char_boundary(size) {
        text.insert(0, '.');
    }
    text.truncate(size);
    text
}

criterion_group!(benches, unmask, utf8, messages, handshakes, broadcast);
criterion_main!(benches);
