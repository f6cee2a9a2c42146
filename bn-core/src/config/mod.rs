//! [`BatchNormConfig`]: every option of the layer, with the defaults of each system as presets.

mod check;
mod initializer;
mod names;
mod renorm;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

pub use initializer::{Initializer, Reuse};
pub use names::Names;
pub use renorm::{Clipping, RMin, RenormConfig};

use crate::activation::{Activation, Regularizer};
use crate::channel::{Decay, Degenerate, Policy, WeightKind};
use crate::layout::DataFormat;

/// Which moving averages are debiased: divided by the weight that they have gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
pub enum ZeroDebias {
    /// Neither; both start at their initial values.
    #[default]
    None,
    /// The mean only, TensorFlow's `zero_debias_moving_mean`.
    Mean,
    /// The variance only.
    Variance,
    /// Both, as in Haiku.
    Both,
}

impl ZeroDebias {
    pub(crate) fn of_mean(self) -> bool {
        matches!(self, ZeroDebias::Mean | ZeroDebias::Both)
    }

    pub(crate) fn of_variance(self) -> bool {
        matches!(self, ZeroDebias::Variance | ZeroDebias::Both)
    }
}

/// Which variance the moving average stores. Normalization always uses the biased one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
pub enum StoredVariance {
    /// `Σw(x − mean)² / W`.
    #[default]
    Biased,
    /// Corrected for the degree of freedom that the mean took; see [`WeightKind`].
    Unbiased,
}

/// Every option of a [`crate::BatchNorm`] layer: start from a preset, change what differs, and
/// [`build`](Self::build). The [crate documentation](crate) has an example.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(default, deny_unknown_fields))]
pub struct BatchNormConfig {
    /// The channel axis. Default [`DataFormat::Nchw`].
    pub data_format: DataFormat,
    /// Weight of the old value in the moving averages, in `[0, 1)`. Default 0.9.
    pub decay: Decay,
    /// Added to the variance before the square root; above 0. Default 1e-5.
    pub epsilon: f64,
    /// Add beta. Default true.
    pub center: bool,
    /// Multiply by gamma. Default true.
    pub scale: bool,
    /// Applied to the result. Default none.
    pub activation: Activation,
    /// Default zeros.
    pub beta_initializer: Initializer,
    /// Default ones.
    pub gamma_initializer: Initializer,
    /// Default zeros.
    pub moving_mean_initializer: Initializer,
    /// Default ones.
    pub moving_variance_initializer: Initializer,
    /// Penalty on beta; see [`crate::BatchNorm::regularization_loss`]. Default none.
    pub beta_regularizer: Option<Regularizer>,
    /// Penalty on gamma. Default none.
    pub gamma_regularizer: Option<Regularizer>,
    /// Which averages are debiased. Default [`ZeroDebias::None`]. Excludes the renorm variants `Keras` and
    /// `Paper`, whose averages are the reference of r and d.
    pub zero_debias: ZeroDebias,
    /// Which variance is stored. Default [`StoredVariance::Unbiased`], which excludes renorm.
    pub stored_variance: StoredVariance,
    /// The meaning of weights, for an unbiased stored variance. Default [`WeightKind::Frequency`].
    pub weight_kind: WeightKind,
    /// Batch renormalization. Default none.
    pub renorm: Option<RenormConfig>,
    /// Examples per normalization group (ghost batch): contiguous groups along axis 0; the last group takes the
    /// rest. Default: one group, the batch.
    pub normalization_batch: Option<usize>,
    /// Whether gamma and beta are trained. If not, [`crate::BatchNorm::trainable_variables`] is empty and they get
    /// no gradient. Default true.
    pub trainable: bool,
    /// Whether the layer may share the variables of an earlier layer on the same prefix. Default [`Reuse::Auto`].
    pub reuse: Reuse,
    /// How degenerate batches are treated.
    pub degenerate: Degenerate,
    /// The names of the variables. Default [`Names::Own`].
    pub names: Names,
}

impl Default for BatchNormConfig {
    /// [`BatchNormConfig::candle`]: channels on axis 1, gamma and beta, decay 0.9, epsilon 1e-5, unbiased stored
    /// variance.
    fn default() -> Self {
        Self::candle()
    }
}

impl BatchNormConfig {
    /// `tf.contrib.layers.batch_norm`: decay 0.999, epsilon 0.001, no gamma, NHWC, biased stored variance.
    pub fn tf_slim() -> Self {
        Self {
            data_format: DataFormat::Nhwc,
            decay: Decay::Constant(0.999),
            epsilon: 1e-3,
            center: true,
            scale: false,
            activation: Activation::None,
            beta_initializer: Initializer::ZEROS,
            gamma_initializer: Initializer::ONES,
            moving_mean_initializer: Initializer::ZEROS,
            moving_variance_initializer: Initializer::ONES,
            beta_regularizer: None,
            gamma_regularizer: None,
            zero_debias: ZeroDebias::None,
            stored_variance: StoredVariance::Biased,
            weight_kind: WeightKind::Frequency,
            renorm: None,
            normalization_batch: None,
            trainable: true,
            reuse: Reuse::Auto,
            degenerate: Degenerate::default(),
            names: Names::Own,
        }
    }

    /// `tf.layers.batch_normalization`: decay 0.99, epsilon 0.001, gamma and beta, NHWC.
    pub fn tf_layers() -> Self {
        Self { decay: Decay::Constant(0.99), scale: true, ..Self::tf_slim() }
    }

    /// Keras 3: decay ("momentum") 0.99, epsilon 0.001, gamma and beta, channels last.
    pub fn keras() -> Self {
        Self::tf_layers()
    }

    /// PyTorch's `BatchNorm`: decay 0.9 ("momentum" 0.1), epsilon 1e-5, NCHW, unbiased stored variance; one
    /// value per channel is an error.
    pub fn torch() -> Self {
        Self {
            data_format: DataFormat::Nchw,
            decay: Decay::Constant(0.9),
            epsilon: 1e-5,
            stored_variance: StoredVariance::Unbiased,
            degenerate: Degenerate { one_value: Policy::Error, ..Degenerate::default() },
            ..Self::tf_layers()
        }
    }

    /// Flax: decay ("momentum") 0.99, epsilon 1e-5, channels last, biased stored variance.
    pub fn flax() -> Self {
        Self { epsilon: 1e-5, ..Self::tf_layers() }
    }

    /// Haiku: epsilon 1e-5, channels last, both averages zero-debiased. Haiku has no defaults for `decay_rate`,
    /// `create_scale` and `create_offset`; here they are 0.9, true and true, as in its examples.
    pub fn haiku() -> Self {
        Self {
            decay: Decay::Constant(0.9),
            epsilon: 1e-5,
            zero_debias: ZeroDebias::Both,
            ..Self::tf_layers()
        }
    }

    /// candle-nn: [`BatchNormConfig::torch`], but one value per channel is accepted. (candle-nn then writes NaN
    /// into the moving variance; this crate does not update it.)
    pub fn candle() -> Self {
        Self { degenerate: Degenerate::default(), ..Self::torch() }
    }

    /// Names the variables as another system does.
    pub fn names(self, names: Names) -> Self {
        Self { names, ..self }
    }

    /// Adds TensorFlow's `fused=True` conventions: an unbiased stored variance, and an epsilon of at least
    /// 1.001e-5 (cuDNN's bound, which TensorFlow applies silently).
    pub fn fused(self) -> Self {
        Self {
            stored_variance: StoredVariance::Unbiased,
            epsilon: self.epsilon.max(1.001e-5),
            ..self
        }
    }
}
