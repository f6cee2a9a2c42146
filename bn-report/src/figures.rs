//! Which charts a report has, and the numbers that go into each. Pure.

mod ends;
mod evaluations;
mod grid;
mod layers;
mod over_steps;
mod schedules;
mod sheet;
mod speed;

use std::collections::BTreeSet;

use self::over_steps::Look;
use crate::chart::Chart;
use crate::compare::Comparison;
use crate::curve::{self, Key};
use crate::read::Experiment;
use crate::schema::{Split, Statistics};

/// The charts of a report, in the order of the page.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// The compared metric over steps, all arms.
    pub main: Option<Chart>,
    /// The others, by subject; none is empty.
    pub sections: Vec<Section>,
}

/// Charts about one subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// Its name in addresses.
    pub id: &'static str,
    /// Heading.
    pub title: String,
    /// What holds for all its charts; empty where there is nothing to say.
    pub intro: String,
    /// The charts.
    pub charts: Vec<Chart>,
    /// Small charts that stand in rows.
    pub panels: Vec<Chart>,
    /// Charts that a page may fold away, under a heading each.
    pub folds: Vec<(String, Vec<Chart>)>,
}

impl Section {
    fn new(id: &'static str, title: impl Into<String>, charts: Vec<Chart>) -> Self {
        Self {
            id,
            title: title.into(),
            intro: String::new(),
            charts,
            panels: Vec::new(),
            folds: Vec::new(),
        }
    }
}

impl Figures {
    /// Draws every chart; training curves are smoothed over so many logged values, see [`smooth`](crate::chart::smooth).
    pub fn draw(experiment: &Experiment, comparison: &Comparison, smooth: usize) -> Self {
        let watched = comparison.watched();
        let target = comparison.target.as_ref().map(|target| target.value);
        let mut sections = vec![
            target_section(experiment, comparison),
            Section::new(
                "ends",
                "How the arms end",
                [ends::finals(comparison), ends::final_differences(comparison)]
                    .into_iter()
                    .flatten()
                    .collect(),
            ),
            Section::new("grid", "Over the grid", grid::charts(experiment, comparison)),
            statistics_section(experiment, comparison),
            Section::new("curves", "Other curves", other_curves(experiment, comparison, smooth)),
            schedules::section(experiment),
            layers::section(experiment, comparison.level),
            Section::new("speed", "Speed", speed::chart(experiment).into_iter().collect()),
        ];
        sections.retain(|section| Self::of(section).next().is_some());
        let look = look(comparison, &watched, smooth);
        let main = over_steps::chart(experiment, &watched, target, look);
        let mut figures = Self { main, sections };
        figures.name_files();
        figures
    }

    /// Every chart of a section.
    pub fn of(section: &Section) -> impl Iterator<Item = &Chart> {
        let folds = section.folds.iter().flat_map(|(_, charts)| charts);
        section.charts.iter().chain(&section.panels).chain(folds)
    }

    /// All charts.
    pub fn all(&self) -> impl Iterator<Item = &Chart> {
        let sections = self.sections.iter();
        self.main.iter().chain(sections.flat_map(Self::of))
    }

    /// Gives every chart a file name of its own: where two would share one, the later has a number.
    fn name_files(&mut self) {
        let mut taken = BTreeSet::new();
        let charts = self.sections.iter_mut();
        let charts = charts.flat_map(|section| {
            let folds = section.folds.iter_mut().flat_map(|(_, charts)| charts);
            section.charts.iter_mut().chain(&mut section.panels).chain(folds)
        });
        for chart in self.main.iter_mut().chain(charts) {
            let wanted = chart.file.clone();
            let mut number = 2;
            while !taken.insert(chart.file.clone()) {
                chart.file = format!("{wanted}-{number}");
                number += 1;
            }
        }
    }
}

fn target_section(experiment: &Experiment, comparison: &Comparison) -> Section {
    let Some(target) = &comparison.target else {
        return Section::new("target", "", Vec::new());
    };
    let charts = [
        evaluations::share(experiment, &comparison.watched(), target.value),
        ends::steps_to_target(comparison),
        ends::step_differences(comparison),
    ];
    Section::new("target", "How soon the target is met", charts.into_iter().flatten().collect())
}

fn statistics_section(experiment: &Experiment, comparison: &Comparison) -> Section {
    let (metric, level) = (&comparison.metric, comparison.level);
    let gap = evaluations::gap(experiment, metric, level);
    let panels = evaluations::panels(experiment, metric, level);
    let title = "The same weights under several statistics";
    Section {
        intro: evaluations::PANELS.to_owned(),
        panels,
        ..Section::new("statistics", title, gap.into_iter().collect())
    }
}

/// Every metric on validation by the compared statistics, and every metric on training batches, by the batch.
fn other_curves(experiment: &Experiment, comparison: &Comparison, smooth: usize) -> Vec<Chart> {
    let metrics = curve::metrics(experiment);
    let others = metrics.iter().filter(|metric| **metric != comparison.metric);
    let metrics: Vec<&String> = std::iter::once(&comparison.metric).chain(others).collect();
    let watched = comparison.watched();
    let mut charts = Vec::new();
    let splits = [
        (Split::Validation, Some(comparison.statistics)),
        // While training, batch norm always normalizes with the batch.
        (Split::Train, Some(Statistics::Batch)),
    ];
    for (split, statistics) in splits {
        for metric in &metrics {
            let key = Key::new(split, statistics, metric);
            if key != watched {
                let look = look(comparison, &key, smooth);
                charts.extend(over_steps::chart(experiment, &key, None, look));
            }
        }
    }
    charts
}

/// Values on training batches are smoothed; evaluations are as they were measured.
fn look(comparison: &Comparison, key: &Key, smooth: usize) -> Look {
    let smooth = if key.split == Split::Train { smooth } else { 1 };
    Look { smooth, level: comparison.level }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::Data;

    fn chart(file: &str) -> Chart {
        Chart {
            file: file.to_owned(),
            title: String::new(),
            description: String::new(),
            caption: String::new(),
            views: Vec::new(),
            data: Data::Table { columns: Vec::new(), rows: Vec::new() },
        }
    }

    #[test]
    fn no_two_charts_share_a_file() {
        let charts = ["a", "a-2", "a", "b", "a"].map(chart).to_vec();
        let mut figures =
            Figures { main: Some(chart("a")), sections: vec![Section::new("x", "x", charts)] };
        figures.name_files();
        let files: Vec<&str> = figures.all().map(|chart| chart.file.as_str()).collect();
        assert_eq!(files, ["a", "a-2", "a-2-2", "a-3", "b", "a-4"]);
    }
}
