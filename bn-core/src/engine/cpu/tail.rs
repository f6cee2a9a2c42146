//! The activation at the end of the layer, by vectors: its value, and its gradient from the value before
//! it, recomputed, or for the costly ones from the value itself (not a half float's, whose rounding would
//! enter).

use pulp::Simd;

use super::lanes::Real;
use crate::activation::Activation;

/// An activation: its value at v.
pub(super) trait Tail: Copy + Sync {
    fn value<R: Real, S: Simd>(self, simd: S, v: R::Vector<S>) -> R::Vector<S>;
}

/// An activation on the way back: its gradient for dy at v.
pub(super) trait Slope: Copy + Sync {
    /// v need not be known.
    const IDENTITY: bool = false;
    /// `gradient` takes the value in place of v.
    const OF_VALUE: bool = false;
    fn gradient<R: Real, S: Simd>(self, simd: S, v: R::Vector<S>, dy: R::Vector<S>)
    -> R::Vector<S>;
}

/// No activation.
#[derive(Clone, Copy)]
pub(super) struct Plain;

/// `max(v, 0)`, gradient 0 at 0; NaN stays NaN.
#[derive(Clone, Copy)]
pub(super) struct Relu;

/// All others.
#[derive(Clone, Copy)]
pub(super) struct Curve(pub(super) Activation);

/// The sigmoid where its value is at hand: `dy·y·(1 − y)`.
#[derive(Clone, Copy)]
pub(super) struct SigmoidAt;

/// tanh where its value is at hand: `dy·(1 − y²)`.
#[derive(Clone, Copy)]
pub(super) struct TanhAt;

impl Tail for Plain {
    #[inline(always)]
    fn value<R: Real, S: Simd>(self, _: S, v: R::Vector<S>) -> R::Vector<S> {
        v
    }
}

impl Slope for Plain {
    const IDENTITY: bool = true;
    #[inline(always)]
    fn gradient<R: Real, S: Simd>(self, _: S, _: R::Vector<S>, dy: R::Vector<S>) -> R::Vector<S> {
        dy
    }
}

impl Tail for Relu {
    #[inline(always)]
    fn value<R: Real, S: Simd>(self, simd: S, v: R::Vector<S>) -> R::Vector<S> {
        R::split_at_zero(simd, v, R::splat(simd, R::ZERO), v)
    }
}

impl Slope for Relu {
    #[inline(always)]
    fn gradient<R: Real, S: Simd>(
        self,
        simd: S,
        v: R::Vector<S>,
        dy: R::Vector<S>,
    ) -> R::Vector<S> {
        R::split_at_zero(simd, v, R::splat(simd, R::ZERO), dy)
    }
}

impl Tail for Curve {
    #[inline(always)]
    fn value<R: Real, S: Simd>(self, simd: S, v: R::Vector<S>) -> R::Vector<S> {
        match self.0 {
            Activation::None => v,
            Activation::Relu => Relu.value::<R, S>(simd, v),
            Activation::LeakyRelu(slope) => {
                let low = R::mul(simd, v, R::splat(simd, R::from_f64(slope)));
                R::split_at_zero(simd, v, low, v)
            }
            Activation::Sigmoid => R::each::<S>(v, R::sigmoid),
            Activation::Tanh => R::each::<S>(v, R::tanh),
        }
    }
}

impl Slope for Curve {
    #[inline(always)]
    fn gradient<R: Real, S: Simd>(
        self,
        simd: S,
        v: R::Vector<S>,
        dy: R::Vector<S>,
    ) -> R::Vector<S> {
        match self.0 {
            Activation::None => dy,
            Activation::Relu => Relu.gradient::<R, S>(simd, v, dy),
            Activation::LeakyRelu(slope) => {
                let low = R::mul(simd, dy, R::splat(simd, R::from_f64(slope)));
                R::split_at_zero(simd, v, low, dy)
            }
            Activation::Sigmoid => {
                SigmoidAt.gradient::<R, S>(simd, R::each::<S>(v, R::sigmoid), dy)
            }
            Activation::Tanh => TanhAt.gradient::<R, S>(simd, R::each::<S>(v, R::tanh), dy),
        }
    }
}

impl Slope for SigmoidAt {
    const OF_VALUE: bool = true;
    #[inline(always)]
    fn gradient<R: Real, S: Simd>(
        self,
        simd: S,
        y: R::Vector<S>,
        dy: R::Vector<S>,
    ) -> R::Vector<S> {
        let one = R::splat(simd, R::from_f64(1.0));
        R::mul(simd, dy, R::mul(simd, y, R::sub(simd, one, y)))
    }
}

impl Slope for TanhAt {
    const OF_VALUE: bool = true;
    #[inline(always)]
    fn gradient<R: Real, S: Simd>(
        self,
        simd: S,
        y: R::Vector<S>,
        dy: R::Vector<S>,
    ) -> R::Vector<S> {
        let one = R::splat(simd, R::from_f64(1.0));
        R::mul(simd, dy, R::sub(simd, one, R::mul(simd, y, y)))
    }
}
