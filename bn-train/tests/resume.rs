//! Interrupted or killed runs resume from their last checkpoint and end with the bytes of an undisturbed run.

#![cfg(target_os = "linux")]

mod common;

use common::{LOGS, folder, logs, program, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The common settings. With checkpoints every 7 steps and rows every 5, they rarely coincide.
const COMMON: &str = "name = 'kills'\nseeds = [0]\n[data]\nname = 'digits'\n[model]\nkind = 'mlp'\nhidden = [24, 24]\n\
                      [optimizer]\nlearning_rate = 0.01\n[train]\nbatch_size = 32\nevaluate_every = 5\n\
                      [checkpoint]\nevery = 7\nkeep = 2\n";

const OPTIMIZERS: [(&str, &str); 5] = [
    ("sgd", "kind = 'sgd'"),
    ("nesterov", "kind = 'sgd', momentum = 0.9, nesterov = true"),
    ("adam", "kind = 'adam', clip_norm = 1.0"),
    ("adamw", "kind = 'adamw', weight_decay = 0.01"),
    ("rmsprop", "kind = 'rmsprop', momentum = 0.5"),
];

const NORMS: [(&str, &str); 4] = [
    ("none", "kind = 'none'"),
    ("batch", "kind = 'batch'"),
    ("debiased", "kind = 'batch', decay = 0.99, zero_debias = 'both'"),
    ("renorm", "kind = 'renorm', renorm = { variant = 'keras', decay = 0.9, schedule = 'paper' }"),
];

/// Writes an experiment with an arm for each of these optimizers and norms.
fn experiment(
    folder: &Path,
    steps: u64,
    optimizers: &[(&str, &str)],
    norms: &[(&str, &str)],
) -> PathBuf {
    let mut toml = COMMON.replace("[train]\n", &format!("[train]\nsteps = {steps}\n"));
    for (optimizer, optimizer_keys) in optimizers {
        for (norm, norm_keys) in norms {
            toml += &format!("[[arm]]\nname = '{optimizer} {norm}'\n");
            toml += &format!("optimizer = {{ {optimizer_keys} }}\nnorm = {{ {norm_keys} }}\n");
        }
    }
    let path = folder.join("kills.toml");
    fs::write(&path, toml).unwrap();
    path
}

fn command(experiment: &Path, out: &Path, jobs: &str) -> Command {
    let mut command = program();
    command.arg("run").arg(experiment).arg("--out").arg(out);
    command.args(["--jobs", jobs, "--plain", "--no-report"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The metrics of an undisturbed run of the experiment.
fn undisturbed(experiment: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let out = folder();
    let output = command(experiment, out.path(), "2").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    logs(out.path())
}

/// The worker processes of this launcher.
fn workers(launcher: &Child) -> Vec<u32> {
    let path = format!("/proc/{0}/task/{0}/children", launcher.id());
    let children = fs::read_to_string(path).unwrap_or_default();
    children.split_whitespace().map(|process| process.parse().unwrap()).collect()
}

fn signal(name: &str, processes: &[u32]) {
    let processes = processes.iter().map(u32::to_string);
    // Ignore processes that have just exited.
    Command::new("kill")
        .arg(format!("-{name}"))
        .args(processes)
        .stderr(Stdio::null())
        .status()
        .unwrap();
}

/// A reproducible pseudo-random sequence (Numerical Recipes' generator).
struct Sequence(u32);

impl Sequence {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % bound
    }
}

/// Repeats the experiment with random kills until it completes.
fn run_under_kills(experiment: &Path, out: &Path, most_kills: usize, sequence: &mut Sequence) {
    for round in 0.. {
        let jobs = (1 + sequence.below(3)).to_string();
        let launcher = command(experiment, out, &jobs).spawn().unwrap();
        if round < most_kills {
            std::thread::sleep(Duration::from_millis(u64::from(sequence.below(900))));
            let name = ["INT", "TERM", "KILL"][sequence.below(3) as usize];
            let workers = workers(&launcher);
            match sequence.below(3) {
                0 => signal(name, &[launcher.id()]),
                1 => signal(name, &workers[..workers.len().min(1)]),
                _ => signal(name, &[&[launcher.id()], &workers[..]].concat()),
            }
        }
        let output = launcher.wait_with_output().unwrap();
        if output.status.code() == Some(0) {
            return;
        }
        assert!(round < most_kills, "failed without a kill: {}", text(&output.stderr));
    }
}

#[test]
fn killed_runs_of_every_optimizer_and_norm_end_with_the_same_bytes() {
    let files = folder();
    let experiment = experiment(files.path(), 60, &OPTIMIZERS, &NORMS);
    let wanted = undisturbed(&experiment);
    assert_eq!(wanted.len(), LOGS.len() * OPTIMIZERS.len() * NORMS.len());
    for seed in [1, 2] {
        let out = folder();
        run_under_kills(&experiment, out.path(), 12, &mut Sequence(seed));
        assert_eq!(logs(out.path()), wanted, "sequence {seed}");
    }
}

/// Starts the experiment, waits for a checkpoint, and stops it with a signal.
fn stop_after_checkpoint(experiment: &Path, out: &Path, name: &str) -> PathBuf {
    let mut launcher = command(experiment, out, "1").spawn().unwrap();
    let checkpoints = out.join("kills/adam-renorm/.seed-0.partial/checkpoints");
    let start = Instant::now();
    while fs::read_dir(&checkpoints).map_or(0, Iterator::count) == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "no checkpoint");
        std::thread::sleep(Duration::from_millis(1));
    }
    signal(name, &[launcher.id()]);
    assert_eq!(launcher.wait().unwrap().code(), Some(130), "it must be interrupted");
    checkpoints
}

#[test]
fn interrupted_run_resumes_from_its_checkpoint_and_reports_it() {
    let files = folder();
    let experiment = experiment(files.path(), 400, &OPTIMIZERS[2..3], &NORMS[3..]);
    let wanted = undisturbed(&experiment);
    let out = folder();
    stop_after_checkpoint(&experiment, out.path(), "TERM");
    let output = command(&experiment, out.path(), "1").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(printed.contains("1 of 1 resumes from its checkpoint\n"), "{printed}");
    assert_eq!(logs(out.path()), wanted);
}

#[test]
fn damaged_checkpoint_falls_back_to_the_previous_one() {
    let files = folder();
    let experiment = experiment(files.path(), 400, &OPTIMIZERS[2..3], &NORMS[3..]);
    let wanted = undisturbed(&experiment);
    let out = folder();
    let checkpoints = stop_after_checkpoint(&experiment, out.path(), "INT");
    let entries = fs::read_dir(&checkpoints).unwrap();
    let newest = entries.map(|entry| entry.unwrap().path()).max().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let output = command(&experiment, out.path(), "1").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(logs(out.path()), wanted);
    let message = text(&output.stderr);
    let name = newest.file_name().unwrap().to_str().unwrap();
    assert!(message.contains("skipped") && message.contains(name), "{message}");
}
