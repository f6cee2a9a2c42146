//! Writes `timing.csv`: the only clock of a run.

use super::files::DirectoryError;
use super::growing_file::GrowingFile;
use super::telemetry::Moment;
use super::writer::Writer;
use bn_report::schema::{TIMING, TimingRow};
use std::time::{Duration, Instant};

/// Times training, less the evaluations in between.
#[derive(Debug)]
pub(super) struct TimingWriter {
    file: GrowingFile,
    /// Seconds of the run before this process.
    before: f64,
    start: Instant,
    resumed: Instant,
    /// Examples seen by the last row; none before the first one of this process.
    examples: Option<u64>,
}

impl TimingWriter {
    /// Writes into `file`, which was begun with [`TimingRow::HEADER`]. Its last row says how long the run has taken so far.
    ///
    /// # Errors
    /// [`DirectoryError`] when it cannot be read.
    pub(super) fn new(file: GrowingFile) -> Result<Self, DirectoryError> {
        let text = file.read()?;
        let last = text.lines().next_back().and_then(|row| row.split(',').nth(1));
        let now = Instant::now();
        Ok(Self {
            before: last.and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0),
            file,
            start: now,
            resumed: now,
            examples: None,
        })
    }

    fn row(&mut self, at: Moment) -> TimingRow {
        let trained = self.resumed.elapsed();
        let examples = self.examples.replace(at.examples).map(|before| at.examples - before);
        let examples = examples.filter(|&examples| examples > 0 && trained > Duration::ZERO);
        TimingRow {
            step: at.step,
            seconds: Some(self.before + self.start.elapsed().as_secs_f64()),
            examples_per_second: examples.map(|examples| examples as f64 / trained.as_secs_f64()),
        }
    }
}

impl Writer for TimingWriter {
    fn pause(&mut self, at: Moment) -> Result<(), DirectoryError> {
        let row = self.row(at);
        self.file.append_rows(&[row])
    }

    fn resume(&mut self) {
        self.resumed = Instant::now();
    }

    fn sync(&mut self) -> Result<(String, u64), DirectoryError> {
        self.file.sync()?;
        Ok((TIMING.to_owned(), self.file.length()))
    }
}
