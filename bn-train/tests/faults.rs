//! Faults of the environment: a closed output, a full disk, a vanished folder.

#![cfg(unix)]

mod common;

use common::{SHORT, folder, partial, program, run_folder, state, text};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TWO_ARMS: [&str; 6] = ["--arms", "decay 0.9,no-normalization", "--seeds", "0", "--jobs", "1"];

/// A closed standard output or error must not stop the runs.
#[test]
fn closed_output_does_not_stop_runs() {
    for closed in ["stdout", "stderr", "both"] {
        let out = folder();
        let mut command = program();
        command.arg("run").args(SHORT).args(TWO_ARMS).arg("--out").arg(out.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        if closed != "stderr" {
            drop(child.stdout.take());
        }
        if closed != "stdout" {
            drop(child.stderr.take());
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{closed}: {}", text(&output.stderr));
        assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
        for arm in ["decay-0.9", "no-normalization"] {
            assert_eq!(state(&run_folder(out.path(), arm, 0)), "finished");
        }
        assert!(out.path().join("decay-and-renorm/report.html").exists());
    }
}

/// Like a full disk, but with a limit per file.
#[test]
fn file_that_cannot_grow_fails_its_run_with_complete_rows() {
    let out = folder();
    let script = "ulimit -f 8; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(program().get_program()).arg("run");
    command.args(["--set", "train.steps=400", "--set", "train.evaluate_every=2", "--no-report"]);
    let output = command.args(TWO_ARMS).arg("--out").arg(out.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let message = text(&output.stderr);
    assert!(message.contains("metrics.csv: cannot write rows"), "{message}");
    for arm in ["decay-0.9", "no-normalization"] {
        let partial = partial(out.path(), arm, 0);
        common::assert_rows_are_whole(&partial);
        let status = fs::read_to_string(partial.join("status.json")).unwrap();
        assert!(status.contains("failed") && status.contains("File too large"), "{status}");
        let log = fs::read_to_string(partial.join("worker.log")).unwrap();
        assert!(log.contains("metrics.csv"), "{log}");
    }
    assert!(message.contains("worker.log"), "{message}");
}

#[test]
fn vanished_folder_fails_only_its_run() {
    let out = folder();
    let child = program()
        .args(["run", "--set", "train.steps=400", "--set", "train.evaluate_every=5", "--plain"])
        .args(["--arms", "no-normalization,decay 0.9", "--seeds", "0", "--jobs", "1", "--out"])
        .arg(out.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let partial = partial(out.path(), "no-normalization", 0);
    let start = Instant::now();
    while fs::metadata(partial.join("metrics.csv")).map_or(0, |file| file.len()) < 500 {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not train");
        std::thread::sleep(Duration::from_millis(2));
    }
    // The run may write a file meanwhile, so retry until the folder is gone.
    while fs::remove_dir_all(&partial).is_err() {}
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains("no normalization, seed 0: failed: "), "{message}");
    assert!(message.contains("the file was removed during the run"), "{message}");
    assert_eq!(state(&run_folder(out.path(), "decay-0.9", 0)), "finished");
}
