//! Runs that do not end by themselves: Ctrl-C, killed processes, two programs in one folder.

#![cfg(unix)]

mod common;

use common::{
    SHORT, assert_rows_are_whole, folder, metrics, place, program, refusal, run, state, text,
};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Starts a run that would take minutes, and waits until it trains.
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
        ])
        .args(["--arms", "decay 0.9,no-normalization,decay 0.99", "--jobs", "2", "--out"])
        .arg(out)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let arm = out.join("decay-and-renorm/decay-0.9");
    let start = Instant::now();
    let rows =
        || fs::metadata(arm.join(".seed-0.partial/metrics.csv")).map_or(0, |file| file.len());
    while rows() < 2000 {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not train");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

fn signal(name: &str, process: u32) {
    signal_to(name, &process.to_string());
}

/// Signals a process, or with a `-` in front a whole group.
fn signal_to(name: &str, target: &str) {
    assert!(
        Command::new("kill").args([&format!("-{name}"), "--", target]).status().unwrap().success()
    );
}

#[test]
fn an_interruption_ends_soon_and_leaves_whole_rows() {
    // A terminal sends Ctrl-C to the workers too; a batch system signals the launcher alone.
    for (name, is_to_all) in [("INT", true), ("INT", false), ("TERM", false)] {
        let out = folder();
        let mut child = start_long_run(out.path());
        let start = Instant::now();
        match is_to_all {
            true => signal_to(name, &format!("-{}", child.id())),
            false => signal(name, child.id()),
        }
        let status = child.wait().unwrap();
        // It ends within a second: the launcher kills whoever has not ended after 600 ms. A busy machine must
        // not fail the test for that, so it only tells an end from runs that go on (they take minutes).
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        assert_eq!(status.code(), Some(130));
        for arm in ["decay-0.9", "no-normalization"] {
            let place = place(out.path(), arm, 0);
            assert_eq!(state(&place), "interrupted");
            assert_rows_are_whole(&place);
            assert_eq!(
                fs::read_dir(place.parent().unwrap()).unwrap().count(),
                1,
                "nothing else is left"
            );
        }
        assert!(
            !place(out.path(), "decay-0.99", 0).exists(),
            "a run that never began left something"
        );
    }
}

#[test]
fn an_interrupted_second_run_leaves_the_first_as_it_was() {
    let out = folder();
    let arms = ["--arms", "decay 0.9,no-normalization", "--seeds", "0", "--no-report"];
    assert_eq!(run(out.path(), &[&SHORT[..], &arms].concat()).status.code(), Some(0));
    let first = metrics(out.path());
    let mut child = start_long_run(out.path());
    signal("INT", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(metrics(out.path()), first);
    assert_eq!(state(&place(out.path(), "decay-0.9", 0)), "finished");
}

#[test]
fn workers_end_with_a_launcher_that_is_killed() {
    let out = folder();
    let mut child = start_long_run(out.path());
    child.kill().unwrap();
    child.wait().unwrap();
    let place = place(out.path(), "decay-0.9", 0);
    let start = Instant::now();
    while !place.exists() {
        assert!(start.elapsed() < Duration::from_secs(10), "the worker goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(state(&place), "interrupted");
    assert_rows_are_whole(&place);
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_worker_is_a_failed_run_and_the_others_go_on() {
    let out = folder();
    let child = program()
        .args([
            "run",
            "--set",
            "train.steps=400",
            "--set",
            "train.evaluate_every=5",
            "--seeds",
            "0",
            "--jobs",
            "1",
        ])
        .args(["--arms", "no-normalization,decay 0.9", "--plain", "--out"])
        .arg(out.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let partial = out.path().join("decay-and-renorm/no-normalization/.seed-0.partial/metrics.csv");
    let start = Instant::now();
    while fs::metadata(&partial).map_or(0, |file| file.len()) < 500 {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not train");
        std::thread::sleep(Duration::from_millis(2));
    }
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    signal("KILL", children.split_whitespace().next().unwrap().parse().unwrap());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(
        message.contains("no normalization, seed 0: failed: its process ended with signal: 9"),
        "{message}"
    );
    assert!(message.contains("1 of 2 runs failed"), "{message}");
    assert_eq!(state(&place(out.path(), "no-normalization", 0)), "failed");
    assert_rows_are_whole(&place(out.path(), "no-normalization", 0));
    assert_eq!(state(&place(out.path(), "decay-0.9", 0)), "finished");
}

#[test]
fn two_programs_do_not_write_into_one_folder() {
    let out = folder();
    let mut child = start_long_run(out.path());
    let message = refusal(&run(out.path(), &SHORT));
    assert!(message.contains("another bn-train is writing into this folder"), "{message}");
    signal("INT", child.id());
    child.wait().unwrap();
}
