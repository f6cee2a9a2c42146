//! What a layer holds: options, variables, statistics, pending updates, the step of its schedules.

use candle::{Tensor, Var};

use super::BatchNorm;
use super::build::require_statistics;
use crate::config::BatchNormConfig;
use crate::error::{Error, Result, layer_name};
use crate::moments::Moments;
use crate::pass::{Correction, LastCorrection};
use crate::state::Pending;
use crate::tensors::lock;

impl BatchNorm {
    /// What errors call this layer: ``batch norm `prefix` ``.
    pub fn name(&self) -> String {
        layer_name(&self.prefix)
    }

    /// The layer's options.
    pub fn config(&self) -> &BatchNormConfig {
        &self.layer.config
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.layer.channels
    }

    /// gamma, if the layer scales.
    pub fn gamma(&self) -> Option<&Var> {
        self.layer.gamma.as_ref()
    }

    /// beta, if the layer centres.
    pub fn beta(&self) -> Option<&Var> {
        self.layer.beta.as_ref()
    }

    /// A copy of the moving mean, `[C]`.
    /// # Errors
    /// [`Candle`](crate::ErrorKind::Candle) if the device cannot be read.
    pub fn moving_mean(&self) -> Result<Tensor> {
        self.named(self.layer.state.copy_of(|averages| &averages.mean.value))
    }

    /// A copy of the moving variance, `[C]`.
    /// # Errors
    /// [`Candle`](crate::ErrorKind::Candle) if the device cannot be read.
    pub fn moving_variance(&self) -> Result<Tensor> {
        self.named(self.layer.state.copy_of(|averages| &averages.variance.value))
    }

    /// The variables that an optimizer should train: gamma and beta by name, in name order. Empty for a layer
    /// with `trainable: false`.
    pub fn trainable_variables(&self) -> Vec<(String, Var)> {
        if self.layer.config.trainable { self.affine_variables() } else { Vec::new() }
    }

    /// gamma and beta by name, in name order, trained or not.
    pub fn affine_variables(&self) -> Vec<(String, Var)> {
        let both = [("beta", &self.layer.beta), ("gamma", &self.layer.gamma)];
        let named = |(name, var): (&str, &Option<Var>)| Some((name.to_owned(), var.clone()?));
        both.into_iter().filter_map(named).collect()
    }

    /// The variables that updates change, by name, in name order. They are not copies: later updates change
    /// them. Do not give them to an optimizer.
    pub fn statistics(&self) -> Vec<(String, Var)> {
        self.layer.state.named()
    }

    /// Renorm's r and d of the last training forward pass; `None` if that pass did not apply renorm, or if they lie on a
    /// device that cannot be read. Waits for the device.
    pub fn last_correction(&self) -> Option<Correction> {
        lock(&self.last_correction).as_ref().and_then(LastCorrection::to_correction)
    }

    /// Moments of the last batch that was committed, or refused for a non-finite value; `None` before the
    /// first. They cover all ranks, and all forward passes of a commit.
    pub fn last_batch(&self) -> Option<Moments> {
        self.layer.state.ledger().last.as_ref().map(|last| last.batch.clone())
    }

    /// The update that waits for [`Updates::commit`](crate::Updates::commit); `None` if nothing is pending.
    pub fn pending(&self) -> Option<Pending> {
        self.layer.state.ledger().pending.clone()
    }

    /// Replaces the pending update. To resume a run between two commits, pass what
    /// [`pending`](Self::pending) returned when the run was saved.
    /// # Errors
    /// [`Contradiction`](crate::ErrorKind::Contradiction) for a layer without [`with_updates`](Self::with_updates), which commits at once;
    /// [`Shape`](crate::ErrorKind::Shape) if the number of channels differs.
    pub fn restore_pending(&self, pending: Pending) -> Result<()> {
        self.named(self.replace_pending(pending))
    }

    fn replace_pending(&self, pending: Pending) -> Result<()> {
        let found = pending.moments.channel_count();
        if found != self.layer.channels {
            let expected = format!("[C = {}]", self.layer.channels);
            return Err(Error::shape("restore_pending", "pending moments", expected, &[found]));
        }
        let Some(updates) = &self.updates else {
            let (first, second) = ("a pending update", "a layer without `with_updates`");
            return Err(Error::contradiction(first, second, "it commits its updates at once"));
        };
        self.layer.state.ledger().pending = None;
        updates.leave(&self.layer.state, pending);
        Ok(())
    }

    /// The step at which schedules of decay and clipping are read: the number of updates tried so far.
    pub fn step(&self) -> u64 {
        let ledger = self.layer.state.ledger();
        self.layer.state.step(&ledger).unwrap_or(0) // a device that cannot be read says so at the next forward
    }

    /// Sets the step of the schedules, to resume a run whose steps were counted elsewhere.
    pub fn set_step(&self, step: u64) {
        self.layer.state.set_step(step);
    }

    /// Sum of the penalties on gamma and beta, a scalar to add to the loss; `None` without regularizers.
    /// # Errors
    /// [`Candle`](crate::ErrorKind::Candle) if a penalty cannot be computed.
    pub fn regularization_loss(&self) -> Result<Option<Tensor>> {
        let pairs = [
            (&self.layer.beta, self.layer.config.beta_regularizer),
            (&self.layer.gamma, self.layer.config.gamma_regularizer),
        ];
        let mut total: Option<Tensor> = None;
        for (var, regularizer) in pairs {
            let (Some(var), Some(regularizer)) = (var, regularizer) else { continue };
            let penalty = regularizer.penalty(&self.layer.parameter(var))?;
            total = Some(total.map_or(Ok(penalty.clone()), |sum| sum + penalty)?);
        }
        Ok(total)
    }

    /// Replaces the moving statistics, as if they had gathered all their weight; then `more` by name.
    pub(crate) fn set_statistics(
        &self,
        mean: &[f64],
        variance: &[f64],
        more: &[(String, Vec<f64>)],
        committed: Option<f64>,
    ) -> Result<()> {
        require_statistics(mean, variance)?;
        Ok(self.layer.state.overwrite(mean, variance, more, committed)?)
    }
}
