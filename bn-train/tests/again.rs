//! A second `run` in the same folder skips completed runs and never overwrites runs with other settings.

#![cfg(unix)]

mod common;

use common::{SHORT, folder, refusal, run, run_folder, state, text};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const TWO_ARMS: [&str; 4] = ["--arms", "decay 0.9,no normalization", "--seeds", "0,1"];

/// Every file below a folder, with its contents and inode.
fn files(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u64)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry));
        } else {
            let inode = fs::metadata(&entry).unwrap().ino();
            found.insert(entry.clone(), (fs::read(&entry).unwrap(), inode));
        }
    }
    found
}

fn succeed(out: &Path, arguments: &[&str]) -> String {
    let output = run(out, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn completed_runs_are_skipped_and_reported() {
    let out = folder();
    let arguments = [&SHORT[..], &TWO_ARMS].concat();
    let printed = succeed(out.path(), &arguments);
    assert!(!printed.contains("skipped"), "{printed}");
    let arm = out.path().join("decay-and-renorm/decay-0.9");
    let before = files(&arm);
    fs::remove_dir_all(run_folder(out.path(), "no-normalization", 1)).unwrap();

    let printed = succeed(out.path(), &arguments);
    assert!(printed.contains("3 of 4 already completed, skipped\n"), "{printed}");
    assert_eq!(files(&arm), before);
    assert_eq!(state(&run_folder(out.path(), "no-normalization", 1)), "finished");

    let printed = succeed(out.path(), &arguments);
    assert!(printed.contains("4 of 4 already completed, skipped\n"), "{printed}");
    assert!(printed.contains("report.html"), "the report must be drawn: {printed}");
}

#[test]
fn experiment_can_be_trained_arm_by_arm_and_seed_by_seed() {
    let out = folder();
    for selection in [
        ["--arms", "decay 0.9", "--seeds", "0"],
        ["--arms", "no normalization", "--seeds", "0"],
        ["--arms", "decay 0.9", "--seeds", "0,1"],
    ] {
        succeed(out.path(), &[&SHORT[..], &selection].concat());
    }
    let manifest = fs::read_to_string(out.path().join("decay-and-renorm/manifest.toml")).unwrap();
    assert_eq!(manifest.matches("[[arm.run]]").count(), 3, "{manifest}");
}

#[test]
fn run_with_other_settings_is_refused_before_anything_is_written() {
    let out = folder();
    succeed(out.path(), &[&SHORT[..], &TWO_ARMS].concat());
    let before = files(out.path());
    let quick = ["--set", "train.steps=6", "--set", "train.evaluate_at=[5]"];
    for selection in [
        &TWO_ARMS[..],
        // Another seed would mix with the existing runs and drop them from the manifest.
        &["--arms", "decay 0.9", "--seeds", "7"],
        // So would another arm.
        &["--arms", "decay 0.99", "--seeds", "0"],
    ] {
        let message = refusal(&run(out.path(), &[&quick[..], selection].concat()));
        assert!(message.contains("train.steps is 6, was 12"), "{message}");
        for offer in ["--name", "--out", "--replace"] {
            assert!(message.contains(offer), "{message}");
        }
        assert_eq!(files(out.path()), before, "{selection:?}");
    }
}

#[test]
fn run_with_other_settings_uses_another_folder_or_replaces_on_request() {
    let out = folder();
    succeed(out.path(), &[&SHORT[..], &TWO_ARMS].concat());
    let arm = out.path().join("decay-and-renorm/decay-0.9");
    let before = files(&arm);
    let quick = ["--set", "train.steps=6", "--set", "train.evaluate_at=[5]"];
    let quick = [&quick[..], &TWO_ARMS].concat();
    succeed(out.path(), &[&quick[..], &["--name", "quick"]].concat());
    assert_eq!(files(&arm), before);
    assert!(out.path().join("quick/decay-0.9/seed-1").is_dir());

    succeed(out.path(), &[&quick[..], &["--replace"]].concat());
    for seed in [0, 1] {
        let config = fs::read_to_string(arm.join(format!("seed-{seed}/config.toml"))).unwrap();
        assert!(config.contains("steps = 6\n"), "{config}");
    }
    assert_eq!(fs::read_dir(&arm).unwrap().count(), 2, "no trace of the older runs");
    let printed = succeed(out.path(), &[&quick[..], &["--replace"]].concat());
    assert!(printed.contains("4 of 4 already completed, skipped\n"), "{printed}");
}

#[test]
fn runs_of_another_version_are_kept_and_reported() {
    let out = folder();
    let arguments = [&SHORT[..], &["--arms", "decay 0.9", "--seeds", "0"]].concat();
    succeed(out.path(), &arguments);
    let config = run_folder(out.path(), "decay-0.9", 0).join("config.toml");
    let older = fs::read_to_string(&config).unwrap();
    let line = older.lines().find(|line| line.starts_with("version = ")).unwrap().to_owned();
    fs::write(&config, older.replace(&line, "version = \"bn-train 0.0.1\"")).unwrap();
    let printed = succeed(out.path(), &arguments);
    assert!(printed.contains("1 of 1 already completed, skipped\n"), "{printed}");
    assert!(
        printed.contains("1 run by another version of this program: bn-train 0.0.1"),
        "{printed}"
    );
}

#[test]
fn damaged_run_is_not_removed() {
    let out = folder();
    let arguments = [&SHORT[..], &["--arms", "decay 0.9", "--seeds", "0"]].concat();
    succeed(out.path(), &arguments);
    let run_folder = run_folder(out.path(), "decay-0.9", 0);
    fs::write(run_folder.join("status.json"), "{").unwrap();
    let message = refusal(&run(out.path(), &arguments));
    assert!(message.contains("seed-0: its files cannot be read"), "{message}");
    succeed(out.path(), &[&arguments[..], &["--replace"]].concat());
    assert_eq!(state(&run_folder), "finished");
}
