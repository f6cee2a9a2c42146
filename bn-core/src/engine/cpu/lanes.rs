//! Numbers in vectors: [`Real`] is what kernels compute with (f32 or f64), [`Element`] what tensors hold
//! (those two, f16 and bf16, which are computed with in f32).
//!
//! `pulp` picks the instructions at run time; everything here is written once for all of them.

use std::mem::MaybeUninit;

use half::{bf16, f16};
use pulp::bytemuck::{Pod, cast_slice_mut};
use pulp::{Arch, Scalar, Simd, WithSimd};

use crate::tensors::Stored;

/// The most lanes of a vector: 16 of f32 in 512 bits.
pub(super) const MOST_LANES: usize = 16;

/// A type that kernels compute with.
pub(crate) trait Real: Pod + Send + Sync + PartialOrd + std::fmt::Debug {
    type Vector<S: Simd>: Pod + Send + Sync;
    const ZERO: Self;
    /// A smaller sum of squares may have lost terms to underflow.
    const TINY: f64;
    /// With means or variances above this, products of deviations and gradients may overflow.
    const LARGE: f64;

    fn lanes<S: Simd>() -> usize;
    fn from_f64(v: f64) -> Self;
    fn to_f64(self) -> f64;
    fn sigmoid(self) -> Self;
    fn tanh(self) -> Self;

    fn splat<S: Simd>(simd: S, v: Self) -> Self::Vector<S>;
    /// The first lanes of `from`.
    fn load<S: Simd>(simd: S, from: &[Self]) -> Self::Vector<S>;
    fn add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn sub<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    fn mul<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `a · b + c`, fused where the machine can.
    fn mul_add<S: Simd>(
        simd: S,
        a: Self::Vector<S>,
        b: Self::Vector<S>,
        c: Self::Vector<S>,
    ) -> Self::Vector<S>;
    /// `v ≤ 0 ? low : high`; NaN takes `high`.
    fn split_at_zero<S: Simd>(
        simd: S,
        v: Self::Vector<S>,
        low: Self::Vector<S>,
        high: Self::Vector<S>,
    ) -> Self::Vector<S>;
    /// Sum of the lanes.
    fn total<S: Simd>(simd: S, v: Self::Vector<S>) -> f64;

    /// `f` of each lane.
    #[inline(always)]
    fn each<S: Simd>(mut v: Self::Vector<S>, f: impl Fn(Self) -> Self) -> Self::Vector<S> {
        for lane in cast_slice_mut::<Self::Vector<S>, Self>(std::slice::from_mut(&mut v)) {
            *lane = f(*lane);
        }
        v
    }
}

/// A type that tensors hold.
pub(crate) trait Element: Stored + Send + Sync + 'static {
    type Real: Real;
    /// Vectors are stored without conversion.
    const PLAIN: bool;

    fn to_real(self) -> Self::Real;
    fn load<S: Simd>(simd: S, from: &[Self]) -> Vector<Self, S>;
    fn store<S: Simd>(simd: S, to: &mut [MaybeUninit<Self>], v: Vector<Self, S>);
}

/// The vector that elements of type `T` are computed with.
pub(crate) type Vector<T, S> = <<T as Element>::Real as Real>::Vector<S>;

/// Functions that pulp provides.
macro_rules! by_lanes {
    ($($name:ident($($v:ident),*) = $of_pulp:ident;)*) => {$(
        #[inline(always)]
        fn $name<S: Simd>(simd: S, $($v: Self::Vector<S>),*) -> Self::Vector<S> {
            simd.$of_pulp($($v),*)
        }
    )*};
}

macro_rules! real {
    ($real:ident $vector:ident tiny $tiny:literal large $large:expr,
     $lanes:ident $splat:ident $as:ident $add:ident $sub:ident $mul:ident $mul_add:ident
     $at_most:ident $select:ident $total:ident) => {
        impl Real for $real {
            type Vector<S: Simd> = S::$vector;
            const ZERO: Self = 0.0;
            const TINY: f64 = $tiny;
            const LARGE: f64 = $large;

            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                S::$lanes
            }
            #[inline(always)]
            fn from_f64(v: f64) -> Self {
                v as $real
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn sigmoid(self) -> Self {
                super::exp::$real::sigmoid(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                super::exp::$real::tanh(self)
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, v: Self) -> S::$vector {
                simd.$splat(v)
            }
            #[inline(always)]
            fn load<S: Simd>(_: S, from: &[Self]) -> S::$vector {
                S::$as(&from[..S::$lanes]).0[0]
            }
            by_lanes! {
                add(a, b) = $add;
                sub(a, b) = $sub;
                mul(a, b) = $mul;
                mul_add(a, b, c) = $mul_add;
            }
            #[inline(always)]
            fn split_at_zero<S: Simd>(
                simd: S,
                v: S::$vector,
                low: S::$vector,
                high: S::$vector,
            ) -> S::$vector {
                simd.$select(simd.$at_most(v, simd.$splat(0.0)), low, high)
            }
            #[inline(always)]
            fn total<S: Simd>(simd: S, v: S::$vector) -> f64 {
                simd.$total(v) as f64
            }
        }
    };
}

real! {
    f32 f32s tiny 1e-30 large 1e36,
    F32_LANES splat_f32s as_simd_f32s add_f32s sub_f32s mul_f32s mul_add_e_f32s
    less_than_or_equal_f32s select_f32s reduce_sum_f32s
}
real! {
    f64 f64s tiny 0.0 large f64::INFINITY,
    F64_LANES splat_f64s as_simd_f64s add_f64s sub_f64s mul_f64s mul_add_e_f64s
    less_than_or_equal_f64s select_f64s reduce_sum_f64s
}

macro_rules! same_type {
    ($t:ident, $lanes:ident, $as_uninit:ident) => {
        impl Element for $t {
            type Real = $t;
            const PLAIN: bool = true;

            #[inline(always)]
            fn to_real(self) -> $t {
                self
            }
            #[inline(always)]
            fn load<S: Simd>(simd: S, from: &[Self]) -> Vector<Self, S> {
                <$t as Real>::load(simd, from)
            }
            #[inline(always)]
            fn store<S: Simd>(_: S, to: &mut [MaybeUninit<Self>], v: Vector<Self, S>) {
                S::$as_uninit(&mut to[..S::$lanes]).0[0].write(v);
            }
        }
    };
}

same_type!(f32, F32_LANES, as_uninit_mut_simd_f32s);
same_type!(f64, F64_LANES, as_uninit_mut_simd_f64s);

macro_rules! half_type {
    ($t:ident, $widen:path, $narrow:path) => {
        impl Element for $t {
            type Real = f32;
            const PLAIN: bool = false;

            #[inline(always)]
            fn to_real(self) -> f32 {
                $widen(self.to_bits())
            }
            #[inline(always)]
            fn load<S: Simd>(simd: S, from: &[Self]) -> S::f32s {
                let mut v = simd.splat_f32s(0.0);
                let lanes = cast_slice_mut::<S::f32s, f32>(std::slice::from_mut(&mut v));
                for (lane, x) in lanes.iter_mut().zip(&from[..S::F32_LANES]) {
                    *lane = $widen(x.to_bits());
                }
                v
            }
            #[inline(always)]
            fn store<S: Simd>(_: S, to: &mut [MaybeUninit<Self>], mut v: S::f32s) {
                let lanes = cast_slice_mut::<S::f32s, f32>(std::slice::from_mut(&mut v));
                for (x, lane) in to[..S::F32_LANES].iter_mut().zip(lanes) {
                    x.write($t::from_bits($narrow(*lane)));
                }
            }
        }
    };
}

half_type!(f16, super::half_bits::f16_to_f32, super::half_bits::f32_to_f16);
half_type!(bf16, super::half_bits::bf16_to_f32, super::half_bits::f32_to_bf16);

/// Runs `op` with the widest vectors that a run of `width` elements fills; if it fills none, one by one.
pub(super) fn dispatch<R: Real, Op: WithSimd>(width: usize, op: Op) -> Op::Output {
    struct Lanes<R>(std::marker::PhantomData<R>);
    impl<R: Real> WithSimd for Lanes<R> {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            R::lanes::<S>()
        }
    }
    let fits = |arch: Arch| arch.dispatch(Lanes::<R>(std::marker::PhantomData)) <= width;
    let widest = arch();
    if fits(widest) {
        return widest.dispatch(op);
    }
    // A row of a 3x3 map fills half a vector of AVX-512.
    match narrower(widest).filter(|arch| fits(*arch)) {
        Some(arch) => arch.dispatch(op),
        None => op.with_simd(Scalar),
    }
}

#[cfg(target_arch = "x86_64")]
fn narrower(arch: Arch) -> Option<Arch> {
    match arch {
        Arch::V4(_) => pulp::x86::V3::try_new().map(Arch::V3),
        _ => None,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn narrower(_: Arch) -> Option<Arch> {
    None
}

/// The machine's widest vectors.
#[cfg(not(test))]
fn arch() -> Arch {
    Arch::new()
}

/// Set by tests of narrower vectors than the machine's: `avx2` or `scalar`.
#[cfg(test)]
pub(super) const VECTORS: &str = "BN_CORE_TEST_VECTORS";

#[cfg(test)]
fn arch() -> Arch {
    let Ok(wanted) = std::env::var(VECTORS) else {
        return Arch::new();
    };
    #[cfg(target_arch = "x86_64")]
    if wanted == "avx2"
        && let Some(simd) = pulp::x86::V3::try_new()
    {
        return Arch::V3(simd);
    }
    assert!(wanted == "scalar" || cfg!(not(target_arch = "x86_64")));
    Arch::Scalar
}
