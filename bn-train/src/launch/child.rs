//! The launcher's handle to a worker process: sends orders, receives events and standard error.

use super::job::{Job, Options};
use super::protocol::{Event, Order};
use anyhow::Context as _;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

/// How much of standard error is kept: its end, which has the reason.
const KEPT_BYTES: usize = 64 * 1024;

/// Environment variables of a training process with `threads` threads.
///
/// Candle and rayon read their thread counts once per process. Mimalloc must keep freed memory: otherwise each step
/// returns pages that the next one needs, and the kernel clears them again (a tenth of a ResNet's step).
pub fn environment(threads: usize) -> [(&'static str, String); 3] {
    [
        ("RAYON_NUM_THREADS", threads.to_string()),
        ("CANDLE_NUM_THREADS", threads.to_string()),
        (KEEPS_MEMORY, "-1".to_owned()),
    ]
}

/// A variable that marks a process as having this [`environment`].
pub const KEEPS_MEMORY: &str = "MIMALLOC_PURGE_DELAY";

/// What the launcher receives from a worker.
pub(super) enum Heard {
    Event(Event),
    /// Its output has ended: it has exited or is about to.
    End,
}

pub(super) struct Worker {
    child: Child,
    /// Dropped to tell the worker to stop.
    input: Option<ChildStdin>,
    /// Which of the concurrent processes it is, by which it has its device.
    pub(super) place: usize,
    /// The job in progress.
    pub(super) job: Option<usize>,
    pub(super) is_alive: bool,
    /// Thread that collects standard error.
    stderr: Option<JoinHandle<String>>,
}

impl Worker {
    /// Starts a process whose events arrive through `sender`, tagged with `index`.
    pub(super) fn start(
        index: usize,
        place: usize,
        options: &Options,
        sender: &mpsc::Sender<(usize, Heard)>,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut child = Command::new(&program)
            .args(["worker", "--device", &options.devices[place].to_string()])
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
        let stderr = std::thread::spawn(move || collect(errors));
        Ok(Self { child, input, place, job: None, is_alive: true, stderr: Some(stderr) })
    }

    /// Gives the worker job `number`.
    pub(super) fn order(&mut self, number: usize, job: &Job) {
        let order = Order { directory: job.directory.clone(), config: job.config.clone() };
        let order = serde_json::to_string(&order)
            .unwrap_or_else(|error| unreachable!("orders are JSON: {error}"));
        self.job = Some(number);
        // If the write fails, the worker has died. `End` follows, and `reap` closes the job.
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{order}").and_then(|()| input.flush());
        }
    }

    /// Tells the worker to stop after its current step, with a checkpoint.
    pub(super) fn stop(&mut self) {
        self.input = None;
    }

    /// Whether it may get another job.
    pub(super) fn takes_orders(&self) -> bool {
        self.input.is_some()
    }

    pub(super) fn kill(&mut self) {
        if self.is_alive {
            // It may already have exited.
            let _ = self.child.kill();
        }
    }

    /// Waits for the process to exit. Returns its exit status and the end of its standard error.
    pub(super) fn reap(&mut self) -> anyhow::Result<(ExitStatus, String)> {
        self.is_alive = false;
        self.input = None;
        let exit = self.child.wait().context("cannot wait for a worker")?;
        let stderr = self.stderr.take().and_then(|thread| thread.join().ok());
        Ok((exit, stderr.unwrap_or_default()))
    }
}

/// Forwards a worker's events until its output ends.
fn listen(index: usize, output: Option<ChildStdout>, sender: &mpsc::Sender<(usize, Heard)>) {
    let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines());
    for line in lines.map_while(Result::ok) {
        if let Ok(event) = serde_json::from_str(&line) {
            let _ = sender.send((index, Heard::Event(event)));
        }
    }
    let _ = sender.send((index, Heard::End));
}

/// Reads a worker's standard error and returns its last [`KEPT_BYTES`].
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
