//! Opens the files of a run: new, or truncated to their lengths at a checkpoint.

use super::checkpoint::{Checkpoint, CheckpointError, Checkpoints, Header};
use super::files::DirectoryError;
use super::growing_file::{GrowingFile, csv_head};
use super::layers::LayersWriter;
use super::metrics::MetricsWriter;
use super::schedules::SchedulesWriter;
use super::tensorboard::{self, EVENTS, TensorBoardWriter};
use super::timing::TimingWriter;
use super::writer::Writers;
use crate::experiment::OutputSettings;
use bn_report::schema::{
    CHECKPOINTS, LAYERS, LayerRow, METRICS, MetricRow, SCHEDULES, ScheduleRow, TIMING, TimingRow,
};
use std::path::Path;

/// The outputs of a run, and the checkpoint it resumes from.
#[derive(Debug)]
pub struct Outputs {
    /// Writers of the run's files.
    pub writers: Writers,
    /// The folder of the checkpoints.
    pub checkpoints: Checkpoints,
    /// Digest of the run, for its checkpoints.
    pub run_digest: String,
    /// Checkpoint to resume from; the files have the lengths in its header. `None` for a new run.
    pub resumed: Option<Checkpoint>,
}

/// Opens a file by name: new with the given head, or as it was at a checkpoint.
type Open<'a> = &'a dyn Fn(&str, &[u8]) -> Result<GrowingFile, DirectoryError>;

impl Outputs {
    /// Creates the files of a new run in `folder`.
    ///
    /// # Errors
    /// [`DirectoryError`] with the path that cannot be written.
    pub fn begin(
        folder: &Path,
        settings: &OutputSettings,
        run_digest: &str,
    ) -> Result<Self, DirectoryError> {
        let create = |name: &str, head: &[u8]| GrowingFile::create(&folder.join(name), head);
        Ok(Self {
            writers: writers(settings, &create)?,
            checkpoints: checkpoints(folder, settings),
            run_digest: run_digest.to_owned(),
            resumed: None,
        })
    }

    /// Resumes from the newest readable checkpoint in `folder` whose files exist. Returns `None` if there is no such
    /// checkpoint. Calls `warn` for each one that was skipped.
    ///
    /// # Errors
    /// As [`Checkpoints::newest`], or a file cannot be truncated.
    pub fn resume(
        folder: &Path,
        settings: &OutputSettings,
        run_digest: &str,
        warn: &mut dyn FnMut(String),
    ) -> Result<Option<Self>, CheckpointError> {
        let checkpoints = checkpoints(folder, settings);
        let accept = |header: &Header| has_files(folder, header);
        let Some(checkpoint) = checkpoints.newest(run_digest, &accept, warn)? else {
            return Ok(None);
        };
        let files = &checkpoint.header.files;
        let resume = |name: &str, head: &[u8]| match files.get(name) {
            Some(&length) => GrowingFile::resume(&folder.join(name), length),
            // The file was requested after this checkpoint was made, for example TensorBoard's.
            None => GrowingFile::create(&folder.join(name), head),
        };
        Ok(Some(Self {
            writers: writers(settings, &resume)?,
            checkpoints,
            run_digest: run_digest.to_owned(),
            resumed: Some(checkpoint),
        }))
    }
}

fn checkpoints(folder: &Path, settings: &OutputSettings) -> Checkpoints {
    Checkpoints::new(folder.join(CHECKPOINTS), settings.checkpoint_keep)
}

fn writers(settings: &OutputSettings, open: Open<'_>) -> Result<Writers, DirectoryError> {
    let mut writers = Writers::default();
    writers.push(MetricsWriter::new(open(METRICS, &csv_head(&MetricRow::HEADER))?));
    writers.push(TimingWriter::new(open(TIMING, &csv_head(&TimingRow::HEADER))?)?);
    writers.push(SchedulesWriter::new(open(SCHEDULES, &csv_head(&ScheduleRow::HEADER))?));
    if settings.layers_every.is_some() {
        writers.push(LayersWriter::new(open(LAYERS, &csv_head(&LayerRow::HEADER))?));
    }
    if settings.tensorboard {
        writers.push(TensorBoardWriter::new(open(EVENTS, &tensorboard::begin())?));
    }
    Ok(writers)
}

/// Checks that every file is at least as long as at the checkpoint.
fn has_files(folder: &Path, header: &Header) -> Result<(), String> {
    for (name, &wanted) in &header.files {
        let found = folder.join(name).metadata().map_or(0, |metadata| metadata.len());
        if found < wanted {
            return Err(format!("{name} has {found} bytes, but the checkpoint needs {wanted}"));
        }
    }
    Ok(())
}
