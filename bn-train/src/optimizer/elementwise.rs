//! Applies an update rule to all variables of a network.
//!
//! The state of f32 variables on the CPU is stored consecutively in common buffers, and an update is one pass over the
//! elements. The same holds on an NVIDIA GPU if all variables are f32 there. Otherwise variables are updated by tensor
//! operations.

use super::clip;
use super::cuda::{self, Limits, OnGpu, Updated};
use super::in_place::{Update, split_off};
use super::number::Elements;
use super::rules::{Rule, Step};
use super::{Optimizer, OptimizerSettings};
use crate::model::{Gradients, Parameter, Role};
use crate::ops::buffer::is_plain;
use crate::state::{State, StateError};
use candle::{DType, Device, Result, Tensor, Var};
use rayon::prelude::*;
use std::sync::Mutex;

/// An optimizer with an elementwise rule.
#[derive(Debug)]
pub(super) struct Elementwise<R, const BUFFERS: usize> {
    rule: R,
    decay: Decay,
    clip_norm: Option<f64>,
    parameters: Vec<Parameter>,
    memories: Vec<Memory<BUFFERS>>,
    /// State of the variables that are updated in place, in the order of their paths.
    buffers: [Vec<f32>; BUFFERS],
    /// On a GPU: the state of all variables, in the order of their paths.
    on_gpu: Option<[Tensor; BUFFERS]>,
}

/// Weight decay, and what it applies to.
#[derive(Debug)]
struct Decay {
    weight_decay: f64,
    on_norm_and_bias: bool,
}

impl Decay {
    fn of(&self, parameter: &Parameter) -> f64 {
        if parameter.role == Role::Weight || self.on_norm_and_bias {
            self.weight_decay
        } else {
            0.0
        }
    }
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
    /// On a GPU, views of the common buffers there.
    Own([Tensor; BUFFERS]),
}

impl<R: OnGpu<BUFFERS>, const BUFFERS: usize> Elementwise<R, BUFFERS> {
    pub(super) fn new(
        settings: &OptimizerSettings,
        rule: R,
        mut parameters: Vec<Parameter>,
    ) -> Result<Self> {
        parameters.retain(|parameter| parameter.is_trained);
        parameters.sort_by(|left, right| left.path.cmp(&right.path));
        let on_gpu = zeros_on_gpu(&parameters)?;
        let mut memories = Vec::with_capacity(parameters.len());
        let (mut in_common, mut start) = (0, 0);
        for Parameter { var, .. } in &parameters {
            let place = match &on_gpu {
                Some(buffers) => Place::Own(views(buffers, start, var)?),
                None if is_plain(var) => {
                    in_common += var.elem_count();
                    Place::Common(var.elem_count())
                }
                None => Place::Own(zeros(var)?),
            };
            start += var.elem_count();
            memories.push(Memory { count: 0, place });
        }
        Ok(Self {
            rule,
            decay: Decay {
                weight_decay: settings.weight_decay,
                on_norm_and_bias: settings.decay_norm_and_bias,
            },
            clip_norm: settings.clip_norm,
            parameters,
            memories,
            buffers: std::array::from_fn(|_| vec![0.0; in_common]),
            on_gpu,
        })
    }

    /// Updates all variables by kernels, unless `watch` is not finite.
    fn step_on_gpu(
        &mut self,
        buffers: &[Tensor; BUFFERS],
        gradients: &Gradients,
        learning_rate: f64,
        watch: Option<&Tensor>,
    ) -> Result<()> {
        let mut updated = Vec::with_capacity(self.parameters.len());
        let mut start = 0;
        for (parameter, memory) in self.parameters.iter().zip(&mut self.memories) {
            let variable = &parameter.var;
            if let Some(gradient) = gradients.get(variable) {
                memory.count += 1;
                let step = Step {
                    learning_rate,
                    weight_decay: self.decay.of(parameter),
                    scale: 1.0,
                    count: memory.count,
                };
                let coefficients = self.rule.coefficients(&step);
                updated.push(Updated {
                    variable,
                    gradient: gradient.contiguous()?,
                    start,
                    coefficients,
                });
            }
            start += variable.elem_count();
        }
        let limits = Limits { watch, clip_norm: self.clip_norm };
        cuda::update(&self.rule, &updated, buffers, &limits)
    }
}

/// Buffers for the state of all variables on a GPU, if all of them can be updated there by kernels.
fn zeros_on_gpu<const BUFFERS: usize>(
    parameters: &[Parameter],
) -> Result<Option<[Tensor; BUFFERS]>> {
    let all = || parameters.iter().map(|parameter| &parameter.var);
    let Some(first) = all().next().filter(|_| all().all(cuda::applies)) else {
        return Ok(None);
    };
    let elements: usize = all().map(|variable| variable.elem_count()).sum();
    array(|_| Tensor::zeros(elements, DType::F32, first.device())).map(Some)
}

/// A variable's part of the buffers, in its shape.
fn views<const BUFFERS: usize>(
    buffers: &[Tensor; BUFFERS],
    start: usize,
    variable: &Var,
) -> Result<[Tensor; BUFFERS]> {
    array(|index| buffers[index].narrow(0, start, variable.elem_count())?.reshape(variable.dims()))
}

fn array<const N: usize>(each: impl Fn(usize) -> Result<Tensor>) -> Result<[Tensor; N]> {
    let all = (0..N).map(each).collect::<Result<Vec<_>>>()?;
    all.try_into().map_err(|all: Vec<Tensor>| candle::Error::Msg(format!("{} buffers", all.len())))
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

impl<R: OnGpu<BUFFERS>, const BUFFERS: usize> Optimizer for Elementwise<R, BUFFERS> {
    fn step_while_finite(
        &mut self,
        gradients: &Gradients,
        learning_rate: f64,
        watch: &Tensor,
    ) -> Result<()> {
        if let Some(buffers) = self.on_gpu.clone() {
            self.step_on_gpu(&buffers, gradients, learning_rate, Some(watch))
        } else if watch.to_scalar::<f64>()?.is_finite() {
            self.step(gradients, learning_rate)
        } else {
            Ok(())
        }
    }

    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        if let Some(buffers) = self.on_gpu.clone() {
            return self.step_on_gpu(&buffers, gradients, learning_rate, None);
        }
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
            let coefficients = self.rule.coefficients(&Step {
                learning_rate,
                weight_decay: self.decay.of(parameter),
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
                    Place::Own(views) if self.on_gpu.is_some() => {
                        views[index].slice_set(&tensor, 0, 0)?;
                    }
                    Place::Own(tensors) => tensors[index] = tensor,
                }
            }
            start += memory.len_in_common();
        }
        state.finish()
    }
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
