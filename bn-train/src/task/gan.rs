//! A generative adversarial network: a generator of images from noise, and a discriminator of real and generated images.
//!
//! A step updates the discriminator with the loss `−log D(x) − log(1 − D(G(z)))`, then the generator with `−log D(G(z))`:
//! the losses of Goodfellow et al. 2014, with the non-saturating form for the generator. Real and generated images pass
//! through the discriminator as separate batches, as in Radford et al. 2016, so each has its own batch statistics.

use super::distance::Features;
use super::{Blueprint, Headline, Learned, Scores, Task, Turn};
use crate::data::{Batch, ImageShape, in_batches};
use crate::model::{
    Activate, Architecture as _, Chain, Hidden, Mlp, Mode, Model, Reshape, Signal, Sizes,
};
use crate::random::{Purpose, Stream};
use bn_core::{Activation, Updates};
use candle::{DType, Device, Result, Tensor};

/// A generator, which is an MLP, and a discriminator, which is the network of `[model]` with a single score.
#[derive(Clone, Debug, PartialEq)]
pub struct Gan {
    /// Dimension of the noise, at least 1.
    pub latent: usize,
    /// Widths of the generator's hidden layers.
    pub hidden: Vec<usize>,
    /// Activation of the generator's last layer.
    pub output: Output,
    /// Whether the discriminator has the norm layers of `[norm]`. The generator always has them.
    pub is_discriminator_normalized: bool,
}

/// Activation of the generator's last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// None: unbounded.
    Linear,
    /// `1 / (1 + exp(-x))`: from 0 to 1.
    Sigmoid,
    /// Hyperbolic tangent: from -1 to 1.
    Tanh,
}

const DISCRIMINATOR: usize = 0;
const GENERATOR: usize = 1;
/// Seed of the noise in evaluations, the same for all runs.
const EVALUATION_SEED: u64 = 0;
/// Maximum number of real images per evaluation, compared with as many generated ones.
const COMPARED: usize = 1024;

impl Task for Gan {
    fn networks(&self) -> &'static [&'static str] {
        &["discriminator", "generator"]
    }

    fn build(&self, plan: &Blueprint<'_>) -> Result<Vec<Model>> {
        let builder = plan.parameters();
        let norm = plan.norm.filter(|_| self.is_discriminator_normalized);
        let sizes = Sizes { classes: 1, ..plan.sizes };
        let discriminator = Model::build(plan.model, norm, sizes, &builder.pp("discriminator"))?;

        let image = plan.sizes.input;
        let noise = ImageShape { channels: self.latent, height: 1, width: 1 };
        let sizes = Sizes { input: noise, classes: image.pixels() };
        let hidden = Hidden::new(plan.norm, plan.model.activation);
        let builder = builder.pp("generator");
        let mut generator = Chain::new();
        generator.push_boxed(Mlp { hidden: self.hidden.clone() }.build(sizes, hidden, &builder)?);
        let output = match self.output {
            Output::Linear => Activation::None,
            Output::Sigmoid => Activation::Sigmoid,
            Output::Tanh => Activation::Tanh,
        };
        generator.push(Activate::new(builder.pp("pixels").prefix(), output));
        generator.push(Reshape(vec![image.channels, image.height, image.width]));
        Ok(vec![discriminator, Model::new(generator)])
    }

    fn evaluated(&self) -> usize {
        GENERATOR
    }

    fn training_metrics(&self) -> &'static [&'static str] {
        &["discriminator_loss", "generator_loss"]
    }

    fn metrics(&self, _classes: usize) -> Vec<String> {
        vec!["distance".to_owned()]
    }

    fn headline(&self) -> Headline {
        Headline { metric: "distance", is_higher_better: false }
    }

    fn learn(
        &self,
        network: usize,
        models: &[Model],
        batch: &Batch,
        turn: &mut Turn<'_>,
    ) -> Result<Learned> {
        let noise = self.noise(turn.stream(), batch.len(), batch.images.device())?;
        match network {
            DISCRIMINATOR => discriminator_step(models, batch, &noise, turn),
            _ => generator_step(models, &noise, turn),
        }
    }

    fn inputs(&self, images: &Tensor) -> Result<Tensor> {
        let stream = Stream::new(EVALUATION_SEED, Purpose::Noise(0, 0));
        self.noise(stream, images.dim(0)?, images.device())
    }

    fn evaluate(
        &self,
        model: &Model,
        examples: &Batch,
        mode: Mode<'_>,
        batch_size: usize,
    ) -> Result<Vec<f64>> {
        let real = examples.spread(COMPARED)?.images;
        let noise = self.inputs(&real)?;
        let features = Features::of_images(real.flatten_from(1)?.dim(1)?);
        let (mut from_real, mut from_generated) = (Vec::new(), Vec::new());
        for range in in_batches(real.dim(0)?, batch_size) {
            let generated = model.evaluate(&noise.narrow(0, range.start, range.len())?, mode)?;
            from_generated.extend(features.compute(&generated)?);
            from_real.extend(features.compute(&real.narrow(0, range.start, range.len())?)?);
        }
        Ok(vec![features.distance(&from_real, &from_generated)])
    }
}

impl Gan {
    /// `[count, latent, 1, 1]` from the standard normal distribution.
    fn noise(&self, mut stream: Stream, count: usize, device: &Device) -> Result<Tensor> {
        let numbers: Vec<f32> = (0..count * self.latent).map(|_| stream.normal(0.0, 1.0)).collect();
        Tensor::from_vec(numbers, (count, self.latent, 1, 1), device)
    }
}

/// The discriminator's step. The generator uses batch statistics and does not change.
fn discriminator_step(
    models: &[Model],
    batch: &Batch,
    noise: &Tensor,
    turn: &mut Turn<'_>,
) -> Result<Learned> {
    let discriminator = &models[DISCRIMINATOR];
    let generated = models[GENERATOR].evaluate(noise, Mode::Batch)?;
    // Two passes make one update of the moving statistics.
    let own = Updates::new();
    let updates = turn.updates.unwrap_or(&own);
    let mut losses = Vec::new();
    let mut gradients = crate::model::Gradients::new();
    let trainable = discriminator.trainable();
    for (images, is_real) in [(&batch.images, true), (&generated, false)] {
        let mut pass = turn.pass().with_updates(updates);
        let scores = discriminator.apply(&Signal::new(images.clone()), &mut pass)?;
        let (loss, gradient) = logistic(scores.tensor(), is_real)?;
        losses.push((loss, vec![1.0]));
        let found = pass.backward(&scores, &gradient)?;
        for (_, variable) in &trainable {
            if let Some(gradient) = found.get(variable) {
                gradients.add(variable, gradient.clone())?;
            }
        }
    }
    let scores = Scores::weighted_sum(&losses)?;
    // A norm layer refuses statistics that are not finite by itself.
    if scores.are_known_to_diverge() {
        updates.discard();
    } else if turn.updates.is_none() {
        own.commit()?;
    }
    Ok(Learned { scores, gradients })
}

/// The generator's step, through a discriminator that does not change.
fn generator_step(models: &[Model], noise: &Tensor, turn: &mut Turn<'_>) -> Result<Learned> {
    let (generator, discriminator) = (&models[GENERATOR], &models[DISCRIMINATOR]);
    let mut pass = turn.pass();
    let images = generator.apply(&Signal::new(noise.clone()), &mut pass)?;
    // The discriminator is observed in its own step.
    let dropped = Updates::new();
    let mut pass = pass.unobserved().with_updates(&dropped);
    let scores = discriminator.apply(&images, &mut pass)?;
    let (loss, gradient) = logistic(scores.tensor(), true)?;
    let gradients = pass.backward(&scores, &gradient)?;
    dropped.discard();
    Ok(Learned { scores: loss, gradients })
}

/// Batch mean of `log(1 + exp(-score))` if `is_real`, otherwise of `log(1 + exp(score))`, and its gradient by the scores,
/// `[N, 1]` in f32. On a GPU the mean stays there.
fn logistic(scores: &Tensor, is_real: bool) -> Result<(Scores, Tensor)> {
    let sign = if is_real { -1.0 } else { 1.0 };
    let z = (scores.detach().to_dtype(DType::F64)? * sign)?;
    // log(1 + exp(z)) without overflow. Below 1e-16 the logarithm's argument rounds to 1, and the loss to 0.
    let losses = (z.relu()? + (z.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    // relu hides NaN, but |z| keeps it.
    let mean = losses.mean_all()?.reshape(1)?;
    let count = Tensor::new(scores.elem_count() as f64, scores.device())?;
    let slopes = ((z.neg()?.exp()? + 1.0)?.recip()? * sign)?;
    let gradient = slopes.broadcast_div(&count)?.to_dtype(DType::F32)?;
    let mean = if mean.device().is_cpu() {
        Scores::Known(mean.to_vec1()?)
    } else {
        Scores::OnDevice(mean)
    };
    Ok((mean, gradient))
}

#[cfg(test)]
mod tests;
