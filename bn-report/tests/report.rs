//! Laws of a report: same run directories, same bytes; whole markup; nothing fetched; every run counted.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bn_report::schema::{self, MetricRow, Split, Statistics, Status};
use bn_report::stats::censored::Time;
use common::{MadeUpArm, default_arms, markup, rows, write_experiment, write_in_order, write_rows};
use proptest::prelude::*;

/// Every file of a report, by name.
fn files(report: &bn_report::Report) -> BTreeMap<String, Vec<u8>> {
    let directory = report.path.parent().expect("a directory");
    let name =
        |path: &Path| path.strip_prefix(directory).expect("beside the page").display().to_string();
    report.files.iter().map(|path| (name(path), fs::read(path).expect("written"))).collect()
}

fn draw(experiment: &Path) -> bn_report::Report {
    bn_report::report(experiment, &experiment.join(schema::REPORT)).expect("a report")
}

fn page(report: &bn_report::Report) -> String {
    fs::read_to_string(&report.path).expect("the page")
}

fn made_up(arms: usize) -> Vec<MadeUpArm> {
    let lags = [None, Some(10.0), Some(120.0), Some(0.0)];
    let arm = |index: usize| {
        let name = format!("arm <{index}> & \"more\" {}", "long ".repeat(index));
        MadeUpArm::new(
            name,
            20.0 + 60.0 * index as f64,
            lags[index % lags.len()],
            0.9 + 0.008 * index as f64,
        )
    };
    (0..arms).map(arm).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_runs_give_the_same_bytes_and_whole_markup(
        arm_count in 1usize..=10,
        seeds in 1u64..=8,
        key in any::<u64>(),
        diverges in prop::option::of(0u64..8),
    ) {
        let mut arms = made_up(arm_count);
        arms[arm_count / 2].diverges_from = diverges;
        let length = (400, 40);
        let [one, other] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        write_experiment(one.path(), &arms, seeds, length);
        let mut shuffle = |runs: &mut Vec<(usize, u64)>| {
            runs.sort_by_key(|(arm, seed)| (*arm as u64 * 31 + seed).wrapping_mul(key | 1));
        };
        write_in_order(other.path(), &arms, seeds, length, &mut shuffle);
        let (one, other) = (files(&draw(one.path())), files(&draw(other.path())));
        prop_assert_eq!(&one, &other);
        for (name, bytes) in &one {
            let text = String::from_utf8(bytes.clone()).expect("text");
            if name.ends_with(".svg") || name.ends_with(".html") {
                let checked = markup::check(&text);
                prop_assert!(checked.is_ok(), "{name}: {checked:?}");
                prop_assert!(!text.contains("NaN") && !text.contains("inf\""), "{name} has a number that is none");
            }
        }
        prop_assert!(one.contains_key("report.html") && one.contains_key("summary.csv"));
    }
}

#[test]
fn the_check_of_markup_can_fail() {
    for bad in [
        "<p>",
        "<p></q>",
        "</p>",
        "<p>a > b</p>",
        "<script src=\"x\"></script>",
        "<script>",
        "<a href=\"https://x\"></a>",
        "<p",
    ] {
        assert!(markup::check(bad).is_err(), "{bad}");
    }
    assert_eq!(markup::check("<!DOCTYPE html>\n<p title=\"a > b\"><br/></p>"), Ok(2));
}

#[test]
fn the_default_experiment_tells_its_story() {
    let directory = tempfile::tempdir().expect("a directory");
    write_experiment(directory.path(), &default_arms(), 5, (1500, 25));
    let report = draw(directory.path());
    let headline = report.findings.headline.plain();
    assert!(
        headline.starts_with("Steps to validation accuracy 0.9 for good (median): against \"no normalization\" (> 1,500), "),
        "{headline}"
    );
    assert!(
        headline.contains("a test cannot decide below 8 seeds: \"batch norm, decay 0.9\" (50, ahead in 5 of 5 seeds)"),
        "{headline}"
    );
    let story = report.findings.others[1].plain();
    assert!(
        story.starts_with(
            "The same weights under two sets of statistics: at step 75 \"batch norm, decay 0.999\""
        ),
        "{story}"
    );
    assert!(
        story.ends_with("\"decay 0.999, mean and variance debiased\" never by more than 0.008."),
        "{story}"
    );
    assert_eq!(report.findings.others.last().expect("endings").plain(), "All 35 runs finished.");
    let page = page(&report);
    for wanted in [
        "How do the decay of the moving statistics and batch renorm change what evaluation sees?",
        "norm.zero_debias",
        "bn-train run decay-and-renorm",
        "Settings that all arms share",
        "The same weights under several statistics",
    ] {
        assert!(page.contains(wanted), "the page lacks {wanted:?}");
    }
    assert_eq!(
        page.matches("<figure class=\"figure\"").count(),
        report.files.len() - 3,
        "each chart is in the page and in a file"
    );
}

#[test]
fn every_run_is_counted_whatever_became_of_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut arms = default_arms();
    arms.truncate(3);
    arms[0].diverges_from = Some(0);
    arms[1].diverges_from = Some(3);
    write_experiment(directory.path(), &arms, 5, (1500, 50));
    let runs = directory.path().join(schema::slug(&arms[2].name));
    fs::remove_dir_all(runs.join("seed-0")).expect("removed");
    fs::write(runs.join("seed-1/status.json"), Status::Running.to_json()).expect("written");
    fs::write(runs.join("seed-2/status.json"), Status::Interrupted.to_json()).expect("written");
    let failed = Status::Failed { error: "no <space> left".into() };
    fs::write(runs.join("seed-3/status.json"), failed.to_json()).expect("written");
    let report = draw(directory.path());
    let endings = report.findings.others.last().expect("endings").plain();
    assert_eq!(
        endings,
        "Of 15 runs: 4 finished, 7 diverged, 1 failed, 1 interrupted, 1 running, 1 missing. \
         Diverged: \"no normalization\" 5 of 5, \"batch norm, decay 0.9\" 2 of 5."
    );
    let finals = report.comparison.rows.iter().map(|row| row.final_value.n).collect::<Vec<_>>();
    assert_eq!(finals, [0, 3, 1], "only finished runs have a final value");
    let page = page(&report);
    for wanted in [
        "seed 0: missing",
        "seed 1: running",
        "seed 2: interrupted",
        "seed 3: failed: no &#60;space&#62; left",
    ] {
        assert!(page.contains(wanted), "the page lacks {wanted:?}");
    }
    assert_eq!(markup::check(&page).err(), None);
}

#[test]
fn means_are_over_all_runs_that_have_the_value() {
    let directory = tempfile::tempdir().expect("a directory");
    let arm = MadeUpArm::new("a", 20.0, Some(10.0), 0.9);
    write_experiment(directory.path(), std::slice::from_ref(&arm), 4, (100, 50));
    // Accuracy on test of the four seeds, one of them absent; validation reaches 0.9 in two of them.
    for (seed, (test, reaches)) in
        [(Some(0.5), true), (Some(0.7), false), (None, true), (Some(0.9), false)]
            .into_iter()
            .enumerate()
    {
        let row = |step, split, statistics, value| MetricRow {
            step,
            epoch: 0,
            examples: step * 60,
            split,
            statistics: Some(statistics),
            metric: "accuracy".into(),
            value,
        };
        let rows = [
            row(50, Split::Validation, Statistics::Moving, Some(f64::NAN)),
            row(
                60 + 20 * seed as u64,
                Split::Validation,
                Statistics::Moving,
                Some(if reaches { 0.9 } else { 0.89 }),
            ),
            row(100, Split::Validation, Statistics::Batch, Some(1.0)),
            row(100, Split::Test, Statistics::Moving, test),
        ];
        write_rows(&directory.path().join(format!("a/seed-{seed}/metrics.csv")), &rows);
    }
    let report = draw(directory.path());
    let row = &report.comparison.rows[0];
    // Mean of 0.5, 0.7, 0.9 is 0.7; squares 0.04 + 0 + 0.04 over 2, so sd 0.2.
    assert_eq!(row.final_value.n, 3);
    assert!((row.final_value.mean.expect("a mean") - 0.7).abs() < 1e-12);
    assert!((row.final_value.sd.expect("a spread") - 0.2).abs() < 1e-12);
    let touched: Vec<Time> = row.first_touch.runs.iter().map(|(_, time)| *time).collect();
    assert_eq!(touched, [Time::At(60), Time::After(80), Time::At(100), Time::After(120)]);
    // At 60 and 100 one of the runs that are left gets there: 3/4, then 3/4 * 1/2.
    assert_eq!((row.first_touch.reached, row.first_touch.median), (2, Some(100)));
    let table = report.comparison.render_table();
    assert!(table.starts_with(
        "arm   runs   final test accuracy      95 % interval    steps to validation accuracy 0.9   within steps   best validation accuracy   diverged\n\
         a     4      0.700 \u{b1} 0.200 (3 of 4)   [0.500, 0.900]   100 (2 of 4)                       50 to 100      0.895 \u{b1} 0.006              0\n"
    ), "{table}");
    let markdown =
        fs::read_to_string(directory.path().join(schema::SUMMARY_MD)).expect("summary.md");
    assert_eq!(
        markdown,
        r#"# decay-and-renorm

How do the decay of the moving statistics and batch renorm change what evaluation sees?

**Steps to validation accuracy 0.9 for good (median), "a": 100 (4 runs).**

- Final test accuracy, "a": 0.700 ± 0.200 in 3 of 4 runs (4 runs).
- The same weights under two sets of statistics: at step 100 "a" has validation accuracy 0.90 by moving statistics and 1.00 by batch statistics, a gap of -0.10.
- All 4 runs finished, 1 of them without a finite test accuracy.

| arm | runs | final test accuracy | 95 % interval | steps to validation accuracy 0.9 | within steps | best validation accuracy | diverged |
|---|---|---|---|---|---|---|---|
| a | 4 | 0.700 ± 0.200 (3 of 4) | \[0.500, 0.900\] | 100 (2 of 4) | 50 to 100 | 0.895 ± 0.006 | 0 |
"#
    );
    let csv = fs::read_to_string(directory.path().join(schema::SUMMARY_CSV)).expect("summary.csv");
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let (heading, row) = (lines.next().expect("a heading"), lines.next().expect("a row"));
    assert_eq!(heading.len(), row.len());
    let cell = |name: &str| row[heading.iter().position(|cell| *cell == name).expect(name)];
    for (name, wanted) in [
        ("arm", "a"),
        ("finished", "4"),
        ("final_n", "3"),
        ("final_median", "0.7"),
        ("first_touch_median", "100"),
        ("sustained_n", "2"),
        ("gap_step", "100"),
        ("verdict", ""),
    ] {
        assert_eq!(cell(name), wanted, "{name}");
    }
}

#[test]
fn a_directory_without_a_manifest_is_drawn_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let arms = [MadeUpArm::new("b", 20.0, None, 0.9), MadeUpArm::new("a", 20.0, None, 0.9)];
    write_experiment(directory.path(), &arms, 2, (100, 50));
    let planned = draw(directory.path());
    fs::remove_file(directory.path().join(schema::MANIFEST)).expect("removed");
    let unplanned = draw(directory.path());
    let names = |report: &bn_report::Report| {
        report.comparison.rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&planned), names(&unplanned)),
        (vec!["b".into(), "a".into()], vec!["a".into(), "b".into()])
    );
}

#[test]
fn what_is_not_in_the_plan_is_left_out_and_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let arms = [MadeUpArm::new("a", 20.0, None, 0.9), MadeUpArm::new("old", 20.0, None, 0.9)];
    write_experiment(directory.path(), &arms, 1, (100, 50));
    let manifest = common::manifest(&arms[..1], 1).to_toml().expect("TOML");
    fs::write(directory.path().join(schema::MANIFEST), manifest).expect("written");
    let report = draw(directory.path());
    assert_eq!(report.comparison.rows.len(), 1);
    assert_eq!(report.notices, ["old: seed-0 left out: not in manifest.toml"]);
    assert!(page(&report).contains("old: seed-0 left out"));
}

#[test]
fn a_run_that_is_still_writing_is_drawn_without_its_cut_off_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let arm = MadeUpArm::new("a", 20.0, Some(10.0), 0.97);
    write_experiment(directory.path(), std::slice::from_ref(&arm), 1, (500, 50));
    let run = directory.path().join("a/seed-0");
    fs::write(run.join(schema::STATUS), Status::Running.to_json()).expect("written");
    let whole = fs::read_to_string(run.join(schema::METRICS)).expect("metrics");
    let wanted = rows(&arm, 0, 500, 50).len() - 1;
    fs::write(run.join(schema::METRICS), &whole[..whole.len() - 3]).expect("written");
    let experiment = bn_report::read::read_experiment(directory.path()).expect("an experiment");
    let record = experiment.arms[0].runs[0].record().expect("a record");
    assert_eq!(record.log.rows(), wanted);
    assert_eq!(experiment.notices, ["a/seed-0/metrics.csv: the cut-off last line is left out"]);
    let report = draw(directory.path());
    assert!(page(&report).contains("the cut-off last line is left out"));
}

#[test]
fn a_run_that_goes_on_lies_in_a_partial_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let arm = MadeUpArm::new("a", 20.0, Some(10.0), 0.97);
    write_experiment(directory.path(), std::slice::from_ref(&arm), 3, (500, 50));
    let run = |name: &str| directory.path().join("a").join(name);
    for seed in [1, 2] {
        let partial = run(&schema::partial_seed_dir(seed));
        fs::rename(run(&schema::seed_dir(seed)), &partial).expect("moved");
        fs::write(partial.join(schema::STATUS), Status::Running.to_json()).expect("written");
    }
    fs::remove_file(run(".seed-2.partial").join(schema::STATUS)).expect("removed");
    // A newer run of a seed goes on beside the older: the whole one counts.
    fs::create_dir(run(".seed-0.partial")).expect("made");
    let report = draw(directory.path());
    let states = report.comparison.rows[0].states;
    assert_eq!((states.finished, states.running, states.missing), (1, 1, 1));
    assert_eq!(report.notices, ["a/.seed-2.partial: just begun, counted as missing"]);
    assert_eq!(report.comparison.rows[0].final_value.n, 1);
}

#[test]
fn arms_that_train_alike_are_found_and_gaps_close() {
    let directory = tempfile::tempdir().expect("a directory");
    let arms = [
        MadeUpArm::new("a", 20.0, Some(10.0), 0.97),
        MadeUpArm::new("b", 20.0, Some(200.0), 0.97),
        MadeUpArm::new("c", 30.0, Some(10.0), 0.97),
    ];
    write_experiment(directory.path(), &arms, 2, (1500, 50));
    let report = draw(directory.path());
    assert_eq!(report.comparison.trained_alike, [[0, 1]]);
    let alike = report.findings.others[2].plain();
    assert!(
        alike.starts_with(
            "2 arms, identical in training: \"a\" and \"b\" log the same training values"
        ),
        "{alike}"
    );
    let gap = report.comparison.rows[1].gap.expect("two readings");
    assert!(gap.step <= 100 && gap.size() > 0.7, "{gap:?}");
    // The made-up lag has its share exp(-(step / 200)^2) left: below 0.05 of the curves' range from 350 steps on, above at 300.
    assert_eq!(gap.closed_from, Some(350), "{gap:?}");
    assert!(page(&report).contains("norm.decay"));
}
