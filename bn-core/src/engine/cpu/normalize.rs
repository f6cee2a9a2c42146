//! `y = activation((x − mean)·scale + offset + residual)`, one pass.

use std::ops::Range;

use pulp::Simd;

use super::input::Input;
use super::lanes::{Element, Real, Vector};
use super::output::Output;
use super::tail::{Tail, with_tail};
use super::walk::{Geometry, Map, Place, Slab, map};
use crate::channel::{Affine, Channel};

/// The [`Affine`] of each channel in the kernels' type. The offset takes what the mean loses by rounding to f32, so the
/// result is right even if |mean| is 10⁶ standard deviations.
pub(super) struct Affines<R> {
    mean: Vec<R>,
    scale: Vec<R>,
    offset: Vec<R>,
}

impl<R: Real> Affines<R> {
    pub(super) fn new(channels: &[Channel]) -> Self {
        let mut mean = vec![R::ZERO; channels.len()];
        let mut scale = mean.clone();
        let mut offset = mean.clone();
        let into = mean.iter_mut().zip(&mut scale).zip(&mut offset);
        // Into existing slices, without branches: it becomes vector instructions.
        for (channel, ((mean, scale), offset)) in channels.iter().zip(into) {
            let exact: Affine = channel.affine;
            *mean = R::from_f64(exact.mean);
            *scale = R::from_f64(exact.scale);
            let shift = lost_in::<R>(exact.mean) * exact.scale;
            // No offset can correct an infinite scale.
            let shift = if shift.is_finite() { shift } else { 0.0 };
            *offset = R::from_f64(exact.offset - shift);
        }
        Self { mean, scale, offset }
    }

    /// Mean, scale and offset of some of the channels.
    pub(super) fn of(&self, channels: Range<usize>) -> [&[R]; 3] {
        [&self.mean[channels.clone()], &self.scale[channels.clone()], &self.offset[channels]]
    }
}

/// What the mean loses by rounding to the kernels' type; 0 if that is not finite.
#[inline(always)]
pub(super) fn lost_in<R: Real>(mean: f64) -> f64 {
    let lost = mean - R::from_f64(mean).to_f64();
    if lost.is_finite() { lost } else { 0.0 }
}

/// Fills one slab of y. Slabs that run at the same time must not overlap.
pub(super) fn normalize_slab<T: Element>(
    input: &Input<'_, T>,
    slab: &Slab,
    affines: [&[T::Real]; 3],
    y: &Output<'_, T>,
) {
    with_tail!(input.activation, |tail| {
        map(Normalize { input: *input, tail, y: *y }, slab, affines);
    });
    y.finish();
}

#[derive(Clone, Copy)]
struct Normalize<'a, T: Element, const TAIL: u8> {
    input: Input<'a, T>,
    tail: Tail<TAIL>,
    y: Output<'a, T>,
}

impl<T: Element, const TAIL: u8> Map<T, 3> for Normalize<'_, T, TAIL> {
    fn geometry(&self) -> Geometry {
        self.input.geometry()
    }

    #[inline(always)]
    #[allow(unsafe_code)] // see `Output`
    fn apply<S: Simd>(&self, simd: S, constants: &[Vector<T, S>; 3], place: Place) {
        self.y.prefetch(place.next());
        let centred = self.input.centred(simd, constants[0], place);
        let v = self.input.before_activation(simd, centred, constants, place);
        let y = self.tail.value::<T::Real, S>(simd, v);
        // SAFETY: y is an output of this input; tasks have slabs that do not overlap.
        unsafe { self.y.store(simd, place, y) };
    }
}
