//! Schedules: read from `schedules.csv`, drawn over steps and beside what they bound; absent in older run directories.

mod common;

use std::fs;
use std::path::Path;

use bn_report::chart::Data;
use bn_report::chart::smooth::WINDOW;
use bn_report::compare::Comparison;
use bn_report::figures::{Figures, Section};
use bn_report::read::{Experiment, read_experiment};
use bn_report::schema;
use common::{MadeUpArm, write_experiment};

fn arms() -> Vec<MadeUpArm> {
    vec![
        MadeUpArm::new("steps", 20.0, Some(10.0), 0.9),
        MadeUpArm::new("constant", 20.0, Some(10.0), 0.9),
    ]
}

fn write(directory: &Path) {
    write_experiment(directory, &arms(), 2, (80, 20));
    for (arm, rate) in [("steps", "0.02"), ("constant", "0.2")] {
        for seed in 0..2 {
            let run = directory.join(arm).join(schema::seed_dir(seed));
            let rows = format!(
                "step,name,value\n1,learning_rate,0.2\n1,decay,0.99\n1,renorm_r_max,\n1,renorm_d_max,0.5\n\
                 31,learning_rate,{rate}\n31,renorm_r_max,3\n80,learning_rate,{rate}\n80,decay,0.99\n80,renorm_r_max,3\n80,renorm_d_max,0.5\n"
            );
            fs::write(run.join(schema::SCHEDULES), rows).expect("written");
            let rows = "step,layer,metric,value\n20,hidden1.norm,r_min,0.9\n20,hidden1.norm,r_p50,1\n20,hidden1.norm,r_max,1.2\n\
                        80,hidden1.norm,r_min,0.9\n80,hidden1.norm,r_p50,1\n80,hidden1.norm,r_max,1.1\n\
                        20,hidden1.norm,d_min,-0.4\n20,hidden1.norm,d_p50,0\n20,hidden1.norm,d_max,0.5\n";
            fs::write(run.join(schema::LAYERS), rows).expect("written");
        }
    }
}

fn draw(directory: &Path) -> (Experiment, Figures) {
    let experiment = read_experiment(directory).expect("an experiment");
    let figures = Figures::draw(&experiment, &Comparison::of(&experiment), WINDOW);
    (experiment, figures)
}

fn section<'a>(figures: &'a Figures, id: &str) -> Option<&'a Section> {
    figures.sections.iter().find(|section| section.id == id)
}

#[test]
fn what_changes_is_drawn_and_what_does_not_is_folded_away() {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path());
    let (experiment, figures) = draw(directory.path());
    assert_eq!(experiment.damage, Vec::<String>::new());
    let section = section(&figures, "schedules").expect("a section");
    let files: Vec<&str> = section.charts.iter().map(|chart| chart.file.as_str()).collect();
    assert_eq!(files, ["schedule-learning_rate", "schedule-renorm_r_max"]);
    let folded: Vec<&str> = section.folds[0].1.iter().map(|chart| chart.file.as_str()).collect();
    assert_eq!(folded, ["schedule-decay", "schedule-renorm_d_max"]);
    let Data::Steps { steps, lines } = &section.charts[0].data else { panic!("lines over steps") };
    assert_eq!(steps, &[1, 31, 80]);
    assert_eq!(lines[0].mean, [Some(0.2), Some(0.02), Some(0.02)]);
    assert_eq!(lines[1].mean, [Some(0.2), Some(0.2), Some(0.2)]);
    // Arms with the same schedule are one line, here over two runs each.
    let Data::Steps { lines, .. } = &section.charts[1].data else { panic!("lines over steps") };
    assert_eq!((lines.len(), lines[0].n.as_slice()), (1, &[2, 2, 2][..]));
    assert_eq!(lines[0].mean, [None, Some(3.0), Some(3.0)], "nothing bounds r at first");
}

#[test]
fn the_quantiles_of_r_and_d_have_their_clip_limits() {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path());
    let (_, figures) = draw(directory.path());
    let layers = section(&figures, "layers").expect("a section");
    let lines = |file: &str| -> Vec<String> {
        let chart = Figures::of(layers).find(|chart| chart.file == file).expect("the chart");
        let Data::Steps { lines, .. } = &chart.data else { panic!("lines over steps") };
        lines
            .iter()
            .map(|line| format!("{} {:?}", line.name, line.mean.last().expect("a step")))
            .collect()
    };
    assert_eq!(
        lines("layers-steps-r_p50"),
        ["hidden1.norm Some(1.0)", "upper clip limit Some(3.0)"]
    );
    assert_eq!(
        lines("layers-steps-d_p50"),
        ["hidden1.norm None", "upper clip limit Some(0.5)", "lower clip limit Some(-0.5)"]
    );
}

#[test]
fn directories_without_schedules_are_drawn_without() {
    let directory = tempfile::tempdir().expect("a directory");
    write_experiment(directory.path(), &arms(), 2, (80, 20));
    let (experiment, figures) = draw(directory.path());
    assert!(experiment.records().all(|record| record.schedules.rows() == 0));
    assert!(section(&figures, "schedules").is_none());
}

#[test]
fn a_damaged_schedule_is_told_with_its_place_and_the_run_is_still_there() {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path());
    let path = directory.path().join("steps/seed-1").join(schema::SCHEDULES);
    fs::write(&path, "step,name,value\n1,learning_rate,fast\n").expect("written");
    let (experiment, figures) = draw(directory.path());
    assert_eq!(experiment.damage.len(), 1);
    assert!(
        experiment.damage[0]
            .ends_with("schedules.csv:2:17: value: expected a number or nothing, found \"fast\""),
        "{:?}",
        experiment.damage
    );
    let section = section(&figures, "schedules").expect("the others have schedules");
    let Data::Steps { lines, .. } = &section.charts[0].data else { panic!("lines over steps") };
    assert_eq!(lines[0].n, [1, 1, 1]);
}

#[test]
fn a_seed_with_another_schedule_is_shown_as_a_run() {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path());
    let path = directory.path().join("steps/seed-1").join(schema::SCHEDULES);
    fs::write(&path, "step,name,value\n1,learning_rate,0.9\n60,learning_rate,0.9\n")
        .expect("written");
    let (_, figures) = draw(directory.path());
    let section = section(&figures, "schedules").expect("a section");
    let chart = &section.charts[0];
    assert!(chart.caption.contains("another"), "{}", chart.caption);
    assert!(chart.standalone().contains("<g class=\"runs\" data-arm=\"0\">"));
}
