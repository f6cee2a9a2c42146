//! The layer: [`BatchNorm`], its variables and its ways to be called. The arithmetic is in `pass`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use candle::{Tensor, Var};
use candle_nn::{ModuleT, VarBuilder};

use crate::call::{Call, Statistics};
use crate::collective::Collective;
use crate::config::{BatchNormConfig, Names, Reuse};
use crate::engine::Implementation;
use crate::error::{Error, Result, layer_name};
use crate::layout::statistics_dtype;
use crate::moments::Moments;
use crate::pass::{Correction, Forward, LastCorrection, Layer, Saved};
use crate::state::{Pending, State};
use crate::tensors::{lock, values};
use crate::updates::Updates;
use crate::variables::Variables;

impl BatchNormConfig {
    /// Builds the layer: makes its variables under `vb`'s prefix, or finds them there.
    ///
    /// Names: `gamma`, `beta`, `moving_mean`, `moving_variance`, `updates`, or another system's
    /// ([`Names`](crate::Names)); with zero-debias `moving_mean_biased`, `moving_mean_weight` (and the
    /// variance's); with renorm `renorm_mean`, `renorm_stddev` and, by variant, `renorm_mean_weight`,
    /// `renorm_stddev_weight`, `moving_stddev`. All but the first four may be missing from a checkpoint:
    /// they then start from the moving statistics there, taken as fully gathered.
    ///
    /// A second layer on the same prefix of the same `VarMap` shares the first one's variables and, while that
    /// lives, its state: steps, pending updates and health.
    ///
    /// # Errors
    /// [`Error::Value`] for a setting outside its range, [`Error::Contradiction`] for two that exclude each
    /// other, or for a shared prefix with other options; [`Error::Shape`] for an initializer of another
    /// length; [`Error::Exists`] and [`Error::NotThere`] by [`Reuse`](crate::Reuse); [`Error::Missing`] for a
    /// variable that a checkpoint lacks. All name the prefix.
    pub fn build(&self, channels: usize, vb: VarBuilder<'_>) -> Result<BatchNorm> {
        let prefix = vb.prefix();
        let built = self.check(channels).and_then(|()| BatchNorm::new(self, channels, vb));
        built.map_err(|error| error.at(layer_name(&prefix)))
    }
}

/// Values that a layer is made of without a `VarBuilder`: see [`BatchNorm::from_tensors`]. `[C]` each.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Scale; `None` for a configuration with `scale: false`.
    pub gamma: Option<Tensor>,
    /// Offset; `None` for a configuration with `center: false`.
    pub beta: Option<Tensor>,
    /// The moving mean.
    pub moving_mean: Tensor,
    /// The moving variance, 0 or more.
    pub moving_variance: Tensor,
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
/// The layer is `Send` and `Sync`. Clones share variables and state: several threads may train one layer, and
/// each update takes effect as one. Large calls from several threads take turns on candle's pool of threads;
/// from rayon's threads they run side by side.
///
/// Source: Ioffe & Szegedy 2015; `tf.contrib.layers.batch_norm` for the options.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    pub(crate) layer: Layer,
    updates: Option<Updates>,
    prefix: String,
    frozen: Arc<AtomicBool>,
    last_correction: Arc<Mutex<Option<LastCorrection>>>,
}

const _: () = {
    const fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<BatchNorm>();
};

impl BatchNorm {
    fn new(config: &BatchNormConfig, channels: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let (device, prefix) = (vb.device().clone(), vb.prefix());
        let variables = Variables::new(vb, channels, config.reuse, config.names);
        let affine = |on: bool, name: &str, initial| -> Result<Option<Var>> {
            on.then(|| variables.required(name, initial).map(|found| found.var)).transpose()
        };
        let layer = Layer {
            gamma: affine(config.scale, "gamma", &config.gamma_initializer)?,
            beta: affine(config.center, "beta", &config.beta_initializer)?,
            state: State::build(config, &variables)?,
            config: config.clone(),
            channels,
            ranks: None,
            device,
            implementation: Implementation::default(),
        };
        let (frozen, last_correction) = (Arc::default(), Arc::default());
        Ok(Self { layer, updates: None, prefix, frozen, last_correction })
    }

    /// Builds a layer from tensors. Its variables are new, on the tensors' device. Statistics are kept in f32, or f64
    /// where the moving mean is f64, and count as fully gathered.
    /// # Errors
    /// As [`BatchNormConfig::build`]; [`Error::Shape`] unless all are `[C]`; [`Error::Contradiction`] for a
    /// gamma or beta that the configuration does not have, or lacks; [`Error::Value`] for a mean that is not
    /// finite, or a variance that is not or is negative.
    pub fn from_tensors(config: &BatchNormConfig, parameters: &Parameters) -> Result<Self> {
        let Parameters { gamma, beta, moving_mean, moving_variance } = parameters;
        let (channels, dtype) = (moving_mean.elem_count(), statistics_dtype(moving_mean.dtype()));
        if (gamma.is_some(), beta.is_some()) != (config.scale, config.center) {
            return Err(Error::Contradiction {
                op: "from_tensors".into(),
                first: "the configuration's scale and center",
                second: "the gamma and beta that are given",
                reason: "each must be given where it is configured, and only there",
            });
        }
        let statistics = [("moving_mean", moving_mean), ("moving_variance", moving_variance)];
        let affine = [("gamma", gamma.as_ref()), ("beta", beta.as_ref())];
        let affine = affine.into_iter().filter_map(|(name, t)| Some((name, t?)));
        let mut tensors = HashMap::new();
        for (name, t) in statistics.into_iter().chain(affine) {
            if t.dims() != [channels] {
                let expected = format!("[C = {channels}]");
                return Err(Error::shape("from_tensors", name, expected, t.dims()));
            }
            tensors.insert(name.to_owned(), t.detach());
        }
        require_statistics(&values(moving_mean)?, &values(moving_variance)?)?;
        let vb = VarBuilder::from_tensors(tensors, dtype, moving_mean.device());
        let config = BatchNormConfig { names: Names::Own, reuse: Reuse::Auto, ..config.clone() };
        config.build(channels, vb)
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
        Self { layer: Layer { ranks: Some(ranks), ..self.layer }, ..self }
    }

    /// Computes with other code; both give the same results.
    pub fn with_implementation(self, implementation: Implementation) -> Self {
        Self { layer: Layer { implementation, ..self.layer }, ..self }
    }

    /// Freezes the layer and its clones, or thaws them: while it is frozen, its training passes
    /// ([`forward_train`](Self::forward_train), `forward_t(x, true)`) normalize by the moving statistics and
    /// leave them as they are. [`forward_with`](Self::forward_with) does what its [`Call`] says.
    pub fn set_frozen(&self, frozen: bool) {
        self.frozen.store(frozen, Relaxed);
    }

    /// Whether the layer is frozen.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Relaxed)
    }

    fn train_call(&self) -> Call<'static> {
        if self.is_frozen() { Call::eval() } else { Call::train() }
    }

    /// A training step: normalizes by the batch and moves the averages (or leaves that pending).
    /// # Errors
    /// See [`BatchNorm::forward_with`].
    pub fn forward_train(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, &self.train_call())
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
        if let Some(call) = self.recording(call) {
            return self.named(self.record(x, &call));
        }
        let forward = self.layer.forward(x, call, self.layer.exchange(call));
        self.named(forward.and_then(|forward| self.apply(forward)))
    }

    /// A training step outside candle's graph: y, and what its gradient needs.
    ///
    /// For training loops that you write yourself: the kernels of [`BatchNorm::forward_train`] without the
    /// cost of a graph, which adds every gradient to a fresh zero tensor.
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
        self.forward_with_saved(x, &self.train_call())
    }

    /// Any forward pass outside candle's graph, see [`BatchNorm::forward_train_saved`]. (It does not
    /// record for [`population_statistics`](crate::population_statistics).)
    /// # Errors
    /// See [`BatchNorm::forward_with`].
    pub fn forward_with_saved(&self, x: &Tensor, call: &Call<'_>) -> Result<(Tensor, Saved)> {
        let done = self.layer.forward_saved(x, call, self.layer.exchange(call));
        self.named(done.and_then(|(forward, saved)| Ok((self.apply(forward)?, saved))))
    }

    /// A forward pass without renorm that leaves the layer as it is: y, and the moments that an update would take;
    /// `None` where the call's statistics are not the batch's, or a policy forbids an update.
    /// # Errors
    /// See [`BatchNorm::forward_with`].
    pub fn forward_with_moments(
        &self,
        x: &Tensor,
        call: &Call<'_>,
    ) -> Result<(Tensor, Option<Moments>)> {
        let call = Call { update: true, renorm: false, ..*call };
        let forward = self.layer.forward(x, &call, self.layer.exchange(&call));
        self.named(forward.map(|forward| (forward.y, forward.update)))
    }

    /// Applies a forward pass's effects to the layer and returns y.
    fn apply(&self, forward: Forward) -> Result<Tensor> {
        let Forward { y, update, correction } = forward;
        if correction.is_some() || update.is_some() {
            *lock(&self.last_correction) = correction;
        }
        match (update, &self.updates) {
            (None, _) => {}
            (Some(moments), Some(updates)) => {
                updates.leave(&self.layer.state, Pending { moments, forwards: 1 });
            }
            (Some(batch), None) => self.layer.state.commit(batch)?,
        }
        Ok(y)
    }

    /// While population statistics are taken: the call by the batch that takes this one's place.
    fn recording<'a>(&self, call: &Call<'a>) -> Option<Call<'a>> {
        let given = matches!(call.statistics, Statistics::Given(_));
        if given || self.layer.state.ledger().recorded.is_none() {
            return None;
        }
        Some(Call { statistics: Statistics::Batch, update: true, renorm: false, ..*call })
    }

    /// Normalizes by this rank's batch and records its moments.
    fn record(&self, x: &Tensor, call: &Call<'_>) -> Result<Tensor> {
        let forward = self.layer.forward(x, call, None)?;
        if let Some(recorded) = self.layer.state.ledger().recorded.as_mut() {
            recorded.extend(forward.update);
        }
        Ok(forward.y)
    }

    /// Errors name the layer's prefix.
    fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.at(self.name()))
    }

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

    /// A copy of the moving mean that evaluation uses, `[C]`.
    /// # Errors
    /// What candle says of a device that cannot be read.
    pub fn moving_mean(&self) -> Result<Tensor> {
        self.copy_of("moving_mean")
    }

    /// A copy of the moving variance that evaluation uses, `[C]`.
    /// # Errors
    /// What candle says of a device that cannot be read.
    pub fn moving_variance(&self) -> Result<Tensor> {
        self.copy_of("moving_variance")
    }

    fn copy_of(&self, name: &str) -> Result<Tensor> {
        let found = self.layer.state.copy_of(name).map_err(Error::from);
        self.named(found.and_then(|t| {
            t.ok_or_else(|| Error::Missing {
                op: "statistics".into(),
                name: name.to_owned(),
                present: String::new(),
            })
        }))
    }

    /// gamma and beta by name, in name order; none when the layer is frozen (`trainable: false`).
    pub fn trainable_variables(&self) -> Vec<(String, Var)> {
        if !self.layer.config.trainable {
            return Vec::new();
        }
        self.affine_variables()
    }

    /// gamma and beta by name, in name order, whether they are trained or not.
    pub fn affine_variables(&self) -> Vec<(String, Var)> {
        let both = [("beta", &self.layer.beta), ("gamma", &self.layer.gamma)];
        let named = |(name, var): (&str, &Option<Var>)| Some((name.to_owned(), var.clone()?));
        both.into_iter().filter_map(named).collect()
    }

    /// Everything that updates move, by name, in name order: the variables themselves, which go on changing.
    /// Nothing here is for an optimizer.
    pub fn statistics(&self) -> Vec<(String, Var)> {
        self.layer.state.named()
    }

    /// r and d of the last training forward pass; `None` if it did not apply renorm.
    pub fn last_correction(&self) -> Option<Correction> {
        lock(&self.last_correction).as_ref().map(LastCorrection::to_correction)
    }

    /// Moments of the last batch that was committed, or refused for a value that is not finite; `None` before
    /// one. With ranks, those of all ranks; with several forwards per commit, those of all of them.
    pub fn last_batch(&self) -> Option<Moments> {
        self.layer.state.ledger().last.as_ref().map(|last| last.batch.clone())
    }

    /// The update that waits for [`Updates::commit`]; `None` if nothing is pending.
    pub fn pending(&self) -> Option<Pending> {
        self.layer.state.ledger().pending.clone()
    }

    /// Replaces the pending update, as when a run resumes between two commits: pass what
    /// [`pending`](Self::pending) returned when it was saved.
    /// # Errors
    /// [`Error::Contradiction`] for a layer without [`with_updates`](Self::with_updates), which commits at once;
    /// [`Error::Shape`] for another number of channels.
    pub fn restore_pending(&self, pending: Pending) -> Result<()> {
        self.named(self.replace_pending(pending))
    }

    fn replace_pending(&self, pending: Pending) -> Result<()> {
        let found = pending.moments.channels().len();
        if found != self.layer.channels {
            let expected = format!("[C = {}]", self.layer.channels);
            return Err(Error::shape("restore_pending", "pending moments", expected, &[found]));
        }
        let Some(updates) = &self.updates else {
            return Err(Error::Contradiction {
                op: "restore_pending".into(),
                first: "a pending update",
                second: "a layer without `with_updates`",
                reason: "it commits its updates at once",
            });
        };
        self.layer.state.ledger().pending = None;
        updates.leave(&self.layer.state, pending);
        Ok(())
    }

    /// The current step of the schedules of decay and clipping: updates tried so far.
    pub fn step(&self) -> u64 {
        let ledger = self.layer.state.ledger();
        self.layer.state.step(&ledger).unwrap_or(0) // a device that cannot be read says so at the next forward
    }

    /// Moves the schedules to another step (to resume a run whose steps were counted elsewhere).
    pub fn set_step(&self, step: u64) {
        self.layer.state.set_step(step);
    }

    /// Sum of the penalties on gamma and beta, a scalar to add to the loss; none without regularizers.
    pub fn regularization_loss(&self) -> Result<Option<Tensor>> {
        let pairs = [
            (&self.layer.beta, self.layer.config.beta_regularizer),
            (&self.layer.gamma, self.layer.config.gamma_regularizer),
        ];
        let mut total: Option<Tensor> = None;
        for (var, regularizer) in pairs {
            let (Some(var), Some(regularizer)) = (var, regularizer) else {
                continue;
            };
            let penalty = regularizer.penalty(&self.layer.parameter(var))?;
            total = Some(match total {
                Some(sum) => (sum + penalty)?,
                None => penalty,
            });
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

/// Refuses what no evaluation can normalize by.
fn require_statistics(mean: &[f64], variance: &[f64]) -> Result<()> {
    let unsound = |v: &&f64| !(v.is_finite() && **v >= 0.0);
    if let Some(value) = mean.iter().find(|v| !v.is_finite()) {
        return Err(Error::value("moving mean", "finite values", value));
    }
    match variance.iter().find(unsound) {
        Some(value) => Err(Error::value("moving variance", "finite values of 0 or more", value)),
        None => Ok(()),
    }
}

impl ModuleT for BatchNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle::Result<Tensor> {
        let call = if train { self.train_call() } else { Call::eval() };
        Ok(self.forward_with(x, &call)?)
    }
}
