//! The layer: [`BatchNorm`] and its forward passes. The arithmetic is in `pass`.

mod access;
mod build;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use candle::Tensor;
use candle_nn::ModuleT;

pub use build::Parameters;

use crate::call::{Call, Statistics};
use crate::collective::Collective;
use crate::engine::Implementation;
use crate::error::Result;
use crate::moments::Moments;
use crate::pass::{Forward, LastCorrection, Layer, Saved};
use crate::state::{Evaluation, Pending};
use crate::tensors::lock;
use crate::updates::Updates;

/// Batch normalization: `y = activation(gamma · (x − mean) / √(variance + ε) + beta + residual)`.
///
/// Built by [`BatchNormConfig::build`](crate::BatchNormConfig::build). Shapes: `x` has rank 2 or more and `C`
/// channels on the configured axis; `y` has x's shape and type. Statistics and parameters are `[C]`, in f64 for
/// an f64 `VarBuilder` and in f32 otherwise; f16 and bf16 inputs are computed in wider types.
///
/// Gradients flow through candle's `backward`, also through the batch statistics; r, d, weights and moving
/// statistics are held constant. As a [`ModuleT`], `forward_t(x, train)` trains or evaluates.
///
/// The layer is `Send` and `Sync`. Clones share variables and state, so several threads may train one layer;
/// each update is atomic. Large calls from several threads take turns on candle's thread pool; calls from
/// rayon's threads run in parallel.
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
    /// Collects this layer's updates in `updates` instead of committing each at once.
    pub fn with_updates(self, updates: &Updates) -> Self {
        Self { updates: Some(updates.clone()), ..self }
    }

    /// Takes batch statistics over all ranks of a group (synchronized batch norm).
    ///
    /// In y, dx and state the ranks equal one big batch, even if their batches differ in size or some are
    /// empty. Each rank's gradients of gamma and beta are its own share; sum them over ranks like all other
    /// gradients. With `normalization_batch`, groups stay within a rank and only the update covers all ranks.
    pub fn with_collective(self, ranks: Arc<dyn Collective>) -> Self {
        Self { layer: Layer { ranks: Some(ranks), ..self.layer }, ..self }
    }

    /// Chooses the code that computes the layer; results are the same.
    pub fn with_implementation(self, implementation: Implementation) -> Self {
        Self { layer: Layer { implementation, ..self.layer }, ..self }
    }

    /// Freezes or unfreezes the layer and its clones. Training passes of a frozen layer
    /// ([`forward_train`](Self::forward_train), `forward_t(x, true)`) normalize by the moving statistics and do
    /// not change them. [`forward_with`](Self::forward_with) still does what its [`Call`] says.
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

    /// A training step: normalizes by the batch's statistics and updates the moving ones (at once, or on the
    /// next commit of its [`Updates`]).
    /// # Errors
    /// See [`BatchNorm::forward_with`].
    pub fn forward_train(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, &self.train_call())
    }

    /// Sets what evaluation passes of the layer and its clones normalize by, also inside of modules that know only
    /// `forward_t(x, false)`: to measure a net by the statistics of each batch, or by given ones.
    ///
    /// ```
    /// use bn_core::{BatchNormConfig, Evaluation};
    /// use candle::{DType, Device, Tensor};
    /// use candle_nn::{ModuleT, VarBuilder, VarMap};
    /// # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    /// let bn = BatchNormConfig::torch().build(1, vb)?;
    /// let x = Tensor::new(&[[1f32], [3.]], &Device::Cpu)?;
    /// bn.set_evaluation(Evaluation::Batch);
    /// bn.forward_t(&x, false)?;
    /// let moments = bn.take_recorded()?.unwrap();
    /// assert_eq!(moments.mean().to_vec1::<f64>()?, [2.]);
    /// bn.set_evaluation(Evaluation::Given(moments)); // or back to Evaluation::Moving
    /// # Ok::<(), bn_core::Error>(())
    /// ```
    pub fn set_evaluation(&self, evaluation: Evaluation) {
        let mut ledger = self.layer.state.ledger();
        ledger.evaluation = Arc::new(evaluation);
        ledger.recorded.clear();
    }

    /// The merged moments of the batches evaluated by [`Evaluation::Batch`] since it was set, or since this was last
    /// called; `None` if there was none.
    /// # Errors
    /// None for batches of one layer: they have as many channels.
    pub fn take_recorded(&self) -> Result<Option<Moments>> {
        let recorded = std::mem::take(&mut self.layer.state.ledger().recorded);
        Moments::merge_all(&recorded)
    }

    /// Normalizes by the moving statistics.
    /// # Errors
    /// See [`BatchNorm::forward_with`].
    pub fn forward_eval(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, &Call::eval())
    }

    /// A forward pass as the [`Call`] says. An error leaves the layer's state unchanged.
    ///
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape), [`Axis`](crate::ErrorKind::Axis), [`DType`](crate::ErrorKind::DType) or
    /// [`Device`](crate::ErrorKind::Device) for a tensor that does not fit the layer or x;
    /// [`Weight`](crate::ErrorKind::Weight) for weights; [`Empty`](crate::ErrorKind::Empty), [`ZeroWeight`](crate::ErrorKind::ZeroWeight), [`OneValue`](crate::ErrorKind::OneValue)
    /// or [`ConstantChannel`](crate::ErrorKind::ConstantChannel) by the configured policies.
    pub fn forward_with(&self, x: &Tensor, call: &Call<'_>) -> Result<Tensor> {
        let evaluation = self.layer.state.ledger().evaluation.clone();
        let y = match (call.statistics, &*evaluation) {
            (Statistics::Batch | Statistics::Moving, Evaluation::Batch) => self.record(x, call),
            (Statistics::Moving, Evaluation::Given(moments)) => {
                let call = Call { statistics: Statistics::Given(moments), ..*call };
                self.layer.forward(x, &call, None).map(|forward| forward.y)
            }
            _ => {
                let forward = self.layer.forward(x, call, self.layer.exchange(call));
                forward.and_then(|forward| self.apply(forward))
            }
        };
        self.named(y)
    }

    /// A training step outside candle's graph: y, and what its gradient needs.
    ///
    /// For training loops with a backward pass of their own. It runs the kernels of
    /// [`BatchNorm::forward_train`] without the cost of a graph, which adds every gradient to a new zero tensor.
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

    /// A forward pass as the [`Call`] says, outside candle's graph; see [`BatchNorm::forward_train_saved`].
    /// [`population_statistics`](crate::population_statistics) does not see it.
    /// # Errors
    /// See [`BatchNorm::forward_with`].
    pub fn forward_with_saved(&self, x: &Tensor, call: &Call<'_>) -> Result<(Tensor, Saved)> {
        let done = self.layer.forward_saved(x, call, self.layer.exchange(call));
        self.named(done.and_then(|(forward, saved)| Ok((self.apply(forward)?, saved))))
    }

    /// A forward pass without renorm that leaves the layer unchanged: y, and the moments that an update would
    /// take; `None` if a policy forbids the update.
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
        let Forward { y, update, correction, reference } = forward;
        if correction.is_some() || update.is_some() {
            *lock(&self.last_correction) = correction;
        }
        match (update, &self.updates) {
            (None, _) => {}
            (Some(moments), Some(updates)) => {
                updates.leave(&self.layer.state, Pending { moments, forwards: 1 });
            }
            (Some(batch), None) => self.layer.state.commit(batch, reference)?,
        }
        Ok(y)
    }

    /// Normalizes by this rank's batch and records its moments.
    fn record(&self, x: &Tensor, call: &Call<'_>) -> Result<Tensor> {
        let call = Call { statistics: Statistics::Batch, update: true, renorm: false, ..*call };
        let forward = self.layer.forward(x, &call, None)?;
        self.layer.state.ledger().recorded.extend(forward.update);
        Ok(forward.y)
    }

    /// Errors name the layer's prefix.
    fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.at(self.name()))
    }
}

impl ModuleT for BatchNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle::Result<Tensor> {
        let call = if train { self.train_call() } else { Call::eval() };
        Ok(self.forward_with(x, &call)?)
    }
}
