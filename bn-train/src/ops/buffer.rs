//! Numbers of tensors as slices, and slices that become tensors. The only place that touches memory which holds nothing
//! yet: a large buffer that is zeroed first costs as much again as a pass over it.

use candle::{CpuStorage, DType, Device, Result, Shape, Storage, Tensor};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, Range};

/// A place for a number.
pub(crate) trait Slot: Copy {
    fn of(value: f32) -> Self;

    #[inline(always)]
    fn put(&mut self, value: f32) {
        *self = Self::of(value);
    }

    /// Puts as many numbers as there are places.
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

/// `len` numbers that `fill` writes.
///
/// # Safety
/// `fill` writes every one of them.
#[allow(unsafe_code)] // zeroing first would cost a pass over fresh memory
pub(crate) unsafe fn filled(len: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut numbers = Vec::with_capacity(len);
    let places = &mut numbers.spare_capacity_mut()[..len];
    // A number that was left out is NaN in every test.
    if cfg!(debug_assertions) {
        places.fill(MaybeUninit::new(f32::NAN));
    }
    fill(places);
    // SAFETY: `len` is within the capacity, and all of it was written, by the caller.
    unsafe { numbers.set_len(len) };
    numbers
}

/// A buffer that is kept between calls, and starts on a cache line so that no vector straddles two.
#[derive(Debug, Default)]
pub(crate) struct Buffer(Vec<f32>);

impl Buffer {
    /// `len` numbers, whatever they were.
    pub(crate) fn take(&mut self, len: usize) -> &mut [f32] {
        const LINE: usize = 64 / size_of::<f32>();
        if self.0.len() < len + LINE {
            self.0.resize(len + LINE, 0.0);
        }
        let start = self.0.as_ptr().align_offset(64).min(LINE);
        &mut self.0[start..start + len]
    }
}

/// A matrix, row after row, of which several tasks fill windows.
#[derive(Debug)]
pub(crate) struct Windows<'a, T> {
    start: *mut T,
    len: usize,
    columns: usize,
    matrix: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a slice, lent out in parts that do not overlap (what `row` asks of its callers).
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Windows<'_, T> {}

impl<'a, T> Windows<'a, T> {
    pub(crate) fn new(matrix: &'a mut [T], columns: usize) -> Self {
        Self { start: matrix.as_mut_ptr(), len: matrix.len(), columns, matrix: PhantomData }
    }

    /// Some columns of a row.
    ///
    /// # Safety
    /// Nothing else may hold one of these places as long as the result is held.
    ///
    /// # Panics
    /// When there is no such row or column.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    #[inline(always)]
    pub(crate) unsafe fn row(&self, row: usize, columns: Range<usize>) -> &mut [T] {
        assert!(
            columns.start <= columns.end
                && columns.end <= self.columns
                && (row + 1) * self.columns <= self.len,
            "outside of the matrix"
        );
        // SAFETY: within the slice that `new` was given, which this borrows; alone by the caller's word.
        unsafe {
            let start = self.start.add(row * self.columns + columns.start);
            std::slice::from_raw_parts_mut(start, columns.len())
        }
    }
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
