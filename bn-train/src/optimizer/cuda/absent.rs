//! A build without the feature `cuda`, in which no variable lies on an NVIDIA GPU.

use super::rules::Rule;
use candle::{Result, Tensor, Var};

/// A rule that has a kernel.
pub(super) trait OnGpu<const BUFFERS: usize>: Rule<BUFFERS> {}

impl<R: Rule<BUFFERS>, const BUFFERS: usize> OnGpu<BUFFERS> for R {}

#[expect(dead_code, reason = "only kernels read it")]
pub(super) struct Updated<'a, C> {
    pub(super) variable: &'a Var,
    pub(super) gradient: Tensor,
    pub(super) start: usize,
    pub(super) coefficients: C,
}

#[expect(dead_code, reason = "only kernels read it")]
pub(super) struct Limits<'a> {
    pub(super) watch: Option<&'a Tensor>,
    pub(super) clip_norm: Option<f64>,
}

pub(super) fn applies(_: &Var) -> bool {
    false
}

pub(super) fn update<R: OnGpu<BUFFERS>, const BUFFERS: usize>(
    _: &R,
    _: &[Updated<'_, R::Coefficients>],
    _: &[Tensor; BUFFERS],
    _: &Limits<'_>,
) -> Result<()> {
    candle::bail!("{}: this build has no kernels for GPUs; build with the feature `cuda`", R::NAME)
}
