//! CPU time of this thread, and rounds that measure every candidate once.

use std::hint::black_box;

/// Returns the CPU time of this thread in ns. Time that other processes take does not count.
pub fn cpu_ns() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of this frame.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(done, 0);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Returns the median, or NaN of nothing.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Returns the quantile, from 0 to 1, or NaN of nothing.
pub fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * at).round() as usize).copied().unwrap_or(f64::NAN)
}

/// Something that does an operation so many times.
pub struct Candidate<'a> {
    pub name: &'a str,
    pub run: Box<dyn FnMut(usize) + 'a>,
}

/// The median time of an operation in ns, and its ratio to the first candidate: the median of the ratios of each round.
pub struct Timing {
    pub name: String,
    pub ns: f64,
    pub ratio: f64,
}

/// Measures each candidate once a round, so that what disturbs the machine disturbs all of them. The first is the floor.
pub fn interleave(candidates: &mut [Candidate<'_>], rounds: usize, sample_us: f64) -> Vec<Timing> {
    let repeats: Vec<usize> = candidates.iter_mut().map(|one| calibrate(one, sample_us)).collect();
    let mut times = vec![vec![]; candidates.len()];
    for round in 0..=rounds {
        for ((one, &repeats), times) in candidates.iter_mut().zip(&repeats).zip(&mut times) {
            if repeats < 20 {
                (one.run)(1); // fills the caches that the candidate before has emptied
            }
            let began = cpu_ns();
            (one.run)(repeats);
            if round > 0 {
                times.push((cpu_ns() - began) / repeats as f64);
            }
        }
    }
    let timing = |(one, own): (&Candidate<'_>, &Vec<f64>)| {
        let ratios: Vec<f64> = own.iter().zip(&times[0]).map(|(own, floor)| own / floor).collect();
        Timing { name: one.name.to_owned(), ns: median(own), ratio: median(&ratios) }
    };
    candidates.iter().zip(&times).map(timing).collect()
}

/// How often to run, so that a sample takes about this long.
fn calibrate(one: &mut Candidate<'_>, sample_us: f64) -> usize {
    let mut repeats = 1;
    loop {
        let began = cpu_ns();
        (one.run)(black_box(repeats));
        let us = (cpu_ns() - began) / 1e3;
        if us > sample_us / 4.0 || repeats > 1 << 26 {
            return ((repeats as f64 * sample_us / us.max(0.01)) as usize).max(1);
        }
        repeats *= 4;
    }
}
