//! Evaluating and exporting checkpoints.

mod common;

use common::{folder, program, run, run_folder, text};
use std::fs;
use std::path::Path;

/// Trains one arm briefly.
fn trained(out: &Path, more: &[&str]) {
    let arguments =
        ["--arms", "decay 0.9", "--seeds", "0", "--no-report", "--set", "train.steps=12"];
    let output = run(out, &[&arguments[..], more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn evaluate_repeats_the_last_rows_of_the_run() {
    let out = folder();
    trained(out.path(), &["--set", "checkpoint.every=5"]);
    let run_folder = run_folder(out.path(), "decay-0.9", 0);
    let mut names: Vec<_> = fs::read_dir(run_folder.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["step-000010.safetensors", "step-000012.safetensors"]);
    let path = run_folder.join("checkpoints/step-000012.safetensors");
    let output = program().arg("evaluate").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(table.starts_with("step 12\n"), "{table}");
    let rows = fs::read_to_string(run_folder.join("metrics.csv")).unwrap();
    for (split, statistics) in
        [("validation", "moving"), ("validation", "batch"), ("test", "moving"), ("test", "batch")]
    {
        let value = |metric: &str| {
            let key = format!(",{split},{statistics},{metric},");
            let row = rows.lines().rfind(|row| row.starts_with("12,") && row.contains(&key));
            let value = row.unwrap_or_else(|| panic!("{key} in {rows}")).rsplit(',').next();
            format!("{:.6}", value.unwrap().parse::<f64>().unwrap())
        };
        let expected = [split, statistics, &value("loss"), &value("accuracy")].map(str::to_owned);
        let found = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        assert!(found.into_iter().any(|cells| cells == expected), "{expected:?} in\n{table}");
    }
    assert!(table.contains("population"), "{table}");
}

#[test]
fn invalid_checkpoint_is_refused_with_the_reason() {
    let out = folder();
    trained(out.path(), &[]);
    let checkpoints = run_folder(out.path(), "decay-0.9", 0).join("checkpoints");
    let damaged = checkpoints.join("step-000012.safetensors");
    let mut bytes = fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    for (path, expected) in [
        (damaged, "damaged or not a state file"),
        (checkpoints.join("step-000099.safetensors"), "cannot read this file"),
        (out.path().join("a/b/c"), "pass their path with --config"),
    ] {
        for command in [&["evaluate"][..], &["export", "--names", "keras", "-o", "/dev/null"]] {
            let output = program().args(command).arg(&path).output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            let message = text(&output.stderr);
            assert!(message.contains(expected), "{command:?} {}: {message}", path.display());
        }
    }
}

#[test]
fn export_uses_each_systems_names() {
    let out = folder();
    trained(out.path(), &[]);
    let path = run_folder(out.path(), "decay-0.9", 0).join("checkpoints/step-000012.safetensors");
    for (names, expected) in [
        ("pytorch", "hidden1.norm.running_mean"),
        ("candle", "hidden1.norm.weight"),
        ("keras", "hidden1/norm/moving_mean"),
    ] {
        let file = out.path().join(names);
        let command = ["export", "--names", names, "-o"];
        let output = program().args(command).arg(&file).arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let bytes = fs::read(&file).unwrap();
        let named = bn_core::interchange::from_bytes(&bytes, &candle::Device::Cpu).unwrap();
        assert!(named.contains_key(expected), "{names}: {:?}", named.keys());
    }
    let output =
        program().args(["export", "--names", "caffe", "-o", "x"]).arg(&path).output().unwrap();
    assert!(text(&output.stderr).contains("expected candle, pytorch or keras"));
}

#[test]
fn tensorboard_files_are_optional_and_do_not_affect_rows() {
    let (plain, with) = (folder(), folder());
    trained(plain.path(), &[]);
    trained(with.path(), &["--set", "tensorboard.write=true"]);
    let events = "events.out.tfevents.0.bn-train";
    let [plain, with] = [&plain, &with].map(|out| run_folder(out.path(), "decay-0.9", 0));
    assert!(!plain.join(events).exists());
    assert!(fs::metadata(with.join(events)).unwrap().len() > 500);
    let rows = |run_folder: &Path| fs::read(run_folder.join("metrics.csv")).unwrap();
    assert_eq!(rows(&plain), rows(&with));
}
