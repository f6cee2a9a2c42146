//! Twin of `gpus.rs` in a build without CUDA: there are no GPUs.

use super::{DeviceError, DeviceName};
use candle::Device;

pub(super) fn count() -> Result<usize, DeviceError> {
    Err(DeviceError::NotBuilt(DeviceName::Cuda(0)))
}

pub(super) const BUILT_WITH: u32 = 0;

pub(super) fn supported_by_driver() -> Option<u32> {
    None
}

pub(super) fn sleep_while_waiting(_: &Device) {}
