//! A metric of the layers of all arms over steps, as a heat map.

use super::Logged;
use crate::chart::Chart;
use crate::chart::heat::Heat;
use crate::curve::Band;
use crate::figures::sheet::{self, Frame};
use crate::format;
use crate::schema;

/// Columns of a heat map, at most.
const COLUMNS: usize = 60;

/// Rows of a heat map of all arms, at most.
const ROWS: usize = 48;

/// Layers of all arms down, steps across, a metric as colour; of the first arms only, where all are too many.
pub(super) fn heat(arms: &[Logged<'_>], metric: &str, what: &str) -> Option<Chart> {
    let mut names = Vec::new();
    let mut bands: Vec<Band> = Vec::new();
    for logged in arms {
        for layer in logged.layers(metric) {
            names.push(format!("{}: {layer}", logged.arm.name));
            bands.push(logged.band(layer, metric));
        }
    }
    let left_out = names.len().saturating_sub(ROWS);
    names.truncate(ROWS);
    bands.truncate(ROWS);
    let mut steps: Vec<u64> = bands.iter().flatten().map(|point| point.step).collect();
    steps.sort_unstable();
    steps.dedup();
    let every = steps.len().div_ceil(COLUMNS).max(1);
    let columns: Vec<&[u64]> = steps.chunks(every).collect();
    // Of the steps in a column the largest value is shown, so that no spike is lost.
    let cell = |band: &Band, column: &[u64]| {
        let (first, last) = (column[0], column[column.len() - 1]);
        let points = band.iter().filter(|point| (first..=last).contains(&point.step));
        points.filter_map(|point| point.mean).reduce(f64::max)
    };
    let row = |band: &Band| columns.iter().map(|column| cell(band, column)).collect();
    let heat = Heat {
        title: what.to_owned(),
        x_title: "step".into(),
        y_title: "arm and layer".into(),
        columns: columns.iter().map(|column| format::count(column[0])).collect(),
        rows: names,
        cells: bands.iter().map(row).collect(),
        arms: Vec::new(),
    };
    let mut caption = "Mean over runs; of the steps in a column, the largest value.".to_owned();
    if left_out > 0 {
        caption += &format!(" {left_out} more rows are left out.");
    }
    let file = format!("layers-{}", schema::slug(metric));
    sheet::heat(Frame::new(file, what, caption), &heat)
}
