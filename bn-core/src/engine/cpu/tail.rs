//! The activation at the end of the layer, by vectors: its value, and its gradient.
//!
//! The gradient uses the value before the activation, recomputed. For sigmoid and tanh it uses y instead if that was
//! saved (but not a half float's, which is rounded).

use pulp::Simd;

use super::lanes::Real;
use crate::activation::Activation;

/// An activation. Kernels are compiled for each kind: [`NONE`], [`RELU`] and [`ANY`] other.
#[derive(Clone, Copy)]
pub(super) struct Tail<const OF: u8>(pub(super) Activation);

pub(super) const NONE: u8 = 0;
pub(super) const RELU: u8 = 1;
pub(super) const ANY: u8 = 2;

/// Evaluates an expression with an activation's [`Tail`], compiled for each.
macro_rules! with_tail {
    ($activation:expr, |$tail:ident| $body:expr) => {{
        use $crate::activation::Activation;
        use $crate::engine::cpu::tail::{ANY, NONE, RELU, Tail};
        match $activation {
            of @ Activation::None => {
                let $tail = Tail::<NONE>(of);
                $body
            }
            of @ Activation::Relu => {
                let $tail = Tail::<RELU>(of);
                $body
            }
            of => {
                let $tail = Tail::<ANY>(of);
                $body
            }
        }
    }};
}
pub(super) use with_tail;

impl<const OF: u8> Tail<OF> {
    /// The identity, whose gradient does not depend on v.
    pub(super) const IDENTITY: bool = OF == NONE;
    /// The gradient may be [taken from the value](Tail::gradient_by_value).
    pub(super) const BY_VALUE: bool = OF == ANY;

    #[inline(always)]
    fn activation(self) -> Activation {
        match OF {
            NONE => Activation::None,
            RELU => Activation::Relu,
            _ => self.0,
        }
    }

    /// The activation of v.
    #[inline(always)]
    pub(super) fn value<R: Real, S: Simd>(self, simd: S, v: R::Vector<S>) -> R::Vector<S> {
        match self.activation() {
            Activation::None => v,
            Activation::Relu => R::split_at_zero(simd, v, R::splat(simd, R::ZERO), v),
            Activation::LeakyRelu(slope) => {
                let low = R::mul(simd, v, R::splat(simd, R::from_f64(slope)));
                R::split_at_zero(simd, v, low, v)
            }
            Activation::Sigmoid => R::each::<S>(v, R::sigmoid),
            Activation::Tanh => R::each::<S>(v, R::tanh),
        }
    }

    /// The gradient at v for dy.
    #[inline(always)]
    pub(super) fn gradient<R: Real, S: Simd>(
        self,
        simd: S,
        v: R::Vector<S>,
        dy: R::Vector<S>,
    ) -> R::Vector<S> {
        match self.activation() {
            Activation::None => dy,
            Activation::Relu => R::split_at_zero(simd, v, R::splat(simd, R::ZERO), dy),
            Activation::LeakyRelu(slope) => {
                let low = R::mul(simd, dy, R::splat(simd, R::from_f64(slope)));
                R::split_at_zero(simd, v, low, dy)
            }
            Activation::Sigmoid | Activation::Tanh => {
                self.gradient_by_value::<R, S>(simd, self.value::<R, S>(simd, v), dy)
            }
        }
    }

    /// The gradient for dy if the value is y. tanh: `dy·(1 − y²)`; sigmoid: `dy·y·(1 − y)`. For the others y is not
    /// saved.
    #[inline(always)]
    pub(super) fn gradient_by_value<R: Real, S: Simd>(
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
