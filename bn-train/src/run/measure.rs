//! A trained network, measured by each kind of statistics.

use super::device_data::DeviceData;
use super::evaluation::{Score, evaluate, population, spread};
use crate::experiment::Settings;
use crate::model::{Mode, Model};
use bn_report::schema::{Split, Statistics};

/// What one split says of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The examples.
    pub split: Split,
    /// What the norm layers normalized with; none without such a layer.
    pub statistics: Option<Statistics>,
    /// Loss and accuracy.
    pub score: Score,
}

/// Measures `model` on every split, by moving statistics, those of the batch and those of the population. A network without
/// norm layers has one row for each split.
///
/// # Errors
/// What candle or the norm layers report.
pub fn measure(
    model: &Model,
    data: &DeviceData,
    settings: &Settings,
) -> candle::Result<Vec<Measured>> {
    let probes = &settings.probes;
    let mut modes = vec![(Mode::Moving, None)];
    let moments;
    if model.is_normalized {
        let images = spread(data.split(Split::Train).0, probes.population_examples)?;
        moments = population(model, &images, probes.batch_size)?;
        modes = vec![
            (Mode::Moving, Some(Statistics::Moving)),
            (Mode::Batch, Some(Statistics::Batch)),
            (Mode::Given(&moments), Some(Statistics::Population)),
        ];
    }
    let mut all = Vec::new();
    for split in [Split::Train, Split::Validation, Split::Test] {
        let (images, labels) = data.split(split);
        for (mode, statistics) in &modes {
            let score = evaluate(model, images, labels, *mode, probes.batch_size)?;
            all.push(Measured { split, statistics: *statistics, score });
        }
    }
    Ok(all)
}
