//! Trained networks, measured by each kind of statistics.

use super::device_data::DeviceData;
use crate::experiment::Settings;
use crate::model::Mode;
use crate::task::Networks;
use bn_report::schema::{Split, Statistics};

/// What one split says of networks.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The examples.
    pub split: Split,
    /// What the norm layers normalized with; none without such a layer.
    pub statistics: Option<Statistics>,
    /// By [`Networks::metrics`].
    pub scores: Vec<f64>,
}

/// Measures `networks` on every split, by moving statistics, those of the batch and those of the population. Without norm
/// layers there is one row for each split.
///
/// # Errors
/// What candle or the norm layers report.
pub fn measure(
    networks: &Networks,
    data: &DeviceData,
    settings: &Settings,
) -> candle::Result<Vec<Measured>> {
    let probes = &settings.probes;
    let mut modes = vec![(Mode::Moving, None)];
    let moments;
    if networks.is_normalized() {
        let examples = data.split(Split::Train).spread(probes.population_examples)?;
        moments = networks.population(&examples.images, probes.batch_size)?;
        modes = vec![
            (Mode::Moving, Some(Statistics::Moving)),
            (Mode::Batch, Some(Statistics::Batch)),
            (Mode::Given(&moments), Some(Statistics::Population)),
        ];
    }
    let mut all = Vec::new();
    for split in [Split::Train, Split::Validation, Split::Test] {
        for (mode, statistics) in &modes {
            let scores = networks.evaluate(data.split(split), *mode, probes.batch_size)?;
            all.push(Measured { split, statistics: *statistics, scores });
        }
    }
    Ok(all)
}
