//! The data sets that experiments can use.

use super::{
    DataError, Dataset, Description, Standardize, cifar, digits, glyphs, mnist, own, plane,
};
use crate::keys::{Keys, Kind, Kinds};
use std::fmt;
use std::sync::Arc;

/// A provider of examples.
pub trait Provider: fmt::Debug + Send + Sync {
    /// The sizes, known without loading the examples.
    fn describe(&self) -> Description;

    /// Loads and splits the examples. Every call returns the same ones.
    ///
    /// # Errors
    /// [`DataError`] if they cannot be read or are malformed.
    fn load(&self) -> Result<Dataset, DataError>;
}

/// The data set of an experiment.
#[derive(Clone, Debug)]
pub struct Source {
    identity: String,
    provider: Arc<dyn Provider>,
    standardize: Standardize,
}

/// Sources are equal if their `[data]` tables are.
impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Source {
    /// The standardized data of `provider`. `identity` consists of the keys and values of `[data]`.
    pub fn new(identity: String, provider: Arc<dyn Provider>, standardize: Standardize) -> Self {
        Self { identity, provider, standardize }
    }

    /// Identifies the data set: the keys and values of `[data]`.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The sizes, known without loading the data.
    pub fn describe(&self) -> Description {
        self.provider.describe()
    }

    /// Loads, splits and standardizes the data.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be read or is malformed.
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
