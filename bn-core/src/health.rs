//! [`Health`]: problems of a batch-norm layer that raise no error.

use candle::Var;

use crate::batch_norm::BatchNorm;
use crate::error::Result;
use crate::state::LastUpdate;
use crate::tensors::values;

/// The state of a layer's moving statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// `|batch mean − moving mean| / moving stddev` of the last update, by channel, with the moving statistics
    /// before that update; empty before the first.
    pub mean_shift: Vec<f64>,
    /// `ln(batch variance / moving variance)`, likewise. Infinite if one of them is 0, and 0 if both are.
    pub log_variance_ratio: Vec<f64>,
    /// The effective number of values per channel in the moving mean: `(Σa)² / Σ(a²/n)` over updates of `n`
    /// values with weight `a` in the average. 0 before the first update.
    pub effective_sample_size: f64,
    /// Updates that took effect, including those in a checkpoint.
    pub committed: u64,
    /// Updates since the layer was built that skipped some channel's variance: by a policy, or because
    /// frequency weights summed to 1 or less, where an unbiased variance is undefined.
    pub skipped_variance: u64,
    /// Updates refused for a non-finite statistic.
    pub refused: u64,
    /// Training passes that wait for a commit. A large number means that the commit was forgotten.
    pub pending_forwards: u64,
    /// Channels whose variance was 0 in the last update.
    pub dead_channels: Vec<usize>,
    /// The layer was evaluated before its moving statistics were updated or loaded.
    pub evaluated_before_update: bool,
    committed_here: u64,
}

/// More than any accumulation of gradients needs.
const MANY_FORWARDS: u64 = 256;

impl Health {
    /// The problems, one sentence each; empty if there are none.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.evaluated_before_update {
            warnings.push("evaluated by moving statistics that were never updated".to_owned());
        }
        let forwards = self.pending_forwards;
        if forwards > 0 && self.committed_here == 0 {
            warnings
                .push(format!("{forwards} training passes without a commit: call Updates::commit"));
        } else if forwards >= MANY_FORWARDS {
            warnings.push(format!(
                "{forwards} training passes since the last commit: call Updates::commit once per step"
            ));
        }
        if self.skipped_variance > 0 && self.skipped_variance == self.committed_here {
            warnings.push(format!(
                "all {} updates skipped the moving variance of some channel: \
                 one value per channel, a constant channel, or weights that sum to 1 or less",
                self.skipped_variance
            ));
        }
        if self.refused > 0 {
            warnings.push(format!("{} updates refused for non-finite statistics", self.refused));
        }
        if !self.dead_channels.is_empty() {
            warnings.push(format!("constant channels: {:?}", self.dead_channels));
        }
        warnings
    }
}

impl BatchNorm {
    /// The state of the moving statistics. Waits for the device.
    /// # Errors
    /// [`Candle`](crate::ErrorKind::Candle) if the device cannot be read.
    pub fn health(&self) -> Result<Health> {
        let ledger = self.layer.state.ledger();
        let count = |v: &Var| Ok::<u64, candle::Error>(values(v)?[0] as u64);
        let counts = ledger.counts()?;
        let mut health = Health {
            mean_shift: Vec::new(),
            log_variance_ratio: Vec::new(),
            effective_sample_size: counts.effective_sample_size(),
            committed: count(&self.layer.state.committed)?,
            skipped_variance: counts.skipped_variance,
            refused: counts.refused,
            pending_forwards: ledger.pending.as_ref().map_or(0, |pending| pending.forwards),
            dead_channels: Vec::new(),
            evaluated_before_update: ledger.evaluated_before_update()?,
            committed_here: counts.committed,
        };
        if let Some(LastUpdate { batch, moving }) = &ledger.last {
            let (batch, moving) = (batch.channels(), moving.channels());
            for (c, (batch, moving)) in batch.iter().zip(moving.iter()).enumerate() {
                let stddev = (moving.variance + self.layer.config.epsilon).sqrt();
                health.mean_shift.push((batch.mean - moving.mean).abs() / stddev);
                let equal = batch.variance == moving.variance;
                let ratio = if equal { 0.0 } else { (batch.variance / moving.variance).ln() };
                health.log_variance_ratio.push(ratio);
                if batch.variance == 0.0 {
                    health.dead_channels.push(c);
                }
            }
        }
        Ok(health)
    }
}
