//! Laws of every chart, over drawn experiments: each mark is within its axes, each text within its picture, each file has a name of
//! its own; and the same numbers give the same bytes.

mod common;

use std::collections::BTreeSet;
use std::fs;

use bn_report::chart::curves::{ArmLines, Curves};
use bn_report::chart::dots::{DotRow, Dots};
use bn_report::chart::heat::Heat;
use bn_report::chart::range::Values;
use bn_report::chart::scene::{HEADING, Mark, Point, Rect, Scene};
use bn_report::chart::smooth::WINDOW;
use bn_report::chart::{Chart, Data, Look, View};
use bn_report::compare::Comparison;
use bn_report::figures::Figures;
use bn_report::read::read_experiment;
use bn_report::schema::{self, MetricRow, Split, Statistics, Status};
use common::{MadeUpArm, markup, write_experiment, write_rows};
use proptest::prelude::*;

/// A dot on an edge of the axes reaches this far beyond them, and an arrow or cross no further.
const MARK: f64 = 8.0;

/// What may be wrong with a run.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    None,
    Diverges,
    Missing,
    Running,
    Interrupted,
    Failed,
    Absent,
    Huge,
    Subnormal,
    Negative,
}

const TROUBLES: [Trouble; 10] = [
    Trouble::None,
    Trouble::Diverges,
    Trouble::Missing,
    Trouble::Running,
    Trouble::Interrupted,
    Trouble::Failed,
    Trouble::Absent,
    Trouble::Huge,
    Trouble::Subnormal,
    Trouble::Negative,
];

fn arms(count: usize) -> Vec<MadeUpArm> {
    let lags = [None, Some(10.0), Some(120.0), Some(0.0)];
    let names = ["plain", "<b>&\"'", "漢字の腕", "W", "naïve \u{202e}x", "control \u{1}\u{7}", "i"];
    let arm = |index: usize| {
        let name =
            format!("{} {index} {}", names[index % names.len()], "very long ".repeat(index % 5));
        let ends_at = 0.9 + 0.002 * index as f64;
        MadeUpArm::new(name, 20.0 + 30.0 * index as f64, lags[index % lags.len()], ends_at)
    };
    (0..count).map(arm).collect()
}

/// Spoils a run.
fn spoil(directory: &std::path::Path, trouble: Trouble) {
    let value = match trouble {
        Trouble::None => return,
        Trouble::Missing => return fs::remove_dir_all(directory).expect("removed"),
        Trouble::Absent => None,
        Trouble::Huge => Some(1e308),
        Trouble::Subnormal => Some(1e-322),
        Trouble::Negative => Some(-1e308),
        Trouble::Running => return status(directory, &Status::Running),
        Trouble::Interrupted => return status(directory, &Status::Interrupted),
        Trouble::Failed => {
            return status(directory, &Status::Failed { error: "<no> space".into() });
        }
        Trouble::Diverges => {
            return status(directory, &Status::Diverged { step: 60, reason: "loss".into() });
        }
    };
    let row = |step, metric: &str, split, statistics| MetricRow {
        step,
        epoch: 0,
        examples: step * 60,
        split,
        statistics: Some(statistics),
        metric: metric.into(),
        value,
    };
    let mut rows = Vec::new();
    for step in [0, 20, 40, 60, 80] {
        rows.push(row(step, "accuracy", Split::Validation, Statistics::Moving));
        rows.push(row(step, "loss", Split::Validation, Statistics::Moving));
        rows.push(row(step, "accuracy", Split::Validation, Statistics::Batch));
    }
    rows.push(row(80, "accuracy", Split::Test, Statistics::Moving));
    write_rows(&directory.join(schema::METRICS), &rows);
}

fn status(directory: &std::path::Path, status: &Status) {
    fs::write(directory.join(schema::STATUS), status.to_json()).expect("status.json");
}

fn draw(directory: &std::path::Path) -> Figures {
    let experiment = read_experiment(directory).expect("an experiment");
    Figures::draw(&experiment, &Comparison::of(&experiment), WINDOW)
}

/// The points of a mark.
fn points(mark: &Mark) -> Vec<Point> {
    match mark {
        Mark::Line(points, _) | Mark::Shape(points, _, _) => points.clone(),
        Mark::Disc(centre, ..) | Mark::Ring(centre, ..) | Mark::Text(_, centre, ..) => {
            vec![*centre]
        }
        Mark::Open(_) | Mark::Close => Vec::new(),
    }
}

/// What is wrong with a scene.
fn faults(scene: &Scene) -> Vec<String> {
    let (right, bottom) = scene.size;
    let picture = Rect { left: 0.0, top: 0.0, right, bottom };
    let shown = Rect { top: scene.heading, ..picture };
    let mut faults = Vec::new();
    for (text, space) in scene.texts() {
        let corners = [(space.left, space.top), (space.right, space.bottom)];
        if !corners.iter().all(|&corner| picture.contains(corner, 0.5)) {
            faults.push(format!("{text:?} leaves its picture: {space:?}"));
        }
        let half_heading =
            (space.top < scene.heading - 1.0) && (space.bottom > scene.heading + 1.0);
        if half_heading {
            faults.push(format!("{text:?} is partly under the heading: {space:?}"));
        }
    }
    let mut open: Vec<Option<Rect>> = Vec::new();
    let mut in_heading = false;
    for mark in &scene.marks {
        match mark {
            Mark::Open(group) => {
                in_heading |= group.class == HEADING;
                open.push(group.within.or(open.last().copied().flatten()));
            }
            Mark::Close => {
                in_heading = false;
                if open.pop().is_none() {
                    faults.push("a group is closed that was not opened".into());
                }
            }
            mark => {
                let within = open.last().copied().flatten();
                for point in points(mark) {
                    let (rect, slack) = within.map_or((picture, 0.5), |rect| (rect, MARK));
                    if !rect.contains(point, slack) {
                        faults.push(format!("{mark:?} has {point:?} beyond {rect:?}"));
                    }
                    if !in_heading && !shown.contains(point, 0.5) {
                        faults.push(format!("{mark:?} is under the heading"));
                    }
                }
            }
        }
    }
    if !open.is_empty() {
        faults.push("a group is never closed".into());
    }
    faults
}

fn check(figures: &Figures) -> Result<(), TestCaseError> {
    let mut files = BTreeSet::new();
    for chart in figures.all() {
        prop_assert!(files.insert(chart.file.clone()), "two charts are called {}", chart.file);
        prop_assert!(!chart.views.is_empty());
        for view in &chart.views {
            check_view(chart, view)?;
        }
        let file = chart.standalone();
        let checked = markup::check(&file);
        prop_assert!(checked.is_ok(), "{}: {checked:?}", chart.file);
        prop_assert!(!file.contains("NaN") && !file.contains("inf "), "{}", chart.file);
    }
    Ok(())
}

fn check_view(chart: &Chart, view: &View) -> Result<(), TestCaseError> {
    let faults = faults(&view.scene);
    prop_assert!(
        faults.is_empty(),
        "{} {:?}: {:#?}",
        chart.file,
        view.look,
        &faults[..faults.len().min(3)]
    );
    prop_assert!(view.places.is_sorted(), "{}: places of steps are in order", chart.file);
    let checked = markup::check(&chart.inline(view, "x"));
    prop_assert!(checked.is_ok(), "{}: {checked:?}", chart.file);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_mark_is_within_its_axes_and_every_text_within_its_picture(
        arm_count in 1usize..=25,
        seeds in 1u64..=30,
        troubles in prop::collection::vec((0usize..25, 0u64..30, prop::sample::select(&TROUBLES[..])), 0..8),
    ) {
        let arms = arms(arm_count);
        // Many arms with many seeds each take long to write: the product is kept small.
        let seeds = seeds.min(60 / arm_count as u64 + 1);
        let directory = tempfile::tempdir().expect("a directory");
        write_experiment(directory.path(), &arms, seeds, (80, 20));
        for (arm, seed, trouble) in troubles {
            let run = directory
                .path()
                .join(schema::slug(&arms[arm % arm_count].name))
                .join(schema::seed_dir(seed % seeds));
            if run.exists() && (arm % arm_count, seed % seeds) != (0, 0) {
                spoil(&run, trouble);
            }
        }
        check(&draw(directory.path()))?;
    }
}

#[test]
fn arms_that_differ_in_nothing_but_their_slug_have_charts_of_their_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let arms =
        [MadeUpArm::new("A b", 20.0, Some(10.0), 0.9), MadeUpArm::new("c", 20.0, Some(9.0), 0.9)];
    write_experiment(directory.path(), &arms, 2, (80, 20));
    // Same directory, other name: the slug of the manifest decides where runs are, the name what is shown.
    let manifest = directory.path().join(schema::MANIFEST);
    let text = fs::read_to_string(&manifest).expect("a manifest");
    fs::write(&manifest, text.replace("name = \"c\"", "name = \"a B\"")).expect("written");
    let figures = draw(directory.path());
    let files: Vec<&str> = figures.all().map(|chart| chart.file.as_str()).collect();
    assert!(
        files.contains(&"evaluations-a-b") && files.contains(&"evaluations-a-b-2"),
        "{files:?}"
    );
}

#[test]
fn the_same_numbers_give_the_same_picture_files() {
    let directory = tempfile::tempdir().expect("a directory");
    write_experiment(directory.path(), &arms(3), 3, (80, 20));
    let [one, other] = [(); 2].map(|()| draw(directory.path()));
    for (one, other) in one.all().zip(other.all()) {
        assert_eq!(one.standalone(), other.standalone());
    }
    let main = one.main.expect("a chart");
    let png = main.png().expect("a picture");
    assert_eq!(png, main.png().expect("a picture"));
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.len() > 10_000, "{} bytes", png.len());
    let pdf = main.pdf().expect("a picture");
    assert!(pdf == main.pdf().expect("a picture"), "two PDFs of a chart differ");
    assert!(pdf.starts_with(b"%PDF-1.") && pdf.ends_with(b"%%EOF"), "{} bytes", pdf.len());
    let text = String::from_utf8_lossy(&pdf);
    assert!(text.contains("/FontFile") && text.contains("/ToUnicode"), "text stays text");
    assert!(!text.contains("/CreationDate") && !text.contains("/ModDate"), "no clock");
}

#[test]
fn every_chart_is_also_a_png_and_a_pdf_where_that_is_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    write_experiment(directory.path(), &arms(2), 2, (80, 20));
    let page = directory.path().join(schema::REPORT);
    let options = bn_report::Options { png: true, pdf: true, ..bn_report::Options::default() };
    let report =
        bn_report::report_with(&[directory.path().to_owned()], &page, &options).expect("a report");
    let count = |extension: &str| {
        let is =
            |path: &&std::path::PathBuf| path.extension().is_some_and(|other| other == extension);
        report.files.iter().filter(is).count()
    };
    assert!(count("png") > 5 && count("png") == count("svg"), "{:?}", report.files);
    assert_eq!(count("pdf"), count("svg"));
}

#[test]
fn a_chart_says_which_arm_each_group_is_of() {
    let directory = tempfile::tempdir().expect("a directory");
    write_experiment(directory.path(), &arms(4), 3, (80, 20));
    let svg = draw(directory.path()).main.expect("a chart").standalone();
    for arm in 0..4 {
        for class in ["mean", "runs", "label"] {
            let group = format!("<g class=\"{class}\" data-arm=\"{arm}\">");
            assert!(svg.contains(&group), "{group}");
        }
    }
    assert!(svg.contains("stroke-dasharray=\"8 12\""), "the target is a dotted line");
    assert!(svg.contains("<title>&lt;b&gt;&amp;&quot;' 1 very long </title>"), "{svg}");
}

#[test]
fn the_check_of_scenes_can_fail() {
    use bn_report::chart::scene::{Anchor, Group, PLAIN};
    let rect = Rect { left: 10.0, top: 10.0, right: 90.0, bottom: 90.0 };
    let mut scene = Scene::new((100.0, 100.0));
    scene.open(Group::data("mean", &[0], rect));
    scene.disc((95.0, 50.0), 4.0, bn_report::chart::style::TEXT, 1.0);
    scene.close();
    assert_eq!(faults(&scene), Vec::<String>::new());
    scene.open(Group::data("mean", &[0], rect));
    scene.disc((99.0, 50.0), 4.0, bn_report::chart::style::TEXT, 1.0);
    assert_eq!(faults(&scene).len(), 2, "a mark beyond its axes, and a group that is not closed");
    let mut scene = Scene::new((100.0, 100.0));
    scene.text("a long text", (60.0, 50.0), Anchor::Start, PLAIN);
    assert_eq!(faults(&scene).len(), 1);
}

/// Compares a file with `tests/golden/`; with `UPDATE_GOLDEN=1` in the environment it is written there instead.
fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).expect("written");
    }
    let wanted = fs::read_to_string(&path).expect("a golden file");
    assert!(
        wanted == text,
        "{name} is drawn otherwise: look at it, then run this with UPDATE_GOLDEN=1"
    );
}

fn lone(file: &str, scene: Scene) -> Chart {
    Chart {
        file: file.to_owned(),
        title: "a <title> & more".into(),
        description: "what can be read".into(),
        caption: String::new(),
        views: vec![View { look: Look::default(), scene, places: Vec::new() }],
        data: Data::Table { columns: Vec::new(), rows: Vec::new() },
    }
}

#[test]
fn small_charts_are_drawn_as_before() {
    let line = |arm: usize, name: &str, values: [Option<f64>; 4], n: [usize; 4]| ArmLines {
        arms: vec![arm],
        name: name.into(),
        style: None,
        mean: (0..4).map(|at| (at as u64 * 10, values[at], n[at])).collect(),
        band: (0..4).map(|at| (at as u64 * 10, values[at].map(|v| (v - 0.05, v + 0.05)))).collect(),
        runs: vec![((0..4).map(|at| (at as u64 * 10, values[at])).collect(), arm == 1)],
        stepped: false,
    };
    let curves = Curves {
        title: "validation accuracy".into(),
        lines: vec![
            line(0, "an arm", [Some(0.1), Some(0.5), Some(0.7), Some(0.8)], [3; 4]),
            line(1, "<another> & more", [Some(0.1), Some(0.4), None, Some(0.3)], [3, 3, 0, 1]),
        ],
        target: Some(0.75),
        rule: None,
        values: Values::Share,
        smooth: 1,
        measured_bands: false,
        panel: None,
    };
    let extent = curves.extent();
    let scene = curves.draw(&extent, extent.default_look());
    golden("curves.svg", &lone("curves", scene).standalone());
    let row = |arm: usize, values: [Option<f64>; 3]| DotRow {
        arms: vec![arm],
        name: format!("arm {arm}"),
        values: (0..3).map(|seed| (seed as u64, values[seed])).collect(),
        centre: values[0],
        interval: values[0].zip(values[1]),
        text: "0.5".into(),
    };
    let dots = Dots {
        title: "final accuracy".into(),
        rows: vec![row(0, [Some(0.4), Some(0.6), Some(0.5)]), row(1, [Some(0.2), None, Some(0.3)])],
        without: Some("no final value".into()),
        steps: false,
        rule: Some(0.25),
        connected: false,
    };
    golden("dots.svg", &lone("dots", dots.draw(dots.default_look())).standalone());
    let heat = Heat {
        title: "final accuracy".into(),
        x_title: "norm.decay".into(),
        y_title: "optimizer.learning_rate".into(),
        columns: vec!["0.9".into(), "0.99".into()],
        rows: vec!["0.1".into(), "1".into()],
        cells: vec![vec![Some(0.5), Some(0.75)], vec![None, Some(0.9)]],
        arms: vec![vec![0], vec![1], vec![], vec![2]],
    };
    golden("heat.svg", &lone("heat", heat.draw(Look::default())).standalone());
}
