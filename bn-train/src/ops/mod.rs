//! The operations of layers and their gradients, outside candle's graph, on any device: by kernels of this crate for f32 on
//! the CPU, and by candle's operations elsewhere.
//!
//! Kernels are functions over slices. How results are summed depends only on the shape of the data, so they are bitwise equal
//! for any number of threads.

pub(crate) mod activation;
pub(crate) mod buffer;
pub(crate) mod channels;
pub mod conv;
#[cfg(feature = "cuda")]
pub(crate) mod gpu;
pub(crate) mod linear;
pub mod loss;
pub(crate) mod matmul;
pub(crate) mod parallel;
pub(crate) mod pool;
mod transpose;

use std::mem::MaybeUninit;

use buffer::{Numbers, Slot as _, filled, is_plain, tensor};
use candle::{DType, Result, Tensor};

pub use loss::LossFunction;

/// Lanes of this machine's f32 vectors.
fn lanes() -> usize {
    struct Lanes;
    impl pulp::WithSimd for Lanes {
        type Output = usize;
        fn with_simd<S: pulp::Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    pulp::Arch::new().dispatch(Lanes)
}

/// `op(a, b)` in the type of the tensors. On the CPU candle has no products of half floats: they are computed in f32 there,
/// as a GPU sums them, and rounded.
///
/// # Errors
/// Errors of `op`.
pub(crate) fn in_f32_on_cpu(
    a: &Tensor,
    b: &Tensor,
    op: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let dtype = a.dtype();
    if !a.device().is_cpu() || !matches!(dtype, DType::BF16 | DType::F16) {
        return op(a, b);
    }
    op(&a.to_dtype(DType::F32)?, &b.to_dtype(DType::F32)?)?.to_dtype(dtype)
}

/// `a + b` for equal shapes. On the CPU, candle's version uses its own threads, which compete with rayon's for the cores.
///
/// # Errors
/// The tensors have different shapes.
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    const CHUNK: usize = 1 << 15;
    if !(is_plain(a) && is_plain(b)) {
        return a + b;
    }
    if a.dims() != b.dims() {
        candle::bail!("sum: shapes {:?} and {:?}", a.dims(), b.dims());
    }
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let (left, right) = (Numbers::of(&a)?, Numbers::of(&b)?);
    let (left, right): (&[f32], &[f32]) = (&left, &right);
    let sum = |total: &mut [MaybeUninit<f32>]| {
        parallel::chunks(total, CHUNK, |index, total| {
            let terms = left[index * CHUNK..].iter().zip(&right[index * CHUNK..]);
            for (slot, (left, right)) in total.iter_mut().zip(terms) {
                slot.put(left + right);
            }
        });
    };
    // SAFETY: the chunks cover the result, and left and right have the same length.
    #[allow(unsafe_code)] // see `filled`
    let total = unsafe { filled(left.len(), sum) };
    tensor(total, a.dims())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Device;

    #[test]
    fn sum_equals_candles() {
        for len in [1, 7, (1 << 15) + 3] {
            let numbers = |from: f32| (0..len).map(|i| from + i as f32).collect::<Vec<_>>();
            let a = Tensor::new(numbers(0.25), &Device::Cpu).unwrap();
            let b = Tensor::new(numbers(-3.5), &Device::Cpu).unwrap();
            let want = (&a + &b).unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(sum(&a, &b).unwrap().to_vec1::<f32>().unwrap(), want);
        }
        let a = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
        assert!(sum(&a, &Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap()).is_err());
        assert!(sum(&a, &Tensor::zeros(3, DType::F64, &Device::Cpu).unwrap()).is_err());
    }
}
