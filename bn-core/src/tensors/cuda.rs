//! CUDA memory: addresses for kernels, and room for their results.

use candle::backend::BackendStorage;
use candle::cuda_backend::cudarc::driver::{CudaStream, DevicePtr};
use candle::cuda_backend::{CudaDevice, CudaStorageSlice};
use candle::{CudaStorage, DType, Layout, Result, Shape, Storage, StorageRef, Tensor, bail};
use half::{bf16, f16};

use super::Value;

/// What a kernel reads or writes; its address is 0 for nothing.
pub(crate) enum Memory<'a> {
    Nothing,
    /// A contiguous tensor. A kernel may write to a variable that its caller has locked.
    Tensor(&'a Tensor),
    New(&'a Value),
}

impl<'a> From<&'a Tensor> for Memory<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self::Tensor(tensor)
    }
}

impl<'a> From<&'a Value> for Memory<'a> {
    fn from(value: &'a Value) -> Self {
        Self::New(value)
    }
}

impl<'a, T> From<Option<&'a T>> for Memory<'a>
where
    Memory<'a>: From<&'a T>,
{
    fn from(memory: Option<&'a T>) -> Self {
        memory.map_or(Self::Nothing, Self::from)
    }
}

/// Evaluates an expression for a storage's slice.
macro_rules! with_slice {
    ($storage:expr, |$slice:ident| $body:expr) => {
        match &$storage.slice {
            CudaStorageSlice::F32($slice) => $body,
            CudaStorageSlice::F64($slice) => $body,
            CudaStorageSlice::F16($slice) => $body,
            CudaStorageSlice::BF16($slice) => $body,
            CudaStorageSlice::I64($slice) => $body,
            CudaStorageSlice::U32($slice) => $body,
            _ => bail!("no kernel takes a tensor of type {:?}", $storage.dtype()),
        }
    };
}

/// Runs `launch` with the addresses of these contiguous tensors on a GPU. A kernel may write to those that nothing else
/// uses meanwhile, such as variables that the caller alone updates.
///
/// # Errors
/// A tensor is not contiguous, not on the GPU, or of a type without kernels; errors of `launch`.
pub fn with_tensors<R>(
    stream: &CudaStream,
    tensors: &[&Tensor],
    launch: impl FnOnce(&[u64]) -> Result<R>,
) -> Result<R> {
    let memory: Vec<Memory<'_>> = tensors.iter().map(|tensor| Memory::Tensor(tensor)).collect();
    with_each(stream, &memory, launch)
}

/// [`with_tensors`] for a fixed number of tensors and new memory.
pub(crate) fn with_addresses<R, const N: usize>(
    stream: &CudaStream,
    memory: [Memory<'_>; N],
    launch: impl FnOnce([u64; N]) -> Result<R>,
) -> Result<R> {
    with_each(stream, &memory, |addresses| launch(std::array::from_fn(|index| addresses[index])))
}

/// Runs `launch` with the addresses of this memory. The tensors are locked for reading meanwhile, as by candle's own
/// operations; the order of a stream does the rest.
fn with_each<R>(
    stream: &CudaStream,
    memory: &[Memory<'_>],
    launch: impl FnOnce(&[u64]) -> Result<R>,
) -> Result<R> {
    let locked: Vec<Option<(StorageRef<'_>, &Layout)>> = memory
        .iter()
        .map(|memory| match memory {
            Memory::Tensor(tensor) => Some(tensor.storage_and_layout()),
            _ => None,
        })
        .collect();
    let (mut addresses, mut events) = (vec![0; memory.len()], Vec::with_capacity(memory.len()));
    for ((address, memory), locked) in addresses.iter_mut().zip(memory).zip(&locked) {
        let (storage, start) = match (memory, locked) {
            (_, Some((_, layout))) if !layout.is_contiguous() => {
                bail!("a kernel needs contiguous tensors, not {layout:?}")
            }
            (_, Some((storage, layout))) => (&**storage, layout.start_offset()),
            (Memory::New(value), None) => (&value.storage, 0),
            _ => continue,
        };
        let Storage::Cuda(storage) = storage else {
            bail!("a kernel needs tensors on the GPU");
        };
        let (at, event) = with_slice!(storage, |slice| slice.device_ptr(stream));
        *address = at + (start * storage.dtype().size_in_bytes()) as u64;
        events.push(event);
    }
    let done = launch(&addresses);
    drop(events); // records that the stream uses the memory up to here
    done
}

/// Memory for a kernel to fill.
///
/// # Safety
/// The kernel that is launched next on this device writes every element.
#[allow(unsafe_code)] // zeroing it would be another pass over memory
pub(crate) unsafe fn room(
    device: &CudaDevice,
    dtype: DType,
    shape: impl Into<Shape>,
) -> Result<Value> {
    let shape = shape.into();
    let len = shape.elem_count();
    macro_rules! alloc {
        ($t:ty) => {
            // SAFETY: by the caller.
            CudaStorage::wrap_cuda_slice(unsafe { device.alloc::<$t>(len)? }, device.clone())
        };
    }
    let storage = match dtype {
        DType::F32 => alloc!(f32),
        DType::F64 => alloc!(f64),
        DType::F16 => alloc!(f16),
        DType::BF16 => alloc!(bf16),
        other => bail!("batch norm: no kernel fills a tensor of type {other:?}"),
    };
    Ok(Value { storage: Storage::Cuda(storage), shape })
}
