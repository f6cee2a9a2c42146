//! How good a network is on a split: passes of a bounded size, from which nothing is learned.

use crate::model::{Mode, Model, MomentsByPath, Pass};
use crate::ops::softmax_cross_entropy;
use candle::{DType, Device, Result, Tensor};
use std::ops::Range;

/// How good a network is on some examples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Mean cross-entropy in nats; may be infinite or not a number.
    pub loss: f64,
    /// Share of examples whose own class scored highest.
    pub accuracy: f64,
}

/// Scores `model` on examples that it does not learn from, at most `batch_size` at a time. Sums run in f64 in the order of
/// the examples, so the score depends on `batch_size` by rounding alone; but [`Mode::Batch`] takes the statistics of each
/// batch. A score by [`Mode::Given`] statistics that are not finite is not a number.
///
/// # Errors
/// What candle or the norm layers report.
///
/// # Panics
/// Without an example, or for a `batch_size` of 0.
pub fn evaluate(
    model: &Model,
    images: &Tensor,
    labels: &Tensor,
    mode: Mode<'_>,
    batch_size: usize,
) -> Result<Score> {
    if let Mode::Given(moments) = mode
        && !are_finite(moments)?
    {
        return Ok(Score { loss: f64::NAN, accuracy: f64::NAN });
    }
    let (mut loss, mut right) = (0.0, 0.0);
    let examples = images.dim(0)?;
    for batch in batches(examples, batch_size) {
        let images = images.narrow(0, batch.start, batch.len())?;
        let labels = labels.narrow(0, batch.start, batch.len())?;
        let score = score(&model.evaluate(&images, mode)?, &labels)?;
        loss += score.loss * batch.len() as f64;
        right += score.accuracy * batch.len() as f64;
    }
    Ok(Score { loss: loss / examples as f64, accuracy: right / examples as f64 })
}

/// Whether a network can be evaluated by these: those of a network that diverges may not be finite.
fn are_finite(moments: &MomentsByPath) -> Result<bool> {
    for moments in moments.values() {
        for values in [moments.mean(), moments.variance()] {
            if values.to_vec1::<f64>()?.iter().any(|value| !value.is_finite()) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn score(scores: &Tensor, labels: &Tensor) -> Result<Score> {
    let scores = scores.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?;
    let loss = softmax_cross_entropy(&scores, &labels.to_device(&Device::Cpu)?)?;
    Ok(Score { loss: loss.mean, accuracy: loss.accuracy })
}

/// The moments of every norm layer over `images` with the weights as they are, at most `batch_size` examples at a time. No
/// layer changes. Each layer's input is normalized by the batch in the layers before it.
///
/// # Errors
/// What candle or the norm layers report.
///
/// # Panics
/// As [`evaluate`].
pub fn population(model: &Model, images: &Tensor, batch_size: usize) -> Result<MomentsByPath> {
    let mut moments = MomentsByPath::new();
    for batch in batches(images.dim(0)?, batch_size) {
        let images = images.narrow(0, batch.start, batch.len())?;
        model.forward(&images, &mut Pass::record(&mut moments))?;
    }
    Ok(moments)
}

/// So many of `examples`, evenly spread: a data set may be sorted.
///
/// # Errors
/// What candle reports.
pub fn spread(examples: &Tensor, count: usize) -> Result<Tensor> {
    let all = examples.dim(0)?;
    if count >= all {
        return Ok(examples.clone());
    }
    let indices: Vec<u32> = (0..count).map(|index| (index * all / count) as u32).collect();
    examples.index_select(&Tensor::new(indices, examples.device())?, 0)
}

/// As few batches as `batch_size` allows, which differ by one example at most: a last batch of one example would have no
/// variance.
fn batches(examples: usize, batch_size: usize) -> impl Iterator<Item = Range<usize>> {
    assert!(examples > 0 && batch_size > 0, "batches of {batch_size} out of {examples} examples");
    let count = examples.div_ceil(batch_size);
    (0..count).map(move |index| index * examples / count..(index + 1) * examples / count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;
    use crate::experiment::Registry;
    use crate::model::{Sizes, norm_layers, statistics};
    use crate::random::{Purpose, Stream};

    fn model(lines: &str) -> Model {
        let text = format!(
            "optimizer.learning_rate = 0.1\ntrain.steps = 10\nmodel.hidden = [9, 7]\n{lines}"
        );
        let settings =
            Registry::built_in().settings(&text).unwrap_or_else(|invalid| panic!("{invalid}"));
        let input = ImageShape { channels: 1, height: 4, width: 4 };
        let sizes = Sizes { input, classes: 10 };
        Model::build(&settings.model, settings.norm.as_ref(), sizes, 0, &Device::Cpu).unwrap()
    }

    fn examples(count: usize) -> (Tensor, Tensor) {
        let mut stream = Stream::new(1, Purpose::Initialize("images"));
        let pixels: Vec<f32> = (0..count * 16).map(|_| stream.unit()).collect();
        let labels: Vec<u32> = (0..count as u32).map(|i| i * 7 % 10).collect();
        let images = Tensor::from_vec(pixels, (count, 1, 4, 4), &Device::Cpu).unwrap();
        (images, Tensor::new(labels, &Device::Cpu).unwrap())
    }

    #[test]
    fn batches_cover_all_examples_once_and_differ_by_one() {
        for (examples, size) in [(1, 1), (10, 3), (1001, 500), (500, 500), (7, 100), (270, 7)] {
            let all: Vec<_> = batches(examples, size).collect();
            assert_eq!(
                all.iter().cloned().flatten().collect::<Vec<_>>(),
                (0..examples).collect::<Vec<_>>()
            );
            let sizes: Vec<usize> = all.iter().map(ExactSizeIterator::len).collect();
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(*most <= size && most - least <= 1, "{sizes:?}");
        }
    }

    #[test]
    fn a_score_does_not_depend_on_the_batch_size() {
        let (model, (images, labels)) = (model(""), examples(61));
        let whole = evaluate(&model, &images, &labels, Mode::Moving, 61).unwrap();
        for size in [1, 2, 7, 60, 100] {
            let score = evaluate(&model, &images, &labels, Mode::Moving, size).unwrap();
            assert!((score.loss - whole.loss).abs() < 1e-6 * whole.loss, "{score:?} {whole:?}");
            assert!((score.accuracy - whole.accuracy).abs() < 1e-12);
        }
    }

    #[test]
    fn population_statistics_change_no_layer_and_are_those_of_the_batch_for_one_batch() {
        let (model, (images, labels)) = (model("norm.kind = 'renorm'"), examples(40));
        let state = || -> Vec<Vec<u32>> {
            let bits = |(_, var): (String, candle::Var)| {
                let values: Vec<f32> =
                    var.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                values.into_iter().map(f32::to_bits).collect()
            };
            statistics(model.layers()).into_iter().map(bits).collect()
        };
        let before = state();
        let moments = population(&model, &images, 40).unwrap();
        assert_eq!(moments.len(), norm_layers(model.layers()).len());
        let by_population = evaluate(&model, &images, &labels, Mode::Given(&moments), 40).unwrap();
        let by_batch = evaluate(&model, &images, &labels, Mode::Batch, 40).unwrap();
        assert!((by_population.loss - by_batch.loss).abs() < 1e-5 * by_batch.loss);
        assert_eq!(state(), before);
    }

    #[test]
    fn statistics_that_are_not_finite_give_no_score() {
        let (model, (images, labels)) = (model(""), examples(8));
        let weight = &crate::model::parameters(model.layers())[1].var;
        weight.set(&(weight.as_tensor() * f64::NAN).unwrap()).unwrap();
        let moments = population(&model, &images, 8).unwrap();
        let score = evaluate(&model, &images, &labels, Mode::Given(&moments), 8).unwrap();
        assert!(score.loss.is_nan() && score.accuracy.is_nan());
    }

    #[test]
    fn some_examples_are_spread_over_all() {
        let all = Tensor::arange(0_u32, 10, &Device::Cpu).unwrap();
        assert_eq!(spread(&all, 4).unwrap().to_vec1::<u32>().unwrap(), [0, 2, 5, 7]);
        assert_eq!(spread(&all, 99).unwrap().dims(), [10]);
    }
}
