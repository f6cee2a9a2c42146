//! The program as users meet it: real runs on the real data, small enough for seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Flags that keep a run of the default experiment short.
const SHORT: [&str; 4] = ["--set", "train.steps=12", "--set", "train.evaluate_at=[5]"];

fn program() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("bn-train"))
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    program()
        .arg("run")
        .args(arguments)
        .arg("--out")
        .arg(folder)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asserts that the run failed before anything was trained; gives its message.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    text(&output.stderr)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn place(out: &Path, arm: &str, seed: u64) -> PathBuf {
    out.join(format!("decay-and-renorm/{arm}/seed-{seed}"))
}

fn state(place: &Path) -> String {
    let status: serde_json::Value =
        serde_json::from_slice(&fs::read(place.join("status.json")).unwrap()).unwrap();
    status["state"].as_str().unwrap().to_owned()
}

/// Every `metrics.csv` below a folder, by path.
fn metrics(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.ends_with("metrics.csv") {
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

fn assert_rows_are_whole(place: &Path) {
    for file in ["metrics.csv", "timing.csv"] {
        let text = fs::read_to_string(place.join(file)).unwrap();
        assert!(text.ends_with('\n'), "{file} is cut off");
        let columns = text.lines().next().unwrap().split(',').count();
        assert!(
            text.lines().all(|line| line.split(',').count() == columns),
            "{text}"
        );
    }
}

#[test]
fn a_run_leaves_all_its_files_and_a_report() {
    let out = folder();
    let arms = ["--arms", "decay 0.9,no-normalization", "--seeds", "3"];
    let output = run(out.path(), &[&SHORT[..], &arms].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(
        printed.contains("2 arms x 1 seeds = 2 runs of 12 steps"),
        "{printed}"
    );
    assert!(printed.contains("report.html"), "{printed}");

    let place = place(out.path(), "decay-0.9", 3);
    let names = |folder: &Path| {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        names(&place),
        ["config.toml", "metrics.csv", "status.json", "timing.csv"]
    );
    assert_eq!(names(place.parent().unwrap()), ["seed-3"]);
    assert_eq!(state(&place), "finished");
    assert_rows_are_whole(&place);
    let config = fs::read_to_string(place.join("config.toml")).unwrap();
    assert!(
        config.starts_with("name = \"decay-and-renorm\"\narm = \"decay 0.9\"\nseed = 3\n"),
        "{config}"
    );
    assert!(out.path().join("decay-and-renorm/report.html").is_file());

    // The rows that a report and a reader rely on.
    let rows = fs::read_to_string(place.join("metrics.csv")).unwrap();
    let keys: Vec<&str> = rows
        .lines()
        .skip(1)
        .map(|line| line.rsplit_once(',').unwrap().0)
        .collect();
    let evaluation = |step: u64, examples: u64| {
        ["moving", "batch"].into_iter().flat_map(move |statistics| {
            let row = move |metric| format!("{step},0,{examples},validation,{statistics},{metric}");
            ["loss", "accuracy"].map(row)
        })
    };
    let training = |step: u64, examples: u64| {
        ["loss", "accuracy"].map(|m| format!("{step},0,{examples},train,batch,{m}"))
    };
    let testing = ["moving", "batch"]
        .into_iter()
        .flat_map(|s| ["loss", "accuracy"].map(|m| format!("12,0,720,test,{s},{m}")));
    let expected: Vec<String> = evaluation(0, 0)
        .chain(training(5, 300))
        .chain(evaluation(5, 300))
        .chain(training(12, 720))
        .chain(evaluation(12, 720))
        .chain(testing)
        .collect();
    assert_eq!(keys, expected);
    let rows =
        fs::read_to_string(self::place(out.path(), "no-normalization", 3).join("metrics.csv"))
            .unwrap();
    assert!(
        rows.contains("5,0,300,validation,,accuracy,") && !rows.contains("moving"),
        "{rows}"
    );
}

#[test]
fn any_number_of_jobs_gives_the_same_bytes_and_a_run_repeats_from_its_config() {
    let (one, two, again) = (folder(), folder(), folder());
    let arms = [
        "--arms",
        "decay 0.99,renorm 0.99,no normalization",
        "--seeds",
        "0,1",
        "--no-report",
    ];
    for (out, jobs) in [(&one, "1"), (&two, "2")] {
        let output = run(out.path(), &[&SHORT[..], &arms, &["--jobs", jobs]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let metrics_of_one = metrics(one.path());
    assert_eq!(metrics_of_one.len(), 6);
    assert_eq!(metrics_of_one, metrics(two.path()));

    let config = place(one.path(), "renorm-0.99", 1).join("config.toml");
    let output = run(again.path(), &[config.to_str().unwrap(), "--no-report"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let repeated = place(again.path(), "renorm-0.99", 1);
    assert_eq!(
        fs::read(repeated.join("metrics.csv")).unwrap(),
        fs::read(config.with_file_name("metrics.csv")).unwrap()
    );
    assert_eq!(
        fs::read(repeated.join("config.toml")).unwrap(),
        fs::read(config).unwrap()
    );
}

#[test]
fn a_convnet_trains_and_learns() {
    let out = folder();
    let file = out.path().join("conv.toml");
    let lines = "model = { kind = 'convnet', channels = [4, 8] }\nnorm.decay = 0.5\noptimizer.learning_rate = 0.1\n\
                 train = { steps = 40, evaluate_every = 40 }\nseeds = [0]\n";
    fs::write(&file, lines).unwrap();
    let output = run(out.path(), &[file.to_str().unwrap(), "--no-report"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let rows = fs::read_to_string(out.path().join("conv/base/seed-0/metrics.csv")).unwrap();
    let row = rows
        .lines()
        .find(|line| line.contains("test,moving,accuracy"))
        .unwrap();
    let accuracy: f64 = row.rsplit_once(',').unwrap().1.parse().unwrap();
    assert!(accuracy > 0.6, "{row}");
}

#[test]
fn divergence_is_a_result() {
    let out = folder();
    let arguments = [
        "--set",
        "optimizer.learning_rate=1e30",
        "--set",
        "model.activation=relu",
        "--arms",
        "no normalization",
        "--seeds",
        "0",
    ];
    let output = run(out.path(), &[&SHORT[..], &arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let place = place(out.path(), "no-normalization", 0);
    assert_eq!(state(&place), "diverged");
    assert_rows_are_whole(&place);
    let status = fs::read_to_string(place.join("status.json")).unwrap();
    assert!(
        status.contains("\"step\":") && status.contains("loss is"),
        "{status}"
    );
}

#[test]
fn every_typo_is_told_at_once() {
    let out = folder();
    let file = out.path().join("typo.toml");
    fs::write(
        &file,
        "[optimizer]\nlearning_rate = 0.1\nmomentun = 0.5\n[train]\nsteps = 'many'\n",
    )
    .unwrap();
    let message = refusal(&run(
        out.path(),
        &[file.to_str().unwrap(), "--set", "norm.dekay=1"],
    ));
    let path = file.to_str().unwrap();
    assert!(
        message.contains(&format!(
            "{path}:3:1: unknown key `optimizer.momentun`; did you mean"
        )),
        "{message}"
    );
    assert!(
        message.contains(&format!(
            "{path}:5:9: `train.steps` is \"many\"; expected a whole number"
        )),
        "{message}"
    );
    assert!(
        message.contains("--set norm.dekay=1: unknown key"),
        "{message}"
    );
    assert!(message.contains("3 problems"), "{message}");
    assert_eq!(
        fs::read_dir(out.path()).unwrap().count(),
        1,
        "nothing was written"
    );
}

#[test]
fn bad_input_is_one_clear_message() {
    let out = folder();
    let missing = out.path().join("missing.toml");
    let message = refusal(&run(out.path(), &[missing.to_str().unwrap()]));
    assert!(
        message.contains(missing.to_str().unwrap()) && message.contains("No such file"),
        "{message}"
    );

    let message = refusal(&run(out.path(), &["decay-and-renrom"]));
    assert!(
        message.contains("did you mean decay-and-renorm?"),
        "{message}"
    );

    let message = refusal(&run(out.path(), &["--arms", "decay 0.8"]));
    assert!(
        message.contains("--arms decay 0.8: there is no such arm"),
        "{message}"
    );

    let file = out.path().join("file");
    fs::write(&file, "").unwrap();
    let message = refusal(&run(&file, &SHORT));
    assert!(
        message.contains("cannot write into this folder") && message.contains("file"),
        "{message}"
    );
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn a_device_that_is_not_there_says_what_to_do() {
    let out = folder();
    let message = refusal(&run(out.path(), &["--device", "cuda:99"]));
    assert!(
        message.contains("cuda:99") && message.contains("--device cpu"),
        "{message}"
    );
}

#[test]
fn experiments_are_listed_and_shown() {
    let output = program().arg("list").output().unwrap();
    assert!(text(&output.stdout).starts_with("decay-and-renorm  (7 arms, 5 seeds)\n"));
    for name in ["decay-and-renorm", "template"] {
        let output = program().args(["show", name]).output().unwrap();
        assert!(text(&output.stdout).contains(&format!("name = \"{name}\"")));
    }
    assert_eq!(
        program()
            .args(["show", "nothing"])
            .output()
            .unwrap()
            .status
            .code(),
        Some(1)
    );
}

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
        .args(["--arms", "decay 0.9,no-normalization", "--out"])
        .arg(out)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let arm = out.join("decay-and-renorm/decay-0.9");
    let start = Instant::now();
    let rows =
        || fs::metadata(arm.join(".seed-0.partial/metrics.csv")).map_or(0, |file| file.len());
    while rows() < 2000 {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it does not train"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

fn signal(name: &str, process: u32) {
    assert!(
        Command::new("kill")
            .args([format!("-{name}"), process.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

#[cfg(unix)]
#[test]
fn an_interruption_ends_within_a_second_and_leaves_whole_rows() {
    for name in ["INT", "TERM"] {
        let out = folder();
        let mut child = start_long_run(out.path());
        let start = Instant::now();
        signal(name, child.id());
        let status = child.wait().unwrap();
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
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
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_second_run_leaves_the_first_as_it_was() {
    let out = folder();
    let arms = [
        "--arms",
        "decay 0.9,no-normalization",
        "--seeds",
        "0",
        "--no-report",
    ];
    assert_eq!(
        run(out.path(), &[&SHORT[..], &arms].concat()).status.code(),
        Some(0)
    );
    let first = metrics(out.path());
    let mut child = start_long_run(out.path());
    signal("INT", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(metrics(out.path()), first);
    assert_eq!(state(&place(out.path(), "decay-0.9", 0)), "finished");
}

#[cfg(unix)]
#[test]
fn workers_end_with_a_launcher_that_is_killed() {
    let out = folder();
    let mut child = start_long_run(out.path());
    child.kill().unwrap();
    child.wait().unwrap();
    let place = place(out.path(), "decay-0.9", 0);
    let start = Instant::now();
    while !place.exists() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the worker goes on"
        );
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
    let partial = out
        .path()
        .join("decay-and-renorm/no-normalization/.seed-0.partial/metrics.csv");
    let start = Instant::now();
    while fs::metadata(&partial).map_or(0, |file| file.len()) < 500 {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it does not train"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    signal(
        "KILL",
        children.split_whitespace().next().unwrap().parse().unwrap(),
    );
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
    assert!(
        message.contains("another bn-train is writing into this folder"),
        "{message}"
    );
    signal("INT", child.id());
    child.wait().unwrap();
}
