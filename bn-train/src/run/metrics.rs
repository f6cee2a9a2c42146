//! Writes `metrics.csv`.

use super::files::DirectoryError;
use super::growing_file::GrowingFile;
use super::writer::Writer;
use bn_report::schema::{METRICS, MetricRow};

/// Writes every row as it comes.
#[derive(Debug)]
pub(super) struct MetricsWriter(GrowingFile);

impl MetricsWriter {
    /// Writes into `file`, which was begun with [`MetricRow::HEADER`].
    pub(super) fn new(file: GrowingFile) -> Self {
        Self(file)
    }
}

impl Writer for MetricsWriter {
    fn rows(&mut self, rows: &[MetricRow]) -> Result<(), DirectoryError> {
        self.0.append_rows(rows)
    }

    fn sync(&mut self) -> Result<(String, u64), DirectoryError> {
        self.0.sync()?;
        Ok((METRICS.to_owned(), self.0.length()))
    }
}
