//! Runs worker processes on this machine: hands out jobs, handles events, and closes the runs of workers that died.

use super::child::{Heard, Worker};
use super::job::{Job, Options, Outcome};
use super::progress::{Display, Shown};
use super::protocol::Event;
use super::worker::{PATIENCE, PATIENCE_WITH_OWNER};
use crate::run::RunDirectory;
use bn_report::schema::Status;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How often the launcher checks for Ctrl-C.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// Trains all `jobs`. When `interrupted` is set, each worker finishes its step, saves a checkpoint and stops. Workers are
/// killed when it is set again or when they take too long.
///
/// # Errors
/// No worker can be started. A failed run is not an error; its status reports it.
pub fn launch(
    jobs: &[Job],
    options: &Options,
    interrupted: &AtomicBool,
) -> anyhow::Result<Outcome> {
    let (sender, receiver) = mpsc::channel();
    let mut launcher = Launcher {
        jobs,
        options,
        statuses: vec![None; jobs.len()],
        next: 0,
        workers: Vec::new(),
        display: Display::new(jobs, options),
        sender,
        kill_at: None,
    };
    for place in 0..options.devices.len().min(jobs.len()) {
        launcher.start_worker(place)?;
    }
    while launcher.workers.iter().any(|worker| worker.is_alive) {
        match receiver.recv_timeout(POLL_EVERY) {
            Ok((worker, Heard::Event(event))) => launcher.hear(worker, event),
            Ok((worker, Heard::End)) => launcher.reap(worker)?,
            Err(_) => {}
        }
        launcher.display.tick();
        if interrupted.swap(false, Ordering::Relaxed) {
            launcher.stop_or_kill();
        }
        if launcher.kill_at.is_some_and(|end| Instant::now() >= end) {
            launcher.kill_workers();
        }
    }
    launcher.display.finish();
    Ok(Outcome { was_interrupted: launcher.kill_at.is_some(), statuses: launcher.statuses })
}

struct Launcher<'a> {
    jobs: &'a [Job],
    options: &'a Options,
    statuses: Vec<Option<Status>>,
    next: usize,
    workers: Vec<Worker>,
    display: Display,
    sender: mpsc::Sender<(usize, Heard)>,
    /// Set once interrupted: when to kill workers that have not stopped.
    kill_at: Option<Instant>,
}

impl Launcher<'_> {
    /// Starts a worker on the device of `place`, and gives it a job.
    fn start_worker(&mut self, place: usize) -> anyhow::Result<()> {
        let index = self.workers.len();
        self.workers.push(Worker::start(index, place, self.options, &self.sender)?);
        self.give_job(index);
        Ok(())
    }

    /// Gives a worker the next job, or stops it if none is left.
    fn give_job(&mut self, index: usize) {
        let (worker, number) = (&mut self.workers[index], self.next);
        match self.jobs.get(number) {
            None => worker.stop(),
            Some(job) => {
                worker.order(number, job);
                self.next += 1;
                self.display.begin(index, number);
            }
        }
    }

    fn hear(&mut self, index: usize, event: Event) {
        let Some(job) = self.workers[index].job else {
            return;
        };
        match event {
            Event::Progress { step, loss, headline } => {
                self.display.progress(job, Shown { step, loss, headline });
            }
            Event::Warning { text } => {
                let label = &self.jobs[job].label;
                self.display.print(&format!("warning: {label}: {text}"));
            }
            Event::Ended(status) => {
                self.workers[index].job = None;
                let was_stopped = status == Status::Interrupted;
                self.end_job(job, status);
                if was_stopped {
                    // The worker received a signal, perhaps before the launcher does, and is exiting.
                    self.workers[index].stop();
                } else if self.workers[index].takes_orders() {
                    self.give_job(index);
                }
            }
        }
    }

    fn end_job(&mut self, job: usize, status: Status) {
        self.display.end(job, &status);
        self.statuses[job] = Some(status);
    }

    /// Handles a worker's exit. Its unfinished job, if any, becomes failed or interrupted.
    fn reap(&mut self, index: usize) -> anyhow::Result<()> {
        let (exit, stderr) = self.workers[index].reap()?;
        let is_stopping = self.kill_at.is_some();
        if let Some(number) = self.workers[index].job.take() {
            let status = if is_stopping || was_asked_to_stop(exit) {
                Status::Interrupted
            } else {
                let last = stderr.lines().next_back();
                let last = last.map_or(String::new(), |line| format!(": {line}"));
                Status::Failed { error: format!("its process ended with {exit}{last}") }
            };
            let status = close_for_dead(&self.jobs[number], status, &stderr);
            self.end_job(number, status);
        }
        if !is_stopping && self.next < self.jobs.len() {
            // In the place of the dead one, so that each GPU keeps its number of processes.
            self.start_worker(self.workers[index].place)?;
        }
        Ok(())
    }

    /// Tells the workers to stop; the second call kills them.
    fn stop_or_kill(&mut self) {
        if self.kill_at.is_some() {
            self.kill_workers();
        } else {
            self.kill_at = Some(Instant::now() + PATIENCE);
            self.next = self.jobs.len();
            self.workers.iter_mut().for_each(Worker::stop);
        }
    }

    fn kill_workers(&mut self) {
        // Each then sends `End` and is reaped.
        self.workers.iter_mut().for_each(Worker::kill);
    }
}

/// Closes the run of a worker that died, unless the run was already complete. Returns the run's status.
fn close_for_dead(job: &Job, status: Status, log: &str) -> Status {
    let closed = RunDirectory::take(&job.directory, PATIENCE_WITH_OWNER).and_then(|directory| {
        let complete = directory.complete();
        let ours = complete.filter(|found| found.digest() == Some(&job.digest));
        match ours.and_then(|found| found.status) {
            Some(ended) if ended.is_result() => Ok(ended),
            _ => {
                directory.close_for_another(&job.config, &status, log)?;
                Ok(status.clone())
            }
        }
    });
    closed.unwrap_or_else(|error| match status {
        Status::Failed { error: reason } => {
            Status::Failed { error: format!("{reason}; {:#}", anyhow::Error::from(error)) }
        }
        other => other,
    })
}

/// Whether SIGINT or SIGTERM ended the process before it installed its handlers.
fn was_asked_to_stop(exit: ExitStatus) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt as _;
        let asking = [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];
        exit.signal().is_some_and(|signal| asking.contains(&signal))
    }
    #[cfg(not(unix))]
    {
        let _ = exit;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceName;

    /// The processes are this test program, which knows no worker's flags and ends at once.
    #[test]
    fn process_takes_the_place_of_the_dead_one() {
        let folder = tempfile::tempdir().unwrap();
        let job = |number: usize| Job {
            label: format!("job {number}"),
            directory: folder.path().join(format!("arm/seed-{number}")),
            config: String::new(),
            digest: "digest".to_owned(),
            steps: 1,
        };
        let jobs: Vec<Job> = (0..6).map(job).collect();
        let devices = (0..3).map(DeviceName::Cuda).collect();
        let options = Options { devices, threads: 1, plain: true };
        let (sender, _receiver) = mpsc::channel();
        let mut launcher = Launcher {
            jobs: &jobs,
            options: &options,
            statuses: vec![None; jobs.len()],
            next: 0,
            workers: Vec::new(),
            display: Display::new(&jobs, &options),
            sender,
            kill_at: None,
        };
        for place in 0..3 {
            launcher.start_worker(place).unwrap();
        }
        // The last to start dies first, then the one in its place, then another.
        for (dead, place) in [(2, 2), (3, 2), (0, 0)] {
            launcher.reap(dead).unwrap();
            assert_eq!(launcher.workers.last().unwrap().place, place);
        }
        let alive = launcher.workers.iter().filter(|worker| worker.is_alive);
        let mut places: Vec<usize> = alive.map(|worker| worker.place).collect();
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2], "one process on each GPU");
        let failed =
            |number: usize| matches!(launcher.statuses[number], Some(Status::Failed { .. }));
        assert!(failed(2) && failed(3) && failed(0), "{:?}", launcher.statuses);
        for worker in &mut launcher.workers {
            worker.kill();
        }
    }
}
