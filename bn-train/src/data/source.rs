//! Data sets that experiments can name.

use super::{
    DataError, Dataset, Description, Standardize, cifar, digits, glyphs, mnist, own, plane,
};
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
    standardize: Standardize,
}

/// Two sources are the same where their `[data]` says the same.
impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Source {
    /// The data of `provider`, standardized. `identity` is what tells it from others: the keys and values of `[data]`.
    pub fn new(identity: String, provider: Arc<dyn Provider>, standardize: Standardize) -> Self {
        Self { identity, provider, standardize }
    }

    /// What tells this data from others.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Sizes, known without reading anything.
    pub fn describe(&self) -> Description {
        self.provider.describe()
    }

    /// Reads, splits and standardizes the data.
    ///
    /// # Errors
    /// [`DataError`] when it is not what it should be.
    pub fn load(&self) -> Result<Dataset, DataError> {
        let mut data = self.provider.load()?;
        self.standardize.apply(&mut data);
        Ok(data)
    }
}

/// `[data]`.
pub fn sources() -> Kinds<Arc<dyn Provider>> {
    let about = "1,797 handwritten digits of 8x8 pixels, embedded in the program";
    let digits = |_: &mut Keys<'_>| Some(Arc::new(digits::Digits) as Arc<dyn Provider>);
    let digits = Kind::new("digits", about, digits);
    let mnist_about = "70,000 handwritten digits of 28x28 pixels (LeCun et al. 1998); `bn-train data fetch mnist`";
    let fashion_about = "70,000 pieces of clothing of 28x28 pixels (Xiao et al. 2017); `bn-train data fetch fashion-mnist`";
    let kinds = vec![
        digits,
        glyphs::kind(),
        plane::spirals(),
        plane::blobs(),
        mnist::kind("mnist", mnist_about),
        mnist::kind("fashion-mnist", fashion_about),
        cifar::ten(),
        cifar::hundred(),
        own::table(),
        own::npz(),
        own::safetensors(),
        own::images(),
    ];
    Kinds::new("data", "name", kinds)
}
