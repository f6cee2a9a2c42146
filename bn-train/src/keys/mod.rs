//! Keys of an experiment file: the values, default and meaning of each, declared once.
//!
//! A reader is a function that asks [`Keys`] for its keys, one after the other:
//!
//! ```
//! use bn_train::keys::{Key, Keys, list, whole};
//!
//! struct Mlp {
//!     hidden: Vec<u64>,
//! }
//!
//! fn read(keys: &mut Keys<'_>) -> Option<Mlp> {
//!     let widths = list("widths", whole(1..=65_536));
//!     let hidden = keys.with_default(Key::new("hidden", widths, "widths of the hidden layers"), vec![100, 100]);
//!     Some(Mlp { hidden: hidden? })
//! }
//! ```
//!
//! The same function reads a file, describes keys for the template and messages, and writes out defaults:
//! [`Kind::entries`] runs it without a file and records what it asks for. It must therefore ask for all its keys before it
//! looks at any value.
//!
//! This module defines no keys. Networks, data sets, optimizers and schedules define theirs next to what they build.

mod entry;
mod kind;
mod leaf;
mod numbers;
mod points;
mod problem;
mod reader;
mod span;
mod suggestion;
mod takes;

pub use entry::{Entry, Presence};
pub use kind::{Kind, Kinds};
pub use leaf::{Leaf, Leaves, dotted};
pub use numbers::{Number, Whole, number, size, whole};
pub use points::{bound, points};
pub use problem::{Invalid, Place, Problem};
pub use reader::{Found, Key, Keys};
pub use span::{RunLength, Span, span};
pub use suggestion::did_you_mean;
pub(crate) use takes::one_of;
pub use takes::{Takes, Word, flag, list, text, words};
