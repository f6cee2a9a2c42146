//! Trainable batch normalization for [candle](https://docs.rs/candle-core), with the numbers of TensorFlow,
//! Keras, PyTorch and Flax and all their options in any combination.
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
//!     zero_debias: ZeroDebias::Both, // unbiased moving statistics from the first step on
//!     ..BatchNormConfig::default()
//! }
//! .build(64, vb.pp("norm1"))?;
//!
//! let x = Tensor::randn(3f32, 2., (16, 64, 8, 8), &Device::Cpu)?;
//! let y = bn.forward_train(&x)?; // normalizes by the batch and updates the moving statistics
//! let y = bn.forward_eval(&x)?; // normalizes by the moving statistics
//! assert_eq!(y.dims(), x.dims());
//! # Ok::<(), bn_core::Error>(())
//! ```
//!
//! # What it computes
//!
//! `y = activation(gamma · ((x − mean) / √(variance + ε) · r + d) + beta + residual)`, per channel. Training uses
//! mean and (biased) variance of the batch, evaluation the moving averages. `r = 1` and `d = 0` without batch
//! renormalization. [`guide::semantics`] has every formula.
//!
//! # What is here
//!
//! | for | see |
//! |---|---|
//! | the layer, its options, the options of a call | [`BatchNorm`], [`BatchNormConfig`], [`Call`] |
//! | checkpoints in other systems' names | [`Names`] |
//! | the defaults of other systems | [`BatchNormConfig::tf_slim`], [`torch`](BatchNormConfig::torch), [`keras`](BatchNormConfig::keras), [`flax`](BatchNormConfig::flax), … |
//! | statistics without a layer | [`moments`], [`weighted_moments`], [`Moments`], [`batch_normalization`] |
//! | moving averages | [`MovingAverage`], [`Decay`], [`ZeroDebias`] |
//! | batch renormalization | [`RenormConfig`], [`RenormVariant`], [`Clipping`], [`Correction`] |
//! | training loops outside candle's graph | [`BatchNorm::forward_train_saved`], [`Saved`] |
//! | several micro-batches per update | [`Updates`] |
//! | several ranks | [`Collective`], [`Threads`] |
//! | better statistics for evaluation | [`population_statistics`] |
//! | inference without the layer | [`fold`] |
//! | conversion between systems | [`interchange`] |
//! | problems that raise no error | [`Health`] |
//! | a chain of layers with a train flag | [`Sequential`] |
//!
//! Coming from another system: [`guide::tensorflow`], [`guide::torch`], [`guide::keras`].
//!
//! # What it does not do
//!
//! It reads no clock, draws no random numbers and, except that the feature `cuda` keeps compiled kernels in a cache folder,
//! opens no files. Like candle's backward pass, it has no second
//! derivatives. For layer, group and instance normalization see candle-nn.
//!
//! # Crate features
//!
//! * `serde`: `Serialize` and `Deserialize` for [`BatchNormConfig`] and its parts.
//! * `cuda`: candle's CUDA backend, and kernels of this crate for it. A training step without weights and ranks leaves
//!   every value on the GPU and does not wait for it. The build needs the CUDA toolkit; the program needs `libcuda.so.1`
//!   and `libnvrtc.so`. `BN_CUDA_CACHE` names the folder of compiled kernels (default `~/.cache/bn-core`).

// Modules in reading order; each uses only those above it (`tests/architecture.rs` holds that, and
// `reorder_modules = false` in rustfmt.toml keeps the order).
mod error;
mod layout;
mod schedule;
mod activation;
mod tensors;
#[cfg(feature = "cuda")]
pub mod cuda;
mod channel;
mod weights;
mod functions;
mod moments;
mod engine;
mod config;
mod variables;
mod moving_average;
mod state;
mod collective;
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
pub use error::{Error, ErrorKind, Result};
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
pub use state::{Evaluation, Pending};
pub use updates::Updates;

/// Guides: the exact semantics, and where to find each parameter of another system.
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
