//! Worker processes on this machine: hands out runs, listens, and cleans up after whoever cannot.

use super::progress::Display;
use super::protocol::{Event, Order};
use crate::device::DeviceName;
use crate::run::directory;
use anyhow::Context as _;
use bn_report::schema::Status;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long workers have to end their runs after Ctrl-C before they are killed.
const PATIENCE: Duration = Duration::from_millis(600);
/// How often the launcher looks for Ctrl-C.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a process that trains needs to know from its start.
///
/// The threads of candle and of rayon are counted once per process. And mimalloc must keep the memory that it has: a step
/// would otherwise give back what the next one needs, and the kernel clears every page again (a tenth of a ResNet's step).
pub fn environment(threads: usize) -> [(&'static str, String); 3] {
    [
        ("RAYON_NUM_THREADS", threads.to_string()),
        ("CANDLE_NUM_THREADS", threads.to_string()),
        (KEEPS_MEMORY, "-1".to_owned()),
    ]
}

/// Set in a process with an [`environment`].
pub const KEEPS_MEMORY: &str = "MIMALLOC_PURGE_DELAY";

/// One run to launch.
#[derive(Clone, Debug)]
pub struct Job {
    /// What progress calls it: `decay 0.9, seed 0`.
    pub label: String,
    /// Where its directory goes.
    pub place: PathBuf,
    /// Its `config.toml`.
    pub config: String,
    /// Updates that it takes.
    pub steps: u64,
}

/// How to launch.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Runs at a time; at least 1.
    pub jobs: usize,
    /// Threads of each.
    pub threads: usize,
    /// What they train on.
    pub device: DeviceName,
    /// Lines of text rather than bars.
    pub plain: bool,
}

/// What became of the jobs.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// In the order of the jobs; none for a job that was never begun.
    pub statuses: Vec<Option<Status>>,
    /// Whether Ctrl-C (or SIGTERM) ended it.
    pub was_interrupted: bool,
}

/// Trains all `jobs`, so many at a time. `interrupted` is watched and ends everything within a second.
///
/// # Errors
/// When no worker can be started, or a directory cannot be settled. A failed run is no error: its status says so.
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
    };
    for _ in 0..options.jobs.min(jobs.len()) {
        launcher.start_worker()?;
    }
    let mut deadline = None;
    while launcher.workers.iter().any(|worker| worker.is_alive) {
        match receiver.recv_timeout(LOOK_EVERY) {
            Ok((worker, Heard::Event(event))) => launcher.hear(worker, event),
            Ok((worker, Heard::End)) => {
                launcher.bury(worker, interrupted.load(Ordering::Relaxed))?
            }
            Err(_) => {}
        }
        launcher.display.tick();
        match deadline {
            None if interrupted.load(Ordering::Relaxed) => {
                deadline = Some(Instant::now() + PATIENCE);
                launcher.stop_workers();
            }
            Some(end) if Instant::now() >= end => {
                launcher.kill_workers();
                // Their ends are heard next.
                deadline = Some(Instant::now() + PATIENCE);
            }
            _ => {}
        }
    }
    launcher.display.finish();
    Ok(Outcome {
        statuses: launcher.statuses,
        was_interrupted: interrupted.load(Ordering::Relaxed),
    })
}

/// What the launcher hears of a worker.
enum Heard {
    Event(Event),
    End,
}

struct Launcher<'a> {
    jobs: &'a [Job],
    options: &'a Options,
    statuses: Vec<Option<Status>>,
    next: usize,
    workers: Vec<Worker>,
    display: Display,
    sender: mpsc::Sender<(usize, Heard)>,
}

struct Worker {
    child: Child,
    /// Dropped to tell the worker to stop.
    input: Option<ChildStdin>,
    /// Its job in progress.
    job: Option<usize>,
    is_alive: bool,
    /// What it complained of.
    complaint: Option<std::thread::JoinHandle<String>>,
}

impl Launcher<'_> {
    /// Starts a worker and gives it a job.
    fn start_worker(&mut self) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut child = Command::new(&program)
            .args(["worker", "--device", &self.options.device.to_string()])
            .envs(environment(self.options.threads))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {} as a worker", program.display()))?;
        let index = self.workers.len();
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            let lines = output
                .into_iter()
                .flat_map(|output| BufReader::new(output).lines().map_while(Result::ok));
            for event in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
                let _ = sender.send((index, Heard::Event(event)));
            }
            let _ = sender.send((index, Heard::End));
        });
        let complaint = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.map(|mut errors| errors.read_to_string(&mut text));
            text
        });
        let input = child.stdin.take();
        self.workers.push(Worker {
            child,
            input,
            job: None,
            is_alive: true,
            complaint: Some(complaint),
        });
        self.give_job(index);
        Ok(())
    }

    /// Gives a worker the next job, or lets it go home.
    fn give_job(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        let Some(job) = self.jobs.get(self.next) else {
            worker.input = None;
            return;
        };
        let order = Order { place: job.place.clone(), config: job.config.clone() };
        let order = serde_json::to_string(&order)
            .unwrap_or_else(|error| unreachable!("orders are JSON: {error}"));
        worker.job = Some(self.next);
        self.next += 1;
        // A worker that cannot be written to has died: its end is heard, and its job settled, soon.
        if let Some(input) = &mut worker.input {
            let _ = writeln!(input, "{order}").and_then(|()| input.flush());
        }
        self.display.begin(index, worker.job.unwrap_or_default());
    }

    fn hear(&mut self, index: usize, event: Event) {
        let Some(job) = self.workers[index].job else {
            return;
        };
        match event {
            Event::Progress { step, loss, accuracy } => {
                self.display.progress(job, step, loss, accuracy)
            }
            Event::Ended(status) => {
                self.workers[index].job = None;
                let was_stopped = status == Status::Interrupted;
                self.end_job(job, status);
                if was_stopped {
                    // The worker had a signal, perhaps before we have ours: it is on its way out.
                    self.workers[index].input = None;
                } else if self.workers[index].input.is_some() {
                    self.give_job(index);
                }
            }
        }
    }

    fn end_job(&mut self, job: usize, status: Status) {
        self.display.end(job, &status);
        self.statuses[job] = Some(status);
    }

    /// Takes note of a worker's end. A job that it leaves behind has failed, or was interrupted with it.
    fn bury(&mut self, index: usize, is_stopping: bool) -> anyhow::Result<()> {
        let worker = &mut self.workers[index];
        worker.is_alive = false;
        worker.input = None;
        let exit = worker.child.wait().context("cannot wait for a worker")?;
        if let Some(job) = worker.job.take() {
            let complaint =
                worker.complaint.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
            let complaint =
                complaint.lines().next_back().map_or(String::new(), |line| format!(": {line}"));
            let status = match is_stopping {
                true => Status::Interrupted,
                false => {
                    Status::Failed { error: format!("its process ended with {exit}{complaint}") }
                }
            };
            directory::settle(&self.jobs[job].place, &status)?;
            self.end_job(job, status);
        }
        if !is_stopping && self.next < self.jobs.len() {
            self.start_worker()?;
        }
        Ok(())
    }

    fn stop_workers(&mut self) {
        self.next = self.jobs.len();
        for worker in &mut self.workers {
            worker.input = None;
        }
    }

    fn kill_workers(&mut self) {
        for worker in self.workers.iter_mut().filter(|worker| worker.is_alive) {
            // It may have ended by itself meanwhile.
            let _ = worker.child.kill();
        }
    }
}
