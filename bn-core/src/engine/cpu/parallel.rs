//! Tasks on several threads, one for each slab.
//!
//! A call from one of rayon's threads uses rayon's pool. Other calls use candle's pool: its threads still spin after
//! candle's last op, so threads of another pool would have to wake up and share the cores with them. The limits of
//! candle's ops apply there: calls from several threads take turns, a task must not start another call, and a panic
//! in a task (none is known) makes the pool unusable.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use candle::utils::{BarrierPool, barrier_pool};

/// The results of `work` for each task, in order.
pub(super) fn first_to_last<K: Sync, R: Send + Sync>(
    tasks: &[K],
    work: impl Fn(&K) -> R + Sync,
) -> Vec<R> {
    let Some(pool) = Pool::for_tasks(tasks.len()) else {
        return tasks.iter().map(work).collect();
    };
    let results: Vec<OnceLock<R>> = tasks.iter().map(|_| OnceLock::new()).collect();
    pool.share_out(tasks.len(), Share::first, |task| {
        results[task].get_or_init(|| work(&tasks[task]));
    });
    let all = results.into_iter().map(OnceLock::into_inner);
    // Each task was taken by a thread, and `share_out` returns after all of them are done.
    all.map(|result| result.unwrap_or_else(|| unreachable!("a task without a result"))).collect()
}

/// Does `work` for each task. After [`first_to_last`] with the same tasks, each thread begins with its latest task
/// there, whose values are still in its cache.
pub(super) fn last_to_first<K: Sync>(tasks: &[K], work: impl Fn(&K) + Sync) {
    match Pool::for_tasks(tasks.len()) {
        None => tasks.iter().rev().for_each(work),
        Some(pool) => pool.share_out(tasks.len(), Share::last, |task| work(&tasks[task])),
    }
}

/// A thread's share of the tasks. A thread whose share is done helps with those of others.
struct Share {
    tasks: Range<usize>,
    taken: AtomicUsize,
}

impl Share {
    fn first(&self) -> Option<usize> {
        let taken = self.taken.fetch_add(1, Relaxed);
        (taken < self.tasks.len()).then(|| self.tasks.start + taken)
    }

    fn last(&self) -> Option<usize> {
        let taken = self.taken.fetch_add(1, Relaxed);
        (taken < self.tasks.len()).then(|| self.tasks.end - 1 - taken)
    }
}

#[derive(Clone, Copy)]
enum Pool {
    Rayon,
    Candle(&'static BarrierPool),
}

impl Pool {
    /// The pool for this many tasks; `None` if one thread does them all.
    fn for_tasks(count: usize) -> Option<Self> {
        if count < 2 {
            return None; // without starting a pool
        }
        let pool = match rayon::current_thread_index() {
            Some(_) => Pool::Rayon,
            None => Pool::Candle(barrier_pool()),
        };
        (pool.threads() > 1).then_some(pool)
    }

    fn threads(self) -> usize {
        match self {
            Pool::Rayon => rayon::current_num_threads(),
            Pool::Candle(pool) => pool.n_workers() + 1,
        }
    }

    /// Does `work` for each of `0..count`, as `next` takes them from a share.
    ///
    /// A thread has the same share in every pass over the same tasks, so most of what it reads is in its own cache.
    /// Fetching it from another core's cache took longer than the arithmetic.
    fn share_out(
        self,
        count: usize,
        next: fn(&Share) -> Option<usize>,
        work: impl Fn(usize) + Sync,
    ) {
        let threads = self.threads().min(count);
        let start = |thread: usize| thread * count / threads;
        let share =
            |thread| Share { tasks: start(thread)..start(thread + 1), taken: AtomicUsize::new(0) };
        let shares: Vec<Share> = (0..threads).map(share).collect();
        self.on_each(threads, |thread| {
            for share in shares[thread..].iter().chain(&shares[..thread]) {
                while let Some(task) = next(share) {
                    work(task);
                }
            }
        });
    }

    /// Runs `work` for `0..threads`, on this thread and the others.
    fn on_each(self, threads: usize, work: impl Fn(usize) + Sync) {
        match self {
            Pool::Rayon => rayon::in_place_scope(|scope| {
                let work = &work;
                for thread in 1..threads {
                    scope.spawn(move |_| work(thread));
                }
                work(0);
            }),
            // As many pieces as threads; each thread works until no task is left.
            Pool::Candle(pool) => pool.execute_chunked(threads, |pieces| pieces.for_each(&work)),
        }
    }
}
