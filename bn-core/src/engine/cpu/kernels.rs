//! The passes over slices: moments, normalization and gradients, each cut into slabs by the plan.

use std::mem::MaybeUninit;

use super::backward::Gradient;
use super::lanes::{Element, Real};
use super::moments::{Sample, Weights};
use super::normalize::{Affines, Normalize};
use super::output::Output;
use super::parallel;
use super::plan::{Plan, plan};
use super::walk::{Geometry, Slab};
use crate::activation::Activation;
use crate::channel::{Channel, GradientTerms, Moment, Totals};

/// The input of a layer, as slices.
#[derive(Clone, Copy)]
pub(super) struct Input<'a, T: Element> {
    pub(super) x: &'a [T],
    pub(super) geometry: Geometry,
    pub(super) weights: Weights<'a, T::Real>,
    /// Sum of all weights; the number of values per channel without.
    pub(super) total: f64,
    pub(super) residual: Option<&'a [T]>,
    pub(super) activation: Activation,
}

impl<'a, T: Element> Input<'a, T> {
    fn sample(&self) -> Sample<'a, T> {
        Sample { x: self.x, geometry: self.geometry, weights: self.weights, total: self.total }
    }
}

/// Means and variances by channel.
pub(super) fn moments<T: Element>(input: &Input<'_, T>) -> Vec<Moment> {
    let sample = input.sample();
    match plan::<T>(input.geometry, 1) {
        Plan::Whole(slabs) => {
            parallel::in_order(slabs.len(), |task| sample.of_whole(&slabs[task])).concat()
        }
        Plan::Parts(slabs) => moments_of_parts(&sample, &slabs),
    }
}

/// Computes each channel's moments, passes them to `rule`, and normalizes into `y`, which is filled. Where a
/// slab holds whole channels, all three happen while it is in the cache.
pub(super) fn forward<T: Element>(
    input: &Input<'_, T>,
    rule: impl Fn(usize, &[Moment]) -> Vec<Channel> + Sync,
    y: &mut [MaybeUninit<T>],
) -> (Vec<Moment>, Vec<Channel>) {
    assert!(y.len() == input.x.len());
    let sample = input.sample();
    let normalize = normalization(input, y);
    match plan::<T>(input.geometry, 1) {
        Plan::Whole(slabs) => {
            let mut parts = parallel::in_order(slabs.len(), |task| {
                let slab = &slabs[task];
                let moments = sample.of_whole(slab);
                let channels = rule(slab.channels.start, &moments);
                let affines = Affines::new(channels.iter().map(|channel| channel.affine));
                normalize.run(slab, [&affines.mean, &affines.scale, &affines.offset]);
                (moments, channels)
            });
            if parts.len() == 1 {
                return parts.swap_remove(0);
            }
            let (moments, channels): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            (moments.concat(), channels.concat())
        }
        Plan::Parts(slabs) => {
            let moments = moments_of_parts(&sample, &slabs);
            let channels = rule(0, &moments);
            let affines = Affines::new(channels.iter().map(|channel| channel.affine));
            // The last slabs first: they are in the cache still.
            parallel::in_order(slabs.len(), |task| {
                run_part(&normalize, &slabs[slabs.len() - 1 - task], &affines);
            });
            (moments, channels)
        }
    }
}

/// y by given values for each channel. `y` is filled.
pub(super) fn normalize<T: Element>(
    input: &Input<'_, T>,
    channels: &[Channel],
    y: &mut [MaybeUninit<T>],
) {
    assert!(y.len() == input.x.len() && channels.len() == input.geometry.channels);
    let normalize = normalization(input, y);
    let affines = Affines::new(channels.iter().map(|channel| channel.affine));
    let slabs = plan::<T>(input.geometry, 1).slabs();
    // The last slabs first: where moments were taken just before, these are still in the cache.
    parallel::in_order(slabs.len(), |task| {
        run_part(&normalize, &slabs[slabs.len() - 1 - task], &affines);
    });
}

/// Whether the gradient is cheaper by y than without.
pub(super) fn wants_value<T: Element>(activation: Activation) -> bool {
    T::PLAIN && matches!(activation, Activation::Sigmoid | Activation::Tanh)
}

/// What a backward pass reads in addition to the input.
#[derive(Clone, Copy)]
pub(super) struct Back<'a, T> {
    pub(super) channels: &'a [Channel],
    /// What the forward pass filled, where it [is wanted](wants_value).
    pub(super) y: Option<&'a [T]>,
    pub(super) dy: &'a [T],
}

/// `Σ dv` and `Σ dv·x̂` by channel.
pub(super) fn gradient_sums<T: Element>(input: &Input<'_, T>, back: Back<'_, T>) -> Vec<Totals> {
    let gradient = gradient(input, back);
    let affines = Affines::new(back.channels.iter().map(|channel| channel.affine));
    let slabs = plan::<T>(input.geometry, 2).slabs();
    let parts = parallel::in_order(slabs.len(), |task| {
        let slab = &slabs[task];
        gradient.sums(slab, &affines.part(slab))
    });
    gradient.totals(back.channels, &add_up(input.geometry.channels, &slabs, &parts))
}

/// Fills `dx`, and `dv` for a residual, from given terms.
pub(super) fn input_gradient<T: Element>(
    input: &Input<'_, T>,
    back: Back<'_, T>,
    terms: &[GradientTerms],
    dx: &mut [MaybeUninit<T>],
    dv: Option<&mut [MaybeUninit<T>]>,
) {
    let gradient = gradient(input, back);
    let (dx, dv) = outputs(input, dx, dv);
    let affines = Affines::new(back.channels.iter().map(|channel| channel.affine));
    let slabs = plan::<T>(input.geometry, 2).slabs();
    // The last slabs first, as the sums left them in the cache.
    parallel::in_order(slabs.len(), |task| {
        let slab = &slabs[slabs.len() - 1 - task];
        let of = slab.channels.clone();
        let channels = &back.channels[of.clone()];
        gradient.run(slab, &affines.part(slab), channels, &terms[of], (&dx, dv.as_ref()));
    });
}

/// Both in one go, with `terms` between them: from a channel and its totals. Slices are filled.
pub(super) fn backward<T: Element>(
    input: &Input<'_, T>,
    back: Back<'_, T>,
    terms: impl Fn(&Channel, &Totals) -> GradientTerms + Sync,
    dx: &mut [MaybeUninit<T>],
    dv: Option<&mut [MaybeUninit<T>]>,
) -> Vec<Totals> {
    let gradient = gradient(input, back);
    let (dx, dv) = outputs(input, dx, dv);
    let outputs = (&dx, dv.as_ref());
    let terms_of = |channels: &[Channel], totals: &[Totals]| -> Vec<GradientTerms> {
        channels.iter().zip(totals).map(|(channel, totals)| terms(channel, totals)).collect()
    };
    match plan::<T>(input.geometry, 2) {
        Plan::Whole(slabs) => {
            let mut parts = parallel::in_order(slabs.len(), |task| {
                let slab = &slabs[task];
                let channels = &back.channels[slab.channels.clone()];
                let affines = Affines::new(channels.iter().map(|channel| channel.affine));
                let totals = gradient.totals(channels, &gradient.sums(slab, &affines));
                gradient.run(slab, &affines, channels, &terms_of(channels, &totals), outputs);
                totals
            });
            if parts.len() == 1 { parts.swap_remove(0) } else { parts.concat() }
        }
        Plan::Parts(slabs) => {
            let affines = Affines::new(back.channels.iter().map(|channel| channel.affine));
            let parts = parallel::in_order(slabs.len(), |task| {
                let slab = &slabs[task];
                gradient.sums(slab, &affines.part(slab))
            });
            let sums = add_up(input.geometry.channels, &slabs, &parts);
            let totals = gradient.totals(back.channels, &sums);
            let terms = terms_of(back.channels, &totals);
            parallel::in_order(slabs.len(), |task| {
                let slab = &slabs[slabs.len() - 1 - task];
                let of = slab.channels.clone();
                let channels = &back.channels[of.clone()];
                gradient.run(slab, &affines.part(slab), channels, &terms[of], outputs);
            });
            totals
        }
    }
}

fn gradient<'a, T: Element>(input: &Input<'a, T>, back: Back<'a, T>) -> Gradient<'a, T> {
    let len = input.x.len();
    assert!(back.dy.len() == len && back.channels.len() == input.geometry.channels);
    assert!(back.y.is_none_or(|y| y.len() == len));
    Gradient {
        x: input.x,
        dy: back.dy,
        geometry: input.geometry,
        weights: input.weights,
        residual: input.residual,
        activation: input.activation,
        y: back.y,
    }
}

fn outputs<'a, T: Element>(
    input: &Input<'_, T>,
    dx: &'a mut [MaybeUninit<T>],
    dv: Option<&'a mut [MaybeUninit<T>]>,
) -> (Output<'a, T>, Option<Output<'a, T>>) {
    let output = |slice: &'a mut [MaybeUninit<T>]| {
        assert!(slice.len() == input.x.len());
        Output::new(slice, input.geometry)
    };
    (output(dx), dv.map(output))
}

fn normalization<'a, T: Element>(
    input: &Input<'a, T>,
    y: &'a mut [MaybeUninit<T>],
) -> Normalize<'a, T> {
    Normalize {
        x: input.x,
        geometry: input.geometry,
        residual: input.residual,
        activation: input.activation,
        y: Output::new(y, input.geometry),
    }
}

fn run_part<T: Element>(normalize: &Normalize<'_, T>, slab: &Slab, affines: &Affines<T::Real>) {
    let channels = slab.channels.clone();
    normalize.run(
        slab,
        [
            &affines.mean[channels.clone()],
            &affines.scale[channels.clone()],
            &affines.offset[channels],
        ],
    );
}

impl<R: Real> Affines<R> {
    fn part(&self, slab: &Slab) -> Self {
        let part = |of: &[R]| of[slab.channels.clone()].to_vec();
        Self { mean: part(&self.mean), scale: part(&self.scale), offset: part(&self.offset) }
    }
}

fn moments_of_parts<T: Element>(sample: &Sample<'_, T>, slabs: &[Slab]) -> Vec<Moment> {
    let channels = sample.geometry.channels;
    let mut pivots = sample.pivots(0..channels);
    let sums = |pivots: &[T::Real]| {
        let parts = parallel::in_order(slabs.len(), |task| {
            let slab = &slabs[task];
            sample.sums(slab, &pivots[slab.channels.clone()])
        });
        add_up(channels, slabs, &parts)
    };
    let first = sums(&pivots);
    sample.settle_all(0, &mut pivots, first, sums)
}

/// Sums of slabs, in slab order, to sums of channels.
fn add_up(channels: usize, slabs: &[Slab], parts: &[Vec<[f64; 2]>]) -> Vec<[f64; 2]> {
    let mut sums = vec![[0.0; 2]; channels];
    for (slab, part) in slabs.iter().zip(parts) {
        for (sum, part) in sums[slab.channels.clone()].iter_mut().zip(part) {
            sum[0] += part[0];
            sum[1] += part[1];
        }
    }
    sums
}
