//! What operations on an NVIDIA GPU have in common.

use candle::cuda_backend::cudarc::driver::CudaSlice;
use candle::cuda_backend::{CudaDType, CudaDevice};
use candle::op::BackpropOp;
use candle::{CudaStorage, Shape, Storage, Tensor};

/// The text before each text of kernels.
pub(crate) const BLOCK: &str = include_str!("block.cu");

/// Threads of a block, as block.cu has them.
pub(crate) const THREADS: u32 = 256;

/// A tensor of these numbers, of which there are as many as the shape says.
pub(crate) fn tensor<T: CudaDType>(
    numbers: CudaSlice<T>,
    shape: impl Into<Shape>,
    device: &CudaDevice,
) -> Tensor {
    let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(numbers, device.clone()));
    Tensor::from_storage(storage, shape, BackpropOp::none(), false)
}
