//! Writes `metrics.csv`.

use super::files::DirectoryError;
use super::growing_file::GrowingFile;
use super::writer::Writer;
use bn_report::schema::{METRICS, MetricRow};

/// Writes each row when it arrives.
#[derive(Debug)]
pub(super) struct MetricsWriter(GrowingFile);

impl MetricsWriter {
    /// Writes to `file`, which starts with [`MetricRow::HEADER`].
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
