//! The number types of update rules: an f32 in a loop, or a tensor on any device.

use candle::{Error, Result, Tensor};
use std::ops::{Add, Div, Mul, Sub};
use std::sync::Arc;

/// Elementwise arithmetic.
pub(super) trait Number:
    Clone + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    fn times(self, factor: f64) -> Self;
    fn plus(self, term: f64) -> Self;
    fn root(self) -> Self;
}

impl Number for f32 {
    #[inline(always)]
    fn times(self, factor: f64) -> Self {
        self * factor as f32
    }

    #[inline(always)]
    fn plus(self, term: f64) -> Self {
        self + term as f32
    }

    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }
}

/// A detached tensor, or the first error of its computation.
#[derive(Clone)]
pub(super) struct Elements(std::result::Result<Tensor, Arc<Error>>);

impl Elements {
    pub(super) fn of(tensor: &Tensor) -> Self {
        // Detach, because an attached tensor would keep its graph alive from step to step.
        Self(Ok(tensor.detach()))
    }

    pub(super) fn into_tensor(self) -> Result<Tensor> {
        self.0.map_err(Error::wrap)
    }

    fn map(self, op: impl FnOnce(Tensor) -> Result<Tensor>) -> Self {
        Self(self.0.and_then(|tensor| op(tensor).map_err(Arc::new)))
    }

    fn with(self, other: Self, op: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>) -> Self {
        let both = self.0.and_then(|left| Ok((left, other.0?)));
        Self(both.and_then(|(left, right)| op(&left, &right).map_err(Arc::new)))
    }
}

impl Add for Elements {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.with(other, |left, right| left + right)
    }
}

impl Sub for Elements {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.with(other, |left, right| left - right)
    }
}

impl Mul for Elements {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        self.with(other, |left, right| left * right)
    }
}

impl Div for Elements {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        self.with(other, |left, right| left / right)
    }
}

impl Number for Elements {
    fn times(self, factor: f64) -> Self {
        if factor == 1.0 { self } else { self.map(|tensor| tensor * factor) }
    }

    fn plus(self, term: f64) -> Self {
        self.map(|tensor| tensor + term)
    }

    fn root(self) -> Self {
        self.map(|tensor| tensor.sqrt())
    }
}
