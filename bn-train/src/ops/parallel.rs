//! Work over rayon's threads whose results do not depend on how many there are.

use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Runs `work` on one of rayon's threads, while all others look for pieces of it instead of sleeping.
///
/// A step of a small net is hundreds of pieces of some ten microseconds; to wake a sleeping thread takes several times
/// that. Between pieces the others offer their core to whatever else wants to run.
pub(crate) fn awake<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let (started, is_done) = (AtomicUsize::new(0), AtomicBool::new(false));
    rayon::scope(|scope| {
        let others = rayon::current_num_threads() - 1;
        for _ in 0..others {
            scope.spawn(|_| {
                started.fetch_add(1, Ordering::Relaxed);
                look_for_work(&is_done);
            });
        }
        // Until each has its thread: one that still waited here would be taken for a piece of work, and never end.
        while started.load(Ordering::Relaxed) < others {
            std::thread::yield_now();
        }
        let _end = OnDrop(&is_done);
        work()
    })
}

/// Does what other threads have to do, until the end.
fn look_for_work(is_done: &AtomicBool) {
    let mut idle = 0_u32;
    while !is_done.load(Ordering::Relaxed) {
        match rayon::yield_now() {
            Some(rayon::Yield::Executed) => idle = 0,
            _ if idle < 64 => {
                idle += 1;
                std::hint::spin_loop();
            }
            _ => std::thread::yield_now(),
        }
    }
}

/// Sets a flag when it is dropped, be it by a panic.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `work(index, chunk)` for each chunk of `len` elements of `output`.
pub(crate) fn chunks<T: Send>(output: &mut [T], len: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    if rayon::current_num_threads() == 1 || output.len() <= len {
        // One thread: to hand the work to rayon's would cost a sleep and a wake-up.
        for (index, chunk) in output.chunks_mut(len).enumerate() {
            work(index, chunk);
        }
    } else {
        let chunks = output.par_chunks_mut(len).enumerate();
        chunks.for_each(|(index, chunk)| work(index, chunk));
    }
}

/// `work(task)` for each task below `count`; by this thread alone where all of it `is_small`.
pub(crate) fn each(is_small: bool, count: usize, work: impl Fn(usize) + Sync) {
    if is_small || rayon::current_num_threads() == 1 {
        (0..count).for_each(work);
    } else {
        halves(0..count, &work);
    }
}

fn halves(tasks: Range<usize>, work: &(impl Fn(usize) + Sync)) {
    match tasks.len() {
        0 => {}
        1 => work(tasks.start),
        len => {
            let middle = tasks.start + len / 2;
            rayon::join(
                || halves(tasks.start..middle, work),
                || halves(middle..tasks.end, work),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(work)
    }

    #[test]
    fn work_is_done_and_ends_on_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let sums = on(threads, || {
                awake(|| {
                    let mut numbers = vec![0; 1000];
                    for _ in 0..100 {
                        chunks(&mut numbers, 7, |index, chunk| {
                            chunk.iter_mut().for_each(|number| *number += index);
                        });
                    }
                    numbers
                })
            });
            assert!(
                sums.iter()
                    .enumerate()
                    .all(|(i, sum)| *sum == 100 * (i / 7))
            );
        }
    }

    #[test]
    fn a_panic_ends_it_too() {
        let panicked = std::panic::catch_unwind(|| on(3, || awake(|| panic!("on purpose"))));
        assert!(panicked.is_err());
    }
}
