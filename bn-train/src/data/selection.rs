//! Selects training and validation examples from data with a given test part.

use super::dataset::SPLIT_SEED;
use super::split::stratified;
use super::{At, DataError, Dataset, Examples};
use crate::keys::{Key, Keys, whole};
use std::fmt::Display;

/// How many training and validation examples to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// Training examples to use; `None` for all that remain.
    pub(super) examples: Option<usize>,
    /// Examples to set aside for validation.
    pub(super) validation: usize,
}

impl Selection {
    /// Reads the keys, with the default number of validation examples.
    pub(super) fn read(keys: &mut Keys<'_>, validation: u64) -> Option<Self> {
        let about = "training examples to use, stratified by class; all if absent";
        let examples = keys.optional(Key::new("examples", whole(1..=u64::MAX), about), 1000);
        let about = "training examples to set aside for validation, stratified by class";
        let set_aside =
            keys.with_default(Key::new("validation", whole(1..=u64::MAX), about), validation);
        Some(Self {
            examples: examples?.map(|count| count as usize),
            validation: set_aside? as usize,
        })
    }

    /// Number of training examples if the files have `all`.
    pub(super) fn train(self, all: usize) -> usize {
        let left = all.saturating_sub(self.validation);
        self.examples.map_or(left, |examples| examples.min(left))
    }

    /// Splits `all`, the training examples of `origin`.
    ///
    /// # Errors
    /// There are too few examples.
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
                "{} training examples; data.validation and data.examples need {wanted}",
                all.len()
            );
            return Err(DataError::malformed(origin, At::File, problem));
        }
        let unused = examples.map_or(0, |examples| all.len() - validation - examples);
        let parts = stratified(&all.labels, classes, validation, unused, SPLIT_SEED);
        Ok(Dataset::new(all.select(&parts.train), all.select(&parts.validation), test, classes))
    }
}
