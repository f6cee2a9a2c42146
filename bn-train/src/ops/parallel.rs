//! Parallel work on rayon's threads whose results do not depend on their number.

use rayon::prelude::*;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Runs `work` on one of rayon's threads while all others poll for tasks instead of sleeping.
///
/// A step of a small network has hundreds of tasks of some ten microseconds, and waking a thread takes several times as
/// long. Idle threads yield their core. Only one call per pool may run at a time, because two would wait for each other's
/// threads.
pub(crate) fn awake<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let (started, is_done) = (AtomicUsize::new(0), AtomicBool::new(false));
    rayon::scope(|scope| {
        let others = rayon::current_num_threads() - 1;
        for _ in 0..others {
            scope.spawn(|_| {
                started.fetch_add(1, Ordering::Relaxed);
                poll_for_work(&is_done);
            });
        }
        // Wait until each poller has a thread. Otherwise `work` could run a queued poller as a task and never return.
        while started.load(Ordering::Relaxed) < others {
            std::thread::yield_now();
        }
        let _end = OnDrop(&is_done);
        work()
    })
}

/// Runs tasks of other threads until `is_done`.
fn poll_for_work(is_done: &AtomicBool) {
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

/// Sets a flag when dropped, also during a panic.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A deferred result, computed by an idle thread or, at the latest, by [`Later::get`].
pub(crate) struct Later<R>(Arc<Mutex<State<R>>>);

enum State<R> {
    Offered(Box<dyn FnOnce() -> R + Send>),
    Begun,
    Found(std::thread::Result<R>),
}

impl<R: Send + 'static> Later<R> {
    /// Offers `work` to rayon's threads.
    pub(crate) fn new(work: impl FnOnce() -> R + Send + 'static) -> Self {
        let state = Arc::new(Mutex::new(State::Offered(Box::new(work))));
        let offered = Arc::clone(&state);
        rayon::spawn(move || State::begin(&offered));
        Self(state)
    }

    /// A result that is already known.
    pub(crate) fn found(result: R) -> Self {
        Self(Arc::new(Mutex::new(State::Found(Ok(result)))))
    }

    /// The result, computed by this thread if no other has started.
    ///
    /// # Panics
    /// As `work`.
    pub(crate) fn get(self) -> R {
        State::begin(&self.0);
        loop {
            if let Some(result) = State::found(&self.0) {
                return result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
            if rayon::yield_now() != Some(rayon::Yield::Executed) {
                std::thread::yield_now();
            }
        }
    }
}

impl<R> State<R> {
    /// Runs the work unless another thread has started it.
    fn begin(state: &Mutex<Self>) {
        let offered = Self::take(state, |state| matches!(state, Self::Offered(_)));
        if let Some(Self::Offered(work)) = offered {
            let result = std::panic::catch_unwind(AssertUnwindSafe(work));
            *state.lock().unwrap_or_else(PoisonError::into_inner) = Self::Found(result);
        }
    }

    /// The result, if known.
    fn found(state: &Mutex<Self>) -> Option<std::thread::Result<R>> {
        match Self::take(state, |state| matches!(state, Self::Found(_))) {
            Some(Self::Found(result)) => Some(result),
            _ => None,
        }
    }

    /// Takes the state if `is_wanted`, leaving `Begun`.
    fn take(state: &Mutex<Self>, is_wanted: impl FnOnce(&Self) -> bool) -> Option<Self> {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        is_wanted(&state).then(|| std::mem::replace(&mut *state, Self::Begun))
    }
}

impl<R> std::fmt::Debug for Later<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Later")
    }
}

/// Calls `work(index, chunk)` for each chunk of `len` elements of `output`.
pub(crate) fn chunks<T: Send>(output: &mut [T], len: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    if rayon::current_num_threads() == 1 || output.len() <= len {
        // With one thread, handing the work to rayon would cost a sleep and a wake-up.
        for (index, chunk) in output.chunks_mut(len).enumerate() {
            work(index, chunk);
        }
    } else {
        let chunks = output.par_chunks_mut(len).enumerate();
        chunks.for_each(|(index, chunk)| work(index, chunk));
    }
}

/// Calls `work(task)` for each task below `count`, on this thread if the work `is_small`.
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
            rayon::join(|| halves(tasks.start..middle, work), || halves(middle..tasks.end, work));
        }
    }
}

/// Runs `work` in a pool of `threads` threads.
#[cfg(test)]
pub(crate) fn on_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn awake_returns_on_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let sums = on_threads(threads, || {
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
            assert!(sums.iter().enumerate().all(|(i, sum)| *sum == 100 * (i / 7)));
        }
    }

    #[test]
    fn deferred_results_are_available_on_get() {
        for threads in [1, 2, 5] {
            let found: Vec<usize> = on_threads(threads, || {
                awake(|| {
                    let promised: Vec<_> = (0..100).map(|i| Later::new(move || i * i)).collect();
                    promised.into_iter().map(Later::get).collect()
                })
            });
            assert!(found.iter().enumerate().all(|(i, found)| *found == i * i));
        }
        // The same outside a pool.
        assert_eq!(Later::new(|| 7).get(), 7);
        let panicked = std::panic::catch_unwind(|| Later::new(|| panic!("on purpose")).get());
        assert!(panicked.is_err());
    }

    #[test]
    fn awake_propagates_a_panic() {
        let panicked =
            std::panic::catch_unwind(|| on_threads(3, || awake(|| panic!("on purpose"))));
        assert!(panicked.is_err());
    }
}
