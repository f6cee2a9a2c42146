//! How a layer is built: through a `VarBuilder`, or from tensors.

use std::collections::HashMap;
use std::sync::Arc;

use candle::{Tensor, Var};
use candle_nn::VarBuilder;

use super::BatchNorm;
use crate::config::{BatchNormConfig, Names, Reuse};
use crate::engine::Implementation;
use crate::error::{Error, Result, layer_name};
use crate::layout::statistics_dtype;
use crate::pass::Layer;
use crate::state::State;
use crate::tensors::values;
use crate::variables::Variables;

impl BatchNormConfig {
    /// Builds the layer. Its variables are created under `vb`'s prefix, or found there.
    ///
    /// They are named `gamma`, `beta`, `moving_mean`, `moving_variance` and `updates`, or as another system
    /// names them ([`Names`]). Zero-debias adds `moving_mean_biased` and `moving_mean_weight` (likewise for the
    /// variance); renorm adds `renorm_mean`, `renorm_stddev` and, by variant, `renorm_mean_weight`,
    /// `renorm_stddev_weight` or `moving_stddev`. A checkpoint may lack all but the first four: the others then
    /// start from its moving statistics, as if those had gathered all their weight.
    ///
    /// A second layer on the same prefix of the same `VarMap` shares the first layer's variables and, as long
    /// as that layer exists, its state: steps, pending updates and health.
    ///
    /// # Errors
    /// [`Value`](crate::ErrorKind::Value) for a setting outside its range, [`Contradiction`](crate::ErrorKind::Contradiction) for two that exclude each
    /// other, or for a shared prefix with other options; [`Shape`](crate::ErrorKind::Shape) for an initializer of another
    /// length; [`Exists`](crate::ErrorKind::Exists) and [`NotThere`](crate::ErrorKind::NotThere) by [`Reuse`](crate::Reuse); [`Missing`](crate::ErrorKind::Missing) for a
    /// variable that a checkpoint lacks. All name the prefix.
    pub fn build(&self, channels: usize, vb: VarBuilder<'_>) -> Result<BatchNorm> {
        let prefix = vb.prefix();
        let built = self.check(channels).and_then(|()| BatchNorm::new(self, channels, vb));
        built.map_err(|error| error.at(layer_name(&prefix)))
    }
}

/// The values of a layer that is built without a `VarBuilder`: see [`BatchNorm::from_tensors`]. `[C]` each.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Scale; `None` for a configuration with `scale: false`.
    pub gamma: Option<Tensor>,
    /// Offset; `None` for a configuration with `center: false`.
    pub beta: Option<Tensor>,
    /// The moving mean.
    pub moving_mean: Tensor,
    /// The moving variance, 0 or more.
    pub moving_variance: Tensor,
}

impl BatchNorm {
    fn new(config: &BatchNormConfig, channels: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let (device, prefix) = (vb.device().clone(), vb.prefix());
        let variables = Variables::new(vb, channels, config.reuse, config.names);
        let affine = |on: bool, name: &str, initial| -> Result<Option<Var>> {
            on.then(|| variables.required(name, initial).map(|found| found.var)).transpose()
        };
        let layer = Layer {
            gamma: affine(config.scale, "gamma", &config.gamma_initializer)?,
            beta: affine(config.center, "beta", &config.beta_initializer)?,
            state: State::build(config, &variables)?,
            config: config.clone(),
            channels,
            ranks: None,
            device,
            implementation: Implementation::default(),
        };
        let (frozen, last_correction) = (Arc::default(), Arc::default());
        Ok(Self { layer, updates: None, prefix, frozen, last_correction })
    }

    /// Builds a layer from tensors. It has new variables on the tensors' device, in f64 if the moving mean is
    /// f64, in f32 otherwise. The statistics count as having gathered all their weight.
    /// # Errors
    /// Those of [`BatchNormConfig::build`]; [`Shape`](crate::ErrorKind::Shape) unless all tensors are `[C]`;
    /// [`Contradiction`](crate::ErrorKind::Contradiction) if gamma is given but not configured, or the reverse, and likewise beta;
    /// [`Value`](crate::ErrorKind::Value) for a non-finite mean, or a variance that is negative or not finite.
    pub fn from_tensors(config: &BatchNormConfig, parameters: &Parameters) -> Result<Self> {
        let Parameters { gamma, beta, moving_mean, moving_variance } = parameters;
        let (channels, dtype) = (moving_mean.elem_count(), statistics_dtype(moving_mean.dtype()));
        if (gamma.is_some(), beta.is_some()) != (config.scale, config.center) {
            let error = Error::contradiction(
                "the configuration's scale and center",
                "the gamma and beta that are given",
                "each must be given where it is configured, and only there",
            );
            return Err(error.at("from_tensors"));
        }
        let statistics = [("moving_mean", moving_mean), ("moving_variance", moving_variance)];
        let affine = [("gamma", gamma.as_ref()), ("beta", beta.as_ref())];
        let affine = affine.into_iter().filter_map(|(name, t)| Some((name, t?)));
        let mut tensors = HashMap::new();
        for (name, t) in statistics.into_iter().chain(affine) {
            if t.dims() != [channels] {
                let expected = format!("[C = {channels}]");
                return Err(Error::shape("from_tensors", name, expected, t.dims()));
            }
            tensors.insert(name.to_owned(), t.detach());
        }
        require_statistics(&values(moving_mean)?, &values(moving_variance)?)?;
        let vb = VarBuilder::from_tensors(tensors, dtype, moving_mean.device());
        let config = BatchNormConfig { names: Names::Own, reuse: Reuse::Auto, ..config.clone() };
        config.build(channels, vb)
    }
}

/// Refuses what no evaluation can normalize by.
pub(super) fn require_statistics(mean: &[f64], variance: &[f64]) -> Result<()> {
    let unsound = |v: &&f64| !(v.is_finite() && **v >= 0.0);
    if let Some(value) = mean.iter().find(|v| !v.is_finite()) {
        return Err(Error::value("moving mean", "finite values", value));
    }
    match variance.iter().find(unsound) {
        Some(value) => Err(Error::value("moving variance", "finite values of 0 or more", value)),
        None => Ok(()),
    }
}
