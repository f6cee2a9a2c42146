//! What one run came to by a measure, and what it cannot say. Pure.

use super::times::{Reached, reached};
use crate::curve::Curve;
use crate::read::{Experiment, Key, Record, Run, Series};
use crate::schema::{Direction, LayerQuantity, Measure, Quantity, Split, Status, is_match};

/// What a run came to by a measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// A finite number.
    Value(f64),
    /// It diverged, or ended without a finite value: worse than any number.
    Lost,
    /// It says nothing: it has not ended, failed, is missing, or did not log this.
    Absent,
}

impl Outcome {
    /// The number, where there is one.
    pub fn value(self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(value),
            Self::Lost | Self::Absent => None,
        }
    }

    /// The number that sorts by what is better, a lost run below all; none where the run says nothing.
    pub fn gain(self, better: Direction) -> Option<f64> {
        match self {
            Self::Value(value) => Some(better.gain(value)),
            Self::Lost => Some(f64::NEG_INFINITY),
            Self::Absent => None,
        }
    }
}

/// A measure on the runs of an experiment.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// The experiment, for its target and metrics.
    pub experiment: &'a Experiment,
    /// What is measured.
    pub measure: &'a Measure,
    /// Steps beyond this count as this in steps to the target.
    pub horizon: u64,
}

impl Measured<'_> {
    /// Which way is better; none for a measure that is neither good nor bad.
    pub fn better(&self) -> Option<Direction> {
        match self.measure {
            Measure::Final(quantity) | Measure::Best(quantity) | Measure::Area(quantity) => {
                Some(self.experiment.better(&quantity.metric))
            }
            Measure::StepsToTarget | Measure::FirstTouch | Measure::DivergedShare => {
                Some(Direction::Lower)
            }
            Measure::StatisticsGap { .. }
            | Measure::SplitGap(_)
            | Measure::LayerFinal(_)
            | Measure::LayerMean(_)
            | Measure::LayerRange(_) => None,
        }
    }

    /// What a run came to.
    pub fn of(&self, run: &Run) -> Outcome {
        let Some(record) = run.record() else {
            return Outcome::Absent;
        };
        let is_diverged = matches!(record.status, Status::Diverged { .. });
        match self.measure {
            Measure::DivergedShare => match record.status {
                Status::Diverged { .. } => Outcome::Value(1.0),
                Status::Finished => Outcome::Value(0.0),
                _ => Outcome::Absent,
            },
            Measure::StepsToTarget => self.steps(run, |reached| reached.sustained),
            Measure::FirstTouch => self.steps(run, |reached| reached.first_touch),
            _ if is_diverged => Outcome::Lost,
            _ if record.status != Status::Finished => Outcome::Absent,
            Measure::Final(quantity) => outcome(series(record, quantity), last),
            Measure::Best(quantity) => {
                let better = self.experiment.better(&quantity.metric);
                outcome(series(record, quantity), |series| best(series, better))
            }
            Measure::Area(quantity) => outcome(series(record, quantity), area),
            Measure::StatisticsGap { quantity, against } => {
                let Quantity { metric, split, statistics } = quantity;
                let of = |statistics| record.log.get(&Key::new(*split, Some(statistics), metric));
                difference(of(*statistics), of(*against))
            }
            Measure::SplitGap(quantity) => {
                let train = Quantity { split: Split::Train, ..quantity.clone() };
                // While training, batch norm normalizes with the batch: that is how most runs log it.
                let batch =
                    Quantity { statistics: crate::schema::Statistics::Batch, ..train.clone() };
                let train = series(record, &train).or_else(|| series(record, &batch));
                difference(series(record, quantity), train)
            }
            Measure::LayerFinal(layer) => of_layers(record, layer, last),
            Measure::LayerMean(layer) => of_layers(record, layer, mean_over_steps),
            Measure::LayerRange(layer) => of_layers(record, layer, range_over_steps),
        }
    }

    fn steps(&self, run: &Run, time: fn(&Reached) -> crate::stats::censored::Time) -> Outcome {
        let time = reached(self.experiment, run).as_ref().map(time);
        match time.and_then(|time| time.restricted(self.horizon)) {
            Some(step) => Outcome::Value(step as f64),
            None => Outcome::Absent,
        }
    }
}

fn series<'a>(record: &'a Record, quantity: &Quantity) -> Option<&'a Series> {
    let Quantity { metric, split, statistics } = quantity;
    record.log.get_or_plain(&Key::new(*split, Some(*statistics), metric))
}

/// What a finished run came to by a number of its series: lost where it logged the series and the number is not finite.
fn outcome(series: Option<&Series>, number: impl Fn(&Series) -> Option<f64>) -> Outcome {
    match series.map(|series| number(series).filter(|number| number.is_finite())) {
        Some(Some(number)) => Outcome::Value(number),
        Some(None) => Outcome::Lost,
        None => Outcome::Absent,
    }
}

fn difference(one: Option<&Series>, other: Option<&Series>) -> Outcome {
    let Some((one, other)) = one.zip(other) else {
        return Outcome::Absent;
    };
    outcome(Some(one), |one| Some(last(one)? - last(other)?))
}

/// The value at the last logged step.
fn last(series: &Series) -> Option<f64> {
    series.last()?.1
}

/// The best value.
fn best(series: &Curve, better: Direction) -> Option<f64> {
    let values = series.finite().map(|(_, value)| value);
    values.reduce(|a, b| if better.gain(b) > better.gain(a) { b } else { a })
}

/// The area under a curve by trapezoids, divided by the steps that it spans; none where a value is absent. The value itself where
/// there is one step.
pub fn area(series: &Series) -> Option<f64> {
    let mut area = 0.0;
    let mut previous: Option<(u64, f64)> = None;
    let first = *series.steps().first()?;
    let span = (series.steps().last()? - first) as f64;
    for (step, value) in series.iter() {
        let value = value?;
        if let Some((before, left)) = previous {
            // Halves and shares of the span: no product overflows.
            area += (left / 2.0 + value / 2.0) * ((step - before) as f64 / span);
        }
        previous = Some((step, value));
    }
    if span == 0.0 { previous.map(|(_, value)| value) } else { Some(area) }
}

fn mean_over_steps(series: &Series) -> Option<f64> {
    let values: Option<Vec<f64>> = series.iter().map(|(_, value)| value).collect();
    crate::stats::Summary::mean_and_sd(&values?).0
}

/// The largest minus the smallest value; none where a value is absent.
fn range_over_steps(series: &Series) -> Option<f64> {
    let values: Option<Vec<f64>> = series.iter().map(|(_, value)| value).collect();
    let values = values?;
    let largest = values.iter().copied().reduce(f64::max)?;
    let smallest = values.iter().copied().reduce(f64::min)?;
    Some(largest - smallest)
}

/// The mean over all layers that match of a number of each one's series.
fn of_layers(
    record: &Record,
    quantity: &LayerQuantity,
    number: impl Fn(&Series) -> Option<f64>,
) -> Outcome {
    let layers = record.layers.iter().filter(|(key, _)| key.metric == quantity.metric);
    let layers: Vec<(&str, &Series)> =
        layers.map(|(key, series)| (key.layer.as_str(), series)).collect();
    let Some(pattern) = quantity.pattern(layers.iter().map(|(path, _)| *path)) else {
        return Outcome::Absent;
    };
    let layers = layers.iter().filter(|(path, _)| is_match(pattern, path));
    let numbers: Option<Vec<f64>> = layers.map(|(_, series)| number(series)).collect();
    match numbers.and_then(|numbers| crate::stats::Summary::mean_and_sd(&numbers).0) {
        Some(mean) => Outcome::Value(mean),
        None => Outcome::Lost,
    }
}
