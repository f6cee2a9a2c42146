//! Helpers shared by the tests of the program.

#![allow(dead_code, unreachable_pub, reason = "each test file uses only some helpers")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Flags that keep a run of the default experiment short.
pub const SHORT: [&str; 4] = ["--set", "train.steps=12", "--set", "train.evaluate_at=[5]"];

pub fn program() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("bn-train"))
}

pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    program().arg("run").args(arguments).arg("--out").arg(folder).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asserts that the command failed before training, and returns its message.
pub fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    text(&output.stderr)
}

pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

pub fn run_folder(out: &Path, arm: &str, seed: u64) -> PathBuf {
    out.join(format!("decay-and-renorm/{arm}/seed-{seed}"))
}

/// The folder of a partial run.
pub fn partial(out: &Path, arm: &str, seed: u64) -> PathBuf {
    out.join(format!("decay-and-renorm/{arm}/.seed-{seed}.partial"))
}

pub fn state(run_folder: &Path) -> String {
    let status: serde_json::Value =
        serde_json::from_slice(&fs::read(run_folder.join("status.json")).unwrap()).unwrap();
    status["state"].as_str().unwrap().to_owned()
}

/// Logs that a seed determines.
pub const LOGS: [&str; 3] = ["metrics.csv", "layers.csv", "schedules.csv"];

/// Every log below a folder that a seed determines, sorted by path.
pub fn logs(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if LOGS.iter().any(|name| entry.ends_with(name)) {
                found.push((
                    entry.strip_prefix(folder).unwrap().to_owned(),
                    fs::read(&entry).unwrap(),
                ));
            }
        }
    }
    found.sort();
    found
}

pub fn assert_rows_are_whole(run_folder: &Path) {
    for file in ["metrics.csv", "timing.csv"] {
        let text = fs::read_to_string(run_folder.join(file)).unwrap();
        assert!(text.ends_with('\n'), "{file} is cut off");
        let columns = text.lines().next().unwrap().split(',').count();
        assert!(text.lines().all(|line| line.split(',').count() == columns), "{text}");
    }
}
