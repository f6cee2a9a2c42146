//! One forward and one backward pass of a layer, for all engines.
//!
//! The pass checks, forms groups, gathers over ranks, applies policies and formulas, and says what is to be
//! committed; an engine computes the large passes over tensors.

mod layer;
mod input;
mod correction;
mod backward;
mod run;
mod device;
mod tail;
mod saved;
mod graph;
mod forward;

pub use correction::Correction;
pub(crate) use correction::LastCorrection;
pub(crate) use forward::Forward;
pub(crate) use layer::Layer;
pub use saved::{InputGradients, Saved};
