//! Batch normalization for candle, with the semantics of TensorFlow, Keras, PyTorch, Flax and Haiku.

mod attach;
mod batch_norm;
mod call;
mod collective;
mod config;
pub mod error;
mod forward;
mod health;
mod layout;
mod moments;
mod moving_average;
mod normalize;
mod renorm;
mod schedule;
mod state;
mod tail;
mod updates;
mod variables;
mod weights;

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
