//! The passes over slices: moments, normalization and gradients, slab by slab.

use std::mem::MaybeUninit;

use super::backward::{Lines, Outputs, sum_slab, totals, write_slab};
use super::input::{Back, Input};
use super::lanes::Element;
use super::normalize::{Affines, normalize_slab};
use super::parallel::{first_to_last, last_to_first};
use super::plan::plan;
use super::walk::Slab;
use crate::channel::{Channel, GradientTerms, Moment, Totals};

/// Means and variances by channel.
pub(super) fn moments<T: Element>(input: &Input<'_, T>) -> Vec<Moment> {
    let plan = plan::<T>(input.geometry(), 1);
    if plan.whole_channels {
        return first_to_last(&plan.slabs, |slab| input.slab_moments(slab)).concat();
    }
    let channels = input.geometry().channels;
    input.moments_by(0..channels, |pivots| {
        let sums = |slab: &Slab| input.sums(slab, &pivots[slab.channels.clone()]);
        add_up(channels, &plan.slabs, &first_to_last(&plan.slabs, sums))
    })
}

/// Computes each channel's moments, passes them to `rule`, and normalizes into `y`, which is filled. If a slab holds
/// all values of its channels, all three happen while it is in the cache.
pub(super) fn forward<T: Element>(
    input: &Input<'_, T>,
    rule: impl Fn(usize, &[Moment]) -> Vec<Channel> + Sync,
    y: &mut [MaybeUninit<T>],
) -> (Vec<Moment>, Vec<Channel>) {
    let plan = plan::<T>(input.geometry(), 1);
    if !plan.whole_channels {
        let moments = moments(input);
        let channels = rule(0, &moments);
        normalize(input, &channels, y);
        return (moments, channels);
    }
    let y = input.output(y);
    let parts = first_to_last(&plan.slabs, |slab| {
        let moments = input.slab_moments(slab);
        let channels = rule(slab.channels.start, &moments);
        let affines = Affines::new(&channels);
        normalize_slab(input, slab, affines.of(0..channels.len()), &y);
        (moments, channels)
    });
    let (moments, channels): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    (joined(moments), joined(channels))
}

/// y by given values for each channel. `y` is filled.
pub(super) fn normalize<T: Element>(
    input: &Input<'_, T>,
    channels: &[Channel],
    y: &mut [MaybeUninit<T>],
) {
    assert!(channels.len() == input.geometry().channels);
    let y = input.output(y);
    let affines = Affines::new(channels);
    // If moments were taken just before, the last slabs are still in the cache.
    last_to_first(&plan::<T>(input.geometry(), 1).slabs, |slab| {
        normalize_slab(input, slab, affines.of(slab.channels.clone()), &y);
    });
}

/// `Σ dv` and `Σ dv·x̂` by channel.
pub(super) fn gradient_sums<T: Element>(back: &Back<'_, T>) -> Vec<Totals> {
    let affines = Affines::new(back.channels);
    let slabs = plan::<T>(back.input.geometry(), 2).slabs;
    let sums =
        first_to_last(&slabs, |slab| sum_slab(back, slab, affines.of(slab.channels.clone())));
    totals::<T::Real>(back.channels, &add_up(back.channels.len(), &slabs, &sums))
}

/// Fills `dx`, and `dv` for a residual, from given terms.
pub(super) fn input_gradient<T: Element>(
    back: &Back<'_, T>,
    terms: &[GradientTerms],
    dx: &mut [MaybeUninit<T>],
    dv: Option<&mut [MaybeUninit<T>]>,
) {
    let outputs = Outputs { dx: back.input.output(dx), dv: dv.map(|dv| back.input.output(dv)) };
    let (affines, lines) = (Affines::new(back.channels), Lines::new(back.channels, terms));
    // The sums left the last slabs in the cache.
    last_to_first(&plan::<T>(back.input.geometry(), 2).slabs, |slab| {
        let of = || slab.channels.clone();
        write_slab(back, slab, affines.of(of()), lines.of(of()), &outputs);
    });
}

/// [`gradient_sums`], then [`input_gradient`] by their terms. `dx` and `dv` are filled.
pub(super) fn backward<T: Element>(
    back: &Back<'_, T>,
    dx: &mut [MaybeUninit<T>],
    dv: Option<&mut [MaybeUninit<T>]>,
) -> Vec<Totals> {
    let plan = plan::<T>(back.input.geometry(), 2);
    if !plan.whole_channels {
        let totals = gradient_sums(back);
        input_gradient(back, &terms(back.channels, &totals, back.input.total), dx, dv);
        return totals;
    }
    let outputs = Outputs { dx: back.input.output(dx), dv: dv.map(|dv| back.input.output(dv)) };
    let parts = first_to_last(&plan.slabs, |slab| {
        let channels = &back.channels[slab.channels.clone()];
        let all = || 0..channels.len();
        let affines = Affines::new(channels);
        let totals = totals::<T::Real>(channels, &sum_slab(back, slab, affines.of(all())));
        let lines = Lines::new(channels, &terms(channels, &totals, back.input.total));
        write_slab(back, slab, affines.of(all()), lines.of(all()), &outputs);
        totals
    });
    joined(parts)
}

/// Terms of dx for statistics of these values only.
pub(super) fn terms(channels: &[Channel], totals: &[Totals], weight: f64) -> Vec<GradientTerms> {
    let each = channels.iter().zip(totals);
    each.map(|(channel, t)| channel.terms(channel.through_statistics(t), weight)).collect()
}

/// Joins the results of slabs; no copy for a single slab.
fn joined<R: Clone>(mut parts: Vec<Vec<R>>) -> Vec<R> {
    if parts.len() == 1 { parts.swap_remove(0) } else { parts.concat() }
}

/// Adds the sums of slabs, in slab order, by channel.
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
