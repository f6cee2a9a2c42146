//! End-to-end tests of the program: real runs on real data that take seconds.

mod common;

use common::{
    SHORT, assert_rows_are_whole, folder, logs, program, refusal, run, run_folder, state, text,
};
use std::fs;
use std::path::Path;

#[test]
fn run_writes_all_its_files_and_a_report() {
    let out = folder();
    let arms = ["--arms", "decay 0.9,no-normalization", "--seeds", "3"];
    let output = run(out.path(), &[&SHORT[..], &arms].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(printed.contains("2 arms x 1 seed = 2 runs of 12 steps"), "{printed}");
    assert!(printed.contains("report.html"), "{printed}");

    let run_folder = run_folder(out.path(), "decay-0.9", 3);
    let names = |folder: &Path| {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(
        names(&run_folder),
        [
            "checkpoints",
            "config.toml",
            "layers.csv",
            "metrics.csv",
            "schedules.csv",
            "status.json",
            "timing.csv"
        ]
    );
    assert_eq!(names(run_folder.parent().unwrap()), ["seed-3"]);
    assert_eq!(state(&run_folder), "finished");
    assert_rows_are_whole(&run_folder);
    let config = fs::read_to_string(run_folder.join("config.toml")).unwrap();
    assert!(
        config.starts_with("name = \"decay-and-renorm\"\narm = \"decay 0.9\"\nseed = 3\n"),
        "{config}"
    );
    assert!(out.path().join("decay-and-renorm/report.html").is_file());

    // The rows that reports rely on.
    let rows = fs::read_to_string(run_folder.join("metrics.csv")).unwrap();
    let keys: Vec<&str> =
        rows.lines().skip(1).map(|line| line.rsplit_once(',').unwrap().0).collect();
    let evaluation = |step: u64, examples: u64| {
        ["moving", "batch"].into_iter().flat_map(move |statistics| {
            let row = move |metric| format!("{step},0,{examples},validation,{statistics},{metric}");
            ["loss", "accuracy"].map(row)
        })
    };
    let training = |step: u64, examples: u64| {
        ["loss", "accuracy"].map(|m| format!("{step},0,{examples},train,batch,{m}"))
    };
    let last = |split: &'static str, statistics: &'static [&str]| {
        statistics
            .iter()
            .flat_map(move |s| ["loss", "accuracy"].map(|m| format!("12,0,720,{split},{s},{m}")))
    };
    let expected: Vec<String> = evaluation(0, 0)
        .chain(training(5, 300))
        .chain(evaluation(5, 300))
        .chain(training(12, 720))
        .chain(evaluation(12, 720))
        .chain(last("validation", &["population"]))
        .chain(last("test", &["moving", "batch", "population"]))
        .collect();
    assert_eq!(keys, expected);
    let rows =
        fs::read_to_string(self::run_folder(out.path(), "no-normalization", 3).join("metrics.csv"))
            .unwrap();
    assert!(rows.contains("5,0,300,validation,,accuracy,") && !rows.contains("moving"), "{rows}");
}

#[test]
fn results_do_not_depend_on_jobs_and_repeat_from_config() {
    let (one, two, again) = (folder(), folder(), folder());
    let arms =
        ["--arms", "decay 0.99,renorm 0.99,no normalization", "--seeds", "0,1", "--no-report"];
    for (out, jobs) in [(&one, "1"), (&two, "2")] {
        let output = run(out.path(), &[&SHORT[..], &arms, &["--jobs", jobs]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let logs_of_one = logs(one.path());
    assert_eq!(logs_of_one.len(), 3 * 6);
    assert_eq!(logs_of_one, logs(two.path()));

    let config = run_folder(one.path(), "renorm-0.99", 1).join("config.toml");
    let output = run(again.path(), &[config.to_str().unwrap(), "--no-report"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let repeated = run_folder(again.path(), "renorm-0.99", 1);
    assert_eq!(
        fs::read(repeated.join("metrics.csv")).unwrap(),
        fs::read(config.with_file_name("metrics.csv")).unwrap()
    );
    assert_eq!(fs::read(repeated.join("config.toml")).unwrap(), fs::read(config).unwrap());
}

#[test]
fn convnet_trains_and_learns() {
    let out = folder();
    let file = out.path().join("conv.toml");
    let lines = "model = { kind = 'convnet', channels = [4, 8] }\nnorm.decay = 0.5\noptimizer.learning_rate = 0.1\n\
                 train = { steps = 40, evaluate_every = 40 }\nseeds = [0]\n";
    fs::write(&file, lines).unwrap();
    let output = run(out.path(), &[file.to_str().unwrap(), "--no-report"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let rows = fs::read_to_string(out.path().join("conv/base/seed-0/metrics.csv")).unwrap();
    let row = rows.lines().find(|line| line.contains("test,moving,accuracy")).unwrap();
    let accuracy: f64 = row.rsplit_once(',').unwrap().1.parse().unwrap();
    assert!(accuracy > 0.6, "{row}");
}

#[test]
fn resnet_results_do_not_depend_on_threads() {
    let out = folder();
    let file = out.path().join("residual.toml");
    let lines = "model = { kind = 'resnet', depth = 8 }\noptimizer.learning_rate = 0.1\n\
                 train = { steps = 3, evaluate_every = 3 }\nseeds = [0, 1]\n";
    fs::write(&file, lines).unwrap();
    let metrics = |jobs: &str, name: &str| {
        let output = run(out.path(), &[file.to_str().unwrap(), "--no-report", "--jobs", jobs]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let moved = out.path().join(name);
        fs::rename(out.path().join("residual"), &moved).unwrap();
        [0, 1].map(|seed| fs::read(moved.join(format!("base/seed-{seed}/metrics.csv"))).unwrap())
    };
    assert_eq!(metrics("1", "one"), metrics("2", "two"));
}

#[test]
fn bench_prints_json_lines() {
    let output = program()
        .args(["bench", "--only", "mlp3x100_sigmoid_b60", "--rounds", "1", "--threads", "1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["name"], "train/mlp3x100_sigmoid_b60");
    assert!(line["median_ms"].as_f64() >= line["min_ms"].as_f64());
    let unknown = program().args(["bench", "--only", "nothing"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("conv/128x16x16x32"));
}

#[test]
fn divergence_is_a_result() {
    let out = folder();
    let arguments =
        ["--set", "optimizer.learning_rate=1e38", "--arms", "no normalization", "--seeds", "0"];
    let output = run(out.path(), &[&SHORT[..], &arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let run_folder = run_folder(out.path(), "no-normalization", 0);
    assert_eq!(state(&run_folder), "diverged");
    assert_rows_are_whole(&run_folder);
    let status = fs::read_to_string(run_folder.join("status.json")).unwrap();
    assert!(status.contains("\"step\":") && status.contains("loss is"), "{status}");
}

#[test]
fn every_typo_is_reported_at_once() {
    let out = folder();
    let file = out.path().join("typo.toml");
    fs::write(&file, "[optimizer]\nlearning_rate = 0.1\nmomentun = 0.5\n[train]\nsteps = 'many'\n")
        .unwrap();
    let message = refusal(&run(out.path(), &[file.to_str().unwrap(), "--set", "norm.dekay=1"]));
    let path = file.to_str().unwrap();
    assert!(
        message.contains(&format!("{path}:3:1: unknown key `optimizer.momentun`; did you mean")),
        "{message}"
    );
    assert!(
        message
            .contains(&format!("{path}:5:9: `train.steps` is \"many\"; expected a whole number")),
        "{message}"
    );
    assert!(message.contains("--set norm.dekay=1: unknown key"), "{message}");
    assert!(message.contains("3 problems"), "{message}");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1, "nothing was written");
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
    assert!(message.contains("(did you mean decay-and-renorm?)"), "{message}");

    let message = refusal(&run(out.path(), &["--arms", "decay 0.8"]));
    assert!(
        message.contains("--arms decay 0.8: no arm \"decay 0.8\" (did you mean \"decay 0.9\"?)"),
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
fn missing_device_says_what_to_do() {
    let out = folder();
    let message = refusal(&run(out.path(), &["--device", "cuda:99"]));
    assert!(message.contains("cuda:99") && message.contains("--device cpu"), "{message}");
}

#[test]
fn experiments_are_listed_and_shown() {
    let listed = text(&program().args(["list", "--no-timing"]).output().unwrap().stdout);
    assert!(listed.starts_with("decay-and-renorm  (digits, 7 arms x 10 seeds)\n"), "{listed}");
    assert!(listed.contains("faster-mnist  (mnist, 2 arms x 8 seeds, full size: "), "{listed}");
    for name in ["decay-and-renorm", "template"] {
        let output = program().args(["show", name]).output().unwrap();
        assert!(text(&output.stdout).contains(&format!("name = \"{name}\"")));
    }
    let message = refusal(&program().args(["show", "templat"]).output().unwrap());
    assert!(message.contains("(did you mean template?)"), "{message}");
}

#[test]
fn refused_flags_say_what_is_accepted() {
    let out = folder();
    for (flags, expected) in [
        (["--jobs", "0"], "expected a positive integer"),
        (["--threads", "none"], "expected a positive integer"),
        (["--seeds", "1-"], "expected whole numbers from 0 and ranges, for example 0,1,5-9"),
        (["--seeds", "-1"], "expected whole numbers from 0"),
        (["--set", "optimizer.lr=1"], "did you mean `optimizer.learning_rate` (takes"),
        (["--set", "model.hidden=50,50"], "write --set model.hidden=[50,50]"),
    ] {
        let message = refusal(&run(out.path(), &flags));
        assert!(message.contains(expected), "{flags:?}: {message}");
    }
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0, "nothing was written");
}

#[test]
fn threads_and_name_do_not_affect_results() {
    let (one, two) = (folder(), folder());
    let flags = ["--arms", "renorm 0.99", "--seeds", "2", "--no-report"];
    let (jobs, threads) = (["--jobs", "1"], ["--threads", "2", "--name", "Other name"]);
    for (out, more) in [(&one, &jobs[..]), (&two, &threads[..])] {
        let output = run(out.path(), &[&SHORT[..], &flags, more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let other = two.path().join("other-name/renorm-0.99/seed-2/metrics.csv");
    assert_eq!(
        fs::read(run_folder(one.path(), "renorm-0.99", 2).join("metrics.csv")).unwrap(),
        fs::read(other).unwrap()
    );
}

#[test]
fn status_lists_the_state_of_runs() {
    let out = folder();
    let output = run(
        out.path(),
        &[&SHORT[..], &["--arms", "decay 0.9", "--seeds", "0-1", "--no-report"]].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let experiment = out.path().join("decay-and-renorm");
    fs::remove_dir_all(experiment.join("decay-0.9/seed-1")).unwrap();
    let output = program().arg("status").arg(&experiment).output().unwrap();
    let printed = text(&output.stdout);
    assert!(printed.starts_with("decay-and-renorm: 2 runs: 1 finished, 1 pending\n"), "{printed}");
    assert!(printed.contains("decay 0.9, seed 0  finished  step 12/12  accuracy 0."), "{printed}");
    assert!(!printed.contains('\x1b'), "no colours unless on a terminal");
    let message =
        refusal(&program().arg("status").arg(out.path().join("nothing")).output().unwrap());
    assert!(message.contains("nothing"), "{message}");
}

#[test]
fn plan_describes_the_runs_and_writes_nothing() {
    let out = folder();
    let arms = ["--arms", "decay 0.9,no-normalization", "--seeds", "0-4", "--jobs", "1"];
    let output =
        program().arg("plan").args(SHORT).args(arms).current_dir(out.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(
        printed.contains("numbers each, 10 classes\n") && printed.contains("blake3:"),
        "{printed}"
    );
    for expected in [
        "decay-and-renorm: 2 arms x 5 seeds = 10 runs\n",
        "network of 1 arm: \"decay 0.9\"\n",
        "  hidden1             60x100       6,400\n",
        "learning rate\n  0.2 throughout\n",
        " ms per step, ",
        "  10 runs, 1 at a time with 2 threads each: about ",
    ] {
        let expected = if expected.contains("threads") {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let threads = if cores == 1 { "1 thread".into() } else { format!("{cores} threads") };
            expected.replace("2 threads", &threads)
        } else {
            expected.to_owned()
        };
        assert!(printed.contains(&expected), "{expected:?} in\n{printed}");
    }
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0, "nothing was written");
    let message = refusal(&program().args(["plan", "--set", "optimizer.lr=1"]).output().unwrap());
    assert!(message.contains("did you mean `optimizer.learning_rate` (takes"), "{message}");
}

#[test]
fn range_finds_learning_rates_and_writes_what_was_asked_for() {
    let out = folder();
    let range = |arguments: &[&str]| {
        let arms = ["--arms", "decay 0.9,no-normalization", "--set", "model.hidden=[16]"];
        program().arg("range").args(arms).args(arguments).current_dir(out.path()).output().unwrap()
    };
    let output = range(&["--steps", "60", "--from", "0.001", "--to", "100", "-o", "range.csv"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    for expected in [
        "decay-and-renorm: learning rate from 0.001 to 100, 60 steps each\n",
        "\nloss of \"decay 0.9\", seed 0\n",
        "\nloss of \"no normalization\", seed 0\n",
    ] {
        assert!(printed.contains(expected), "{expected:?} in\n{printed}");
    }
    // With batch norm this net learns the digits at some rate in between.
    let row = printed.lines().find(|line| line.starts_with("decay 0.9 ")).unwrap();
    let rate: f64 = row.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!((0.001..100.0).contains(&rate), "{row}");

    let names: Vec<_> = fs::read_dir(out.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["range.csv"]);
    let csv = fs::read_to_string(out.path().join("range.csv")).unwrap();
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("arm,seed,step,learning_rate,loss,smoothed_loss"));
    assert!(lines.next().unwrap().starts_with("no normalization,0,1,0.001,"), "{csv}");
    assert_eq!(range(&["--steps", "60", "--from", "0.001", "--to", "100"]).stdout, output.stdout);

    let message = refusal(&range(&["--from", "1", "--to", "0.1"]));
    assert!(message.contains("expected rates above 0, the second above the first"), "{message}");
}

#[test]
fn completion_scripts_cover_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = program().args(["completion", shell]).output().unwrap();
        let script = text(&output.stdout);
        for word in ["run", "status", "show", "seeds"] {
            assert!(script.contains(word), "{word} in the script for {shell}");
        }
    }
}
