//! Updates of f32 variables on the CPU, in place and in one pass over their elements.

use super::rules::Rule;
use candle::{CpuStorage, InplaceOp2, Layout, Result};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Elements per task.
const CHUNK: usize = 1 << 15;

/// Splits the first `len` elements off each buffer.
pub(super) fn split_off<'a, const BUFFERS: usize>(
    left: &mut [&'a mut [f32]; BUFFERS],
    len: usize,
) -> [&'a mut [f32]; BUFFERS] {
    left.each_mut().map(|buffer| {
        let (taken, rest) = std::mem::take(buffer).split_at_mut(len);
        *buffer = rest;
        taken
    })
}

/// An update of one variable in place, in one pass over its elements.
pub(super) struct Update<'a, R: Rule<BUFFERS>, const BUFFERS: usize> {
    pub(super) coefficients: R::Coefficients,
    /// In a mutex because candle passes only a shared reference.
    pub(super) buffers: Mutex<[&'a mut [f32]; BUFFERS]>,
}

impl<R: Rule<BUFFERS>, const BUFFERS: usize> InplaceOp2 for Update<'_, R, BUFFERS> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn cpu_fwd(
        &self,
        weight: &mut CpuStorage,
        weight_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(weight), CpuStorage::F32(gradient)) = (weight, gradient) else {
            candle::bail!("{}: expected f32", R::NAME);
        };
        let offsets = (weight_layout.contiguous_offsets(), gradient_layout.contiguous_offsets());
        let (Some(of_weight), Some(of_gradient)) = offsets else {
            candle::bail!("{}: expected contiguous tensors", R::NAME);
        };
        let mut weight = &mut weight[of_weight.0..of_weight.1];
        let mut gradient = &gradient[of_gradient.0..of_gradient.1];
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffers = buffers.each_mut().map(|buffer| &mut **buffer);
        let mut chunks = Vec::with_capacity(weight.len().div_ceil(CHUNK));
        while !weight.is_empty() {
            let len = weight.len().min(CHUNK);
            let (first, rest) = weight.split_at_mut(len);
            let (first_gradient, rest_gradient) = gradient.split_at(len);
            (weight, gradient) = (rest, rest_gradient);
            chunks.push(Chunk::<R, BUFFERS> {
                coefficients: self.coefficients,
                weight: first,
                gradient: first_gradient,
                buffers: split_off(&mut buffers, len),
            });
        }
        if chunks.len() == 1 {
            chunks.into_iter().for_each(|chunk| pulp::Arch::new().dispatch(chunk));
        } else {
            chunks.into_par_iter().for_each(|chunk| pulp::Arch::new().dispatch(chunk));
        }
        Ok(())
    }
}

/// The inner loop of an update, compiled for the machine's vectors.
struct Chunk<'a, R: Rule<BUFFERS>, const BUFFERS: usize> {
    coefficients: R::Coefficients,
    weight: &'a mut [f32],
    gradient: &'a [f32],
    buffers: [&'a mut [f32]; BUFFERS],
}

impl<R: Rule<BUFFERS>, const BUFFERS: usize> WithSimd for Chunk<'_, R, BUFFERS> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // With lengths known to be equal, the compiler removes bounds checks.
        let len = self.weight.len();
        let gradient = &self.gradient[..len];
        let buffers = self.buffers.map(|buffer| &mut buffer[..len]);
        for index in 0..len {
            let memory = std::array::from_fn(|buffer| buffers[buffer][index]);
            let (weight, memory) =
                R::update(&self.coefficients, self.weight[index], gradient[index], memory);
            self.weight[index] = weight;
            for (buffer, memory) in memory.into_iter().enumerate() {
                buffers[buffer][index] = memory;
            }
        }
    }
}
