//! The layer: [`BatchNorm`], its variables and its ways to be called. The arithmetic is in `forward`.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use candle::{DType, Device, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder};

use crate::call::{Call, Statistics};
use crate::collective::Collective;
use crate::config::BatchNormConfig;
use crate::error::Result;
use crate::forward::Forward;
use crate::fused::{Implementation, Saved};
use crate::health::Health;
use crate::moments::Moments;
use crate::renorm::{Correction, LastCorrection};
use crate::state::State;
use crate::updates::{Updates, lock};
use crate::variables::Variables;

impl BatchNormConfig {
    /// Builds the layer: makes its variables under `vb`'s prefix, or finds them there.
    ///
    /// Names: `gamma`, `beta`, `moving_mean`, `moving_variance`, `updates`; with zero-debias
    /// `moving_mean_biased`, `moving_mean_weight` (and the variance's); with renorm `renorm_mean`,
    /// `renorm_stddev` and, by variant, `renorm_mean_weight`, `renorm_stddev_weight`, `moving_stddev`.
    /// Those beside the first four may be missing from a checkpoint: they then start from the moving
    /// statistics there, taken as fully gathered.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for a setting outside its range, [`Error::Contradiction`](crate::Error::Contradiction) for two that exclude
    /// each other, [`Error::Shape`](crate::Error::Shape) for an initializer of another length; [`Error::Exists`](crate::Error::Exists) and
    /// [`Error::NotThere`](crate::Error::NotThere) by [`Reuse`](crate::Reuse); [`Error::Missing`](crate::Error::Missing) for a variable that a checkpoint lacks.
    pub fn build(self, channels: usize, vb: VarBuilder<'_>) -> Result<BatchNorm> {
        self.check(channels)?;
        BatchNorm::from_config(self, channels, vb)
    }
}

/// Batch normalization: `y = activation(gamma · (x − mean) / √(variance + ε) + beta + residual)`.
///
/// Built by [`BatchNormConfig::build`]. Shapes: `x` has rank 2 or more with `C` channels where the
/// configuration's data format has them; `y` has x's shape and type. Statistics and parameters are `[C]`
/// in f32, or f64 for an f64 `VarBuilder`; f16 and bf16 inputs are computed with in wider types.
///
/// Gradients flow by candle's `backward`, through the batch statistics too; r, d, weights and moving
/// statistics are held constant. Through candle's [`ModuleT`], `forward_t(x, train)` trains or evaluates.
///
/// Source: Ioffe & Szegedy 2015; `tf.contrib.layers.batch_norm` for the options.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    pub(crate) config: BatchNormConfig,
    pub(crate) channels: usize,
    pub(crate) gamma: Option<Var>,
    pub(crate) beta: Option<Var>,
    pub(crate) state: Arc<State>,
    pub(crate) updates: Option<Updates>,
    pub(crate) ranks: Option<Arc<dyn Collective>>,
    pub(crate) device: Device,
    pub(crate) implementation: Implementation,
    last_correction: Arc<Mutex<Option<LastCorrection>>>,
}

impl BatchNorm {
    pub(crate) fn from_config(
        config: BatchNormConfig,
        channels: usize,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let device = vb.device().clone();
        let variables = Variables::new(vb, channels, config.reuse);
        let affine = |on: bool, name: &str, initial| -> Result<Option<Var>> {
            on.then(|| variables.required(name, initial).map(|found| found.var)).transpose()
        };
        Ok(Self {
            gamma: affine(config.scale, "gamma", &config.gamma_initializer)?,
            beta: affine(config.center, "beta", &config.beta_initializer)?,
            state: Arc::new(State::build(&config, &variables)?),
            updates: None,
            ranks: None,
            implementation: Implementation::default(),
            last_correction: Arc::default(),
            channels,
            config,
            device,
        })
    }

    /// Leaves this layer's updates in `updates` instead of committing them at once.
    pub fn with_updates(self, updates: &Updates) -> Self {
        Self { updates: Some(updates.clone()), ..self }
    }

    /// Takes batch statistics over all ranks of a group (synchronized batch norm).
    ///
    /// Ranks with uneven, even empty, batches together equal one big batch in y, dx and state; each rank's
    /// gradients of gamma and beta are its own share, to be summed like all other gradients. With
    /// `normalization_batch`, groups stay within the rank and only the update is of all ranks.
    pub fn with_collective(self, ranks: Arc<dyn Collective>) -> Self {
        Self { ranks: Some(ranks), ..self }
    }

    /// Computes with other code; both give the same results.
    pub fn with_implementation(self, implementation: Implementation) -> Self {
        Self { implementation, ..self }
    }

    /// A training step: normalizes by the batch and moves the averages (or leaves that pending).
    /// # Errors
    /// See [`BatchNorm::forward_with`].
    pub fn forward_train(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, &Call::train())
    }

    /// Normalizes by the moving statistics.
    /// # Errors
    /// See [`BatchNorm::forward_with`].
    pub fn forward_eval(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, &Call::eval())
    }

    /// Any forward pass, see [`Call`].
    ///
    /// # Errors
    /// [`Error::Rank`](crate::Error::Rank), [`Axis`](crate::Error::Axis), [`Channels`](crate::Error::Channels),
    /// [`DType`](crate::Error::DType) or [`Device`](crate::Error::Device) for an `x` that does not fit the layer;
    /// [`Shape`](crate::Error::Shape) or [`Weight`](crate::Error::Weight) for the call's other tensors;
    /// [`Empty`](crate::Error::Empty), [`ZeroWeight`](crate::Error::ZeroWeight), [`OneValue`](crate::Error::OneValue)
    /// or [`ConstantChannel`](crate::Error::ConstantChannel) by the configuration's policies. The layer's state is
    /// unchanged after an error.
    pub fn forward_with(&self, x: &Tensor, call: &Call<'_>) -> Result<Tensor> {
        if let Some(y) = self.record(x, call)? {
            return Ok(y);
        }
        self.settle(self.compute(x, call)?)
    }

    /// A training step outside candle's graph: y, and what its gradient needs.
    ///
    /// For training loops of one's own: the same kernels as [`BatchNorm::forward_train`]'s, without what
    /// a graph costs (it adds every gradient to a fresh zero tensor).
    ///
    /// ```
    /// use bn_core::BatchNormConfig;
    /// use candle::{DType, Device, Tensor};
    /// use candle_nn::{VarBuilder, VarMap};
    /// # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    /// let bn = BatchNormConfig::torch().build(3, vb)?;
    /// let x = Tensor::randn(0f32, 1., (8, 3, 4, 4), &Device::Cpu)?;
    /// let (y, saved) = bn.forward_train_saved(&x)?;
    /// let (dx, dgamma, dbeta) = saved.backward(&y.ones_like()?)?;
    /// assert_eq!(dx.dims(), x.dims());
    /// assert_eq!(dbeta.unwrap().to_vec1::<f32>()?, [128.; 3]);
    /// # Ok::<(), bn_core::Error>(())
    /// ```
    /// # Errors
    /// See [`BatchNorm::forward_with`].
    pub fn forward_train_saved(&self, x: &Tensor) -> Result<(Tensor, Saved)> {
        self.forward_with_saved(x, &Call::train())
    }

    /// Any forward pass outside candle's graph, see [`BatchNorm::forward_train_saved`]. (It does not
    /// record for [`population_statistics`](crate::population_statistics).)
    /// # Errors
    /// See [`BatchNorm::forward_with`].
    pub fn forward_with_saved(&self, x: &Tensor, call: &Call<'_>) -> Result<(Tensor, Saved)> {
        let (forward, saved) = self.compute_saved(x, call)?;
        Ok((self.settle(forward)?, saved))
    }

    /// Does to the layer what a forward pass came to; y.
    fn settle(&self, forward: Forward) -> Result<Tensor> {
        if let Some(correction) = forward.correction {
            *lock(&self.last_correction) = Some(correction);
        }
        if let Some(batch) = forward.update {
            *lock(&self.state.last_batch) = Some(batch.clone());
            match &self.updates {
                Some(updates) => updates.leave(&self.state, batch)?,
                None => self.state.commit(&batch)?,
            }
        }
        Ok(forward.y)
    }

    /// While population statistics are taken: normalizes by the batch and records its moments.
    fn record(&self, x: &Tensor, call: &Call<'_>) -> Result<Option<Tensor>> {
        let given = matches!(call.statistics, Statistics::Given(_));
        if given || lock(&self.state.recorded).is_none() {
            return Ok(None);
        }
        let call = Call { statistics: Statistics::Batch, update: true, renorm: false, ..*call };
        let forward = self.compute(x, &call)?;
        if let Some(recorded) = lock(&self.state.recorded).as_mut() {
            recorded.extend(forward.update);
        }
        Ok(Some(forward.y))
    }

    /// The layer's options.
    pub fn config(&self) -> &BatchNormConfig {
        &self.config
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// gamma, if the layer scales.
    pub fn gamma(&self) -> Option<&Var> {
        self.gamma.as_ref()
    }

    /// beta, if the layer centres.
    pub fn beta(&self) -> Option<&Var> {
        self.beta.as_ref()
    }

    /// The moving mean that evaluation uses, `[C]`.
    pub fn moving_mean(&self) -> Tensor {
        self.state.mean.value.as_detached_tensor()
    }

    /// The moving variance that evaluation uses, `[C]`.
    pub fn moving_variance(&self) -> Tensor {
        self.state.variance.value.as_detached_tensor()
    }

    /// gamma and beta by name, in name order; none when the layer is frozen (`trainable: false`).
    pub fn trainable_variables(&self) -> Vec<(String, Var)> {
        if !self.config.trainable {
            return Vec::new();
        }
        self.affine_variables()
    }

    /// gamma and beta by name, in name order, whether they are trained or not.
    pub fn affine_variables(&self) -> Vec<(String, Var)> {
        let both = [("beta", &self.beta), ("gamma", &self.gamma)];
        let named = |(name, var): (&str, &Option<Var>)| Some((name.to_owned(), var.clone()?));
        both.into_iter().filter_map(named).collect()
    }

    /// Everything that updates move, by name, in name order. Nothing here is for an optimizer.
    pub fn statistics(&self) -> Vec<(String, Var)> {
        self.state.named()
    }

    /// r and d of the last forward pass that applied renorm.
    pub fn last_correction(&self) -> Option<Correction> {
        let last = lock(&self.last_correction);
        last.as_ref().map(LastCorrection::to_tensors)
    }

    /// The step that schedules of decay and clipping stand at: updates tried so far.
    pub fn step(&self) -> u64 {
        self.state.step().unwrap_or(0) // a device that cannot be read says so at the next forward
    }

    /// Moves the schedules to another step (to resume a run whose steps were counted elsewhere).
    pub fn set_step(&self, step: u64) {
        self.state.set_step(step);
    }

    /// Sum of the penalties on gamma and beta, a scalar to add to the loss; none without regularizers.
    pub fn regularization_loss(&self) -> Result<Option<Tensor>> {
        let pairs = [
            (&self.beta, self.config.beta_regularizer),
            (&self.gamma, self.config.gamma_regularizer),
        ];
        let mut total: Option<Tensor> = None;
        for (var, regularizer) in pairs {
            let (Some(var), Some(regularizer)) = (var, regularizer) else {
                continue;
            };
            let penalty = regularizer.penalty(&self.parameter(var))?;
            total = Some(match total {
                Some(sum) => (sum + penalty)?,
                None => penalty,
            });
        }
        Ok(total)
    }

    /// How the moving statistics are doing. Waits for the device.
    pub fn health(&self) -> Result<Health> {
        let host = |t: &Tensor| t.to_dtype(DType::F64)?.to_vec1::<f64>();
        let (mean, variance) = (host(&self.moving_mean())?, host(&self.moving_variance())?);
        let count = |v: &Var| Ok::<u64, crate::Error>(host(&v.as_detached_tensor())?[0] as u64);
        let mut health = Health {
            mean_shift: Vec::new(),
            log_variance_ratio: Vec::new(),
            effective_sample_size: self.state.spread.effective_sample_size()?,
            committed: count(&self.state.committed)?,
            refused: count(&self.state.refused)?,
            pending_forwards: lock(&self.state.pending).as_ref().map_or(0, |p| p.forwards),
            dead_channels: Vec::new(),
            evaluated_before_update: self.state.evaluated_before_update.load(Relaxed),
        };
        if let Some(batch) = lock(&self.state.last_batch).as_ref() {
            let (batch_mean, batch_variance) = (host(batch.mean())?, host(batch.variance())?);
            let epsilon = self.config.epsilon;
            for c in 0..self.channels {
                let stddev = (variance[c] + epsilon).sqrt();
                health.mean_shift.push((batch_mean[c] - mean[c]).abs() / stddev);
                health.log_variance_ratio.push((batch_variance[c] / variance[c]).ln());
            }
            let dead = |c: &usize| batch_variance[*c] == 0.0;
            health.dead_channels = (0..self.channels).filter(dead).collect();
        }
        Ok(health)
    }

    /// A parameter for the graph: without a gradient where the layer is frozen.
    pub(crate) fn parameter(&self, var: &Var) -> Tensor {
        match self.config.trainable {
            true => var.as_tensor().clone(),
            false => var.as_detached_tensor(),
        }
    }

    /// Replaces the moving statistics, as if they had gathered all their weight.
    pub(crate) fn set_statistics(&self, moments: &Moments) -> Result<()> {
        self.state.overwrite(moments)?;
        Ok(())
    }
}

impl ModuleT for BatchNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle::Result<Tensor> {
        let call = if train { Call::train() } else { Call::eval() };
        Ok(self.forward_with(x, &call)?)
    }
}
