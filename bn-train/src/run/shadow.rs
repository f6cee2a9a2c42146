//! Shadow averages: moving statistics with other decays, tracked during a run and evaluated with its weights.
//!
//! Plain batch normalization does not read moving statistics in training, so a run with another decay would see the same
//! batch moments. The shadow averages therefore equal its moving statistics bitwise. Renormalization reads moving
//! statistics in training and is refused.

use crate::model::{Model, MomentsByPath, norm_layers};
use bn_core::{BatchNorm, BatchNormConfig, Decay, Moments, Pending, Updates, ZeroDebias};
use bn_report::schema::{Debiased, Shadow, ShadowDecay};
use candle::{DType, Result, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};

/// The shadow averages of one run.
#[derive(Debug)]
pub struct Shadows {
    tracks: Vec<Track>,
    /// For each norm layer, its step at the last update.
    followed: Vec<u64>,
}

/// The averages of all norm layers for one decay.
#[derive(Debug)]
struct Track {
    shadow: Shadow,
    /// Norm layers without gamma and beta, used only for their moving statistics.
    layers: Vec<(String, BatchNorm)>,
    updates: Updates,
}

impl Shadows {
    /// Averages with the layers' initial values. `model` must be untrained.
    ///
    /// # Errors
    /// The model uses renormalization; errors of bn-core.
    pub fn new(model: &Model, shadows: &[Shadow]) -> Result<Self> {
        let layers = norm_layers(model.layers());
        if !shadows.is_empty()
            && let Some((path, _)) = layers.iter().find(|(_, norm)| norm.config().renorm.is_some())
        {
            candle::bail!(
                "shadow averages: `{path}` is a renorm layer, which reads its moving statistics in training; another decay would train a different network"
            );
        }
        let track = |shadow: &Shadow| Track::new(&layers, *shadow);
        Ok(Self {
            tracks: shadows.iter().map(track).collect::<Result<_>>()?,
            followed: layers.iter().map(|(_, norm)| norm.step()).collect(),
        })
    }

    /// The averages that are tracked, in the order given to [`Shadows::new`].
    pub fn kinds(&self) -> impl Iterator<Item = Shadow> {
        self.tracks.iter().map(|track| track.shadow)
    }

    /// Updates all averages with the batch moments that `model` last committed.
    ///
    /// # Errors
    /// Errors of bn-core.
    pub fn follow(&mut self, model: &Model) -> Result<()> {
        if self.tracks.is_empty() {
            return Ok(());
        }
        let layers = norm_layers(model.layers());
        for (index, ((_, norm), followed)) in layers.iter().zip(&mut self.followed).enumerate() {
            // A policy may have excluded the batch from the averages.
            if norm.step() == *followed {
                continue;
            }
            *followed = norm.step();
            if let Some(moments) = norm.last_batch() {
                for track in &self.tracks {
                    track.layers[index]
                        .1
                        .restore_pending(Pending { moments: moments.clone(), forwards: 1 })?;
                }
            }
        }
        self.tracks.iter().try_for_each(|track| Ok(track.updates.commit()?))
    }

    /// The averages at `index`, for [`Mode::Given`](crate::model::Mode::Given).
    ///
    /// # Errors
    /// Errors of bn-core.
    pub fn moments(&self, index: usize) -> Result<MomentsByPath> {
        let of = |(path, layer): &(String, BatchNorm)| {
            let (mean, variance) = (layer.moving_mean()?, layer.moving_variance()?);
            let weight = Tensor::ones(mean.dims(), DType::F64, mean.device())?;
            Ok((path.clone(), Moments::new(&weight, &mean, &variance)?))
        };
        self.tracks[index].layers.iter().map(of).collect()
    }

    /// All variables by path, for checkpoints: `shadow:0.99.hidden1.norm.moving_mean`.
    pub fn statistics(&self) -> Vec<(String, Var)> {
        let mut all = Vec::new();
        for track in &self.tracks {
            let name = bn_report::schema::Statistics::Shadow(track.shadow);
            for (path, layer) in &track.layers {
                let named = layer.statistics().into_iter();
                all.extend(named.map(|(own, var)| (format!("{name}.{path}.{own}"), var)));
            }
        }
        all
    }

    /// Synchronizes with `model`. Call it after a checkpoint was loaded into `model` and [`Shadows::statistics`].
    pub fn resume(&mut self, model: &Model) {
        let layers = norm_layers(model.layers());
        for ((_, norm), followed) in layers.iter().zip(&mut self.followed) {
            *followed = norm.step();
        }
        for track in &self.tracks {
            for ((_, shadow), (_, norm)) in track.layers.iter().zip(&layers) {
                shadow.set_step(norm.step());
            }
        }
    }
}

impl Track {
    fn new(layers: &[(String, &BatchNorm)], shadow: Shadow) -> Result<Self> {
        let updates = Updates::new();
        let build = |(path, norm): &(String, &BatchNorm)| {
            let config = BatchNormConfig {
                decay: match shadow.decay {
                    ShadowDecay::Constant(bits) => Decay::Constant(f64::from_bits(bits)),
                    ShadowDecay::Cumulative => Decay::Cumulative,
                },
                zero_debias: match shadow.debiased {
                    Debiased::None => ZeroDebias::None,
                    Debiased::Mean => ZeroDebias::Mean,
                    Debiased::Variance => ZeroDebias::Variance,
                    Debiased::Both => ZeroDebias::Both,
                },
                scale: false,
                center: false,
                ..norm.config().clone()
            };
            let mean = norm.moving_mean()?;
            let vars = VarMap::new();
            let builder = VarBuilder::from_varmap(&vars, mean.dtype(), mean.device());
            let layer = config.build(norm.channels(), builder)?.with_updates(&updates);
            Ok((path.clone(), layer))
        };
        let layers = layers.iter().map(build).collect::<Result<_>>()?;
        Ok(Self { shadow, layers, updates })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Batch, ImageShape};
    use crate::experiment::{Registry, Settings};
    use crate::model::{Parameters, Sizes, parameters};
    use crate::random::{Purpose, Stream};
    use crate::task::{Classification, Learned, Task as _, Turn};
    use candle::Device;

    fn settings(norm: &str) -> Settings {
        let text = format!(
            "optimizer.learning_rate = 0.1\ntrain.steps = 10\nmodel.hidden = [9, 7]\nnorm = {{ {norm} }}"
        );
        Registry::built_in().settings(&text).unwrap_or_else(|invalid| panic!("{invalid}"))
    }

    fn model(settings: &Settings) -> Model {
        let input = ImageShape { channels: 1, height: 4, width: 4 };
        let sizes = Sizes { input, classes: 10 };
        let parameters = Parameters::new(0).into_builder(&Device::Cpu);
        Model::build(&settings.model, settings.norm.as_ref(), sizes, &parameters).unwrap()
    }

    fn batch(step: u64) -> Batch {
        let mut stream = Stream::new(step, Purpose::Initialize("images"));
        let pixels: Vec<f32> = (0..12 * 16).map(|_| stream.unit()).collect();
        let labels: Vec<u32> = (0..12).map(|i| i * 7 % 10).collect();
        let images = Tensor::from_vec(pixels, (12, 1, 4, 4), &Device::Cpu).unwrap();
        Batch::new(images, Tensor::new(labels, &Device::Cpu).unwrap())
    }

    fn learn(model: &Model, step: u64) -> Learned {
        let models = std::slice::from_ref(model);
        Classification::default().learn(0, models, &batch(step), &mut Turn::default()).unwrap()
    }

    /// Trains a model for 20 steps and follows it with `shadows`.
    fn train(norm: &str, shadows: &[Shadow]) -> (Model, Shadows) {
        let settings = settings(norm);
        let model = model(&settings);
        let mut shadows = Shadows::new(&model, shadows).unwrap();
        let mut optimizer = settings.optimizer.build(parameters(model.layers())).unwrap();
        for step in 0..20 {
            let learned = learn(&model, step);
            optimizer.step(&learned.gradients, 0.1).unwrap();
            shadows.follow(&model).unwrap();
        }
        (model, shadows)
    }

    fn moving(layers: &[(String, &BatchNorm)]) -> Vec<Vec<u32>> {
        let bits = |t: Tensor| -> Vec<u32> {
            t.to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
        };
        let both = layers
            .iter()
            .flat_map(|(_, norm)| [norm.moving_mean().unwrap(), norm.moving_variance().unwrap()]);
        both.map(bits).collect()
    }

    #[test]
    fn shadow_equals_a_run_with_its_decay_bitwise() {
        let constant = |decay| ShadowDecay::constant(decay).unwrap();
        let cases = [
            ("decay = 0.9", Shadow { decay: constant(0.9), debiased: Debiased::None }),
            ("decay = 0.0", Shadow { decay: constant(0.0), debiased: Debiased::None }),
            (
                "decay = 0.99, zero_debias = 'both'",
                Shadow { decay: constant(0.99), debiased: Debiased::Both },
            ),
            (
                "decay = 0.99, zero_debias = 'mean'",
                Shadow { decay: constant(0.99), debiased: Debiased::Mean },
            ),
        ];
        let shadows = cases.map(|(_, shadow)| shadow);
        let (_, tracked) = train("decay = 0.999", &shadows);
        for (index, (norm, shadow)) in cases.into_iter().enumerate() {
            let (model, _) = train(norm, &[]);
            let want = moving(&norm_layers(model.layers()));
            let layers = &tracked.tracks[index].layers;
            let layers: Vec<_> = layers.iter().map(|(path, norm)| (path.clone(), norm)).collect();
            assert_eq!(moving(&layers), want, "{shadow:?}");
        }
    }

    #[test]
    fn cumulative_shadow_is_the_mean_of_all_batches() {
        let settings = settings("decay = 0.9");
        let model = model(&settings);
        let cumulative = Shadow { decay: ShadowDecay::Cumulative, debiased: Debiased::None };
        let mut shadows = Shadows::new(&model, &[cumulative]).unwrap();
        let path = norm_layers(model.layers())[0].0.clone();
        let mut sum = vec![0.0; 9];
        for step in 0..7 {
            learn(&model, step);
            shadows.follow(&model).unwrap();
            let last = norm_layers(model.layers())[0].1.last_batch().unwrap().mean();
            for (sum, mean) in sum.iter_mut().zip(last.to_vec1::<f64>().unwrap()) {
                *sum += mean / 7.0;
            }
        }
        let got = shadows.moments(0).unwrap()[&path].mean().to_vec1::<f64>().unwrap();
        for (got, want) in got.iter().zip(sum) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
    }

    #[test]
    fn shadows_do_not_change_the_run() {
        let shadow = Shadow { decay: ShadowDecay::Cumulative, debiased: Debiased::Both };
        let (plain, _) = train("decay = 0.9", &[]);
        let (followed, _) = train("decay = 0.9", &[shadow]);
        assert_eq!(moving(&norm_layers(plain.layers())), moving(&norm_layers(followed.layers())));
    }

    #[test]
    fn renorm_is_refused_with_the_reason() {
        let settings = settings("kind = 'renorm'");
        let shadow = Shadow { decay: ShadowDecay::Cumulative, debiased: Debiased::None };
        let error = Shadows::new(&model(&settings), &[shadow]).unwrap_err().to_string();
        assert!(error.contains("hidden1.norm") && error.contains("moving statistics"), "{error}");
        assert!(Shadows::new(&model(&settings), &[]).is_ok());
    }
}
