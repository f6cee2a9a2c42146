//! What only the CUDA driver knows. `no_gpus.rs` is its twin in a build without CUDA.

use super::{DeviceError, DeviceName, driven};
use candle::Device;
use candle::cuda::cudarc::driver::{CudaContext, sys};

/// How many GPUs the driver shows; `CUDA_VISIBLE_DEVICES` hides the others.
pub(super) fn count() -> Result<usize, DeviceError> {
    let counted = driven(|| CudaContext::device_count().map_err(|error| error.to_string()));
    let counted = counted.and_then(|count| usize::try_from(count).map_err(|e| e.to_string()));
    counted.map_err(|reason| DeviceError::Unusable { name: DeviceName::Cuda(0), reason })
}

/// The version of CUDA that this program was built with, as the driver counts them: 13000 is 13.0.
pub(super) const BUILT_WITH: u32 = sys::CUDA_VERSION;

/// The newest version of CUDA whose programs the driver runs; `None` if it does not say.
#[allow(unsafe_code)] // a function of the driver
pub(super) fn supported_by_driver() -> Option<u32> {
    let mut version = 0;
    // SAFETY: it only writes the number.
    let status = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    (status == sys::CUresult::CUDA_SUCCESS).then(|| u32::try_from(version).ok())?
}

pub(super) fn sleep_while_waiting(device: &Device) {
    if let Ok(device) = device.as_cuda_device() {
        // If the driver refuses, waiting costs a core, and no result changes.
        let _ = device.cuda_stream().context().set_blocking_synchronize();
    }
}
