//! Applies an update rule to all variables of a network.
//!
//! The state of f32 variables on the CPU is stored consecutively in common buffers, and an update is one pass over the
//! elements. Variables of other types or on other devices are updated by tensor operations.

use super::clip;
use super::number::Elements;
use super::rules::{Rule, Step};
use super::{Optimizer, OptimizerSettings};
use crate::model::{Gradients, Parameter, Role};
use crate::ops::buffer::is_plain;
use crate::state::{State, StateError};
use candle::{CpuStorage, Device, InplaceOp2, Layout, Result, Tensor, Var};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Elements per task.
const CHUNK: usize = 1 << 15;

/// An optimizer with an elementwise rule.
#[derive(Debug)]
pub(super) struct Elementwise<R, const BUFFERS: usize> {
    rule: R,
    weight_decay: f64,
    decay_norm_and_bias: bool,
    clip_norm: Option<f64>,
    parameters: Vec<Parameter>,
    memories: Vec<Memory<BUFFERS>>,
    /// State of the variables that are updated in place, in the order of their paths.
    buffers: [Vec<f32>; BUFFERS],
}

/// The state of one variable.
#[derive(Debug)]
struct Memory<const BUFFERS: usize> {
    /// Updates so far.
    count: u64,
    place: Place<BUFFERS>,
}

/// Where a variable's state is stored.
#[derive(Debug)]
enum Place<const BUFFERS: usize> {
    /// In the common buffers, with this many elements, after those of the previous variables.
    Common(usize),
    Own([Tensor; BUFFERS]),
}

impl<R: Rule<BUFFERS>, const BUFFERS: usize> Elementwise<R, BUFFERS> {
    pub(super) fn new(
        settings: &OptimizerSettings,
        rule: R,
        mut parameters: Vec<Parameter>,
    ) -> Result<Self> {
        parameters.retain(|parameter| parameter.is_trained);
        parameters.sort_by(|left, right| left.path.cmp(&right.path));
        let mut memories = Vec::with_capacity(parameters.len());
        let mut in_common = 0;
        for Parameter { var, .. } in &parameters {
            let place = if is_plain(var) {
                in_common += var.elem_count();
                Place::Common(var.elem_count())
            } else {
                Place::Own(zeros(var)?)
            };
            memories.push(Memory { count: 0, place });
        }
        Ok(Self {
            rule,
            weight_decay: settings.weight_decay,
            decay_norm_and_bias: settings.decay_norm_and_bias,
            clip_norm: settings.clip_norm,
            parameters,
            memories,
            buffers: std::array::from_fn(|_| vec![0.0; in_common]),
        })
    }
}

impl<const BUFFERS: usize> Memory<BUFFERS> {
    fn len_in_common(&self) -> usize {
        if let Place::Common(len) = self.place { len } else { 0 }
    }
}

/// The initial state of a variable in its own tensors.
fn zeros<const BUFFERS: usize>(variable: &Var) -> Result<[Tensor; BUFFERS]> {
    let zeros = variable.as_detached_tensor().zeros_like()?;
    Ok(std::array::from_fn(|_| zeros.clone()))
}

impl<R: Rule<BUFFERS>, const BUFFERS: usize> Optimizer for Elementwise<R, BUFFERS> {
    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        let scale = match self.clip_norm {
            Some(bound) => clip::scale(clip::gradient_norm(&self.parameters, gradients)?, bound),
            None => 1.0,
        };
        let mut updates = Vec::with_capacity(self.parameters.len());
        let mut left = self.buffers.each_mut().map(Vec::as_mut_slice);
        for (parameter, memory) in self.parameters.iter().zip(&mut self.memories) {
            let buffers = split_off(&mut left, memory.len_in_common());
            let Some(gradient) = gradients.get(&parameter.var) else {
                continue;
            };
            memory.count += 1;
            let decays = parameter.role == Role::Weight || self.decay_norm_and_bias;
            let coefficients = self.rule.coefficients(&Step {
                learning_rate,
                weight_decay: if decays { self.weight_decay } else { 0.0 },
                scale,
                count: memory.count,
            });
            if let Place::Own(own) = &mut memory.place {
                update_tensors::<R, BUFFERS>(&coefficients, parameter, gradient, own)?;
            } else {
                let update = Update::<R, BUFFERS> { coefficients, buffers: Mutex::new(buffers) };
                updates.push((&parameter.var, gradient.contiguous()?, update));
            }
        }
        let apply = |(variable, gradient, update): (&Var, Tensor, Update<'_, R, BUFFERS>)| {
            variable.inplace_op2(&gradient, &update)
        };
        if rayon::current_num_threads() == 1 {
            updates.into_iter().try_for_each(apply)
        } else {
            updates.into_par_iter().try_for_each(apply)
        }
    }

    fn state(&self) -> std::result::Result<State, StateError> {
        let mut state = State::new();
        state.put("kind", R::NAME);
        let mut start = 0;
        for (parameter, memory) in self.parameters.iter().zip(&self.memories) {
            let Parameter { path, var, .. } = parameter;
            state.put(&format!("updates.{path}"), memory.count);
            for (index, buffer) in R::BUFFER_NAMES.iter().enumerate() {
                let place = format!("{buffer}.{path}");
                match &memory.place {
                    Place::Common(len) => {
                        let numbers = &self.buffers[index][start..start + len];
                        let tensor = Tensor::from_slice(numbers, var.dims(), &Device::Cpu)?;
                        state.put_tensor(&place, &tensor)?;
                    }
                    Place::Own(tensors) => state.put_tensor(&place, &tensors[index])?,
                }
            }
            start += memory.len_in_common();
        }
        Ok(state)
    }

    fn load(&mut self, mut state: State) -> std::result::Result<(), StateError> {
        state.expect("kind", R::NAME)?;
        let mut start = 0;
        for (parameter, memory) in self.parameters.iter().zip(&mut self.memories) {
            let Parameter { path, var, .. } = parameter;
            memory.count = state.take_whole(&format!("updates.{path}"))?;
            for (index, buffer) in R::BUFFER_NAMES.iter().enumerate() {
                let tensor = state.take_tensor(&format!("{buffer}.{path}"), var)?;
                match &mut memory.place {
                    Place::Common(len) => {
                        let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
                        self.buffers[index][start..start + *len].copy_from_slice(&numbers);
                    }
                    Place::Own(tensors) => tensors[index] = tensor,
                }
            }
            start += memory.len_in_common();
        }
        state.finish()
    }
}

/// Splits the first `len` elements off each buffer.
fn split_off<'a, const BUFFERS: usize>(
    left: &mut [&'a mut [f32]; BUFFERS],
    len: usize,
) -> [&'a mut [f32]; BUFFERS] {
    left.each_mut().map(|buffer| {
        let (taken, rest) = std::mem::take(buffer).split_at_mut(len);
        *buffer = rest;
        taken
    })
}

/// Updates one variable by tensor operations.
fn update_tensors<R: Rule<BUFFERS>, const BUFFERS: usize>(
    coefficients: &R::Coefficients,
    parameter: &Parameter,
    gradient: &Tensor,
    memory: &mut [Tensor; BUFFERS],
) -> Result<()> {
    let weight = Elements::of(&parameter.var);
    let before = memory.each_ref().map(Elements::of);
    let (weight, after) = R::update(coefficients, weight, Elements::of(gradient), before);
    for (memory, after) in memory.iter_mut().zip(after) {
        *memory = after.into_tensor()?;
    }
    parameter.var.set(&weight.into_tensor()?)
}

/// An update of one variable in place, in one pass over its elements.
struct Update<'a, R: Rule<BUFFERS>, const BUFFERS: usize> {
    coefficients: R::Coefficients,
    /// In a mutex because candle passes only a shared reference.
    buffers: Mutex<[&'a mut [f32]; BUFFERS]>,
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
