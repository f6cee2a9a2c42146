//! Writes `schedules.csv`.

use super::files::DirectoryError;
use super::growing_file::GrowingFile;
use super::writer::Writer;
use bn_report::schema::{SCHEDULES, ScheduleRow};

/// Writes every row as it comes.
#[derive(Debug)]
pub(super) struct SchedulesWriter(GrowingFile);

impl SchedulesWriter {
    /// Writes into `file`, which was begun with [`ScheduleRow::HEADER`].
    pub(super) fn new(file: GrowingFile) -> Self {
        Self(file)
    }
}

impl Writer for SchedulesWriter {
    fn schedules(&mut self, rows: &[ScheduleRow]) -> Result<(), DirectoryError> {
        self.0.append_rows(rows)
    }

    fn sync(&mut self) -> Result<(String, u64), DirectoryError> {
        self.0.sync()?;
        Ok((SCHEDULES.to_owned(), self.0.length()))
    }
}
