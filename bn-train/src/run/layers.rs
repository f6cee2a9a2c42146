//! Writes `layers.csv`.

use super::files::DirectoryError;
use super::growing_file::GrowingFile;
use super::writer::Writer;
use bn_report::schema::{LAYERS, LayerRow};

/// Writes each row when it arrives.
#[derive(Debug)]
pub(super) struct LayersWriter(GrowingFile);

impl LayersWriter {
    /// Writes to `file`, which starts with [`LayerRow::HEADER`].
    pub(super) fn new(file: GrowingFile) -> Self {
        Self(file)
    }
}

impl Writer for LayersWriter {
    fn layers(&mut self, rows: &[LayerRow]) -> Result<(), DirectoryError> {
        self.0.append_rows(rows)
    }

    fn sync(&mut self) -> Result<(String, u64), DirectoryError> {
        self.0.sync()?;
        Ok((LAYERS.to_owned(), self.0.length()))
    }
}
