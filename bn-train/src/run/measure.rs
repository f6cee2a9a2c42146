//! Measures trained networks under each kind of statistics.

use super::device_data::DeviceData;
use crate::experiment::Settings;
use crate::model::Mode;
use crate::task::Networks;
use bn_report::schema::{Split, Statistics};

/// Scores of the networks on one split, under one kind of statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The split that was evaluated.
    pub split: Split,
    /// Statistics the norm layers used; `None` without norm layers.
    pub statistics: Option<Statistics>,
    /// Scores, in the order of [`Networks::metrics`].
    pub scores: Vec<f64>,
}

/// Measures `networks` on every split under moving, batch and population statistics. Without norm layers, there is one
/// entry per split.
///
/// # Errors
/// Errors of candle or the norm layers.
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
