//! Writers observe a run and record it, each in its own file.

use super::files::DirectoryError;
use super::telemetry::Position;
use bn_report::schema::{LayerRow, MetricRow, ScheduleRow};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Observes a run without changing it.
pub trait Writer: Debug {
    /// Training pauses for an evaluation.
    ///
    /// # Errors
    /// The file cannot be written, for example because the disk is full.
    fn pause(&mut self, _at: Position) -> Result<(), DirectoryError> {
        Ok(())
    }

    /// Training resumes.
    fn resume(&mut self) {}

    /// Records rows that were measured at the same step.
    ///
    /// # Errors
    /// As [`Writer::pause`].
    fn rows(&mut self, _rows: &[MetricRow]) -> Result<(), DirectoryError> {
        Ok(())
    }

    /// Records the layer rows of one step.
    ///
    /// # Errors
    /// As [`Writer::pause`].
    fn layers(&mut self, _rows: &[LayerRow]) -> Result<(), DirectoryError> {
        Ok(())
    }

    /// Rows of the scheduled settings that changed with a step.
    ///
    /// # Errors
    /// As [`Writer::pause`].
    fn schedules(&mut self, _rows: &[ScheduleRow]) -> Result<(), DirectoryError> {
        Ok(())
    }

    /// Syncs the file to disk. Returns its name and length in bytes.
    ///
    /// # Errors
    /// As [`Writer::pause`].
    fn sync(&mut self) -> Result<(String, u64), DirectoryError>;
}

/// All writers of a run.
#[derive(Debug, Default)]
pub struct Writers(Vec<Box<dyn Writer>>);

impl Writers {
    /// Adds a writer.
    pub fn push(&mut self, writer: impl Writer + 'static) {
        self.0.push(Box::new(writer));
    }

    pub(super) fn pause(&mut self, at: Position) -> Result<(), DirectoryError> {
        self.0.iter_mut().try_for_each(|writer| writer.pause(at))
    }

    pub(super) fn resume(&mut self) {
        self.0.iter_mut().for_each(|writer| writer.resume());
    }

    pub(super) fn rows(&mut self, rows: &[MetricRow]) -> Result<(), DirectoryError> {
        self.0.iter_mut().try_for_each(|writer| writer.rows(rows))
    }

    pub(super) fn layers(&mut self, rows: &[LayerRow]) -> Result<(), DirectoryError> {
        self.0.iter_mut().try_for_each(|writer| writer.layers(rows))
    }

    pub(super) fn schedules(&mut self, rows: &[ScheduleRow]) -> Result<(), DirectoryError> {
        self.0.iter_mut().try_for_each(|writer| writer.schedules(rows))
    }

    /// Syncs all files. Returns their lengths by name.
    pub(super) fn sync(&mut self) -> Result<BTreeMap<String, u64>, DirectoryError> {
        self.0.iter_mut().map(|writer| writer.sync()).collect()
    }
}
