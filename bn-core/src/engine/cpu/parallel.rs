//! Tasks on several threads, results in task order.
//!
//! On one of rayon's threads, tasks go to rayon's pool: a program that trains there keeps its threads busy
//! itself. Elsewhere they go to candle's own pool, whose threads still look for work after candle's last
//! op: threads of another pool would have to wake up, and to share the cores with those. As with candle's own
//! ops, calls from several threads run one after the other there, none may come from within a task of it that
//! runs on the submitting thread, and a panic in a task (none is known) spoils the pool for good.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use candle::utils::{BarrierPool, barrier_pool};

/// The results of `work` for `0..count`, in order.
///
/// The caller works too.
pub(super) fn in_order<R: Send + Sync>(count: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let one_by_one = || (0..count).map(&work).collect();
    if count < 2 {
        return one_by_one(); // without starting a pool
    }
    let pool = Pool::here();
    if pool.threads() < 2 {
        return one_by_one();
    }
    let results: Vec<OnceLock<R>> = (0..count).map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    pool.on_each(count, || {
        loop {
            let task = next.fetch_add(1, Relaxed);
            let Some(result) = results.get(task) else {
                return;
            };
            result.get_or_init(|| work(task));
        }
    });
    let all = results.into_iter().map(OnceLock::into_inner);
    // Every task was taken by a thread, and none of them left before its task was done.
    all.map(|result| result.unwrap_or_else(|| unreachable!("a task without a result"))).collect()
}

#[derive(Clone, Copy)]
enum Pool {
    Rayon,
    Candle(&'static BarrierPool),
}

impl Pool {
    fn here() -> Self {
        match rayon::current_thread_index() {
            Some(_) => Pool::Rayon,
            None => Pool::Candle(barrier_pool()),
        }
    }

    fn threads(self) -> usize {
        match self {
            Pool::Rayon => rayon::current_num_threads(),
            Pool::Candle(pool) => pool.n_workers() + 1,
        }
    }

    /// Runs `work` on this thread and, for up to `count` in all, on the others.
    fn on_each(self, count: usize, work: impl Fn() + Sync) {
        match self {
            Pool::Rayon => rayon::in_place_scope(|scope| {
                for _ in 1..self.threads().min(count) {
                    scope.spawn(|_| work());
                }
                work();
            }),
            // As many pieces as threads: whoever has one stays until no task is left.
            Pool::Candle(pool) => pool.execute_chunked(self.threads(), |_| work()),
        }
    }
}
