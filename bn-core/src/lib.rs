//! Batch normalization for [candle](https://docs.rs/candle-core) that trains: exact to TensorFlow's,
//! Keras', PyTorch's and Flax' numbers, with their options free to combine.
//!
//! ```
//! use bn_core::{BatchNormConfig, Decay, ZeroDebias};
//! use candle::{DType, Device, Tensor};
//! use candle_nn::{VarBuilder, VarMap};
//!
//! let variables = VarMap::new();
//! let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
//!
//! let bn = BatchNormConfig {
//!     decay: Decay::Constant(0.99),
//!     zero_debias: ZeroDebias::Both, // moving statistics that are right from the first step on
//!     ..BatchNormConfig::default()
//! }
//! .build(64, vb.pp("norm1"))?;
//!
//! let x = Tensor::randn(3f32, 2., (16, 64, 8, 8), &Device::Cpu)?;
//! let y = bn.forward_train(&x)?; // by the batch's mean and variance; the moving ones follow
//! let y = bn.forward_eval(&x)?; // by the moving ones
//! assert_eq!(y.dims(), x.dims());
//! # Ok::<(), bn_core::Error>(())
//! ```
//!
//! # What it computes
//!
//! `y = activation(gamma · ((x − mean) / √(variance + ε) · r + d) + beta + residual)`, per channel; mean
//! and variance of the batch in training (`variance` biased), the moving averages in evaluation; `r = 1`
//! and `d = 0` but for batch renormalization. [`guide::semantics`] has every formula.
//!
//! # What is here
//!
//! | for | see |
//! |---|---|
//! | the layer, its options, one call of it | [`BatchNorm`], [`BatchNormConfig`], [`Call`] |
//! | checkpoints in other systems' names | [`Names`] |
//! | the defaults of other systems | [`BatchNormConfig::tf_slim`], [`torch`](BatchNormConfig::torch), [`keras`](BatchNormConfig::keras), [`flax`](BatchNormConfig::flax), … |
//! | statistics by themselves | [`moments`], [`weighted_moments`], [`Moments`], [`batch_normalization`] |
//! | moving averages | [`MovingAverage`], [`Decay`], [`ZeroDebias`] |
//! | batch renormalization | [`RenormConfig`], [`RenormVariant`], [`Clipping`], [`Correction`] |
//! | training loops without candle's graph | [`BatchNorm::forward_train_saved`], [`Saved`] |
//! | several micro-batches per update | [`Updates`] |
//! | several ranks | [`Collective`], [`Threads`] |
//! | better statistics for evaluation | [`population_statistics`] |
//! | inference without the layer | [`fold`] |
//! | conversion between systems | [`interchange`] |
//! | what goes wrong without an error | [`Health`] |
//! | nets with a train flag | [`Sequential`] |
//!
//! Coming from another system: [`guide::tensorflow`], [`guide::torch`], [`guide::keras`].
//!
//! # What it does not do
//!
//! It opens no file, reads no clock and draws no random number. It has no second derivatives (candle's
//! backward has none). Layer, group and instance normalization are candle-nn's.
//!
//! # Crate features
//!
//! * `serde`: `Serialize` and `Deserialize` for [`BatchNormConfig`] and its parts.
//! * `cuda`: candle's CUDA backend. Everything here runs there through candle's tensor ops, with `[C]` values
//!   on the host. A build with it needs the CUDA toolkit, and `libcuda.so.1` to start.

// Modules in reading order; each uses only those above it (`tests/architecture.rs` holds that, and
// `reorder_modules = false` in rustfmt.toml keeps the order).
mod error;
mod layout;
mod schedule;
mod activation;
mod tensors;
mod channel;
mod weights;
mod functions;
mod moments;
mod config;
mod variables;
mod moving_average;
mod state;
mod collective;
mod engine;
mod call;
mod pass;
mod updates;
mod batch_norm;
mod health;
mod sequential;
mod population;
mod fold;
pub mod interchange;

pub use activation::{Activation, Regularizer};
pub use batch_norm::{BatchNorm, Parameters};
pub use call::{Call, Statistics};
pub use channel::{Bounds, Decay, Degenerate, Policy, RenormVariant, WeightKind};
pub use collective::{Collective, Single, Threads};
pub use config::{
    BatchNormConfig, Clipping, Initializer, Names, RMin, RenormConfig, Reuse, StoredVariance,
    ZeroDebias,
};
pub use engine::Implementation;
pub use error::{Error, Op, Result};
pub use fold::{Convolution, Folded, Operator, fold};
pub use functions::{batch_normalization, moments, weighted_moments};
pub use health::Health;
pub use layout::DataFormat;
pub use moments::Moments;
pub use moving_average::{MovingAverage, decay_from_momentum};
pub use pass::{Correction, InputGradients, Saved};
pub use population::{PopulationOptions, PopulationReport, population_statistics};
pub use schedule::Schedule;
pub use sequential::{Observer, Sequential};
pub use state::Pending;
pub use updates::Updates;

/// Longer texts: the semantics, and each system's parameters in our words.
pub mod guide {
    #[doc = include_str!("../docs/semantics.md")]
    pub mod semantics {}
    #[doc = include_str!("../docs/tensorflow.md")]
    pub mod tensorflow {}
    #[doc = include_str!("../docs/torch.md")]
    pub mod torch {}
    #[doc = include_str!("../docs/keras.md")]
    pub mod keras {}
}

/// Compiles and runs the example of the crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
