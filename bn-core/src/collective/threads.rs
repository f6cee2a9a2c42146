//! Ranks as threads of one process, for tests and for data-parallel training on one machine.

use std::sync::{Arc, Condvar, Mutex};

use super::Collective;
use crate::error::{Error, ErrorKind, Result};
use crate::tensors::lock;

/// One rank of a group of threads.
///
/// Dropping a rank ends the group: calls of the others return an error instead of waiting for ever.
///
/// ```
/// use bn_core::{Collective, Threads};
/// let ranks = Threads::group(3);
/// let sums: Vec<f64> = std::thread::scope(|scope| {
///     let work = ranks.into_iter().map(|rank| scope.spawn(move || {
///         let mut values = [rank.rank() as f64];
///         rank.all_reduce_sum_f64(&mut values).map(|()| values[0])
///     }));
///     let threads: Vec<_> = work.collect();
///     threads.into_iter().map(|t| t.join().expect("no panic")).collect::<Result<_, _>>()
/// })?;
/// assert_eq!(sums, [3., 3., 3.]);
/// # Ok::<(), bn_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    size: usize,
    round: Arc<(Mutex<Round>, Condvar)>,
}

/// The gathering in progress.
#[derive(Debug, Default)]
struct Round {
    number: u64,
    /// By rank: what it has put in.
    given: Vec<Option<Vec<f64>>>,
    /// By rank: what each put into the last complete round.
    last: Arc<Vec<Vec<f64>>>,
    /// The first rank that was dropped.
    broken: Option<usize>,
}

impl Threads {
    /// A group of `size` ranks, in rank order, one for each thread.
    pub fn group(size: usize) -> Vec<Self> {
        let given = vec![None; size];
        let round = Arc::new((Mutex::new(Round { given, ..Round::default() }), Condvar::new()));
        let rank = |rank| Self { rank, size, round: round.clone() };
        (0..size).map(rank).collect()
    }

    fn error(reason: String) -> Error {
        ErrorKind::Collective(reason).at("Threads")
    }
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_gather(&self, local: &[f64]) -> Result<Vec<f64>> {
        let (round, arrived) = &*self.round;
        let mut now = lock(round);
        let gone = |rank: usize| Self::error(format!("rank {rank} has left the group"));
        if let Some(rank) = now.broken {
            return Err(gone(rank));
        }
        let mine = now.number;
        now.given[self.rank] = Some(local.to_vec());
        if now.given.iter().all(Option::is_some) {
            now.last = Arc::new(now.given.iter_mut().filter_map(Option::take).collect());
            now.number += 1;
            arrived.notify_all();
        }
        while now.number == mine {
            if let Some(rank) = now.broken {
                return Err(gone(rank));
            }
            now = arrived.wait(now).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        // No later round can complete before this rank has taken part in it, so this is the result of ours.
        let parts = now.last.clone();
        drop(now);
        if parts.iter().all(|part| part.len() == local.len()) {
            return Ok(parts.concat());
        }
        let lengths: Vec<usize> = parts.iter().map(Vec::len).collect();
        Err(Self::error(format!("expected slices of equal length, got {lengths:?} by rank")))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let (round, arrived) = &*self.round;
        lock(round).broken.get_or_insert(self.rank);
        arrived.notify_all();
    }
}
