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
        let variances = self.moving_variance_initializer.values(channels);
        if let Some(value) = variances.into_iter().find(|v| *v < 0.0) {
            return Err(Error::value("moving_variance_initializer", "values of 0 or more", value));
        }
        for (name, on, off, regularizer) in [
            ("beta_regularizer", self.center, "center = false", self.beta_regularizer),
            ("gamma_regularizer", self.scale, "scale = false", self.gamma_regularizer),
        ] {
            let Some(regularizer) = regularizer else { continue };
            regularizer.check(name)?;
            if !on {
                return Err(Error::contradiction(name, off, "there is nothing to regularize"));
            }
        }
        if let Some(size) = self.normalization_batch {
            require(size > 0, "normalization_batch", "1 example or more", size)?;
            if self.data_format == DataFormat::Axis(0) {
                return Err(Error::contradiction(
                    "normalization_batch",
                    "channels on axis 0",
                    "groups are made of examples of axis 0",
                ));
            }
        }
        self.check_renorm()?;
        self.check_degenerate()
    }

    fn check_renorm(&self) -> Result<()> {
        let Some(renorm) = &self.renorm else { return Ok(()) };
        renorm.check()?;
        if self.stored_variance == StoredVariance::Unbiased {
            return Err(Error::contradiction(
                "renorm",
                "an unbiased stored variance",
                "renorm averages the stddev that it normalizes by, which is the biased one",
            ));
        }
        if self.zero_debias != ZeroDebias::None && renorm.variant != RenormVariant::Tf1 {
            return Err(Error::contradiction(
                "zero_debias",
                "renorm variant keras or paper",
                "their averages are the reference of r and d, which debiasing would move",
            ));
        }
        Ok(())
    }

    fn check_degenerate(&self) -> Result<()> {
        let Degenerate { empty, zero_weight, .. } = self.degenerate;
        for (name, policy) in [("degenerate.empty", empty), ("degenerate.zero_weight", zero_weight)]
        {
            let defined = matches!(policy, Policy::Error | Policy::UseMoving);
            let expected = "Error or UseMoving: there is no mean to go on with";
            require(defined, name, expected, format!("{policy:?}"))?;
        }
        Ok(())
    }
}
