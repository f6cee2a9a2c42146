//! User data, given by path: a table, arrays, or a folder of images per class.
//!
//! Its sizes are only known after reading, so it is read when the experiment is validated, and errors point at the key.

mod arrays;
mod cache;
mod images;
mod table;

#[doc(hidden)]
pub use arrays::convert_safetensors;
pub(super) use arrays::{npz, safetensors};
pub(super) use images::kind as images;
pub(super) use table::kind as table;

use super::{DataError, Dataset, Description, Examples, Provider};
use crate::keys::{Key, Keys, number, text};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Loaded user data.
#[derive(Debug)]
struct Own(Arc<Dataset>);

impl Provider for Own {
    fn describe(&self) -> Description {
        let Dataset { train, classes, .. } = &*self.0;
        Description { shape: train.shape, classes: *classes, train: train.len() }
    }

    fn load(&self) -> Result<Dataset, DataError> {
        Ok((*self.0).clone())
    }
}

/// Loads the data, or records a problem with the key `path`. `identity` describes how the path is read.
fn provider(
    keys: &mut Keys<'_>,
    path: &Path,
    identity: &str,
    read: impl FnOnce() -> Result<Dataset, DataError>,
) -> Option<Arc<dyn Provider>> {
    match cache::get(path, identity, read) {
        Ok(data) => Some(Arc::new(Own(data))),
        Err(error) => {
            let cause = std::error::Error::source(&error)
                .map_or(String::new(), |cause| format!(": {cause}"));
            keys.refuse("path", format!("{error}{cause}"));
            None
        }
    }
}

fn path(keys: &mut Keys<'_>, about: &'static str, example: &str) -> Option<PathBuf> {
    // The data's digest identifies its contents, so the path does not affect the run's digest.
    let key = Key::new("path", text(), about).is_path().watches();
    keys.required(key, example.to_owned()).map(PathBuf::from)
}

/// Shares of the examples to set aside.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shares {
    validation: f64,
    test: f64,
}

impl Shares {
    fn read(keys: &mut Keys<'_>) -> Option<Self> {
        let mut share = |name, about| {
            let key = Key::new(name, number().above(0.0).below(1.0), about);
            keys.with_default(key, 0.15)
        };
        let validation =
            share("validation_share", "share of the examples for validation, stratified by class");
        let test =
            share("test_share", "share of the examples for testing, if the data has no test part");
        Some(Self { validation: validation?, test: test? })
    }

    /// Splits `all`. `test` are the data's own test examples, if any.
    fn divide(
        self,
        all: &Examples,
        test: Option<Examples>,
        classes: usize,
        origin: &Path,
    ) -> Result<Dataset, DataError> {
        let count = |share: f64| (share * all.len() as f64).round() as usize;
        let validation = count(self.validation);
        let set_aside = if test.is_some() { 0 } else { count(self.test) };
        let train = all.len().saturating_sub(validation + set_aside);
        if train < 2 || validation < 2 || (test.is_none() && set_aside < 2) {
            let problem = format!(
                "{} examples, which leaves {train} for training, {validation} for validation and {set_aside} for testing; expected at least 2 each",
                all.len()
            );
            return Err(DataError::malformed(origin.display(), super::At::File, problem));
        }
        let mut data = Dataset::stratified(all, classes, validation, set_aside);
        if let Some(test) = test {
            data = Dataset::new(data.train, data.validation, test, classes);
        }
        Ok(data)
    }
}
