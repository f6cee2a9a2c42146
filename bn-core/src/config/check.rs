//! What a configuration must hold before a layer is built from it: ranges, and options that exclude
//! each other.

use super::{BatchNormConfig, StoredVariance, ZeroDebias};
use crate::channel::{Degenerate, Policy, RenormVariant};
use crate::error::{Error, Result, require};
use crate::layout::DataFormat;

impl BatchNormConfig {
    /// Refuses what no layer can be built from.
    pub(crate) fn check(&self, channels: usize) -> Result<()> {
        require(channels > 0, "channels", "1 or more", channels)?;
        self.decay.check("decay")?;
        let positive = self.epsilon.is_finite() && self.epsilon > 0.0;
        require(positive, "epsilon", "epsilon > 0", self.epsilon)?;
        self.activation.check()?;
        for (name, initializer) in [
            ("beta_initializer", &self.beta_initializer),
            ("gamma_initializer", &self.gamma_initializer),
            ("moving_mean_initializer", &self.moving_mean_initializer),
            ("moving_variance_initializer", &self.moving_variance_initializer),
        ] {
            initializer.check(name, channels)?;
        }
        let negative =
            self.moving_variance_initializer.values(channels).into_iter().find(|v| *v < 0.0);
        if let Some(value) = negative {
            return Err(Error::value("moving_variance_initializer", "values of 0 or more", value));
        }
        for (name, on, regularizer) in [
            ("beta_regularizer", self.center, self.beta_regularizer),
            ("gamma_regularizer", self.scale, self.gamma_regularizer),
        ] {
            let Some(regularizer) = regularizer else {
                continue;
            };
            regularizer.check(name)?;
            if !on {
                return Err(Error::Contradiction {
                    op: "configuration".into(),
                    first: name,
                    second: if name == "beta_regularizer" {
                        "center = false"
                    } else {
                        "scale = false"
                    },
                    reason: "there is nothing to regularize",
                });
            }
        }
        if let Some(size) = self.normalization_batch {
            require(size > 0, "normalization_batch", "1 example or more", size)?;
            if self.data_format == DataFormat::Axis(0) {
                return Err(Error::Contradiction {
                    op: "configuration".into(),
                    first: "normalization_batch",
                    second: "channels on axis 0",
                    reason: "groups are made of examples of axis 0",
                });
            }
        }
        self.check_renorm()?;
        self.check_degenerate()
    }

    fn check_renorm(&self) -> Result<()> {
        let Some(renorm) = &self.renorm else {
            return Ok(());
        };
        renorm.check()?;
        if self.stored_variance == StoredVariance::Unbiased {
            return Err(Error::Contradiction {
                op: "configuration".into(),
                first: "renorm",
                second: "an unbiased stored variance",
                reason: "renorm averages the stddev that it normalizes by, which is the biased one",
            });
        }
        let debias = self.zero_debias != ZeroDebias::None;
        if debias && renorm.variant != RenormVariant::Tf1 {
            return Err(Error::Contradiction {
                op: "configuration".into(),
                first: "zero_debias",
                second: "renorm variant keras or paper",
                reason: "their averages are the reference of r and d, which debiasing would move",
            });
        }
        Ok(())
    }

    fn check_degenerate(&self) -> Result<()> {
        let Degenerate { empty, zero_weight, .. } = self.degenerate;
        for (name, policy) in [("degenerate.empty", empty), ("degenerate.zero_weight", zero_weight)]
        {
            let defined = matches!(policy, Policy::Error | Policy::UseMoving);
            require(
                defined,
                name,
                "Error or UseMoving: there is no mean to go on with",
                format!("{policy:?}"),
            )?;
        }
        Ok(())
    }
}
