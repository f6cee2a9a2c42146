//! One forward and one backward pass of a layer, for all engines.
//!
//! The pass checks, forms groups, gathers over ranks, applies policies and formulas, and says what is to be
//! committed; an engine computes the large passes over tensors.

mod backward;
mod forward;
mod input;
mod ranks;
mod saved;

pub(crate) use forward::{Forward, LastCorrection, Layer};
pub use saved::{InputGradients, Saved};
