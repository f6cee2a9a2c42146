//! Tasks on rayon's threads, results in task order.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// `work` of `0..count`, in that order whatever thread did which.
///
/// The caller works too: a small job is done before a sleeping thread would have woken up.
pub(super) fn in_order<R: Send + Sync>(count: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    if count < 2 || rayon::current_num_threads() < 2 {
        return (0..count).map(work).collect();
    }
    let results: Vec<OnceLock<R>> = (0..count).map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let take = || {
        loop {
            let task = next.fetch_add(1, Relaxed);
            let Some(result) = results.get(task) else {
                return;
            };
            result.get_or_init(|| work(task));
        }
    };
    rayon::in_place_scope(|scope| {
        for _ in 1..rayon::current_num_threads().min(count) {
            scope.spawn(|_| take());
        }
        take();
    });
    results
        .into_iter()
        .filter_map(OnceLock::into_inner)
        .collect()
}
