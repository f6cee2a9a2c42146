//! Bad input: one clear message with path and place, exit 1, and what was whole stays whole.

mod common;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use bn_report::schema;
use common::{MadeUpArm, write_experiment};

fn experiment() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    write_experiment(
        directory.path(),
        &[MadeUpArm::new("a", 20.0, Some(10.0), 0.97)],
        2,
        (100, 50),
    );
    directory
}

/// Runs `bn-report` on a directory; exit status, stdout, stderr.
fn run(directory: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::cargo_bin("bn-report").expect("the binary");
    let output = command.arg(directory).args(more).output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The message for a directory that is no experiment: one line on stderr, nothing on stdout, exit 1, and an old report untouched.
fn message(directory: &Path) -> String {
    let report = directory.join(schema::REPORT);
    if directory.is_dir() {
        fs::write(&report, "old and whole").expect("written");
    }
    let (code, stdout, stderr) = run(directory, &[]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    if directory.is_dir() {
        assert_eq!(fs::read_to_string(&report).expect("still there"), "old and whole");
        assert!(
            !directory.join(schema::CHARTS).exists(),
            "charts were written beside an old report"
        );
    }
    stderr.trim_end().replace(&directory.display().to_string(), "DIR")
}

/// The alert about a damaged file: one line on stderr that the page repeats, exit 1, and the rest is reported.
fn alert(directory: &Path) -> String {
    let (code, stdout, stderr) = run(directory, &[]);
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stdout.contains("final test"), "{stdout}");
    let page = fs::read_to_string(directory.join(schema::REPORT)).expect("the page");
    let message = stderr.trim_end().strip_prefix("error: ").expect("an error").to_owned();
    let escaped = message
        .replace('&', "&#38;")
        .replace('<', "&#60;")
        .replace('>', "&#62;")
        .replace('"', "&#34;");
    assert!(page.contains(&escaped.replace('\'', "&#39;")), "the page lacks {message:?}");
    message.replace(&directory.display().to_string(), "DIR")
}

#[test]
fn a_directory_that_is_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let wanted = "expected an experiment's directory, with <arm>/seed-<n>/ in it";
    assert_eq!(message(directory.path()), format!("error: DIR: {wanted}; none is here"));
    let missing = message(&directory.path().join("no"));
    assert!(missing.starts_with("error: DIR: cannot read: "), "{missing}");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("written");
    assert_eq!(message(&file), format!("error: DIR: {wanted}; this is a file"));
    let experiment = experiment();
    let run = message(&experiment.path().join("a/seed-0"));
    assert_eq!(
        run,
        format!(
            "error: DIR: {wanted}; this is the directory of a single run: give the one two levels up"
        )
    );
    let parent = tempfile::tempdir().expect("a directory");
    write_experiment(
        &parent.path().join("mine"),
        &[MadeUpArm::new("a", 20.0, None, 0.9)],
        1,
        (100, 50),
    );
    assert_eq!(
        message(parent.path()),
        format!("error: DIR: {wanted}; this holds experiments: give one of them, as DIR/mine")
    );
}

#[test]
fn metrics_that_say_nothing_or_the_wrong_thing() {
    let header = MetricRowText::HEADER;
    let good = MetricRowText::GOOD;
    for (text, wanted) in [
        (String::new(), format!(": expected the header {header:?}, found an empty file")),
        (
            "step,loss\n".to_owned(),
            format!(":1: expected the header {header:?}, found \"step,loss\""),
        ),
        (
            format!("{header}\n{good}\n50,1,3000,validation\n{good}\n"),
            ":3: expected 7 columns, found 4".to_owned(),
        ),
        (
            format!("{header}\n-1,0,0,test,,loss,1\n"),
            ":2:1: step: expected a whole number, 0 or more, found \"-1\"".into(),
        ),
        (
            format!("{header}\n0,0,0,tset,,loss,1\n"),
            ":2:7: split: expected train, validation or test, found \"tset\"".into(),
        ),
        (
            format!("{header}\n0,0,0,test,ema,loss,1\n"),
            ":2:12: statistics: expected batch, moving, population, shadow:<decay> or nothing, found \"ema\""
                .into(),
        ),
        (
            format!("{header}\n0,0,0,test,,,1\n"),
            ":2:13: metric: expected the name of a metric, found \"\"".into(),
        ),
        (
            format!("{header}\n0,0,0,test,,loss,1.0.0\n"),
            ":2:18: value: expected a number or nothing, found \"1.0.0\"".into(),
        ),
        (
            format!("{header}\n{good}\n{good}\n"),
            ":3: a second value of validation accuracy at step 50; the first is on line 2".into(),
        ),
        (
            format!("{header}\n{good}\n100,2,60"),
            ":3: the last line is cut off (no line end), though the run ended".into(),
        ),
    ] {
        let experiment = experiment();
        fs::write(experiment.path().join("a/seed-1/metrics.csv"), text).expect("written");
        assert_eq!(alert(experiment.path()), format!("DIR/a/seed-1/metrics.csv{wanted}"));
    }
}

struct MetricRowText;

impl MetricRowText {
    const HEADER: &str = "step,epoch,examples,split,statistics,metric,value";
    const GOOD: &str = "50,2,3000,validation,moving,accuracy,0.9";
}

#[test]
fn a_bad_line_before_the_last_is_an_error_even_while_running() {
    let experiment = experiment();
    let run = experiment.path().join("a/seed-1");
    fs::write(run.join(schema::STATUS), "{\"state\":\"running\"}").expect("written");
    let (header, good) = (MetricRowText::HEADER, MetricRowText::GOOD);
    fs::write(run.join(schema::METRICS), format!("{header}\n50,2,30\n{good}\n100,"))
        .expect("written");
    assert_eq!(alert(experiment.path()), "DIR/a/seed-1/metrics.csv:2: expected 7 columns, found 3");
}

#[test]
fn files_that_do_not_parse_or_are_not_there() {
    for (file, text, wanted) in [
        (
            "a/seed-0/status.json",
            "{\"state\":\"done\"}",
            "a/seed-0/status.json:1:15: unknown variant `done`",
        ),
        ("a/seed-0/status.json", "{", "a/seed-0/status.json:1:1: EOF while parsing an object"),
        (
            "a/seed-0/config.toml",
            "name = \"x\"\narm = 3\nseed = 0\n",
            "a/seed-0/config.toml:2:7: invalid type: integer `3`",
        ),
        ("a/seed-0/config.toml", "name = \"x\"\narm = \n", "a/seed-0/config.toml:2:7: "),
        ("manifest.toml", "[[arm]]\nname = 1\n", "manifest.toml:"),
    ] {
        let experiment = experiment();
        fs::write(experiment.path().join(file), text).expect("written");
        let alert = alert(experiment.path());
        assert!(alert.starts_with(&format!("DIR/{wanted}")), "{alert}");
    }
    let experiment = experiment();
    fs::write(experiment.path().join("a/seed-0/config.toml"), b"name = \"\xff\"").expect("written");
    assert_eq!(
        alert(experiment.path()),
        "DIR/a/seed-0/config.toml:1:9: expected UTF-8 text, found other bytes"
    );
    fs::remove_file(experiment.path().join("a/seed-0/config.toml")).expect("removed");
    assert_eq!(
        alert(experiment.path()),
        "DIR/a/seed-0/config.toml: missing; a run directory has config.toml, metrics.csv and status.json"
    );
}

#[test]
fn where_every_run_is_damaged_there_is_no_report() {
    let experiment = experiment();
    for seed in [0, 1] {
        fs::write(experiment.path().join(format!("a/seed-{seed}/status.json")), "{")
            .expect("written");
    }
    let message = message(experiment.path());
    let wanted = "error: DIR: no run can be read; DIR/a/seed-0/status.json:1:1: EOF";
    assert!(message.starts_with(wanted), "{message}");
}

#[test]
fn telemetry_that_is_damaged_costs_no_result() {
    let experiment = experiment();
    let run = experiment.path().join("a/seed-0");
    fs::write(run.join(schema::LAYERS), "step,layer,metric,value\n5,norm,r_max\n")
        .expect("written");
    assert_eq!(alert(experiment.path()), "DIR/a/seed-0/layers.csv:2: expected 4 columns, found 3");
    fs::remove_file(run.join(schema::LAYERS)).expect("removed");
    fs::write(run.join(schema::TIMING), "step,seconds,examples_per_second\nx,1,1\n")
        .expect("written");
    let message = alert(experiment.path());
    assert!(message.starts_with("DIR/a/seed-0/timing.csv:2: "), "{message}");
    let report = bn_report::report(experiment.path(), &experiment.path().join("again.html"));
    assert_eq!(report.expect("a report").comparison.rows[0].states.finished, 2);
}

#[test]
fn a_manifest_cannot_lead_out_of_the_folder() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("experiment");
    write_experiment(&directory, &[MadeUpArm::new("a", 20.0, None, 0.9)], 1, (100, 50));
    for slug in ["x/../../../evil", "..", "", "/etc", "a/b", "A", "-a", ".a"] {
        let text = fs::read_to_string(directory.join(schema::MANIFEST)).expect("the manifest");
        let changed = text.replace("slug = \"a\"", &format!("slug = {slug:?}"));
        assert_ne!(changed, text);
        fs::write(directory.join(schema::MANIFEST), changed).expect("written");
        let alert = alert(&directory);
        assert!(alert.contains("slug: expected a plain folder name"), "{alert}");
        fs::write(directory.join(schema::MANIFEST), text).expect("written");
    }
    let outside: Vec<_> = fs::read_dir(parent.path()).expect("readable").collect();
    assert_eq!(outside.len(), 1, "{outside:?}");
}

#[test]
fn files_of_a_newer_schema_are_refused_and_older_ones_read() {
    let experiment = experiment();
    let path = experiment.path().join(schema::MANIFEST);
    let text = fs::read_to_string(&path).expect("the manifest");
    fs::write(&path, text.replace("schema = 3", "schema = 99")).expect("written");
    assert_eq!(
        message(experiment.path()),
        "error: DIR/manifest.toml: these files are of schema 99; this program reads schemas up to 3"
    );
    for older in ["schema = 2\n", "schema = 1\n", ""] {
        fs::write(&path, text.replace("schema = 3\n", older)).expect("written");
        fs::remove_file(experiment.path().join(schema::REPORT)).expect("removed");
        let (code, _, stderr) = run(experiment.path(), &[]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{older}");
    }
}

#[test]
fn an_output_that_cannot_be_written_leaves_everything_as_it_was() {
    let experiment = experiment();
    // A file stands where a folder would have to be: not even the superuser can write there.
    let file = experiment.path().join("file");
    fs::write(&file, "mine").expect("written");
    let output = file.join("report.html");
    let (code, stdout, stderr) = run(experiment.path(), &["-o", &output.display().to_string()]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(
        stderr.starts_with(&format!("error: {}", file.display()))
            && stderr.contains("cannot write"),
        "{stderr}"
    );
    assert_eq!(fs::read_to_string(&file).expect("still there"), "mine");

    let folder = experiment.path().join("folder.html");
    fs::create_dir(&folder).expect("made");
    let (code, _, stderr) = run(experiment.path(), &["-o", &folder.display().to_string()]);
    assert_eq!(code, Some(1));
    assert_eq!(stderr, format!("error: {}: cannot write: it is a directory\n", folder.display()));
    let mut left: Vec<String> = fs::read_dir(experiment.path())
        .expect("readable")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".tmp") || name.starts_with("summary"))
        .collect();
    left.sort();
    assert_eq!(left, [""; 0], "nothing half-written is left");
}

#[test]
fn the_command_draws_where_it_is_told_and_says_so() {
    let experiment = experiment();
    let (code, stdout, stderr) = run(experiment.path(), &[]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let path = experiment.path().join(schema::REPORT);
    assert!(stdout.ends_with(&format!("report: {}\n", path.display())), "{stdout}");
    assert!(stdout.contains("final test"), "{stdout}");
    let elsewhere = tempfile::tempdir().expect("a directory");
    let output = elsewhere.path().join("deep/page.html");
    let (code, _, _) = run(experiment.path(), &["--output", &output.display().to_string()]);
    assert_eq!(code, Some(0));
    assert_eq!(fs::read(&output).expect("the page"), fs::read(&path).expect("the page"));
    for name in ["charts/validation-accuracy.svg", "summary.csv", "summary.md"] {
        assert!(output.with_file_name(name).is_file(), "{name}");
    }
    let (code, stdout, _) = run(Path::new("--help"), &[]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("EXPERIMENT_DIR") && stdout.contains("report.html"), "{stdout}");
}
