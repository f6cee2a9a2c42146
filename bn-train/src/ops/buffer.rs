//! Numbers of tensors as slices, and slices that become tensors. The only place that touches memory which holds nothing
//! yet: a large buffer that is zeroed first costs as much again as a pass over it.

use candle::{CpuStorage, DType, Device, Result, Shape, Storage, Tensor};
use std::mem::MaybeUninit;
use std::ops::{Deref, Range};

/// A place for a number.
pub(crate) trait Slot: Copy {
    fn of(value: f32) -> Self;

    #[inline(always)]
    fn put(&mut self, value: f32) {
        *self = Self::of(value);
    }
}

impl Slot for f32 {
    #[inline(always)]
    fn of(value: f32) -> Self {
        value
    }
}

impl Slot for MaybeUninit<f32> {
    #[inline(always)]
    fn of(value: f32) -> Self {
        Self::new(value)
    }
}

/// `len` numbers, every one of which `fill` writes.
pub(crate) fn filled(len: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(len);
    fill(&mut numbers.spare_capacity_mut()[..len]);
    // SAFETY: `len` is within the capacity, and `fill` has written all of it; the crate's kernels are tested to write
    // every number of their results (`tests` of each fill with garbage first).
    #[allow(unsafe_code)]
    unsafe {
        numbers.set_len(len);
    }
    numbers
}

/// The numbers of a contiguous f32 tensor on the CPU, held for reading.
pub(crate) struct Numbers<S> {
    storage: S,
    range: Range<usize>,
}

impl Numbers<()> {
    /// # Errors
    /// For any other tensor.
    pub(crate) fn of(tensor: &Tensor) -> Result<Numbers<impl Deref<Target = Storage> + '_>> {
        let (storage, layout) = tensor.storage_and_layout();
        let is_f32 = matches!(&*storage, Storage::Cpu(CpuStorage::F32(_)));
        match layout.contiguous_offsets() {
            Some((start, end)) if is_f32 => Ok(Numbers {
                storage,
                range: start..end,
            }),
            _ => candle::bail!(
                "expected a contiguous f32 tensor on the CPU, got {:?} {layout:?}",
                tensor.dtype()
            ),
        }
    }
}

impl<S: Deref<Target = Storage>> Deref for Numbers<S> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(numbers)) => &numbers[self.range.clone()],
            _ => unreachable!("looked at before"),
        }
    }
}

/// A tensor of these numbers, without a copy.
pub(crate) fn tensor(numbers: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(numbers, shape.into(), &Device::Cpu)
}

/// Whether the kernels of this crate can work on `tensor`.
pub(crate) fn is_plain(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}
