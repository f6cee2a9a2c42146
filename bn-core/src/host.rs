//! Tensors of the CPU as slices: read in place, built without a zeroing pass, written in place.

use std::mem::MaybeUninit;

use candle::{CpuStorage, DType, Device, InplaceOp1, Layout, Storage, Tensor, Var};

use crate::kernel::{Element, Real};

/// Calls `f` with a tensor's values; none unless it is contiguous, on the CPU, and of type `T`.
pub(crate) fn with_slice<T: Element, R>(t: &Tensor, f: impl FnOnce(&[T]) -> R) -> Option<R> {
    let (storage, layout) = t.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return None;
    };
    let (start, end) = layout.contiguous_offsets()?;
    Some(f(&T::slice(storage)?[start..end]))
}

/// A CPU tensor's values as f64, in order; none where they cannot be read in place.
pub(crate) fn read(t: &Tensor) -> Option<Vec<f64>> {
    match t.dtype() {
        DType::F32 => with_slice(t, |v: &[f32]| v.iter().map(|v| f64::from(*v)).collect()),
        DType::F64 => with_slice(t, <[f64]>::to_vec),
        DType::F16 => with_slice(t, |v: &[half::f16]| v.iter().map(|v| v.to_f64()).collect()),
        DType::BF16 => with_slice(t, |v: &[half::bf16]| v.iter().map(|v| v.to_f64()).collect()),
        _ => None,
    }
}

/// A `[len]` CPU tensor.
pub(crate) fn vector(values: Vec<f64>) -> Tensor {
    let len = values.len();
    tensor(CpuStorage::F64(values), &[len])
}

/// A CPU tensor outside the graph.
pub(crate) fn tensor(storage: CpuStorage, dims: &[usize]) -> Tensor {
    let op = candle::op::BackpropOp::none();
    Tensor::from_storage(Storage::Cpu(storage), dims, op, false)
}

/// A `[len]` CPU tensor of a given type.
pub(crate) fn vector_of(values: &[f64], dtype: DType) -> candle::Result<Tensor> {
    match dtype {
        DType::F64 => Ok(vector(values.to_vec())),
        DType::F32 => {
            let narrow = values.iter().map(|v| *v as f32).collect();
            Ok(tensor(CpuStorage::F32(narrow), &[values.len()]))
        }
        other => Tensor::from_slice(values, values.len(), &Device::Cpu)?.to_dtype(other),
    }
}

/// A vector of `len` values that `fill` writes; `fill` must write all of them, or fail.
pub(crate) fn filled<T: Element, R, E>(
    len: usize,
    fill: impl FnOnce(&mut [MaybeUninit<T>]) -> Result<R, E>,
) -> Result<(Vec<T>, R), E> {
    let mut values = Vec::with_capacity(len);
    let places = &mut values.spare_capacity_mut()[..len];
    if cfg!(debug_assertions) {
        // A value that was left out is NaN in every test.
        let nan = T::Real::from_f64(f64::NAN);
        places.fill(MaybeUninit::new(T::of_real(nan)));
    }
    let result = fill(places)?;
    // SAFETY: the kernels write every element of the slices that they are given (their plans cover a
    // geometry entirely, which the plan's test holds them to).
    #[allow(unsafe_code)] // zeroing first would cost a pass over fresh memory
    unsafe {
        values.set_len(len);
    }
    Ok((values, result))
}

/// A variable's values, to change and to write back; each is rounded to the variable's type when it is set.
/// Loops run over whole slices, so that they become vector instructions: a layer's channels are many.
pub(crate) struct Slot<'a> {
    var: &'a Var,
    values: Vec<f64>,
    single: bool,
}

impl<'a> Slot<'a> {
    /// None for a variable that cannot be read and written in place as f32 or f64.
    pub(crate) fn open(var: &'a Var) -> Option<Self> {
        let single = match var.dtype() {
            DType::F32 => true,
            DType::F64 => false,
            _ => return None,
        };
        Some(Self { values: read(var)?, var, single })
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// The new values where `keep` says so, each as the variable will hold it.
    pub(crate) fn set(&mut self, new: impl Iterator<Item = f64>, keep: &[bool]) {
        let each = self.values.iter_mut().zip(new).zip(keep);
        // The branch on the type outside of the loop, the one on `keep` as a select.
        match self.single {
            true => each.for_each(|((v, new), keep)| {
                *v = if *keep { f64::from(new as f32) } else { *v };
            }),
            false => each.for_each(|((v, new), keep)| *v = if *keep { new } else { *v }),
        }
    }

    /// `v ← v + (x − v)·rate` where `keep` says so.
    pub(crate) fn move_towards(&mut self, x: &[f64], rate: f64, keep: &[bool]) {
        let moved = |old: f64, x: f64| old + (x - old) * rate;
        let each = self.values.iter_mut().zip(x).zip(keep);
        match self.single {
            true => each.for_each(|((v, x), keep)| {
                *v = if *keep { f64::from(moved(*v, *x) as f32) } else { *v };
            }),
            false => each.for_each(|((v, x), keep)| *v = if *keep { moved(*v, *x) } else { *v }),
        }
    }

    /// Writes the values to the variable.
    pub(crate) fn close(self) -> candle::Result<()> {
        self.var.inplace_op1(&Write(&self.values))
    }

    /// Whether the variable can hold the value as a finite number.
    pub(crate) fn holds(&self, value: f64) -> bool {
        match self.single {
            true => (value as f32).is_finite(),
            false => value.is_finite(),
        }
    }
}

struct Write<'a>(&'a [f64]);

impl InplaceOp1 for Write<'_> {
    fn name(&self) -> &'static str {
        "write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle::Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle::bail!("a statistic is not contiguous");
        };
        match storage {
            CpuStorage::F32(to) => {
                for (to, v) in to[start..end].iter_mut().zip(self.0) {
                    *to = *v as f32;
                }
            }
            CpuStorage::F64(to) => to[start..end].copy_from_slice(self.0),
            _ => candle::bail!("a statistic is neither f32 nor f64"),
        }
        Ok(())
    }
}
