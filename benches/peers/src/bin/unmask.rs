//! Masking in memory, at any alignment. Libraries whose function is private are measured by `frames`.
//!
//!     unmask [--quick]

use std::cell::RefCell;
use std::hint::black_box;

use sansocket_peers::clock::{Candidate, Timing, interleave, median, quantile};
use sansocket_peers::csv::{flag, row, size};
use sansocket_peers::floor;
use sansocket_peers::wire::Random;

type Mask = fn(&mut [u8], [u8; 4]);

const LIBRARIES: [(&str, Mask); 8] = [
    ("limit", |bytes, _| floor::read_and_write(bytes)),
    ("sansocket", |bytes, key| {
        let _ = sansocket::proto::mask(key, bytes);
    }),
    ("fastwebsockets", |bytes, key| fastwebsockets::unmask(bytes, key)),
    ("yawc", |bytes, key| yawc::mask::apply_mask(bytes, key)),
    ("sockudo-ws", |bytes, key| sockudo_ws::mask::apply_mask(bytes, key)),
    ("websocket-sans-io", |bytes, key| websocket_sans_io::apply_mask(key, bytes, 0)),
    ("nexus-web", |bytes, key| nexus_web::ws::apply_mask(bytes, key)),
    ("soketto", |bytes, key| {
        let mut header = soketto::base::Header::new(soketto::base::OpCode::Binary);
        header.set_masked(true).set_mask(u32::from_be_bytes(key));
        soketto::base::Codec::apply_mask(&header, bytes);
    }),
];

/// Short payloads rotate over memory that the first cache holds, so that no store is the next call's load.
const ROTATE: usize = 24 * 1024;

/// Where a payload may begin within 64 bytes: at and between the borders of words, vectors and cache lines.
const OFFSETS: [usize; 12] = [0, 1, 2, 3, 4, 6, 8, 15, 16, 31, 32, 33];

fn main() {
    check();
    let (rounds, sample_us) = if flag("--quick") { (7, 100.0) } else { (41, 300.0) };
    for len in [16, 125, 1 << 10, 16 << 10, 64 << 10] {
        measure(&format!("unmask-{}", size(len)), &[len], rounds, sample_us);
    }
    let mut random = Random(7);
    let lens: Vec<usize> = (0..1024).map(|_| 1 + random.next() as usize % 125).collect();
    measure("unmask-random-1-125", &lens, rounds, sample_us);
}

/// Prints the typical time, which is the median over the offsets, and the worst.
fn measure(work: &str, lens: &[usize], rounds: usize, sample_us: f64) {
    let timings: Vec<_> = OFFSETS.iter().map(|&offset| at(offset, lens, rounds, sample_us)).collect();
    let of = |index: usize| {
        let ns = timings.iter().map(|timings| timings[index].ns).collect::<Vec<_>>();
        (ns, timings.iter().map(|timings| timings[index].ratio).collect::<Vec<_>>())
    };
    let all: Vec<_> = (0..LIBRARIES.len()).map(|index| (LIBRARIES[index].0, of(index))).collect();
    for (name, (ns, ratios)) in &all {
        row(work, name, median(ns), "ns", median(ratios));
    }
    for (name, (ns, ratios)) in &all {
        row(&format!("{work}-worst"), name, quantile(ns, 1.0), "ns", quantile(ratios, 1.0));
    }
}

/// Masks places of these lengths in turn, each with the key in another phase. All libraries share the memory: none finds it
/// colder than another.
fn at(offset: usize, lens: &[usize], rounds: usize, sample_us: f64) -> Vec<Timing> {
    let longest = lens.iter().max().unwrap() + offset;
    let stride = longest.next_multiple_of(64) + 64;
    let places = (ROTATE / stride).max(1);
    let memory = RefCell::new(vec![0x55; stride * places + 4096]);
    let aligned = memory.borrow().as_ptr().align_offset(4096);
    let mut candidates: Vec<Candidate<'_>> = vec![];
    for (name, mask) in LIBRARIES {
        let memory = &memory;
        let run = move |repeats: usize| {
            let mut memory = memory.borrow_mut();
            let mask = black_box(mask);
            let (mut place, mut at, mut key) = (0, 0, 0x0102_0304_u32);
            for _ in 0..repeats {
                let start = aligned + place * stride + offset;
                mask(black_box(&mut memory[start..start + lens[at]]), black_box(key.to_ne_bytes()));
                key = key.rotate_left(8);
                place = if place + 1 == places { 0 } else { place + 1 };
                at = if at + 1 == lens.len() { 0 } else { at + 1 };
            }
        };
        candidates.push(Candidate { name, run: Box::new(run) });
    }
    interleave(&mut candidates, rounds, sample_us)
}

fn check() {
    for (name, mask) in &LIBRARIES[1..] {
        for len in (0..300).chain([1000, 4096, 5000]) {
            for offset in [0, 1, 3, 13] {
                let plain: Vec<u8> = (0..len + offset).map(|i| (i * 7) as u8).collect();
                let mut masked = plain.clone();
                mask(&mut masked[offset..], [1, 32, 77, 255]);
                let expected =
                    plain[offset..].iter().zip([1, 32, 77, 255].iter().cycle()).map(|(byte, key)| byte ^ key);
                assert!(masked[offset..].iter().copied().eq(expected), "{name}: {len} bytes at {offset}");
            }
        }
    }
}
