//! Throughput beside tungstenite and a bare reference decoder, in the same run.
//!
//!     cargo bench --bench throughput                        everything, some minutes
//!     cargo bench --bench throughput -- 'echo/binary 125'   one group
//!
//! Messages are counted as elements: the time of a message is the reciprocal. Times depend on the machine and
//! on what else runs on it: compare within a run. Instructions are counted by `callgrind.rs`.

#![allow(missing_docs, reason = "criterion's macros define functions")]

mod subject;

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sansocket::proto::{Utf8Validator, mask};

use subject::{Wire, subject};

fn group<'c>(c: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = c.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(50);
    group
}

fn unmask(c: &mut Criterion) {
    let mut group = group(c, "mask");
    for size in [16, 125, 1024, 16 * 1024, 64 * 1024] {
        // The payload of a frame begins anywhere.
        let mut memory = vec![0; size + 1];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("sansocket", size), |b| {
            b.iter(|| mask(black_box([1, 2, 3, 4]), black_box(&mut memory[1..])));
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

criterion_group!(benches, unmask, utf8, messages);
criterion_main!(benches);
