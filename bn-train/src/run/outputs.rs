//! The files of a run in progress: begun, or cut back to where its checkpoint was made.

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

/// Where a run writes, and where it goes on.
#[derive(Debug)]
pub struct Outputs {
    /// They watch the run.
    pub writers: Writers,
    /// The folder of the checkpoints.
    pub checkpoints: Checkpoints,
    /// Digest of the run, for its checkpoints.
    pub run_digest: String,
    /// Where to go on: the writers' files have the lengths that its header says. None for a run that begins.
    pub resumed: Option<Checkpoint>,
}

/// Opens the file at a path: new, with these bytes, or as it was at a checkpoint.
type Open<'a> = &'a dyn Fn(&str, &[u8]) -> Result<GrowingFile, DirectoryError>;

impl Outputs {
    /// Begins the files of a run in `folder`.
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

    /// Goes on in `folder`: from its newest checkpoint that can be read and whose files are there. None where there is no
    /// such checkpoint. `warn` hears of each that was passed over.
    ///
    /// # Errors
    /// As [`Checkpoints::newest`]; or a file that cannot be cut back.
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
            // Wanted since this checkpoint was made, as TensorBoard's may be.
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

/// Whether every file of the checkpoint is at least as long as it was.
fn has_files(folder: &Path, header: &Header) -> Result<(), String> {
    for (name, &wanted) in &header.files {
        let found = folder.join(name).metadata().map_or(0, |metadata| metadata.len());
        if found < wanted {
            return Err(format!("{name} has {found} bytes, {wanted} when it was made"));
        }
    }
    Ok(())
}
