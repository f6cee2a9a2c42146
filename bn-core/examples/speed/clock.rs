//! Clocks: one step alone, or two by turns, so that what else the machine does meets both alike.

use std::time::Instant;

use crate::steps::Step;

/// Median and least time of a step, in ms.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) median: f64,
    pub(crate) least: f64,
}

impl Times {
    pub(crate) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let middle = times.len() / 2;
        let median = match times.len() % 2 {
            1 => times[middle],
            _ => (times[middle - 1] + times[middle]) / 2.0,
        };
        Self { median, least: times[0] }
    }
}

/// `rounds` steps, after three that do not count.
pub(crate) fn alone(mut step: Step, rounds: usize) -> Times {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..3 {
        step();
    }
    for _ in 0..rounds {
        times.push(timed(&mut step));
    }
    Times::of(times)
}

/// `rounds` runs of eight steps each, the two by turns. A run's first two steps do not count: they find the
/// other's tensors in the cache.
pub(crate) fn by_turns(mut step: Step, mut other: Step, rounds: usize) -> [Times; 2] {
    let (mut times, mut others) = (Vec::new(), Vec::new());
    for _ in 0..=rounds {
        for (step, times) in [(&mut step, &mut times), (&mut other, &mut others)] {
            let run: Vec<f64> = (0..8).map(|_| timed(step)).collect();
            times.extend(&run[2..]);
        }
    }
    // The first round warms up.
    [times.split_off(6), others.split_off(6)].map(Times::of)
}

fn timed(step: &mut Step) -> f64 {
    let start = Instant::now();
    step();
    start.elapsed().as_secs_f64() * 1e3
}
