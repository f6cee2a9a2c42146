//! Interrupted runs: Ctrl-C, killed processes, and two processes in one folder.

#![cfg(unix)]

mod common;

use common::{
    SHORT, assert_rows_are_whole, folder, logs, partial, program, refusal, run, run_folder, state,
    text,
};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Starts a run that would take minutes, and waits until it is training.
fn start_long_run(out: &Path) -> std::process::Child {
    let child = program()
        .args([
            "run",
            "--set",
            "train.steps=1000000",
            "--set",
            "train.evaluate_every=5",
            "--seeds",
            "0",
            "--replace",
        ])
        .args(["--arms", "decay 0.9,no-normalization,decay 0.99", "--jobs", "2", "--out"])
        .arg(out)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    wait_for_rows(&partial(out, "decay-0.9", 0), 2000);
    child
}

/// Waits until the run in this folder has written `bytes` bytes of rows.
fn wait_for_rows(folder: &Path, bytes: u64) {
    wait_until("it does not train", || {
        fs::metadata(folder.join("metrics.csv")).is_ok_and(|file| file.len() >= bytes)
    });
}

fn wait_until(otherwise: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "{otherwise}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(name: &str, process: u32) {
    signal_to(name, &process.to_string());
}

/// Signals a process, or with a leading `-` a process group.
fn signal_to(name: &str, target: &str) {
    assert!(
        Command::new("kill").args([&format!("-{name}"), "--", target]).status().unwrap().success()
    );
}

#[test]
fn interruption_ends_soon_and_leaves_complete_rows() {
    // A terminal sends Ctrl-C to the workers too; a batch system signals only the launcher.
    for (name, is_to_all) in [("INT", true), ("INT", false), ("TERM", false)] {
        let out = folder();
        let mut child = start_long_run(out.path());
        let start = Instant::now();
        if is_to_all {
            signal_to(name, &format!("-{}", child.id()));
        } else {
            signal(name, child.id());
        }
        let status = child.wait().unwrap();
        // Workers finish their step, so this takes less than a second. The bound is loose for busy machines; full runs
        // would take minutes.
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        assert_eq!(status.code(), Some(130));
        for arm in ["decay-0.9", "no-normalization"] {
            let partial = partial(out.path(), arm, 0);
            assert_eq!(state(&partial), "interrupted");
            assert_rows_are_whole(&partial);
            assert_eq!(
                fs::read_dir(partial.parent().unwrap()).unwrap().count(),
                1,
                "nothing else is left"
            );
        }
        assert!(
            !run_folder(out.path(), "decay-0.99", 0).exists(),
            "a run that never began left files"
        );
    }
}

#[test]
fn interrupted_second_run_keeps_the_first() {
    let out = folder();
    let arms = ["--arms", "decay 0.9,no-normalization", "--seeds", "0", "--no-report"];
    assert_eq!(run(out.path(), &[&SHORT[..], &arms].concat()).status.code(), Some(0));
    let first = fs::read(run_folder(out.path(), "decay-0.9", 0).join("metrics.csv")).unwrap();
    let mut child = start_long_run(out.path());
    signal("INT", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let run_folder = run_folder(out.path(), "decay-0.9", 0);
    assert_eq!(fs::read(run_folder.join("metrics.csv")).unwrap(), first);
    assert_eq!(state(&run_folder), "finished");
}

#[test]
fn workers_exit_when_the_launcher_is_killed() {
    let out = folder();
    let mut child = start_long_run(out.path());
    child.kill().unwrap();
    child.wait().unwrap();
    let partial = partial(out.path(), "decay-0.9", 0);
    wait_until("the worker keeps running", || state(&partial) != "running");
    assert_eq!(state(&partial), "interrupted");
    assert_rows_are_whole(&partial);
}

/// The worker of a killed launcher may live for another step, but must not write to the next run.
#[test]
fn orphaned_worker_does_not_write_to_the_next_run() {
    let arguments = ["--set", "train.steps=60", "--set", "train.evaluate_every=3", "--seeds", "0"];
    let arguments = [&arguments[..], &["--arms", "decay 0.9", "--no-report"]].concat();
    let undisturbed = folder();
    assert_eq!(run(undisturbed.path(), &arguments).status.code(), Some(0));
    for pause in [0, 3, 10, 40] {
        let out = folder();
        let mut child = program()
            .arg("run")
            .args(&arguments)
            .arg("--out")
            .arg(out.path())
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_for_rows(&partial(out.path(), "decay-0.9", 0), 300);
        std::thread::sleep(Duration::from_millis(pause));
        child.kill().unwrap();
        let output = run(out.path(), &arguments);
        child.wait().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(logs(out.path()), logs(undisturbed.path()));
        let run_folder = run_folder(out.path(), "decay-0.9", 0);
        assert_eq!(state(&run_folder), "finished");
        assert_eq!(fs::read_dir(run_folder.parent().unwrap()).unwrap().count(), 1);
    }
}

/// The process id of the launcher's worker.
#[cfg(target_os = "linux")]
fn worker_of(launcher: u32) -> u32 {
    let path = format!("/proc/{launcher}/task/{launcher}/children");
    fs::read_to_string(path).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn killed_worker_fails_only_its_run() {
    for (name, expected) in [("KILL", "failed"), ("ABRT", "failed"), ("TERM", "interrupted")] {
        let out = folder();
        let child = program()
            .args(["run", "--set", "train.steps=400", "--set", "train.evaluate_every=5"])
            .args(["--seeds", "0", "--jobs", "1"])
            .args(["--arms", "no-normalization,decay 0.9", "--plain", "--out"])
            .arg(out.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let partial = partial(out.path(), "no-normalization", 0);
        wait_for_rows(&partial, 500);
        signal(name, worker_of(child.id()));
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let message = text(&output.stderr);
        if expected == "failed" {
            let wanted = "no normalization, seed 0: failed: its process ended with signal: ";
            assert!(message.contains(wanted), "{message}");
            assert!(message.contains("1 of 2 runs failed"), "{message}");
        } else {
            assert!(message.contains("1 of 2 runs was stopped"), "{message}");
        }
        assert_eq!(state(&partial), expected);
        assert_rows_are_whole(&partial);
        assert_eq!(state(&run_folder(out.path(), "decay-0.9", 0)), "finished");
    }
}

#[test]
fn second_process_in_a_folder_is_refused_naming_the_first() {
    let out = folder();
    let mut child = start_long_run(out.path());
    let message = refusal(&run(out.path(), &SHORT));
    assert!(message.contains("another bn-train process is writing here"), "{message}");
    assert!(message.contains(&format!("process {} on ", child.id())), "{message}");
    assert!(message.contains("train.steps=1000000"), "the command: {message}");
    signal("INT", child.id());
    child.wait().unwrap();
    assert_eq!(
        fs::read_dir(out.path().join("decay-and-renorm"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name() == ".lock")
            .count(),
        0
    );
}
