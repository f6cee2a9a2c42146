//! The activation at the end of the layer, by vectors: its value, and its gradient.
//!
//! The gradient takes the value before the activation, recomputed. For the costly activations it takes y
//! where that is at hand (not a half float's, whose rounding would enter).

use pulp::Simd;

use super::lanes::Real;
use crate::activation::Activation;

/// An activation on vectors.
pub(super) trait Tail: Copy {
    /// Value and gradient are those of the identity: v need not be known.
    const IDENTITY: bool = false;
    /// The gradient may be [taken from the value](Tail::gradient_by_value).
    const BY_VALUE: bool = false;

    /// The activation of v.
    fn value<R: Real, S: Simd>(self, simd: S, v: R::Vector<S>) -> R::Vector<S>;

    /// The gradient at v for dy.
    fn gradient<R: Real, S: Simd>(self, simd: S, v: R::Vector<S>, dy: R::Vector<S>)
    -> R::Vector<S>;

    /// The gradient for dy where the value is y.
    #[inline(always)]
    fn gradient_by_value<R: Real, S: Simd>(
        self,
        simd: S,
        y: R::Vector<S>,
        dy: R::Vector<S>,
    ) -> R::Vector<S> {
        self.gradient::<R, S>(simd, y, dy)
    }
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

/// Evaluates an expression with an activation's [`Tail`], compiled for each.
macro_rules! with_tail {
    ($activation:expr, |$tail:ident| $body:expr) => {
        match $activation {
            $crate::activation::Activation::None => {
                let $tail = $crate::engine::cpu::tail::Plain;
                $body
            }
            $crate::activation::Activation::Relu => {
                let $tail = $crate::engine::cpu::tail::Relu;
                $body
            }
            other => {
                let $tail = $crate::engine::cpu::tail::Curve(other);
                $body
            }
        }
    };
}
pub(super) use with_tail;

impl Tail for Plain {
    const IDENTITY: bool = true;

    #[inline(always)]
    fn value<R: Real, S: Simd>(self, _: S, v: R::Vector<S>) -> R::Vector<S> {
        v
    }

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
    const BY_VALUE: bool = true;

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
            Activation::Sigmoid | Activation::Tanh => {
                self.gradient_by_value::<R, S>(simd, self.value::<R, S>(simd, v), dy)
            }
        }
    }

    /// tanh: `dy·(1 − y²)`; sigmoid: `dy·y·(1 − y)`. Nobody keeps y for the others.
    #[inline(always)]
    fn gradient_by_value<R: Real, S: Simd>(
        self,
        simd: S,
        y: R::Vector<S>,
        dy: R::Vector<S>,
    ) -> R::Vector<S> {
        let one = R::splat(simd, R::from_f64(1.0));
        if self.0 == Activation::Tanh {
            R::mul(simd, dy, R::sub(simd, one, R::mul(simd, y, y)))
        } else {
            R::mul(simd, dy, R::mul(simd, y, R::sub(simd, one, y)))
        }
    }
}
