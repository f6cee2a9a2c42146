//! Batch renormalization: r and d in the three published variants, and their reference averages.
//!
//! `x̂ = (x − mean) / stddev · r + d` with `stddev = √(variance + ε)`, `r = stddev / σ`,
//! `d = (mean − μ) / σ`, clipped. The variants differ in μ and σ: see [`RenormVariant`].

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use super::average::update;
use super::{Averages, Channel, Column, Moment, Moving, toward};

/// The variant of batch renormalization. λ is the renorm decay, β the layer's decay.
///
/// | | reference μ, σ | first step | moving statistics |
/// |---|---|---|---|
/// | `Tf1` | λ averages from zero, with this batch in place of the weight not yet gathered | plain batch norm | β averages of the debiased λ averages |
/// | `Keras` | λ averages from the initial moving statistics, `σ ≥ √ε` | no normalization, unless clipped | β averages of mean and stddev |
/// | `Paper` | λ averages from the initial moving statistics | as `Keras` | the λ averages themselves; β is not used |
///
/// Sources: TensorFlow 1 `tf.layers.BatchNormalization` of 2017; Keras 3 and TensorFlow's present
/// `tf.layers`; Ioffe 2017, Algorithm 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
pub enum RenormVariant {
    /// TensorFlow 1, 2017.
    Tf1,
    /// Keras, and TensorFlow today.
    Keras,
    /// Batch Renormalization, arXiv 1702.03275.
    Paper,
}

/// [`Clipping`](crate::Clipping) at one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Lower bound of r.
    pub r_min: Option<f64>,
    /// Upper bound of r.
    pub r_max: Option<f64>,
    /// Bound of |d|.
    pub d_max: Option<f64>,
}

/// `v` between two bounds; NaN stays NaN.
#[inline(always)]
fn clipped(v: f64, low: f64, high: f64) -> f64 {
    let v = if v < low { low } else { v };
    if v > high { high } else { v }
}

impl Bounds {
    /// Bounds of r and of d; infinite where there is none.
    fn ranges(&self) -> ([f64; 2], [f64; 2]) {
        let d_max = self.d_max.unwrap_or(f64::INFINITY);
        let r_min = self.r_min.unwrap_or(f64::NEG_INFINITY);
        ([r_min, self.r_max.unwrap_or(f64::INFINITY)], [-d_max, d_max])
    }
}

/// The reference averages of r and d.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RenormAverages<T = Column> {
    pub(crate) variant: RenormVariant,
    pub(crate) mean: T,
    pub(crate) stddev: T,
    /// `Tf1`: the weights that the zero-started averages of mean and stddev have gathered.
    pub(crate) weights: Option<[T; 2]>,
    /// `Keras`: the average of stddev at the layer's own decay.
    pub(crate) moving_stddev: Option<T>,
    pub(crate) decay: f64,
}

/// What renorm refers to for one batch: the layer's averages, and the bounds at its step.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) averages: Averages,
    /// Tells these averages from those after another update.
    pub(crate) version: u64,
    pub(crate) bounds: Bounds,
    pub(crate) epsilon: f64,
}

impl Reference {
    /// Sets r and d of channels from `first` on, which have these moments and stddevs.
    #[inline(always)]
    pub(crate) fn correct(
        &self,
        first: usize,
        moments: &[Moment],
        stddevs: &[f64],
        channels: &mut [Channel],
    ) {
        let Some(averages) = &self.averages.renorm else { return };
        let of = first..first + moments.len();
        // μ becomes d, and σ becomes r, in loops over slices: divisions become vector instructions.
        let mut ds = averages.mean.values()[of.clone()].to_vec();
        let mut rs = averages.stddev.values()[of.clone()].to_vec();
        if let Some([of_mean, of_stddev]) = &averages.weights {
            fill_up(&mut ds, &of_mean.values()[of.clone()], moments.iter().map(|m| m.mean));
            fill_up(&mut rs, &of_stddev.values()[of], stddevs.iter().copied());
        } else if averages.variant == RenormVariant::Keras {
            let least = self.epsilon.sqrt();
            rs.iter_mut().for_each(|sigma| *sigma = if *sigma < least { least } else { *sigma });
        }
        for ((r, d), (moment, stddev)) in
            rs.iter_mut().zip(&mut ds).zip(moments.iter().zip(stddevs))
        {
            let (mu, sigma) = (*d, *r);
            *r = stddev / sigma;
            *d = (moment.mean - mu) / sigma;
        }
        let ([r_min, r_max], [d_min, d_max]) = self.bounds.ranges();
        for (channel, (r, d)) in channels.iter_mut().zip(rs.iter().zip(&ds)) {
            (channel.r, channel.d) = (*r, *d);
        }
        let within = |r: f64, d: f64| (r_min <= r) & (r <= r_max) & (d_min <= d) & (d <= d_max);
        if rs.iter().zip(&ds).fold(true, |all, (r, d)| all & within(*r, *d)) {
            return;
        }
        for channel in channels {
            let (r, d) = (channel.r, channel.d);
            (channel.r, channel.d) = (clipped(r, r_min, r_max), clipped(d, d_min, d_max));
            channel.clipped = [channel.r != r, channel.d != d];
        }
    }
}

/// Gives this batch the weight that a zero-started average has not gathered.
#[inline(always)]
fn fill_up(average: &mut [f64], gathered: &[f64], batch: impl Iterator<Item = f64>) {
    for ((average, weight), batch) in average.iter_mut().zip(gathered).zip(batch) {
        *average += (1.0 - weight) * batch;
    }
}

/// How the moving statistics follow under renorm.
pub(crate) enum Followed {
    /// They average this mean and variance at the layer's decay, debiased if configured.
    Average { mean: Vec<f64>, variance: Vec<f64> },
    /// The mean averages the batch's at the layer's decay; the variance takes this value.
    Stddev { variance: Vec<f64> },
    /// They take these values.
    Equal { mean: Vec<f64>, variance: Vec<f64> },
}

impl RenormAverages {
    /// Updates the averages by one batch, in the channels whose mean and variance move, and returns what the
    /// moving statistics follow. `rate` is the layer's, `1 − β`.
    #[inline(always)]
    pub(crate) fn update(
        &mut self,
        mean: &[f64],
        variance: &[f64],
        rate: f64,
        epsilon: f64,
        [means, variances]: [Moving<'_>; 2],
    ) -> Followed {
        let own = 1.0 - self.decay;
        let stddev = stddevs(variance, epsilon);
        if let Some([of_mean, of_stddev]) = &mut self.weights {
            let zero_started =
                |[sum, weight]: [f64; 2], x| [toward(sum, x, own), toward(weight, 1.0, own)];
            update([&mut self.mean, of_mean], mean, means, zero_started);
            update([&mut self.stddev, of_stddev], &stddev, variances, zero_started);
            return Followed::Average {
                mean: debiased(&self.mean, of_mean),
                variance: squares(debiased(&self.stddev, of_stddev), epsilon),
            };
        }
        self.mean.move_toward(mean, own, means);
        self.stddev.move_toward(&stddev, own, variances);
        if let Some(moving_stddev) = &mut self.moving_stddev {
            moving_stddev.move_toward(&stddev, rate, variances);
            let mut variance = squares(moving_stddev.values().to_vec(), epsilon);
            variance.iter_mut().for_each(|v| *v = v.max(0.0));
            return Followed::Stddev { variance };
        }
        Followed::Equal {
            mean: self.mean.values().to_vec(),
            variance: squares(self.stddev.values().to_vec(), epsilon),
        }
    }

    /// Sets the averages to these values, with all weight gathered.
    pub(crate) fn overwrite(&mut self, mean: &[f64], variance: &[f64], epsilon: f64) {
        let stddev = stddevs(variance, epsilon);
        self.mean.set(mean, Moving::All);
        for column in [&mut self.stddev].into_iter().chain(&mut self.moving_stddev) {
            column.set(&stddev, Moving::All);
        }
        for weight in self.weights.iter_mut().flatten() {
            weight.fill(1.0);
        }
    }
}

impl<T> RenormAverages<T> {
    pub(crate) fn try_map<U, E>(
        &self,
        f: &impl Fn(&T) -> Result<U, E>,
    ) -> Result<RenormAverages<U>, E> {
        let weights = match &self.weights {
            Some([of_mean, of_stddev]) => Some([f(of_mean)?, f(of_stddev)?]),
            None => None,
        };
        Ok(RenormAverages {
            variant: self.variant,
            mean: f(&self.mean)?,
            stddev: f(&self.stddev)?,
            weights,
            moving_stddev: self.moving_stddev.as_ref().map(f).transpose()?,
            decay: self.decay,
        })
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = &T> {
        let weights = self.weights.iter().flatten();
        [&self.mean, &self.stddev].into_iter().chain(weights).chain(&self.moving_stddev)
    }
}

// Loops into vectors that are there: they become vector instructions.

/// `√(variance + ε)`.
#[inline(always)]
fn stddevs(variance: &[f64], epsilon: f64) -> Vec<f64> {
    let mut stddev = variance.to_vec();
    stddev.iter_mut().for_each(|v| *v = (*v + epsilon).sqrt());
    stddev
}

/// `stddev² − ε`.
#[inline(always)]
fn squares(mut stddev: Vec<f64>, epsilon: f64) -> Vec<f64> {
    stddev.iter_mut().for_each(|v| *v = *v * *v - epsilon);
    stddev
}

/// A zero-started sum over the weight it has gathered; 0 where that is none.
#[inline(always)]
fn debiased(sum: &Column, weight: &Column) -> Vec<f64> {
    let mut value = sum.values().to_vec();
    for (value, weight) in value.iter_mut().zip(weight.values()) {
        let share = *value / *weight;
        *value = if *weight > 0.0 { share } else { 0.0 };
    }
    value
}
