//! [`Health`]: what goes wrong with a batch-norm layer without any error.

use candle::{DType, Device, Tensor, Var};

use crate::error::Result;
use crate::moments::Moments;
use crate::moving_average::move_towards;
use crate::weights;

/// How a layer's moving statistics are doing. Reading it waits for the device.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// `|batch mean − moving mean| / moving stddev` of the last training batch, by channel; empty before one.
    pub mean_shift: Vec<f64>,
    /// `ln(batch variance / moving variance)` of the last training batch, by channel; empty before one.
    /// Infinite for a channel that was constant over that batch.
    pub log_variance_ratio: Vec<f64>,
    /// Values per channel that the moving mean is worth: `(Σa)² / Σ(a²/n)` over the updates, of which each
    /// has weight `a` in the average and `n` values. 0 before the first update.
    pub effective_sample_size: f64,
    /// Updates that took effect.
    pub committed: u64,
    /// Updates refused because a statistic was not finite.
    pub refused: u64,
    /// Training forwards that wait for a commit. Many of them mean that nobody commits.
    pub pending_forwards: u64,
    /// Channels whose variance was 0 in the last training batch.
    pub dead_channels: Vec<usize>,
    /// The layer was evaluated by moving statistics that had never been updated (nor loaded).
    pub evaluated_before_update: bool,
}

impl Health {
    /// What a person should look at, one sentence each; empty when all is well.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.evaluated_before_update {
            warnings.push("evaluated by moving statistics that had never been updated".to_owned());
        }
        if self.pending_forwards > 0 && self.committed == 0 {
            let forwards = self.pending_forwards;
            warnings.push(format!(
                "{forwards} training forwards and never a commit: call Updates::commit"
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

/// What the effective sample size is computed from: Σa and Σ(a²/n), `[1]` each, on the device.
#[derive(Debug)]
pub(crate) struct Spread {
    pub(crate) gathered: Var,
    pub(crate) squares: Var,
}

impl Spread {
    pub(crate) fn new(device: &Device) -> candle::Result<Self> {
        Ok(Self {
            gathered: Var::zeros(1, DType::F64, device)?,
            squares: Var::zeros(1, DType::F64, device)?,
        })
    }

    pub(crate) fn update(
        &self,
        batch: &Moments,
        rate: &Tensor,
        keep: &Tensor,
    ) -> candle::Result<()> {
        let one = rate.ones_like()?;
        move_towards(&self.gathered, &one, rate, Some(keep))?;
        let values = batch.weight().narrow(0, 0, 1)?.sqr()?;
        let values = (values / weights::divisor(&batch.squared_weight().narrow(0, 0, 1)?)?)?;
        let old = self.squares.as_detached_tensor();
        let left = rate.affine(-1.0, 1.0)?.sqr()?;
        let new = ((old * left)? + (rate.sqr()? / weights::divisor(&values)?)?)?;
        crate::moving_average::assign(&self.squares, &new, Some(keep))
    }

    /// Values per channel that the average is worth.
    pub(crate) fn effective_sample_size(&self) -> Result<f64> {
        let gathered = self.gathered.to_vec1::<f64>()?[0];
        let squares = self.squares.to_vec1::<f64>()?[0];
        Ok(if squares > 0.0 { gathered * gathered / squares } else { 0.0 })
    }
}
