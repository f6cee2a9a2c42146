//! The formulas of batch normalization, on the numbers of one channel: pure, each written once.
//!
//! Every engine and every rank goes through these. Here are no tensors, no devices and no errors. What
//! runs over all channels takes slices, so that the compiler makes vector instructions of it.

mod average;
mod commit;
mod moments;
mod normalize;
mod policy;
mod renorm;

pub use average::Decay;
pub(crate) use average::{Average, Column, Debias, Moving, toward};
pub(crate) use commit::{Averages, Commit, CommitRules, Committed, commit};
pub use moments::WeightKind;
pub(crate) use moments::{Moment, Weight, unbiased_variance};
pub(crate) use normalize::{Affine, Channel, Formulas, GradientTerms, Totals};
pub(crate) use policy::Verdict;
pub use policy::{Degenerate, Policy};
pub use renorm::{Bounds, RenormVariant};
pub(crate) use renorm::{Reference, RenormAverages};
