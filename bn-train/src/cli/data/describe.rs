//! `bn-train data describe`: summary statistics of a data set. Reads all the data, so errors in it show here.

use super::super::list::counted;
use super::super::print::print_all;
use super::super::terminal::table;
use super::Which;
use crate::data::{Dataset, Examples, ImageShape};
use crate::experiment::{DataInUse, Registry};
use clap::Args;
use std::process::ExitCode;

/// What to describe.
#[derive(Debug, Args)]
pub(in crate::cli) struct Describe {
    #[command(flatten)]
    which: Which,
}

/// The largest number of classes that are listed one by one.
const EACH: usize = 20;
/// The largest number of channels that are listed one by one.
const CHANNELS: usize = 16;

impl Describe {
    /// Reads the data and prints a summary.
    pub(in crate::cli) fn run(&self, registry: &Registry) -> anyhow::Result<ExitCode> {
        let mut text = String::new();
        for DataInUse { source, arms } in self.which.load(registry)? {
            let data = source.load()?;
            if !arms.is_empty() {
                text += &format!("{}: {}\n", counted(arms.len(), "arm"), arms.join(", "));
            }
            text += &describe(&data);
        }
        print_all(&text)
    }
}

fn describe(data: &Dataset) -> String {
    let ImageShape { channels, height, width } = data.train.shape;
    let mut text = format!(
        "examples of {channels} x {height} x {width} numbers (channels x height x width), {} classes\n",
        data.classes
    );
    let parts = [("train", &data.train), ("validation", &data.validation), ("test", &data.test)];
    let head =
        ["part", "examples", "smallest class", "largest class"].map(ToOwned::to_owned).to_vec();
    let row = |(name, part): (&str, &Examples)| {
        let counts = part.class_counts(data.classes);
        let (least, most) = (counts.iter().min().unwrap_or(&0), counts.iter().max().unwrap_or(&0));
        vec![name.to_owned(), part.len().to_string(), least.to_string(), most.to_string()]
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(parts.map(row)).collect();
    text += &lines(&table(&rows));
    if data.classes <= EACH {
        let counts: Vec<String> =
            data.train.class_counts(data.classes).iter().map(ToString::to_string).collect();
        text += &format!("training examples of each class: {}\n", counts.join(" "));
    }
    text += &lines(&table(&numbers(&data.train)));
    if let Some(weights) = &data.selection_weights {
        let least = weights.iter().copied().fold(f32::INFINITY, f32::min);
        let most = weights.iter().copied().fold(0.0, f32::max);
        text += &format!(
            "training examples were selected with a bias; weights from {least:.4} to {most:.4} correct for it\n"
        );
    }
    text + &format!("digest {}\n", data.digest)
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Mean, standard deviation and range of the training examples, per channel if there are few.
fn numbers(train: &Examples) -> Vec<Vec<String>> {
    let head = ["channel", "mean", "stddev", "least", "most"].map(ToOwned::to_owned).to_vec();
    let ImageShape { channels, height, width } = train.shape;
    let plane = height * width;
    let of_channel = |channel: usize| {
        let planes = train.pixels.chunks_exact(plane).skip(channel).step_by(channels);
        planes.flatten().copied()
    };
    let mut rows = vec![head];
    if channels <= CHANNELS && channels > 1 {
        rows.extend((0..channels).map(|channel| row(&channel.to_string(), || of_channel(channel))));
    }
    rows.push(row("all", || train.pixels.iter().copied()));
    rows
}

fn row<I: Iterator<Item = f32>>(name: &str, numbers: impl Fn() -> I) -> Vec<String> {
    let count = numbers().count().max(1) as f64;
    let mean = numbers().map(f64::from).sum::<f64>() / count;
    let variance = numbers().map(|number| (f64::from(number) - mean).powi(2)).sum::<f64>() / count;
    let (least, most) =
        (numbers().fold(f32::INFINITY, f32::min), numbers().fold(f32::NEG_INFINITY, f32::max));
    vec![
        name.to_owned(),
        format!("{mean:.6}"),
        format!("{:.6}", variance.sqrt()),
        format!("{least:.4}"),
        format!("{most:.4}"),
    ]
}
