//! Shows runs in progress: bars on a terminal, lines of text otherwise.
//!
//! Both go to standard error, so that standard output holds only results.

use super::console::note;
use super::job::{Job, Options};
use bn_report::schema::Status;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// Time between two lines of text.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows runs in progress.
pub(super) struct Display {
    jobs: Vec<(String, u64)>,
    ended: usize,
    /// Jobs in progress, by index.
    running: BTreeMap<usize, Running>,
    steps_done: u64,
    /// How many of these an earlier launch did.
    steps_before: u64,
    start: Instant,
    form: Form,
}

/// What is shown of a job in progress.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    /// Steps done.
    pub(super) step: u64,
    /// Training loss of the last batch.
    pub(super) loss: Option<f64>,
    /// Name and value of the last evaluation.
    pub(super) headline: Option<(String, f64)>,
}

/// A job in progress.
#[derive(Default)]
struct Running {
    shown: Shown,
    /// The step it started from; `None` until its first report.
    first: Option<u64>,
}

enum Form {
    Lines {
        last: Instant,
    },
    Bars {
        all: MultiProgress,
        overall: ProgressBar,
        of_worker: BTreeMap<usize, ProgressBar>,
        worker_of: BTreeMap<usize, usize>,
    },
}

impl Display {
    pub(super) fn new(jobs: &[Job], options: &Options) -> Self {
        let jobs: Vec<(String, u64)> =
            jobs.iter().map(|job| (job.label.clone(), job.steps)).collect();
        let form = if options.plain || !std::io::stderr().is_terminal() {
            Form::Lines { last: Instant::now() }
        } else {
            let all = MultiProgress::new();
            let total = jobs.iter().map(|(_, steps)| steps).sum();
            let overall = all.add(ProgressBar::new(total).with_style(style("{msg}, {eta} left")));
            overall.enable_steady_tick(Duration::from_millis(500));
            Form::Bars { all, overall, of_worker: BTreeMap::new(), worker_of: BTreeMap::new() }
        };
        let running = BTreeMap::new();
        let mut display = Self {
            jobs,
            ended: 0,
            running,
            steps_done: 0,
            steps_before: 0,
            start: Instant::now(),
            form,
        };
        display.show_overall();
        display
    }

    /// A worker has begun a job.
    pub(super) fn begin(&mut self, worker: usize, job: usize) {
        self.running.insert(job, Running::default());
        if let Form::Bars { all, overall, of_worker, worker_of } = &mut self.form {
            let (label, steps) = &self.jobs[job];
            let bar = all.insert_before(
                overall,
                ProgressBar::new(*steps).with_style(style("{prefix}{msg}, {eta} left")),
            );
            // Pad to the longest label, so that the columns line up.
            let width = self.jobs.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
            bar.set_prefix(format!("{label:width$}"));
            of_worker.insert(worker, bar);
            worker_of.insert(job, worker);
        }
    }

    /// Updates a job's progress.
    pub(super) fn progress(&mut self, job: usize, shown: Shown) {
        let running = self.running.entry(job).or_default();
        let is_resumed = running.first.is_none() && shown.step > 0;
        if running.first.is_none() {
            running.first = Some(shown.step);
            self.steps_before += shown.step;
        }
        if let Form::Bars { overall, of_worker, worker_of, .. } = &self.form
            && let Some(bar) = worker_of.get(&job).and_then(|worker| of_worker.get(worker))
        {
            bar.set_position(shown.step);
            bar.set_message(measured(shown.loss, shown.headline.as_ref()));
            if is_resumed {
                // Steps restored from a checkpoint took no time in this launch.
                bar.reset_eta();
                overall.reset_eta();
            }
        }
        running.shown = shown;
        self.show_overall();
    }

    /// A job has ended.
    pub(super) fn end(&mut self, job: usize, status: &Status) {
        self.ended += 1;
        let headline = self.running.remove(&job).and_then(|running| running.shown.headline);
        let (label, steps) = &self.jobs[job];
        self.steps_done += steps;
        let worth_a_line = match status {
            Status::Finished | Status::Running | Status::Interrupted => None,
            Status::Diverged { step, reason } => {
                Some(format!("{label}: diverged at step {step}: {reason}"))
            }
            Status::Failed { error } => Some(format!("{label}: failed: {error}")),
        };
        match &mut self.form {
            Form::Bars { all, of_worker, worker_of, .. } => {
                if let Some(bar) =
                    worker_of.remove(&job).and_then(|worker| of_worker.remove(&worker))
                {
                    bar.finish_and_clear();
                    all.remove(&bar);
                }
            }
            Form::Lines { .. } => {
                if *status == Status::Finished {
                    let (count, all) = (self.ended, self.jobs.len());
                    let measured = measured(None, headline.as_ref());
                    note(&format!("[{count}/{all}] {label}: finished{measured}"));
                }
            }
        }
        if let Some(line) = worth_a_line {
            self.print(&line);
        }
        self.show_overall();
    }

    /// Prints a line, above the bars if there are any.
    pub(super) fn print(&self, line: &str) {
        match &self.form {
            Form::Lines { .. } => note(line),
            // As in `note`, a closed standard error is ignored.
            Form::Bars { all, .. } => drop(all.println(line)),
        }
    }

    /// Prints a line of text if one is due.
    pub(super) fn tick(&mut self) {
        let Form::Lines { last } = &mut self.form else {
            return;
        };
        if last.elapsed() < LINE_EVERY || self.running.is_empty() {
            return;
        }
        *last = Instant::now();
        let one = |(job, Running { shown, .. }): (&usize, &Running)| {
            let (label, steps) = &self.jobs[*job];
            let measured = measured(shown.loss, shown.headline.as_ref());
            format!("{label}: step {}/{steps}{measured}", shown.step)
        };
        let running: Vec<String> = self.running.iter().map(one).collect();
        let left = self
            .seconds_left()
            .map_or(String::new(), |seconds| format!(", about {seconds:.0} s left"));
        note(&format!("[{}/{}] {}{left}", self.ended, self.jobs.len(), running.join("; ")));
    }

    /// Removes the bars.
    pub(super) fn finish(&mut self) {
        if let Form::Bars { all, overall, .. } = &self.form {
            overall.finish_and_clear();
            let _ = all.clear();
        }
    }

    fn show_overall(&mut self) {
        if let Form::Bars { overall, .. } = &self.form {
            overall.set_position(self.position());
            overall.set_message(format!("{} of {} runs", self.ended, self.jobs.len()));
        }
    }

    /// Total steps done.
    fn position(&self) -> u64 {
        self.steps_done + self.running.values().map(|job| job.shown.step).sum::<u64>()
    }

    fn seconds_left(&self) -> Option<f64> {
        let total: u64 = self.jobs.iter().map(|(_, steps)| steps).sum();
        seconds_left(self.start.elapsed(), self.steps_before, self.position(), total)
    }
}

/// Estimated seconds for the remaining steps, at the pace of this launch, which began after `before` steps.
fn seconds_left(elapsed: Duration, before: u64, done: u64, total: u64) -> Option<f64> {
    let now = done.checked_sub(before).filter(|now| *now > 0)?;
    Some(elapsed.as_secs_f64() * total.saturating_sub(done) as f64 / now as f64)
}

fn measured(loss: Option<f64>, headline: Option<&(String, f64)>) -> String {
    let loss = loss.map_or(String::new(), |loss| format!(", loss {loss:.3}"));
    let headline = headline
        .map_or(String::new(), |(metric, value)| format!(", validation {metric} {value:.3}"));
    loss + &headline
}

fn style(text: &str) -> ProgressStyle {
    let bar = if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        ""
    } else {
        ".cyan/dim"
    };
    ProgressStyle::with_template(&format!("{{bar:24{bar}}} {text}"))
        .unwrap_or_else(|error| unreachable!("the template is fixed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_uses_the_pace_of_this_launch() {
        let minute = Duration::from_secs(60);
        assert_eq!(seconds_left(minute, 0, 100, 300), Some(120.0));
        // Of 1000 steps, 900 came from checkpoints and 100 took a minute, so the last 100 take another.
        assert_eq!(seconds_left(minute, 900, 1000, 1100), Some(60.0));
        assert_eq!(seconds_left(minute, 900, 900, 1100), None);
    }
}
