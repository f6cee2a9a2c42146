//! What went on inside the layers, from `layers.csv`: means over the runs of an arm.

use std::collections::BTreeMap;

mod heat;

use self::heat::heat;
use super::Section;
use super::over_steps::band_lines;
use super::schedules;
use super::sheet::{self, Frame};
use crate::chart::Chart;
use crate::chart::curves::{ArmLines, Curves};
use crate::chart::range::Values;
use crate::chart::style::{self, ArmStyle, Marker};
use crate::curve::{self, Band};
use crate::read::{Arm, Experiment, LayerKey};
use crate::schema::{self, ScheduleRow};
use crate::stats::Level;

/// The charts of the layers of every arm: gaps of all arms together, percentiles side by side, the rest folded away by arm.
pub(super) fn section(experiment: &Experiment, level: Level) -> Section {
    let logged: Vec<Logged<'_>> =
        experiment.arms.iter().map(|arm| Logged::of(arm, level)).collect();
    let gaps = [
        (
            "population_mean_gap",
            "gap from the moving to the population mean, in population standard deviations",
        ),
        (
            "population_log_variance_gap",
            "gap from the moving to the population variance, as the logarithm of their ratio",
        ),
        ("mean_gap", "gap from the moving to the batch mean, in batch standard deviations"),
        (
            "log_variance_gap",
            "gap from the moving to the batch variance, as the logarithm of their ratio",
        ),
    ];
    let charts =
        gaps.into_iter().filter_map(|(metric, what)| heat(&logged, metric, what)).collect();
    let arms = || logged.iter().enumerate();
    let panels = arms().filter_map(|(place, logged)| logged.percentiles(place)).collect();
    let folds = arms().map(|(place, logged)| (logged.arm.name.clone(), of_arm(place, logged)));
    Section {
        intro: "From layers.csv: what went on inside the layers at the steps that were watched, as means over the runs of an arm. The small charts show the 15th, 50th and 85th percentile of the results of the last hidden layer that is watched, after figure 1 of Ioffe & Szegedy 2015.".to_owned(),
        panels,
        folds: folds.filter(|(_, charts)| !charts.is_empty()).collect(),
        ..Section::new("layers", "Inside the layers", charts)
    }
}

/// The schedule of a bound, its sign, and what it is called.
type Limit = (&'static str, f64, &'static str);

const R_LIMITS: [Limit; 2] = [
    (ScheduleRow::RENORM_R_MAX, 1.0, "upper clip limit"),
    (ScheduleRow::RENORM_R_MIN, 1.0, "lower clip limit"),
];
const D_LIMITS: [Limit; 2] = [
    (ScheduleRow::RENORM_D_MAX, 1.0, "upper clip limit"),
    (ScheduleRow::RENORM_D_MAX, -1.0, "lower clip limit"),
];

fn of_arm(place: usize, logged: &Logged<'_>) -> Vec<Chart> {
    let charts = [
        logged.lines(place, "gradient_norm", "norm of the loss's gradient, by weights"),
        logged.spreads(
            place,
            ["r_min", "r_p50", "r_max"],
            "renorm's r: least, median, largest",
            &R_LIMITS,
        ),
        logged.spreads(
            place,
            ["d_min", "d_p50", "d_max"],
            "renorm's d: least, median, largest",
            &D_LIMITS,
        ),
        logged.lines(place, "r_clipped", "share of channels whose r is clipped"),
        logged.lines(place, "d_clipped", "share of channels whose d is clipped"),
    ];
    charts.into_iter().flatten().collect()
}

/// What the runs of an arm logged of their layers.
struct Logged<'a> {
    arm: &'a Arm,
    /// The level of intervals.
    level: Level,
    /// By metric: the layers, in the order of their paths.
    layers: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Logged<'a> {
    fn of(arm: &'a Arm, level: Level) -> Self {
        let mut layers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for record in arm.runs.iter().filter_map(|run| run.record()) {
            for (LayerKey { layer, metric }, _) in record.layers.iter() {
                layers.entry(metric).or_default().push(layer);
            }
        }
        for paths in layers.values_mut() {
            paths.sort_by_key(|path| natural(path));
            paths.dedup();
        }
        Self { arm, level, layers }
    }

    fn layers(&self, metric: &str) -> &[&'a str] {
        self.layers.get(metric).map_or(&[], Vec::as_slice)
    }

    fn band(&self, layer: &str, metric: &str) -> Band {
        let key = LayerKey { layer: layer.to_owned(), metric: metric.to_owned() };
        let records = self.arm.runs.iter().filter_map(|run| run.record());
        curve::band_at(self.level, records.filter_map(|record| record.layers.get(&key)))
    }

    fn frame(&self, metric: &str, what: &str, caption: &str) -> Frame {
        let file = format!("layers-{}-{}", schema::slug(&self.arm.name), schema::slug(metric));
        Frame::new(file, format!("{}: {what}", self.arm.name), caption)
    }

    /// The percentiles of the results of the last hidden layer that is watched, after figure 1 of Ioffe & Szegedy 2015.
    fn percentiles(&self, place: usize) -> Option<Chart> {
        let layers = self.layers("p50");
        let is_hidden =
            |layer: &&&str| !layer.starts_with("output") && !layer.ends_with("activation");
        let normalized = layers.iter().filter(is_hidden).rfind(|layer| layer.contains("norm"));
        let layer = normalized.or_else(|| layers.iter().rfind(is_hidden))?;
        let line = self.spread(place, 0, layer, ["p15", "p50", "p85"]);
        let line = ArmLines { style: None, ..line };
        let title = format!("{}, {layer}: 15th, 50th and 85th percentile", self.arm.name);
        let curves = Curves {
            title: title.clone(),
            lines: vec![line],
            target: None,
            rule: None,
            values: Values::Any,
            smooth: 1,
            measured_bands: true,
            panel: Some(format!("{}: {layer}", self.arm.name)),
        };
        let file = format!("layers-{}-percentiles", schema::slug(&self.arm.name));
        sheet::curves(Frame::new(file, title, ""), curves)
    }

    /// A line of the middle of three metrics of a layer, with a band from the first to the last.
    fn spread(
        &self,
        place: usize,
        index: usize,
        layer: &str,
        [low, middle, high]: [&str; 3],
    ) -> ArmLines {
        let [low, middle, high] = [low, middle, high].map(|metric| self.band(layer, metric));
        let at = |band: &Band, step: u64| {
            let place = band.binary_search_by_key(&step, |point| point.step).ok()?;
            band[place].mean
        };
        let ends = middle
            .iter()
            .map(|point| (point.step, at(&low, point.step).zip(at(&high, point.step))));
        ArmLines {
            style: Some(of_layer(index)),
            band: ends.collect(),
            ..band_lines(vec![place], layer.to_owned(), &middle)
        }
    }

    /// A line per layer.
    fn lines(&self, place: usize, metric: &str, what: &str) -> Option<Chart> {
        let line = |(index, layer): (usize, &&str)| ArmLines {
            style: Some(of_layer(index)),
            ..band_lines(vec![place], (*layer).to_owned(), &self.band(layer, metric))
        };
        // Of the parameters of a layer its weights: biases and scales would double the lines.
        let layers = self.layers(metric);
        let weights: Vec<&str> =
            layers.iter().copied().filter(|path| path.ends_with("weight")).collect();
        let shown = if weights.is_empty() { layers } else { &weights };
        let lines: Vec<ArmLines> = shown.iter().enumerate().map(line).collect();
        self.curves(
            (metric, what),
            lines,
            false,
            &format!(
                "Mean over runs, a line per layer. Band: {} interval of the mean.",
                self.level
            ),
        )
    }

    /// A band per layer from a low to a high quantile, with the middle as a line.
    ///
    /// The limits to which values are clipped are dotted lines, where they were logged.
    fn spreads(
        &self,
        place: usize,
        [low, middle, high]: [&str; 3],
        what: &str,
        limits: &[Limit],
    ) -> Option<Chart> {
        let line =
            |(index, layer): (usize, &&str)| self.spread(place, index, layer, [low, middle, high]);
        let mut lines: Vec<ArmLines> = self.layers(middle).iter().enumerate().map(line).collect();
        let mut caption =
            "Means over runs. Line: the middle one; band: from the first to the last.".to_owned();
        let limits: Vec<ArmLines> =
            limits.iter().filter_map(|limit| self.limit(place, *limit)).collect();
        if !lines.is_empty() && !limits.is_empty() {
            caption += " Dotted: the limits to which it is clipped, by their schedule.";
            lines.extend(limits);
        }
        self.curves((middle, what), lines, true, &caption)
    }

    /// The schedule of a limit as a line.
    fn limit(&self, place: usize, (name, sign, words): Limit) -> Option<ArmLines> {
        let line = schedules::line(place, self.arm, name)?;
        let style = ArmStyle { ink: style::TEXT, marker: Marker::Plus, dash: style::DOTTED };
        let mean = line.mean.into_iter();
        Some(ArmLines {
            name: words.to_owned(),
            style: Some(style),
            mean: mean.map(|(step, value, n)| (step, value.map(|value| sign * value), n)).collect(),
            runs: Vec::new(),
            ..line
        })
    }

    fn curves(
        &self,
        (metric, what): (&str, &str),
        lines: Vec<ArmLines>,
        measured_bands: bool,
        caption: &str,
    ) -> Option<Chart> {
        let curves = Curves {
            title: what.to_owned(),
            values: if metric == "gradient_norm" { Values::Positive } else { Values::Any },
            lines,
            target: None,
            rule: None,
            smooth: 1,
            measured_bands,
            panel: None,
        };
        sheet::curves(self.frame(metric, what, caption), curves)
    }
}

/// Layers have styles of their own, in the order of the chart.
fn of_layer(index: usize) -> ArmStyle {
    style::arm(index + 1)
}

/// A path as text and numbers in turn, so that `hidden10` comes after `hidden9`.
fn natural(path: &str) -> Vec<(String, u64)> {
    let mut parts = vec![(String::new(), 0_u64)];
    let mut in_number = false;
    for character in path.chars() {
        let digit = character.to_digit(10);
        if digit.is_none() && in_number {
            parts.push((String::new(), 0));
        }
        in_number = digit.is_some();
        let last = parts.len() - 1;
        match digit {
            Some(digit) => {
                parts[last].1 = parts[last].1.saturating_mul(10).saturating_add(digit.into())
            }
            None => parts[last].0.push(character),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::natural;

    #[test]
    fn layers_are_in_the_order_of_their_numbers() {
        let mut paths = ["block2.norm1", "block10.norm1", "block2.norm", "output", "block1.norm2"];
        paths.sort_by_key(|path| natural(path));
        assert_eq!(
            paths,
            ["block1.norm2", "block2.norm", "block2.norm1", "block10.norm1", "output"]
        );
    }
}
