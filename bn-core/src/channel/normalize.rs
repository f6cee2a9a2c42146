//! The normalization of a channel, and the per-channel part of its gradient.

use pulp::{Arch, Simd, WithSimd};

use super::{Moment, Policy, Reference};

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
    /// Whether r and d were clipped.
    pub(crate) clipped: [bool; 2],
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
        Arch::new().dispatch(ByBatch { formulas: self, first, moments })
    }

    /// All channels, normalized by the moving or given statistics.
    pub(crate) fn by_fixed(&self) -> Vec<Channel> {
        let Some([means, variances]) = &self.fixed else {
            return Vec::new();
        };
        let (_, mut channels) = self.channels(&Moment::zip(means, variances), false);
        self.finish(0, &mut channels);
        channels
    }

    #[inline(always)]
    fn stddev(&self, moment: &Moment) -> f64 {
        (moment.variance + self.epsilon).sqrt()
    }

    /// The stddevs of these moments, and their channels without renorm, gamma and beta.
    #[inline(always)]
    fn channels(&self, moments: &[Moment], through: bool) -> (Vec<f64>, Vec<Channel>) {
        // Roots and divisions in loops over slices, which become vector instructions.
        let mut stddevs = vec![0.0; moments.len()];
        let mut inv_stds = stddevs.clone();
        for ((stddev, inv_std), moment) in stddevs.iter_mut().zip(&mut inv_stds).zip(moments) {
            *stddev = self.stddev(moment);
            *inv_std = stddev.recip();
        }
        let channel = |(moment, inv_std): (&Moment, &f64)| {
            let affine = Affine { mean: moment.mean, ..Affine::default() };
            Channel { affine, inv_std: *inv_std, r: 1.0, d: 0.0, clipped: [false; 2], through }
        };
        let channels = moments.iter().zip(&inv_stds).map(channel).collect();
        (stddevs, channels)
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

/// [`Formulas::by_batch`], compiled for the machine's widest vectors.
struct ByBatch<'a> {
    formulas: &'a Formulas,
    first: usize,
    moments: &'a [Moment],
}

impl WithSimd for ByBatch<'_> {
    type Output = Vec<Channel>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<Channel> {
        let Self { formulas, first, moments } = self;
        let (stddevs, mut channels) = formulas.channels(moments, true);
        if let Some(renorm) = &formulas.renorm {
            renorm.correct(first, moments, &stddevs, &mut channels);
        }
        if let (Policy::UseMoving, Some(fixed)) = (formulas.constant_channel, &formulas.fixed) {
            for (k, (channel, moment)) in channels.iter_mut().zip(moments).enumerate() {
                // NaN takes the moving statistics too.
                if moment.variance <= 0.0 || moment.variance.is_nan() {
                    let moving =
                        Moment { mean: fixed[0][first + k], variance: fixed[1][first + k] };
                    *channel = Channel {
                        affine: Affine { mean: moving.mean, ..channel.affine },
                        inv_std: formulas.stddev(&moving).recip(),
                        through: false,
                        ..*channel
                    };
                }
            }
        }
        formulas.finish(first, &mut channels);
        channels
    }
}
