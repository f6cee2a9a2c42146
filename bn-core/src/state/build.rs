//! A layer's statistics, made or found through the `VarBuilder`; layers on the same variables share one state.

use std::sync::{Arc, Mutex, Weak};

use candle::TensorId;

use super::{Ledger, Rules, State, Variable};
use crate::channel::{Average, Averages, Debias, RenormAverages, RenormVariant};
use crate::config::{BatchNormConfig, Initializer};
use crate::error::{Error, Result};
use crate::tensors::{lock, values};
use crate::variables::Variables;

/// States of layers whose variables may be asked for again under the same prefix, by the moving mean.
static SHARED: Mutex<Vec<(TensorId, Weak<State>)>> = Mutex::new(Vec::new());

impl State {
    /// The state of the layer that has these variables: that of an earlier layer with the same variables, if
    /// it still lives.
    pub(crate) fn build(config: &BatchNormConfig, variables: &Variables<'_>) -> Result<Arc<Self>> {
        let mean = variables.required("moving_mean", &config.moving_mean_initializer)?;
        let variance =
            variables.required("moving_variance", &config.moving_variance_initializer)?;
        let rules = Rules::of(config);
        let mut shared = lock(&SHARED);
        shared.retain(|(_, state)| state.strong_count() > 0);
        let id = mean.var.id();
        let known = shared.iter().find(|(known, _)| *known == id);
        if let Some(state) = known.and_then(|(_, state)| state.upgrade()) {
            if state.rules != rules {
                return Err(Error::contradiction(
                    "a layer on the same variables",
                    "other options for their updates",
                    "decay, epsilon, zero_debias, stored_variance, renorm and degenerate must be equal",
                ));
            }
            return Ok(state);
        }
        let committed = variables.counter()?;
        // Averages that were there before this layer hold data, unless they are those of a layer that
        // was never updated.
        let loaded =
            mean.existed && !(committed.existed && values(&committed.var)?.first() == Some(&0.0));
        let more = More { variables, loaded };
        let [means, variances] = [values(&mean.var)?, values(&variance.var)?];
        let [mean, variance] = [("moving_mean", mean), ("moving_variance", variance)]
            .map(|(name, found)| Variable { name, var: found.var });
        let zero_debias = config.zero_debias;
        let of_mean = zero_debias.of_mean().then_some(["moving_mean_biased", "moving_mean_weight"]);
        let of_variance = zero_debias
            .of_variance()
            .then_some(["moving_variance_biased", "moving_variance_weight"]);
        let renorm = rules.renorm.map(|rule| more.renorm(rule, &means, &variances, config.epsilon));
        let state = Arc::new(Self {
            averages: Averages {
                mean: more.average(mean, of_mean, &means)?,
                variance: more.average(variance, of_variance, &variances)?,
                renorm: renorm.transpose()?,
            },
            committed: committed.var,
            rules,
            ledger: Mutex::new(Ledger { loaded, ..Ledger::default() }),
        });
        shared.push((id, Arc::downgrade(&state)));
        Ok(state)
    }
}

/// Makes or finds the variables that checkpoints of other systems may lack.
struct More<'a> {
    variables: &'a Variables<'a>,
    /// The moving statistics come from a checkpoint: what is missing there starts from them.
    loaded: bool,
}

impl More<'_> {
    fn variable(&self, name: &'static str, initial: &[f64]) -> Result<Variable> {
        let initial = Initializer::Values(initial.to_vec());
        Ok(Variable { name, var: self.variables.optional(name, &initial)? })
    }

    /// A sum or a weight that starts at 0, or with a checkpoint's statistics at what is `gathered`.
    fn zero_started(&self, name: &'static str, gathered: &[f64]) -> Result<Variable> {
        if self.loaded {
            return self.variable(name, gathered);
        }
        self.variable(name, &vec![0.0; gathered.len()])
    }

    fn average(
        &self,
        value: Variable,
        debias: Option<[&'static str; 2]>,
        values: &[f64],
    ) -> Result<Average<Variable>> {
        let debias = debias.map(|[biased, weight]| {
            let weight = self.zero_started(weight, &vec![1.0; values.len()]);
            Ok::<_, Error>(Debias { biased: self.zero_started(biased, values)?, weight: weight? })
        });
        Ok(Average { value, debias: debias.transpose()? })
    }

    fn renorm(
        &self,
        (variant, decay): (RenormVariant, f64),
        means: &[f64],
        variances: &[f64],
        epsilon: f64,
    ) -> Result<RenormAverages<Variable>> {
        // TensorFlow starts the stddev at the root of the initial variance, without ε.
        let added = if self.loaded { epsilon } else { 0.0 };
        let stddevs: Vec<f64> = variances.iter().map(|v| (v + added).max(0.0).sqrt()).collect();
        let tf1 = variant == RenormVariant::Tf1;
        let reference = |name, values: &[f64]| {
            if tf1 { self.zero_started(name, values) } else { self.variable(name, values) }
        };
        let weight = |name| self.zero_started(name, &vec![1.0; means.len()]);
        let mut renorm = RenormAverages {
            variant,
            mean: reference("renorm_mean", means)?,
            stddev: reference("renorm_stddev", &stddevs)?,
            weights: None,
            moving_stddev: None,
            decay,
        };
        if tf1 {
            renorm.weights = Some([weight("renorm_mean_weight")?, weight("renorm_stddev_weight")?]);
        } else if variant == RenormVariant::Keras {
            renorm.moving_stddev = Some(self.variable("moving_stddev", &stddevs)?);
        }
        Ok(renorm)
    }
}
