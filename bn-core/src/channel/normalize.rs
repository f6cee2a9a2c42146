//! The normalization of a channel, and the per-channel part of its gradient.

use super::{Moment, Policy, Reference, clipped};

/// `(x − mean)·scale + offset`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Affine {
    pub(crate) mean: f64,
    pub(crate) scale: f64,
    pub(crate) offset: f64,
}

/// What normalization and gradient need of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Channel {
    pub(crate) affine: Affine,
    pub(crate) inv_std: f64,
    /// Renorm's correction `x̂·r + d`, already in the affine.
    pub(crate) r: f64,
    pub(crate) d: f64,
    /// The statistics came from this batch: gradients flow through them.
    pub(crate) through: bool,
}

/// `Σ dv` and `Σ dv·x̂` of a channel, with dv the gradient before the activation and x̂ before renorm.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    pub(crate) dv: f64,
    pub(crate) dv_x_hat: f64,
}

/// `dx = scale·dv − w·(p + (x − mean)·q)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct GradientTerms {
    pub(crate) p: f64,
    pub(crate) q: f64,
}

impl GradientTerms {
    /// The terms for weights that are `scale` times those that the terms were computed with.
    pub(crate) fn for_weights(&self, scale: f64) -> Self {
        Self { p: self.p / scale, q: self.q / scale }
    }
}

impl Channel {
    /// Gradients of gamma and beta.
    pub(crate) fn parameter_gradients(&self, totals: &Totals) -> [f64; 2] {
        [self.r * totals.dv_x_hat + self.d * totals.dv, totals.dv]
    }

    /// The totals' contribution to the gradient through mean and variance, to be summed over ranks that share
    /// statistics.
    pub(crate) fn through_statistics(&self, totals: &Totals) -> [f64; 2] {
        if !self.through {
            return [0.0; 2];
        }
        [self.affine.scale * totals.dv, self.affine.scale * totals.dv_x_hat]
    }

    /// The terms, from those contributions and the total weight. Statistics of zero weight pass no gradient.
    pub(crate) fn terms(&self, [dv, dv_x_hat]: [f64; 2], weight: f64) -> GradientTerms {
        if !(self.through && weight > 0.0) {
            return GradientTerms::default();
        }
        let share = weight.recip();
        GradientTerms { p: dv * share, q: self.inv_std * dv_x_hat * share }
    }
}

/// How one call normalizes a channel, given its moments.
#[derive(Clone, Debug)]
pub(crate) struct Formulas {
    pub(crate) epsilon: f64,
    pub(crate) constant_channel: Policy,
    pub(crate) gamma: Option<Vec<f64>>,
    pub(crate) beta: Option<Vec<f64>>,
    /// Moving (or given) mean and variance. `None` if no policy can use them.
    pub(crate) fixed: Option<[Vec<f64>; 2]>,
    pub(crate) renorm: Option<Reference>,
}

impl Formulas {
    /// Channels from `first` on, normalized by these moments of the batch; constant channels by the moving
    /// statistics under [`Policy::UseMoving`].
    pub(crate) fn by_batch(&self, first: usize, moments: &[Moment]) -> Vec<Channel> {
        let mut channels: Vec<Channel> = moments.iter().map(|m| self.channel(m, true)).collect();
        if let Some(renorm) = &self.renorm {
            let [mut rs, mut ds] = self.unclipped(first, moments);
            let ([r_min, r_max], [d_min, d_max]) = renorm.bounds.ranges();
            rs.iter_mut().for_each(|r| *r = clipped(*r, r_min, r_max));
            ds.iter_mut().for_each(|d| *d = clipped(*d, d_min, d_max));
            for (channel, (r, d)) in channels.iter_mut().zip(rs.into_iter().zip(ds)) {
                (channel.r, channel.d) = (r, d);
            }
        }
        if let (Policy::UseMoving, Some(fixed)) = (self.constant_channel, &self.fixed) {
            for (k, (channel, moment)) in channels.iter_mut().zip(moments).enumerate() {
                // NaN takes the moving statistics too.
                if moment.variance <= 0.0 || moment.variance.is_nan() {
                    let moving =
                        Moment { mean: fixed[0][first + k], variance: fixed[1][first + k] };
                    let by_moving = self.channel(&moving, false);
                    *channel = Channel { r: channel.r, d: channel.d, ..by_moving };
                }
            }
        }
        self.finish(first, &mut channels);
        channels
    }

    /// All channels, normalized by the moving or given statistics.
    pub(crate) fn by_fixed(&self) -> Vec<Channel> {
        let Some([means, variances]) = &self.fixed else {
            return Vec::new();
        };
        let moments = Moment::zip(means, variances);
        let mut channels: Vec<Channel> = moments.iter().map(|m| self.channel(m, false)).collect();
        self.finish(0, &mut channels);
        channels
    }

    /// r and d of channels from `first` on that were normalized by these moments, before clipping.
    pub(crate) fn unclipped(&self, first: usize, moments: &[Moment]) -> [Vec<f64>; 2] {
        let Some(renorm) = &self.renorm else {
            return [vec![1.0; moments.len()], vec![0.0; moments.len()]];
        };
        // Into vectors that are there: these become vector instructions.
        let mut means = vec![0.0; moments.len()];
        let mut stddevs = means.clone();
        for ((mean, stddev), moment) in means.iter_mut().zip(&mut stddevs).zip(moments) {
            *mean = moment.mean;
            *stddev = self.stddev(moment);
        }
        renorm.unclipped(first, &means, &stddevs)
    }

    #[inline(always)]
    fn stddev(&self, moment: &Moment) -> f64 {
        (moment.variance + self.epsilon).sqrt()
    }

    #[inline(always)]
    fn channel(&self, moment: &Moment, through: bool) -> Channel {
        let affine = Affine { mean: moment.mean, ..Affine::default() };
        Channel { affine, inv_std: self.stddev(moment).recip(), r: 1.0, d: 0.0, through }
    }

    /// Multiplies gamma and beta into the affine.
    #[inline(always)]
    fn finish(&self, first: usize, channels: &mut [Channel]) {
        for (k, channel) in channels.iter_mut().enumerate() {
            let gamma = self.gamma.as_ref().map_or(1.0, |gamma| gamma[first + k]);
            let beta = self.beta.as_ref().map_or(0.0, |beta| beta[first + k]);
            channel.affine.scale = gamma * channel.inv_std * channel.r;
            channel.affine.offset = gamma * channel.d + beta;
        }
    }
}
