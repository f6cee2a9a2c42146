//! Conversions between tensors and slices. Only this module handles uninitialized memory: zeroing a large buffer first
//! costs as much as another pass over it.

use candle::{CpuStorage, DType, Device, Result, Shape, Storage, Tensor};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, Range};

/// A slot for an f32, initialized or not.
pub(crate) trait Slot: Copy {
    fn of(value: f32) -> Self;

    #[inline(always)]
    fn put(&mut self, value: f32) {
        *self = Self::of(value);
    }

    /// Copies `from` to `to`, which has the same length.
    fn copy(to: &mut [Self], from: &[f32]);
}

impl Slot for f32 {
    #[inline(always)]
    fn of(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn copy(to: &mut [Self], from: &[f32]) {
        to.copy_from_slice(from);
    }
}

impl Slot for MaybeUninit<f32> {
    #[inline(always)]
    fn of(value: f32) -> Self {
        Self::new(value)
    }

    #[inline(always)]
    fn copy(to: &mut [Self], from: &[f32]) {
        to.write_copy_of_slice(from);
    }
}

/// A vector of `len` numbers, written by `fill`.
///
/// # Safety
/// `fill` must write every element.
#[allow(unsafe_code)] // zeroing first would cost a pass over fresh memory
pub(crate) unsafe fn filled(len: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(len);
    let slots = &mut numbers.spare_capacity_mut()[..len];
    // In tests, an element that was not written is NaN.
    if cfg!(debug_assertions) {
        slots.fill(MaybeUninit::new(f32::NAN));
    }
    fill(slots);
    // SAFETY: `len` is within the capacity, and the caller guarantees that `fill` wrote all elements.
    unsafe { numbers.set_len(len) };
    numbers
}

/// A reusable buffer, aligned to a cache line so that no vector straddles two lines.
#[derive(Debug, Default)]
pub(crate) struct Buffer(Vec<f32>);

impl Buffer {
    /// A slice of `len` numbers with unspecified contents.
    pub(crate) fn take(&mut self, len: usize) -> &mut [f32] {
        const LINE: usize = 64 / size_of::<f32>();
        if self.0.len() < len + LINE {
            self.0.resize(len + LINE, 0.0);
        }
        let start = self.0.as_ptr().align_offset(64).min(LINE);
        &mut self.0[start..start + len]
    }
}

/// A row-major matrix whose disjoint windows are filled by several tasks.
#[derive(Debug)]
pub(crate) struct Windows<'a, T> {
    start: *mut T,
    len: usize,
    columns: usize,
    matrix: PhantomData<&'a mut [T]>,
}

// SAFETY: it lends out a slice in parts, which must not overlap by the contract of `row`.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Windows<'_, T> {}

impl<'a, T> Windows<'a, T> {
    pub(crate) fn new(matrix: &'a mut [T], columns: usize) -> Self {
        Self { start: matrix.as_mut_ptr(), len: matrix.len(), columns, matrix: PhantomData }
    }

    /// A range of columns of a row.
    ///
    /// # Safety
    /// No other reference to these elements may exist while the result is alive.
    ///
    /// # Panics
    /// The row or columns are out of range.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    #[inline(always)]
    pub(crate) unsafe fn row(&self, row: usize, columns: Range<usize>) -> &mut [T] {
        assert!(
            columns.start <= columns.end
                && columns.end <= self.columns
                && (row + 1) * self.columns <= self.len,
            "outside of the matrix"
        );
        // SAFETY: the range is within the slice borrowed by `new`, and the caller guarantees exclusive access.
        unsafe {
            let start = self.start.add(row * self.columns + columns.start);
            std::slice::from_raw_parts_mut(start, columns.len())
        }
    }
}

/// A read guard for the elements of a contiguous f32 tensor on the CPU.
pub(crate) struct Numbers<S> {
    storage: S,
    range: Range<usize>,
}

impl Numbers<()> {
    /// # Errors
    /// The tensor is not contiguous f32 on the CPU.
    pub(crate) fn of(tensor: &Tensor) -> Result<Numbers<impl Deref<Target = Storage> + '_>> {
        let (storage, layout) = tensor.storage_and_layout();
        let is_f32 = matches!(&*storage, Storage::Cpu(CpuStorage::F32(_)));
        match layout.contiguous_offsets() {
            Some((start, end)) if is_f32 => Ok(Numbers { storage, range: start..end }),
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
            _ => unreachable!("checked in `of`"),
        }
    }
}

/// Converts numbers into a tensor without copying.
pub(crate) fn tensor(numbers: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(numbers, shape.into(), &Device::Cpu)
}

/// Whether the kernels of this crate can work on `tensor`.
pub(crate) fn is_plain(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}
