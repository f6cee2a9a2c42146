//! Parts of data that comes from files: how many training examples are used, and how many are set aside for validation.

use super::dataset::SPLIT_SEED;
use super::split::stratified;
use super::{At, DataError, Dataset, Examples};
use crate::keys::{Key, Keys, whole};
use std::fmt::Display;

/// How the training examples of files are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// Training examples to use; all that are left where it is none.
    pub(super) examples: Option<usize>,
    /// Set aside for validation.
    pub(super) validation: usize,
}

impl Selection {
    /// Reads the keys; `validation` is the default number of validation examples.
    pub(super) fn read(keys: &mut Keys<'_>, validation: u64) -> Option<Self> {
        let about = "training examples to use, each class in proportion; absent: all of them";
        let examples = keys.optional(Key::new("examples", whole(1..=u64::MAX), about), 1000);
        let about = "training examples that are set aside for validation, each class in proportion";
        let set_aside =
            keys.with_default(Key::new("validation", whole(1..=u64::MAX), about), validation);
        Some(Self {
            examples: examples?.map(|count| count as usize),
            validation: set_aside? as usize,
        })
    }

    /// Training examples, of so many that the files have.
    pub(super) fn train(self, all: usize) -> usize {
        let left = all.saturating_sub(self.validation);
        self.examples.map_or(left, |examples| examples.min(left))
    }

    /// Divides `all`, the training examples of `origin`.
    ///
    /// # Errors
    /// When there are too few of them.
    pub(super) fn divide(
        self,
        all: &Examples,
        test: Examples,
        classes: usize,
        origin: impl Display,
    ) -> Result<Dataset, DataError> {
        let Self { examples, validation } = self;
        let wanted = validation + examples.unwrap_or(1);
        if all.len() < wanted {
            let problem = format!(
                "{} training examples; data.validation and data.examples ask for {wanted}",
                all.len()
            );
            return Err(DataError::malformed(origin, At::File, problem));
        }
        let unused = examples.map_or(0, |examples| all.len() - validation - examples);
        let parts = stratified(&all.labels, classes, validation, unused, SPLIT_SEED);
        Ok(Dataset::new(all.select(&parts.train), all.select(&parts.validation), test, classes))
    }
}
