//! [`Sequential`]: a chain of layers that passes the train flag on and lets every output be observed.
//!
//! candle's own `Sequential` drops the flag, so a batch norm inside it would never train.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use candle::Tensor;
use candle_nn::ModuleT;

use crate::batch_norm::BatchNorm;

/// Receives each layer's name and output during a forward pass.
pub type Observer = Arc<dyn Fn(&str, &Tensor) + Send + Sync>;

/// A chain of named layers.
///
/// ```
/// use bn_core::{BatchNormConfig, Sequential};
/// use candle::{DType, Device, Tensor};
/// use candle_nn::{ModuleT, VarBuilder, VarMap};
/// # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
/// let net = Sequential::new()
///     .add("linear", candle_nn::linear_no_bias(4, 3, vb.pp("linear"))?)
///     .add("norm", BatchNormConfig::keras().build(3, vb.pp("norm"))?)
///     .add("relu", |x: &Tensor| x.relu());
/// let x = Tensor::randn(0f32, 1., (8, 4), &Device::Cpu)?;
/// let y = net.forward_t(&x, true)?; // the batch norm trains
/// # Ok::<(), bn_core::Error>(())
/// ```
#[derive(Default)]
pub struct Sequential {
    layers: Vec<(String, Box<dyn Layer>)>,
    observer: Option<Observer>,
}

/// A layer that can be cast down to a batch norm.
trait Layer: ModuleT + Any + Send + Sync {}
impl<L: ModuleT + Any + Send + Sync> Layer for L {}

impl Sequential {
    /// No layers: the identity.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a layer: anything that implements candle's `ModuleT` or `Module`, closures included.
    #[must_use]
    pub fn add(
        mut self,
        name: impl Into<String>,
        layer: impl ModuleT + Send + Sync + 'static,
    ) -> Self {
        self.layers.push((name.into(), Box::new(layer)));
        self
    }

    /// Calls `observer` with each layer's name and output (TensorFlow's `outputs_collections`).
    #[must_use]
    pub fn with_observer(
        mut self,
        observer: impl Fn(&str, &Tensor) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// The batch-norm layers by name, in order; those of a nested [`Sequential`] are named `outer.inner`. Use it
    /// for [`health`](BatchNorm::health), [`population_statistics`](crate::population_statistics) and
    /// [`set_frozen`](BatchNorm::set_frozen). Layers inside other modules are not found.
    pub fn batch_norms(&self) -> Vec<(String, &BatchNorm)> {
        let mut found = Vec::new();
        for (name, layer) in &self.layers {
            let layer: &dyn Any = layer.as_ref();
            if let Some(norm) = layer.downcast_ref::<BatchNorm>() {
                found.push((name.clone(), norm));
            } else if let Some(inner) = layer.downcast_ref::<Sequential>() {
                let inner = inner.batch_norms().into_iter();
                found.extend(inner.map(|(below, norm)| (format!("{name}.{below}"), norm)));
            }
        }
        found
    }

    /// The layers' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().map(|(name, _)| name.as_str())
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether the chain is empty.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl ModuleT for Sequential {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle::Result<Tensor> {
        let mut x = x.clone();
        for (name, layer) in &self.layers {
            x = layer.forward_t(&x, train)?;
            if let Some(observer) = &self.observer {
                observer(name, &x);
            }
        }
        Ok(x)
    }
}

impl fmt::Debug for Sequential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
