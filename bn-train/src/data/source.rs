//! Data sets that experiments can name.

use super::{DataError, Dataset, Description, digits, glyphs, plane};
use crate::keys::{Keys, Kind, Kinds};
use std::fmt;
use std::sync::Arc;

/// Something that has examples to train on.
pub trait Provider: fmt::Debug + Send + Sync {
    /// Sizes, known without reading the examples.
    fn describe(&self) -> Description;

    /// Reads and splits the examples, the same ones at each call.
    ///
    /// # Errors
    /// [`DataError`] when they cannot be read, or are not what they should be.
    fn load(&self) -> Result<Dataset, DataError>;
}

/// A data set of an experiment: what `[data]` says, and who reads it.
#[derive(Clone, Debug)]
pub struct Source {
    identity: String,
    provider: Arc<dyn Provider>,
}

/// Two sources are the same where their `[data]` says the same.
impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Source {
    /// The data of `provider`. `identity` is what tells it from others: the keys and values of `[data]`.
    pub fn new(identity: String, provider: Arc<dyn Provider>) -> Self {
        Self { identity, provider }
    }

    /// What tells this data from others.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Sizes, known without reading anything.
    pub fn describe(&self) -> Description {
        self.provider.describe()
    }

    /// Reads and splits the data.
    ///
    /// # Errors
    /// [`DataError`] when it is not what it should be.
    pub fn load(&self) -> Result<Dataset, DataError> {
        self.provider.load()
    }
}

/// `[data]`.
pub fn sources() -> Kinds<Arc<dyn Provider>> {
    let about = "1,797 handwritten digits of 8x8 pixels, embedded in the program";
    let digits = |_: &mut Keys<'_>| Some(Arc::new(digits::Digits) as Arc<dyn Provider>);
    let digits = Kind::new("digits", about, digits);
    let kinds = vec![digits, glyphs::kind(), plane::spirals(), plane::blobs()];
    Kinds::new("data", "name", kinds)
}
