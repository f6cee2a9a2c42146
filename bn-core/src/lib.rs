//! Batch normalization for candle, with the semantics of TensorFlow, Keras, PyTorch, Flax and Haiku.

pub mod error;
mod layout;
mod schedule;
mod weights;
mod moments;
mod variables;
mod moving_average;
mod renorm;
mod normalize;
mod tail;
mod config;
mod call;
mod attach;
mod collective;
mod health;
mod state;
mod updates;
mod forward;
mod batch_norm;

pub use batch_norm::BatchNorm;
pub use call::{Call, Statistics};
pub use collective::{Collective, Single, Threads};
pub use config::{BatchNormConfig, Degenerate, Policy, StoredVariance, ZeroDebias};
pub use error::{Error, Result};
pub use health::Health;
pub use layout::{ChannelView, DataFormat};
pub use moments::{Moments, WeightKind, moments, weighted_moments};
pub use moving_average::{Decay, MovingAverage, decay_from_momentum};
pub use normalize::batch_normalization;
pub use renorm::{Bounds, Clipping, Correction, RMin, RenormConfig, RenormVariant};
pub use schedule::Schedule;
pub use tail::{Activation, Regularizer};
pub use updates::Updates;
pub use variables::{Initializer, Reuse};
