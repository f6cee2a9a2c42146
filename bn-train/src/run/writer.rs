//! Writers watch a run and write down what they see, each into a file of its own.

use super::files::DirectoryError;
use super::telemetry::Moment;
use bn_report::schema::{LayerRow, MetricRow, ScheduleRow};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Watches a run. It never changes what it sees.
pub trait Writer: Debug {
    /// Training stops, to be measured.
    ///
    /// # Errors
    /// What keeps the file from being written, for instance a full disk.
    fn pause(&mut self, _at: Moment) -> Result<(), DirectoryError> {
        Ok(())
    }

    /// Training goes on.
    fn resume(&mut self) {}

    /// Rows that were measured at one moment.
    ///
    /// # Errors
    /// As [`Writer::pause`].
    fn rows(&mut self, _rows: &[MetricRow]) -> Result<(), DirectoryError> {
        Ok(())
    }

    /// Rows of what went on inside the layers in one step.
    ///
    /// # Errors
    /// As [`Writer::pause`].
    fn layers(&mut self, _rows: &[LayerRow]) -> Result<(), DirectoryError> {
        Ok(())
    }

    /// Rows of settings that changed by plan with one step.
    ///
    /// # Errors
    /// As [`Writer::pause`].
    fn schedules(&mut self, _rows: &[ScheduleRow]) -> Result<(), DirectoryError> {
        Ok(())
    }

    /// Makes what was written outlive a loss of power; name and length of the file.
    ///
    /// # Errors
    /// As [`Writer::pause`].
    fn sync(&mut self) -> Result<(String, u64), DirectoryError>;
}

/// All writers of a run.
#[derive(Debug, Default)]
pub struct Writers(Vec<Box<dyn Writer>>);

impl Writers {
    /// One more writer.
    pub fn push(&mut self, writer: impl Writer + 'static) {
        self.0.push(Box::new(writer));
    }

    pub(super) fn pause(&mut self, at: Moment) -> Result<(), DirectoryError> {
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

    /// Lengths of the files, by name, all of them on disk.
    pub(super) fn sync(&mut self) -> Result<BTreeMap<String, u64>, DirectoryError> {
        self.0.iter_mut().map(|writer| writer.sync()).collect()
    }
}
