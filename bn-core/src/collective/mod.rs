//! Ranks that train together: [`Collective`], which a layer uses, and two implementations.

mod exchange;
mod single;
mod threads;

use std::fmt::Debug;

pub(crate) use exchange::{Exchange, Gathered};
pub use single::Single;
pub use threads::Threads;

use crate::error::{ErrorKind, Result};

/// A group of ranks. All ranks must make the same calls in the same order, with slices of equal length.
///
/// Sums are taken in rank order, so runs with the same number of ranks are equal bit for bit.
pub trait Collective: Debug + Send + Sync {
    /// This rank, counted from 0.
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn size(&self) -> usize;

    /// The slices of all ranks, concatenated in rank order.
    /// # Errors
    /// [`Collective`](crate::ErrorKind::Collective) if the ranks disagree or one is gone; likewise below.
    fn all_gather(&self, local: &[f64]) -> Result<Vec<f64>>;

    /// Replaces the slice by its sum over ranks.
    fn all_reduce_sum_f64(&self, values: &mut [f64]) -> Result<()> {
        let all = self.all_gather(values)?;
        let len = values.len();
        for (i, value) in values.iter_mut().enumerate() {
            *value = (0..self.size()).map(|rank| all[rank * len + i]).sum();
        }
        Ok(())
    }

    /// [`Collective::all_reduce_sum_f64`] for f32; the sum is taken in f64.
    fn all_reduce_sum_f32(&self, values: &mut [f32]) -> Result<()> {
        let mut wide: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        self.all_reduce_sum_f64(&mut wide)?;
        for (value, sum) in values.iter_mut().zip(wide) {
            *value = sum as f32;
        }
        Ok(())
    }

    /// Replaces the slice by that of rank `root`.
    fn broadcast(&self, root: usize, values: &mut [f64]) -> Result<()> {
        // Every rank sees the same root, so that none waits for the others here.
        if root >= self.size() {
            let reason = format!("expected a root below {}, got {root}", self.size());
            return Err(ErrorKind::Collective(reason).at("broadcast"));
        }
        let all = self.all_gather(values)?;
        let len = values.len();
        values.copy_from_slice(&all[root * len..(root + 1) * len]);
        Ok(())
    }

    /// Returns when every rank has called it.
    fn barrier(&self) -> Result<()> {
        self.all_gather(&[]).map(drop)
    }
}
