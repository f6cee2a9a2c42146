//! Programs with custom networks, data sets, optimizers and experiments have the full command line.

mod common;

use common::{folder, state, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Builds an example with the profile of this test, because `cargo test --test own_model` does not build it.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    // Build the workspace, so that dependencies have the same features as in the tests and are not rebuilt.
    cargo.args(["build", "--quiet", "--workspace", "--example", name]);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.arg("--target-dir").arg(profile.parent().unwrap()).status().unwrap().success());
    profile.join("examples").join(name)
}

fn command(program: &Path, experiment: &str, out: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["run", experiment, "--seeds", "0-1", "--out"]).arg(out).args(arguments);
    command
}

fn rings(program: &Path, out: &Path, arguments: &[&str]) -> Output {
    let output = command(program, "rings", out, arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    output
}

#[test]
fn custom_kinds_are_listed_trained_and_reported() {
    let program = example("own_model");
    let template = Command::new(&program).args(["show", "template"]).output().unwrap();
    let template = text(&template.stdout);
    assert!(template.contains("# width = 16 "), "{template}");
    assert!(template.contains("# mixed: width of the hidden layer"), "{template}");
    assert!(template.contains("\"rings\": 1,000 points in the plane"), "{template}");

    let (one, two) = (folder(), folder());
    rings(&program, one.path(), &["--jobs", "1"]);
    rings(&program, two.path(), &["--jobs", "2", "--no-report"]);
    assert!(one.path().join("rings/report.html").is_file());
    for arm in ["batch-norm", "none"] {
        let run = |out: &Path| out.join(format!("rings/{arm}/seed-1"));
        assert_eq!(state(&run(one.path())), "finished");
        let metrics = |out: &Path| fs::read_to_string(run(out).join("metrics.csv")).unwrap();
        assert_eq!(metrics(one.path()), metrics(two.path()));
        let last = metrics(one.path());
        let last = last.lines().rfind(|line| line.contains("validation")).unwrap();
        let accuracy: f64 = last.rsplit_once(',').unwrap().1.parse().unwrap();
        // Chance is a third, and a high accuracy needs both layers.
        assert!(accuracy > 0.8, "{last}");
    }
}

#[test]
fn problems_with_custom_keys_say_what_is_accepted() {
    let out = folder();
    let output = Command::new(example("own_model"))
        .args(["run", "rings", "--set", "model.width=0", "--out"])
        .arg(out.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    let expected =
        "--set model.width=0: `model.width` is 0; expected a whole number from 1 to 65536";
    assert!(message.contains(expected), "{message}");
}

/// Whether `folder` contains, at any depth, a file whose name starts with `prefix`.
fn has_file(folder: &Path, prefix: &str) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.filter_map(Result::ok).any(|entry| {
        entry.file_name().to_string_lossy().starts_with(prefix) || has_file(&entry.path(), prefix)
    })
}

#[test]
fn killed_runs_of_custom_kinds_resume_to_the_same_bytes() {
    let long =
        ["--jobs", "1", "--no-report", "--set", "train.epochs=150", "--set", "checkpoint.every=10"];
    for (name, experiment, arms) in [
        ("own_model", "rings", ["batch-norm", "none"]),
        ("own_optimizer", "signs", ["slow", "fast"]),
    ] {
        let program = example(name);
        let (straight, killed) = (folder(), folder());
        let output = command(&program, experiment, straight.path(), &long).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

        let mut launcher = command(&program, experiment, killed.path(), &long).spawn().unwrap();
        let start = Instant::now();
        while !has_file(killed.path(), "step-") {
            assert!(start.elapsed() < Duration::from_secs(60), "no checkpoint of {experiment}");
            std::thread::sleep(Duration::from_millis(2));
        }
        launcher.kill().unwrap();
        launcher.wait().unwrap();
        let output = command(&program, experiment, killed.path(), &long).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        for arm in arms {
            for seed in ["seed-0", "seed-1"] {
                let file = |out: &Path, name: &str| {
                    fs::read(out.join(experiment).join(arm).join(seed).join(name)).unwrap()
                };
                for name in ["metrics.csv", "layers.csv", "schedules.csv"] {
                    let same = file(killed.path(), name) == file(straight.path(), name);
                    assert!(same, "{experiment}, {arm}, {seed}: {name}");
                }
            }
        }
    }
}
