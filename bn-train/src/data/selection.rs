//! Selects training, validation and test examples from data with a given test part.

use super::dataset::SPLIT_SEED;
use super::split::stratified;
use super::{At, DataError, Dataset, Examples};
use crate::keys::{Key, Keys, whole};
use std::fmt::Display;

/// How many examples of each part to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// Training examples to use; `None` for all that remain.
    pub(super) examples: Option<usize>,
    /// Examples to set aside for validation.
    pub(super) validation: usize,
    /// Test examples to use; `None` for all.
    pub(super) test: Option<usize>,
}

impl Selection {
    /// Reads the keys, with the default number of validation examples.
    pub(super) fn read(keys: &mut Keys<'_>, validation: u64) -> Option<Self> {
        let about = "training examples to use, stratified by class; all if absent";
        let examples = keys.optional(Key::new("examples", whole(1..=u64::MAX), about), 1000);
        let about = "training examples to set aside for validation, stratified by class";
        let set_aside =
            keys.with_default(Key::new("validation", whole(1..=u64::MAX), about), validation);
        let about = "test examples to use, stratified by class; all if absent";
        let test = keys.optional(Key::new("test", whole(1..=u64::MAX), about), 1000);
        Some(Self {
            examples: examples?.map(|count| count as usize),
            validation: set_aside? as usize,
            test: test?.map(|count| count as usize),
        })
    }

    /// Number of training examples if the files have `all`.
    pub(super) fn train(self, all: usize) -> usize {
        let left = all.saturating_sub(self.validation);
        self.examples.map_or(left, |examples| examples.min(left))
    }

    /// Splits `all`, the training examples of `origin`, and takes its part of `test`.
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
        let Self { examples, validation, test: tested } = self;
        let needed = validation.saturating_add(examples.unwrap_or(1));
        require(needed, all, "training examples; data.validation and data.examples need", &origin)?;
        require(tested.unwrap_or(0), &test, "test examples; data.test needs", &origin)?;
        let unused = examples.map_or(0, |examples| all.len() - validation - examples);
        let parts = stratified(&all.labels, classes, validation, unused, SPLIT_SEED);
        let test = match tested {
            Some(count) => {
                test.select(&stratified(&test.labels, classes, 0, count, SPLIT_SEED).test)
            }
            None => test,
        };
        Ok(Dataset::new(all.select(&parts.train), all.select(&parts.validation), test, classes))
    }
}

fn require(
    needed: usize,
    of: &Examples,
    what: &str,
    origin: &impl Display,
) -> Result<(), DataError> {
    if needed <= of.len() {
        return Ok(());
    }
    Err(DataError::malformed(origin, At::File, format!("{} {what} {needed}", of.len())))
}
