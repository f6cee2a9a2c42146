//! A table in a CSV file.

use super::super::bytes::read_file;
use super::super::formats::csv;
use super::super::{DataError, Dataset, Examples, ImageShape, Provider};
use super::{Shares, path, provider};
use crate::keys::{Key, Keys, Kind, text};
use std::path::Path;
use std::sync::Arc;

/// Bytes of a table, at most.
const MOST: u64 = 1 << 31;

/// `data.name = "csv"`.
pub(in super::super) fn kind() -> Kind<Arc<dyn Provider>> {
    let about =
        "a table of your own: a line per example, numbers as features, a column with the class";
    Kind::new("csv", about, |keys: &mut Keys<'_>| {
        let about = "the file, relative to this one; may be packed by gzip";
        let path = path(keys, about, "mine.csv");
        let about = "the name of the column with the class; absent: the last column";
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
