//! The CUDA engine of a build without the feature `cuda`, where no tensor lies on an NVIDIA GPU.

use candle::{Tensor, bail};

use super::composed::Composed;
use super::resident::{DeviceCommit, Resident};
use super::{Engine, Operands};
use crate::error::Result;

pub(super) fn engine(operands: &Operands) -> Result<Box<dyn Engine>> {
    Ok(Box::new(Composed::new(operands)?))
}

pub(super) fn resident(_: &Operands) -> Result<Option<Box<dyn Resident>>> {
    Ok(None)
}

pub(super) fn commit(_: &DeviceCommit<'_>) -> candle::Result<Tensor> {
    bail!("batch norm: this build has no CUDA kernels; build with the feature `cuda`")
}
