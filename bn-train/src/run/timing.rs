//! Writes `timing.csv`, the only output of a run that depends on a clock.

use super::files::DirectoryError;
use super::growing_file::GrowingFile;
use super::telemetry::Position;
use super::writer::Writer;
use bn_report::schema::{TIMING, TimingRow};
use std::time::{Duration, Instant};

/// Times training, excluding evaluations from its throughput.
#[derive(Debug)]
pub(super) struct TimingWriter {
    file: GrowingFile,
    /// Seconds that earlier processes spent on the run.
    before: f64,
    start: Instant,
    resumed: Instant,
    /// Examples seen and time waited at this process's last row, if any.
    last: Option<(u64, Duration)>,
}

impl TimingWriter {
    /// Writes to `file`, which starts with [`TimingRow::HEADER`]. Its last row says how long the run has taken so far.
    ///
    /// # Errors
    /// [`DirectoryError`] if the file cannot be read.
    pub(super) fn new(file: GrowingFile) -> Result<Self, DirectoryError> {
        let text = file.read()?;
        let last = text.lines().next_back().and_then(|row| row.split(',').nth(1));
        let now = Instant::now();
        Ok(Self {
            before: last.and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0),
            file,
            start: now,
            resumed: now,
            last: None,
        })
    }

    fn row(&mut self, at: Position) -> TimingRow {
        let trained = self.resumed.elapsed();
        let since =
            |(examples, waited): (u64, Duration)| (at.examples - examples, at.waited - waited);
        let last = self.last.replace((at.examples, at.waited)).map(since);
        let last = last.filter(|&(examples, _)| examples > 0 && trained > Duration::ZERO);
        let trained = trained.as_secs_f64();
        TimingRow {
            step: at.step,
            seconds: Some(self.before + self.start.elapsed().as_secs_f64()),
            examples_per_second: last.map(|(examples, _)| examples as f64 / trained),
            loading_share: last.map(|(_, waited)| waited.as_secs_f64() / trained),
        }
    }
}

impl Writer for TimingWriter {
    fn pause(&mut self, at: Position) -> Result<(), DirectoryError> {
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
