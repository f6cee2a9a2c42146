//! `y = act((x − mean)·scale + offset + residual)`, one pass.

use pulp::{Simd, WithSimd};

use super::lanes::{Element, Real, Vector, dispatch};
use super::output::Output;
use super::tail::{Curve, Plain, Relu, Tail};
use super::walk::{Geometry, Map, Place, Slab, map};
use crate::activation::Activation;
use crate::channel::Affine;

/// [`Affine`] by channel in the kernels' type. What the mean loses in f32 is put into the offset, so that
/// `x − mean` is right even where |mean| is 10⁶ standard deviations.
pub(super) struct Affines<R> {
    pub(super) mean: Vec<R>,
    pub(super) scale: Vec<R>,
    pub(super) offset: Vec<R>,
}

impl<R: Real> Affines<R> {
    pub(super) fn new(affines: impl ExactSizeIterator<Item = Affine>) -> Self {
        let zeros = || vec![R::ZERO; affines.len()];
        let (mut means, mut scales, mut offsets) = (zeros(), zeros(), zeros());
        let into = means.iter_mut().zip(&mut scales).zip(&mut offsets);
        // Into slices that are there, without branches: it becomes vector instructions.
        for (affine, ((mean, scale), offset)) in affines.zip(into) {
            *mean = R::from_f64(affine.mean);
            let shift = (affine.mean - mean.to_f64()) * affine.scale;
            // An infinite mean is rounded by nothing that an offset could make good.
            let shift = if shift.is_finite() { shift } else { 0.0 };
            *scale = R::from_f64(affine.scale);
            *offset = R::from_f64(affine.offset - shift);
        }
        Self { mean: means, scale: scales, offset: offsets }
    }
}

/// What a normalization reads and writes.
pub(super) struct Normalize<'a, T: Element> {
    pub(super) x: &'a [T],
    pub(super) geometry: Geometry,
    pub(super) residual: Option<&'a [T]>,
    pub(super) activation: Activation,
    pub(super) y: Output<'a, T>,
}

impl<T: Element> Normalize<'_, T> {
    /// One slab of y. Slabs that run at the same time must not overlap.
    pub(super) fn run(&self, slab: &Slab, affines: [&[T::Real]; 3]) {
        let width = slab.run(self.geometry);
        match self.activation {
            Activation::None => self.with(Plain, slab, affines, width),
            Activation::Relu => self.with(Relu, slab, affines, width),
            other => self.with(Curve(other), slab, affines, width),
        }
        self.y.finish();
    }

    fn with<A: Tail>(&self, tail: A, slab: &Slab, affines: [&[T::Real]; 3], width: usize) {
        let all = self;
        dispatch::<T::Real, _>(width, MapSlab { all, tail, slab, affines });
    }
}

struct MapSlab<'a, T: Element, A> {
    all: &'a Normalize<'a, T>,
    tail: A,
    slab: &'a Slab,
    affines: [&'a [T::Real]; 3],
}

impl<T: Element, A: Tail> WithSimd for MapSlab<'_, T, A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        map(simd, &self, self.all.geometry, self.slab, self.affines);
    }
}

impl<T: Element, A: Tail> Map<T, 3> for MapSlab<'_, T, A> {
    #[inline(always)]
    #[allow(unsafe_code)] // see `Output`
    fn apply<S: Simd>(&self, simd: S, constants: &[Vector<T, S>; 3], place: Place) {
        let [mean, scale, offset] = *constants;
        self.all.y.prefetch(place.next);
        let centred = T::Real::sub(simd, T::load(simd, &self.all.x[place.at..]), mean);
        let mut v = T::Real::mul_add(simd, centred, scale, offset);
        if let Some(residual) = self.all.residual {
            v = T::Real::add(simd, v, T::load(simd, &residual[place.at..]));
        }
        let y = self.tail.value::<T::Real, S>(simd, v);
        // SAFETY: tasks have slabs that do not overlap.
        unsafe { self.all.y.store(simd, place.at, y) };
    }
}
