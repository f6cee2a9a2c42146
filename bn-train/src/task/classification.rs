//! Classification: one network with a score per class.

use super::{Blueprint, Headline, Learned, Scores, Task, Turn};
use crate::data::{Batch, in_batches};
use crate::model::{Gradients, Mode, Model, Signal};
use crate::ops::LossFunction;
use bn_report::schema::MetricDefinition;
use candle::{DType, Device, Result, Tensor};

/// Classification with one class per example and one score per class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classification {
    /// The training loss.
    pub loss: LossFunction,
    /// What evaluations measure besides the loss.
    pub measures: Vec<Measure>,
}

/// What evaluations can measure besides the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Share of examples whose class has the highest score.
    Accuracy,
    /// Share of examples whose class is among the five highest scores.
    Top5,
    /// Accuracy on the examples of each class: `accuracy_of_3`.
    ClassAccuracy,
}

const LOSS: &str = "loss";
const ACCURACY: &str = "accuracy";

impl Default for Classification {
    fn default() -> Self {
        Self { loss: LossFunction::CrossEntropy, measures: vec![Measure::Accuracy] }
    }
}

impl Task for Classification {
    fn networks(&self) -> &'static [&'static str] {
        &[""]
    }

    fn build(&self, plan: &Blueprint<'_>) -> Result<Vec<Model>> {
        let builder = plan.parameters();
        Ok(vec![Model::build(plan.model, plan.norm, plan.sizes, &builder)?])
    }

    fn evaluated(&self) -> usize {
        0
    }

    fn training_metrics(&self) -> &'static [&'static str] {
        &[LOSS, ACCURACY]
    }

    fn metrics(&self, classes: usize) -> Vec<String> {
        let mut names = vec![LOSS.to_owned()];
        for measure in &self.measures {
            match measure {
                Measure::Accuracy => names.push(ACCURACY.to_owned()),
                Measure::Top5 => names.push("top5".to_owned()),
                Measure::ClassAccuracy => {
                    names.extend((0..classes).map(|class| format!("accuracy_of_{class}")));
                }
            }
        }
        names
    }

    fn define(&self, name: &str) -> MetricDefinition {
        let known = MetricDefinition::by_name(name);
        let is_loss = name.ends_with(LOSS);
        if is_loss && self.loss == LossFunction::SquaredError {
            return MetricDefinition { unit: None, ..known };
        }
        known
    }

    fn headline(&self) -> Headline {
        if self.measures.contains(&Measure::Accuracy) {
            Headline { metric: ACCURACY, is_higher_better: true }
        } else {
            Headline { metric: LOSS, is_higher_better: false }
        }
    }

    fn learn(
        &self,
        network: usize,
        models: &[Model],
        batch: &Batch,
        turn: &mut Turn<'_>,
    ) -> Result<Learned> {
        let model = &models[network];
        let mut pass = turn.pass();
        if let Some(weights) = &batch.norm_weights {
            pass = pass.with_weights(weights);
        }
        let scores = model.apply(&Signal::new(batch.images.clone()), &mut pass)?;
        let weights = batch.loss_weights.as_ref();
        if !scores.tensor().device().is_cpu() {
            let loss = self.loss.loss_on_device(scores.tensor(), &batch.labels, weights)?;
            let gradients = pass.backward(&scores, &loss.gradient)?;
            return Ok(Learned { scores: Scores::OnDevice(loss.scores), gradients });
        }
        let loss = self.loss.loss(&on_cpu(scores.tensor())?, &batch.labels, weights)?;
        let gradients = if loss.mean.is_finite() {
            pass.backward(&scores, &loss.gradient)?
        } else {
            Gradients::new()
        };
        Ok(Learned { scores: Scores::Known(vec![loss.mean, loss.accuracy]), gradients })
    }

    fn inputs(&self, images: &Tensor) -> Result<Tensor> {
        Ok(images.clone())
    }

    /// Sums are accumulated in f64 in the order of the examples, so the scores depend on `batch_size` only by rounding,
    /// except in [`Mode::Batch`], which uses the statistics of each batch.
    fn evaluate(
        &self,
        model: &Model,
        examples: &Batch,
        mode: Mode<'_>,
        batch_size: usize,
    ) -> Result<Vec<f64>> {
        let mut tally = Tally::default();
        for range in in_batches(examples.len(), batch_size) {
            let batch = examples.narrow(range)?;
            let scores = on_cpu(&model.evaluate(&batch.images, mode)?)?;
            let labels = batch.labels.to_device(&Device::Cpu)?;
            tally.add(self, &scores, &labels)?;
        }
        Ok(tally.metrics(self))
    }
}

/// Copies scores to the CPU as f32, as the loss needs them.
fn on_cpu(scores: &Tensor) -> Result<Tensor> {
    scores.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()
}

/// Sums over the batches of an evaluation.
#[derive(Default)]
struct Tally {
    examples: usize,
    loss: f64,
    right: f64,
    in_top5: usize,
    /// For each class, its examples and how many were classified correctly.
    classes: Vec<(usize, usize)>,
}

impl Tally {
    fn add(&mut self, task: &Classification, scores: &Tensor, labels: &Tensor) -> Result<()> {
        let loss = task.loss.loss(scores, labels, None)?;
        let (examples, classes) = scores.dims2()?;
        self.examples += examples;
        self.loss += loss.mean * examples as f64;
        self.right += loss.accuracy * examples as f64;
        if task.measures == [Measure::Accuracy] {
            return Ok(());
        }
        self.classes.resize(classes, (0, 0));
        for (row, label) in scores.to_vec2::<f32>()?.iter().zip(labels.to_vec1::<u32>()?) {
            let rank = rank(row, label as usize);
            self.in_top5 += usize::from(rank < 5);
            let (count, right) = &mut self.classes[label as usize];
            *count += 1;
            *right += usize::from(rank == 0);
        }
        Ok(())
    }

    fn metrics(&self, task: &Classification) -> Vec<f64> {
        let examples = self.examples as f64;
        let mut all = vec![self.loss / examples];
        for measure in &task.measures {
            match measure {
                Measure::Accuracy => all.push(self.right / examples),
                Measure::Top5 => all.push(self.in_top5 as f64 / examples),
                Measure::ClassAccuracy => {
                    // For a class without examples, 0 / 0 gives NaN.
                    all.extend(self.classes.iter().map(|&(all, right)| right as f64 / all as f64));
                }
            }
        }
        all
    }
}

/// How many other classes score at least as high as the example's class. NaN ranks last.
fn rank(scores: &[f32], label: usize) -> usize {
    let own = scores[label];
    let is_behind = |score: f32| own > score || (score.is_nan() && !own.is_nan());
    let others = scores.iter().enumerate().filter(|(class, _)| *class != label);
    others.filter(|(_, score)| !is_behind(**score)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_counts_ties_against_the_example() {
        assert_eq!(rank(&[1.0, 3.0, 2.0], 1), 0);
        assert_eq!(rank(&[1.0, 3.0, 3.0], 1), 1);
        assert_eq!(rank(&[f32::NAN, 0.0], 1), 0);
        assert_eq!(rank(&[f32::NAN, 0.0], 0), 1);
    }

    #[test]
    fn metrics_over_batches_equal_metrics_over_all() {
        let measures = vec![Measure::Accuracy, Measure::Top5, Measure::ClassAccuracy];
        let task = Classification { measures, ..Classification::default() };
        let scores: Vec<f32> = (0..60).map(|i| ((i * 37) % 61) as f32).collect();
        let scores = Tensor::from_vec(scores, (10, 6), &Device::Cpu).unwrap();
        let labels = Tensor::new(&[0_u32, 1, 2, 3, 4, 0, 1, 2, 3, 4], &Device::Cpu).unwrap();
        let (mut at_once, mut in_parts) = (Tally::default(), Tally::default());
        at_once.add(&task, &scores, &labels).unwrap();
        for (from, count) in [(0, 3), (3, 7)] {
            let part = |t: &Tensor| t.narrow(0, from, count).unwrap();
            in_parts.add(&task, &part(&scores), &part(&labels)).unwrap();
        }
        let (at_once, in_parts) = (at_once.metrics(&task), in_parts.metrics(&task));
        assert_eq!(at_once.len(), task.metrics(6).len());
        assert!(at_once[8].is_nan() && in_parts[8].is_nan(), "a class without examples");
        for (one, other) in at_once[..8].iter().zip(&in_parts) {
            assert!((one - other).abs() < 1e-6);
        }
        let right = (0..10).filter(|&row| {
            let scores: Vec<f32> = scores.get(row).unwrap().to_vec1().unwrap();
            let label = labels.to_vec1::<u32>().unwrap()[row] as usize;
            scores.iter().all(|score| *score <= scores[label])
        });
        assert_eq!(at_once[1], right.count() as f64 / 10.0);
    }
}
