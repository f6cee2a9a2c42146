//! A table in a CSV file.

use super::super::bytes::read_file;
use super::super::formats::csv;
use super::super::{DataError, Dataset, Examples, ImageShape, Provider};
use super::{Shares, path, provider};
use crate::keys::{Key, Keys, Kind, text};
use std::path::Path;
use std::sync::Arc;

/// Maximum bytes of a table.
const MOST: u64 = 1 << 31;

/// `data.name = "csv"`.
pub(in super::super) fn kind() -> Kind<Arc<dyn Provider>> {
    let about = "your own table: a line per example, numeric features, a column with the class";
    Kind::new("csv", about, |keys: &mut Keys<'_>| {
        let about = "the file, relative to this file; may be gzipped";
        let path = path(keys, about, "mine.csv");
        let about = "name of the column with the class; the last column if absent";
        let label = keys.optional(Key::new("label", text(), about), "species".to_owned());
        let shares = Shares::read(keys);
        let (path, label, shares) = (path?, label?, shares?);
        let identity = format!("csv {label:?} {shares:?}");
        provider(keys, &path, &identity, || load(&path, label.as_deref(), shares))
    })
}

fn load(path: &Path, label: Option<&str>, shares: Shares) -> Result<Dataset, DataError> {
    let bytes = read_file(path, MOST)?;
    let table = csv::parse(&bytes, label).map_err(|flaw| flaw.of(path.display()))?;
    let shape = ImageShape { channels: table.names.len(), height: 1, width: 1 };
    let all = Examples { shape, pixels: table.features, labels: table.labels };
    shares.divide(&all, None, table.classes.len(), path)
}
