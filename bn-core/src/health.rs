//! [`Health`]: what goes wrong with a batch-norm layer without any error.

use candle::Var;

use crate::batch_norm::BatchNorm;
use crate::error::Result;
use crate::state::LastUpdate;
use crate::tensors::values;

/// How a layer's moving statistics are doing. Reading it waits for the device.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// `|batch mean − moving mean| / moving stddev` of the last update, by channel, with the moving statistics
    /// as they were before it; empty before one.
    pub mean_shift: Vec<f64>,
    /// `ln(batch variance / moving variance)`, likewise. Infinite where one of them is 0, and 0 where both
    /// are.
    pub log_variance_ratio: Vec<f64>,
    /// Values per channel that the moving mean is worth: `(Σa)² / Σ(a²/n)` over the updates, of which each
    /// has weight `a` in the average and `n` values. 0 before the first update.
    pub effective_sample_size: f64,
    /// Updates that took effect, those in a checkpoint included.
    pub committed: u64,
    /// Of the updates since the layer was built, those that left a channel's variance as it was: by a policy,
    /// or for frequency weights with a sum of 1 or less, which say nothing about an unbiased variance.
    pub skipped_variance: u64,
    /// Updates refused because a statistic was not finite.
    pub refused: u64,
    /// Training forwards that wait for a commit. Many of them mean that nobody commits.
    pub pending_forwards: u64,
    /// Channels whose variance was 0 in the last update.
    pub dead_channels: Vec<usize>,
    /// The layer was evaluated by moving statistics that had never been updated (nor loaded).
    pub evaluated_before_update: bool,
    committed_here: u64,
}

/// More forwards than any accumulation of gradients has.
const MANY_FORWARDS: u64 = 256;

impl Health {
    /// What a person should look at, one sentence each; empty when all is well.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.evaluated_before_update {
            warnings.push("evaluated by moving statistics that had never been updated".to_owned());
        }
        let forwards = self.pending_forwards;
        if forwards > 0 && self.committed_here == 0 {
            warnings.push(format!(
                "{forwards} training forwards and never a commit: call Updates::commit"
            ));
        } else if forwards >= MANY_FORWARDS {
            warnings.push(format!(
                "{forwards} training forwards since the last commit: call Updates::commit once per step"
            ));
        }
        if self.skipped_variance > 0 && self.skipped_variance == self.committed_here {
            warnings.push(format!(
                "the moving variance of some channel was skipped in all {} updates: \
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
    /// How the moving statistics are doing. Waits for the device.
    pub fn health(&self) -> Result<Health> {
        let ledger = self.layer.state.ledger();
        let count = |v: &Var| Ok::<u64, candle::Error>(values(v)?[0] as u64);
        let mut health = Health {
            mean_shift: Vec::new(),
            log_variance_ratio: Vec::new(),
            effective_sample_size: ledger.effective_sample_size(),
            committed: count(&self.layer.state.committed)?,
            skipped_variance: ledger.skipped_variance,
            refused: ledger.refused,
            pending_forwards: ledger.pending.as_ref().map_or(0, |pending| pending.forwards),
            dead_channels: Vec::new(),
            evaluated_before_update: ledger.evaluated_before_update,
            committed_here: ledger.committed_here,
        };
        if let Some(LastUpdate { batch, moving }) = &ledger.last {
            for (c, (batch, moving)) in batch.channels().iter().zip(moving).enumerate() {
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
