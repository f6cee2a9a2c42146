//! The commands beside the page: table, compare, watch, index; and several experiments on one page.

mod common;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use bn_report::schema::{self, Status};
use common::{MadeUpArm, write_experiment};

/// Runs `bn-report`; exit status, stdout, stderr.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::cargo_bin("bn-report").expect("the binary");
    let output = command.args(arguments).output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Runs `bn-report` where it must succeed without a word on stderr; stdout.
fn succeed(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = run(arguments);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{arguments:?}");
    stdout
}

fn arms() -> Vec<MadeUpArm> {
    vec![
        MadeUpArm::new("slow, <b> & \"c\"", 200.0, Some(10.0), 0.95),
        MadeUpArm::new("fast", 20.0, Some(10.0), 0.97),
    ]
}

fn experiment(folder: &Path, name: &str, arms: &[MadeUpArm], seeds: u64) -> String {
    let directory = folder.join(name);
    write_experiment(&directory, arms, seeds, (500, 25));
    directory.display().to_string()
}

#[test]
fn a_table_comes_in_every_format() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = experiment(folder.path(), "x", &arms(), 6);
    let terminal = succeed(&["table", &directory, "--wide"]);
    assert!(terminal.starts_with("arm  ") && terminal.lines().count() == 3, "{terminal}");
    assert!(terminal.contains("against slow, <b> & \"c\""), "{terminal}");
    let markdown = succeed(&["table", &directory, "--format", "md"]);
    assert!(markdown.contains("| slow, &lt;b&gt; &amp; \"c\" | 6 |"), "{markdown}");
    let csv = succeed(&["table", &directory, "--format", "csv"]);
    assert_eq!(csv.lines().count(), 3, "{csv}");
    let json = succeed(&["table", &directory, "--format", "json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).expect("JSON");
    assert_eq!(rows[1]["arm"], "fast");
    assert_eq!(rows[1]["finished"], 6);
    assert!(rows[1]["final_mean"].as_f64().expect("a number") > 0.9, "{json}");
    assert!(rows[0]["verdict"].is_null() && rows[1]["verdict"].is_string(), "{json}");
    let latex = succeed(&["table", &directory, "--format", "latex"]);
    assert!(latex.contains("slow, \\textless{}b\\textgreater{} \\& \"c\""), "{latex}");
}

#[test]
fn a_table_fits_and_says_what_it_leaves_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let long = "an arm whose name goes on and on";
    let arms = [&arms()[..], &[MadeUpArm::new(long, 30.0, Some(10.0), 0.96)]].concat();
    let directory = experiment(folder.path(), "x", &arms, 8);
    // No terminal: 100 characters.
    let fitted = succeed(&["table", &directory]);
    assert!(fitted.lines().all(|line| line.chars().count() <= 100), "{fitted}");
    assert!(fitted.contains("(without: ") && fitted.contains("--wide shows all"), "{fitted}");
    let wide = succeed(&["table", &directory, "--wide"]);
    assert!(
        wide.lines().count() == 4 && wide.lines().any(|line| line.chars().count() > 100),
        "{wide}"
    );
    assert!(
        wide.contains("within steps") && wide.contains(" to ") && wide.contains(long),
        "{wide}"
    );
}

#[test]
fn the_level_of_intervals_can_be_chosen() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = experiment(folder.path(), "x", &arms(), 8);
    let interval = |level: &str| {
        let csv = succeed(&["table", &directory, "--format", "csv", "--level", level]);
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let place =
            |name: &str, header: &csv::StringRecord| header.iter().position(|cell| cell == name);
        let header = reader.headers().expect("a header").clone();
        let [low, high] =
            ["final_low", "final_high"].map(|name| place(name, &header).expect("a column"));
        let row = reader.records().next().expect("a row").expect("CSV");
        row[high].parse::<f64>().expect("a number") - row[low].parse::<f64>().expect("a number")
    };
    assert!(interval("80") < interval("95") && interval("95") < interval("99"));
    let wide = succeed(&["table", &directory, "--wide", "--level", "80"]);
    assert!(wide.contains("80 % interval") && !wide.contains("95 %"), "{wide}");
    let page = folder.path().join("page.html").display().to_string();
    succeed(&[&directory, "--level", "80", "-o", &page]);
    let page = fs::read_to_string(page).expect("the page");
    assert!(page.contains("80 % interval") && !page.contains("95 %") && !page.contains("{level}"));
    let versions = succeed(&["compare", &directory, &directory, "--level", "80"]);
    assert!(versions.contains("80 % interval"), "{versions}");
    let (code, _, stderr) = run(&["table", &directory, "--level", "100"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("percent from 50 to 99"), "{stderr}");
}

#[test]
fn every_pair_of_arms_is_compared_on_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let arms = [&arms()[..], &[MadeUpArm::new("middle", 60.0, Some(10.0), 0.96)]].concat();
    let directory = experiment(folder.path(), "x", &arms, 8);
    let table = succeed(&["table", &directory, "--pairs", "--wide"]);
    // Three pairs by final value, three by steps.
    assert_eq!(table.lines().count(), 7, "{table}");
    let csv = succeed(&["table", &directory, "--pairs", "--format", "csv"]);
    let rows: Vec<csv::StringRecord> =
        csv::Reader::from_reader(csv.as_bytes()).records().collect::<Result<_, _>>().expect("CSV");
    assert_eq!(rows.len(), 6);
    for row in &rows {
        let [p, holm] = [10, 11].map(|cell| row[cell].parse::<f64>().expect("a number"));
        assert!(p <= holm && holm <= 1.0, "{row:?}");
    }
    let json = succeed(&["table", &directory, "--pairs", "--format", "json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).expect("JSON");
    assert_eq!((rows.len(), rows[0]["arm"].as_str()), (6, Some("fast")));
    let two = experiment(folder.path(), "two", &arms[..2], 2);
    let (code, _, stderr) = run(&["table", &two, "--pairs"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("takes 3 to 60 arms; there are 2"), "{stderr}");
}

#[test]
fn baseline_and_metric_can_be_chosen() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = experiment(folder.path(), "x", &arms(), 6);
    let table = succeed(&["table", &directory, "--wide", "--baseline", "fast"]);
    assert!(table.contains("against fast"), "{table}");
    let table = succeed(&["table", &directory, "--wide", "--metric", "loss"]);
    assert!(table.contains("final validation loss") && !table.contains("steps to"), "{table}");
    let (code, stdout, stderr) = run(&["table", &directory, "--baseline", "none"]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert_eq!(stderr, "error: there is no arm \"none\"; there are slow, <b> & \"c\", fast\n");
    let (_, _, stderr) = run(&[&directory, "--metric", "speed"]);
    assert_eq!(stderr, "error: there is no metric \"speed\"; there are accuracy, loss\n");
}

#[test]
fn a_regression_is_told_and_fails_when_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = experiment(folder.path(), "old", &arms(), 8);
    let mut worse = arms();
    worse[1].ends_at = 0.6;
    worse.push(MadeUpArm::new("more", 20.0, None, 0.9));
    let new = experiment(folder.path(), "new", &worse, 8);
    let same = succeed(&["compare", &old, &old, "--fail-on-regression"]);
    assert!(same.contains("identical") && same.contains("no arm got worse"), "{same}");
    let told = succeed(&["compare", &old, &new]);
    assert!(told.contains("1 arm got worse") && told.contains("only in the newer: more"), "{told}");
    let (code, stdout, _) = run(&["compare", &old, &new, "--fail-on-regression"]);
    assert_eq!((code, stdout.as_str()), (Some(3), told.as_str()));
    let better = succeed(&["compare", &new, &old, "--fail-on-regression"]);
    assert!(better.contains("better"), "{better}");
}

#[test]
fn runs_that_newly_diverge_are_a_regression() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = experiment(folder.path(), "old", &arms(), 3);
    let mut diverging = arms();
    diverging[1].diverges_from = Some(2);
    let new = experiment(folder.path(), "new", &diverging, 3);
    let (code, stdout, _) = run(&["compare", &old, &new, "--fail-on-regression"]);
    assert_eq!(code, Some(3), "{stdout}");
}

#[test]
fn several_experiments_share_a_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = experiment(folder.path(), "one", &arms()[..1], 2);
    let other = experiment(folder.path(), "other", &arms()[1..], 2);
    let (code, _, stderr) = run(&[&one, &other]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("-o FILE"), "{stderr}");
    let page = folder.path().join("both.html");
    let path = page.display().to_string();
    let stdout = succeed(&[&one, &other, "-o", &path, "--title", "Side by side"]);
    assert!(stdout.contains("decay-and-renorm: fast"), "{stdout}");
    assert!(fs::read_to_string(page).expect("the page").contains("Side by side"));
}

#[test]
fn a_watched_experiment_is_drawn_until_its_runs_have_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = experiment(folder.path(), "x", &arms(), 1);
    let status = folder.path().join("x/fast/seed-0").join(schema::STATUS);
    fs::write(&status, Status::Running.to_json()).expect("written");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_bn-report"))
        .args(["watch", &directory, "--every", "1"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let page = folder.path().join("x").join(schema::REPORT);
    let reload = "<meta http-equiv=\"refresh\" content=\"1\"/>";
    let has_reload = || fs::read_to_string(&page).is_ok_and(|page| page.contains(reload));
    for _ in 0..600 {
        if has_reload() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(has_reload(), "the page reloads while a run goes on");
    fs::write(&status, Status::Finished.to_json()).expect("written");
    let ended = child.wait().expect("it ends");
    assert!(ended.success() && !has_reload(), "the last page stays as it is");
}

#[test]
fn an_index_shows_every_experiment_of_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let one = experiment(folder.path(), "one & <only>", &arms(), 2);
    experiment(folder.path(), "two", &arms(), 1);
    fs::create_dir(folder.path().join("notes")).expect("made");
    succeed(&[&one]);
    let directory = folder.path().display().to_string();
    let stdout = succeed(&["index", &directory]);
    assert_eq!(stdout.lines().count(), 4, "{stdout}");
    let page = fs::read_to_string(folder.path().join("index.html")).expect("the page");
    assert_eq!(common::markup::check(&page).err(), None);
    assert!(page.contains("one%20%26%20%3Conly%3E/report.html"), "{page}");
    assert!(page.contains("4 finished") && page.contains("2 finished"), "{page}");
    fs::write(folder.path().join("two/fast/seed-0/metrics.csv"), "x\n").expect("written");
    let (code, _, stderr) = run(&["index", &directory]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("metrics.csv:1"), "{stderr}");
}

#[test]
fn help_names_every_command() {
    let help = succeed(&["--help"]);
    for word in ["table", "compare", "watch", "index", "--baseline", "--title"] {
        assert!(help.contains(word), "{help}");
    }
}
