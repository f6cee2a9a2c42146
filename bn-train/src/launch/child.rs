//! A worker process, as the launcher sees it: orders go in, events and complaints come out.

use super::job::{Job, Options};
use super::protocol::{Event, Order};
use anyhow::Context as _;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

/// What is kept of the standard error: the end, which has the reason.
const KEPT_BYTES: usize = 64 * 1024;

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

/// What the launcher hears of a worker.
pub(super) enum Heard {
    Event(Event),
    /// Its output has ended: it is dead or about to be.
    End,
}

pub(super) struct Worker {
    child: Child,
    /// Dropped to tell the worker to stop.
    input: Option<ChildStdin>,
    /// Its job in progress.
    pub(super) job: Option<usize>,
    pub(super) is_alive: bool,
    /// Collects its standard error.
    complaints: Option<JoinHandle<String>>,
}

impl Worker {
    /// Starts a process whose events come through `sender`, with `index` to tell it from others.
    pub(super) fn start(
        index: usize,
        options: &Options,
        sender: &mpsc::Sender<(usize, Heard)>,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut child = Command::new(&program)
            .args(["worker", "--device", &options.device.to_string()])
            .envs(environment(options.threads))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {} as a worker", program.display()))?;
        let (input, output, errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let sender = sender.clone();
        std::thread::spawn(move || listen(index, output, &sender));
        let complaints = std::thread::spawn(move || collect(errors));
        Ok(Self { child, input, job: None, is_alive: true, complaints: Some(complaints) })
    }

    /// Gives the worker `job`, the one of this number.
    pub(super) fn order(&mut self, number: usize, job: &Job) {
        let order = Order { directory: job.directory.clone(), config: job.config.clone() };
        let order = serde_json::to_string(&order)
            .unwrap_or_else(|error| unreachable!("orders are JSON: {error}"));
        self.job = Some(number);
        // A worker that cannot be written to has died: its end is heard soon, and its job closed then.
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{order}").and_then(|()| input.flush());
        }
    }

    /// Tells the worker to stop: after its step, with a checkpoint.
    pub(super) fn stop(&mut self) {
        self.input = None;
    }

    /// Whether it may get another job.
    pub(super) fn takes_orders(&self) -> bool {
        self.input.is_some()
    }

    pub(super) fn kill(&mut self) {
        if self.is_alive {
            // It may have ended by itself meanwhile.
            let _ = self.child.kill();
        }
    }

    /// Waits for the end of the process; how it ended, and what it wrote to its standard error.
    pub(super) fn reap(&mut self) -> anyhow::Result<(ExitStatus, String)> {
        self.is_alive = false;
        self.input = None;
        let exit = self.child.wait().context("cannot wait for a worker")?;
        let complaints = self.complaints.take().and_then(|thread| thread.join().ok());
        Ok((exit, complaints.unwrap_or_default()))
    }
}

/// Passes a worker's events on until it ends.
fn listen(index: usize, output: Option<ChildStdout>, sender: &mpsc::Sender<(usize, Heard)>) {
    let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines());
    for line in lines.map_while(Result::ok) {
        if let Ok(event) = serde_json::from_str(&line) {
            let _ = sender.send((index, Heard::Event(event)));
        }
    }
    let _ = sender.send((index, Heard::End));
}

/// The end of all that a worker writes to its standard error.
fn collect(errors: Option<ChildStderr>) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    if let Some(mut errors) = errors {
        while let Ok(count @ 1..) = errors.read(&mut buffer) {
            kept.extend_from_slice(&buffer[..count]);
            let excess = kept.len().saturating_sub(KEPT_BYTES);
            kept.drain(..excess);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}
