//! Stochastic gradient descent with momentum, over variables in the order of their names.
//!
//! `velocity = momentum * velocity + gradient (+ weight_decay * weight)`, `weight -= learning_rate * velocity`, as in
//! `PyTorch` and TensorFlow's `MomentumOptimizer`. candle-nn's own optimizer has no momentum.

use crate::keys::{Key, Keys, Kind, Kinds, flag, number};
use crate::model::Gradients;
use crate::ops::buffer::is_plain;
use candle::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Settings of [`Sgd`]; the learning rate comes with each step.
#[derive(Clone, Debug, PartialEq)]
pub struct SgdSettings {
    /// Weight of the old velocity, `0 <= momentum < 1`; 0 is plain gradient descent.
    pub momentum: f64,
    /// Look one step ahead along the velocity, as Nesterov does.
    pub nesterov: bool,
    /// How much of each weight is added to its gradient; 0 for none.
    pub weight_decay: f64,
}

/// `[optimizer]`, less the learning rate.
pub fn optimizers() -> Kinds<SgdSettings> {
    Kinds::new(
        "optimizer",
        "kind",
        vec![Kind::new("sgd", "stochastic gradient descent with momentum", sgd)],
    )
}

fn sgd(keys: &mut Keys<'_>) -> Option<SgdSettings> {
    let about = "weight of the old velocity; 0 is plain gradient descent";
    let momentum = Key::new("momentum", number().from(0.0).below(1.0), about);
    let momentum = keys.with_default(momentum, 0.9);
    let nesterov = Key::new("nesterov", flag(), "look ahead along the velocity");
    let nesterov = keys.with_default(nesterov, false);
    let weight_decay = weight_decay(keys);
    Some(SgdSettings { momentum: momentum?, nesterov: nesterov?, weight_decay: weight_decay? })
}

fn weight_decay(keys: &mut Keys<'_>) -> Option<f64> {
    let about = "times the weight, added to its gradient";
    keys.with_default(Key::new("weight_decay", number().from(0.0), about).also(&["l2"]), 0.0)
}

/// `optimizer.learning_rate`, whatever the kind.
pub fn learning_rate(keys: &mut Keys<'_>) -> Option<f64> {
    let key = Key::new("learning_rate", number().above(0.0), "step size; no default");
    keys.required(key.also(&["lr", "eta", "step_size"]), 0.1)
}

/// The optimizer of one run: its variables, and a velocity for each.
#[derive(Debug)]
pub struct Sgd {
    settings: SgdSettings,
    variables: Vec<(Var, Velocity)>,
    /// Of all variables whose numbers can be reached from here, one after the other.
    velocities: Vec<f32>,
}

/// Where the velocity of a variable is.
#[derive(Debug)]
enum Velocity {
    /// In the common buffer, behind those of the variables before; none yet before the first update.
    InPlace { len: usize, is_new: bool },
    /// On its own, on other devices or of other types.
    Apart(Option<Tensor>),
}

impl Sgd {
    /// An optimizer of `variables`, taken in the order of their names.
    pub fn new(mut variables: Vec<(String, Var)>, settings: SgdSettings) -> Self {
        variables.sort_by(|(left, _), (right, _)| left.cmp(right));
        let mut all = 0;
        let place = |(_, variable): (String, Var)| {
            let velocity = if is_plain(&variable) {
                let len = variable.elem_count();
                all += len;
                Velocity::InPlace { len, is_new: true }
            } else {
                Velocity::Apart(None)
            };
            (variable, velocity)
        };
        let variables = variables.into_iter().map(place).collect();
        Self { settings, variables, velocities: vec![0.0; all] }
    }

    /// One update by `gradients`; a variable without a gradient keeps its value.
    ///
    /// # Errors
    /// What candle's tensor operations report.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        let settings = &self.settings;
        let mut updates = Vec::new();
        let mut velocities = self.velocities.as_mut_slice();
        for (variable, velocity) in &mut self.variables {
            let own = match velocity {
                Velocity::InPlace { len, .. } => velocities.split_off_mut(..*len),
                Velocity::Apart(_) => None,
            };
            let Some(gradient) = gradients.get(variable) else {
                continue;
            };
            match (velocity, own) {
                (Velocity::InPlace { is_new, .. }, Some(own)) => {
                    let update = Update {
                        settings,
                        learning_rate: learning_rate as f32,
                        is_first: std::mem::replace(is_new, false),
                        velocity: Mutex::new(own),
                    };
                    updates.push((&*variable, gradient.contiguous()?, update));
                }
                (Velocity::Apart(velocity), _) => {
                    settings.step(variable, gradient, velocity, learning_rate)?;
                }
                (Velocity::InPlace { .. }, None) => unreachable!("as long as all of them"),
            }
        }
        let apply = |(variable, gradient, update): (&Var, Tensor, Update<'_>)| {
            variable.inplace_op2(&gradient, &update)
        };
        match rayon::current_num_threads() {
            1 => updates.into_iter().try_for_each(apply),
            _ => updates.into_par_iter().try_for_each(apply),
        }
    }
}

impl SgdSettings {
    /// One update in tensor operations.
    fn step(
        &self,
        variable: &Var,
        gradient: &Tensor,
        velocity: &mut Option<Tensor>,
        learning_rate: f64,
    ) -> Result<()> {
        let Self { momentum, nesterov, weight_decay } = *self;
        // Detached: a gradient or weight that still knows its graph would keep that graph alive from step to step.
        let mut gradient = gradient.detach();
        let weight = variable.as_detached_tensor();
        if weight_decay != 0.0 {
            gradient = (gradient + (&weight * weight_decay)?)?;
        }
        let next = match velocity.take() {
            Some(old) if momentum != 0.0 => ((old * momentum)? + &gradient)?,
            _ => gradient.clone(),
        };
        let direction = if nesterov { (gradient + (&next * momentum)?)? } else { next.clone() };
        variable.set(&(weight - (direction * learning_rate)?)?)?;
        *velocity = Some(next);
        Ok(())
    }
}

/// One update of one variable, in one pass over its numbers.
struct Update<'a> {
    settings: &'a SgdSettings,
    learning_rate: f32,
    /// The velocity holds nothing yet: it starts as the gradient.
    is_first: bool,
    /// Alone its update's; candle hands out shared references only.
    velocity: Mutex<&'a mut [f32]>,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn cpu_fwd(
        &self,
        weight: &mut CpuStorage,
        weight_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(weight), CpuStorage::F32(gradient)) = (weight, gradient) else {
            candle::bail!("sgd: expected f32");
        };
        let offsets = (weight_layout.contiguous_offsets(), gradient_layout.contiguous_offsets());
        let (Some(of_weight), Some(of_gradient)) = offsets else {
            candle::bail!("sgd: expected contiguous numbers");
        };
        let weight = &mut weight[of_weight.0..of_weight.1];
        let gradient = &gradient[of_gradient.0..of_gradient.1];
        let mut velocity = self.velocity.lock().unwrap_or_else(PoisonError::into_inner);
        pulp::Arch::new().dispatch(Pass {
            settings: self.settings,
            learning_rate: self.learning_rate,
            is_first: self.is_first,
            weight,
            gradient,
            velocity: &mut velocity,
        });
        Ok(())
    }
}

/// The loop of an update, for the vectors that the machine has.
struct Pass<'a> {
    settings: &'a SgdSettings,
    learning_rate: f32,
    is_first: bool,
    weight: &'a mut [f32],
    gradient: &'a [f32],
    velocity: &'a mut [f32],
}

impl WithSimd for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let momentum = self.settings.momentum as f32;
        let decay = self.settings.weight_decay as f32;
        let old = if self.is_first { 0.0 } else { momentum };
        let numbers = self.weight.iter_mut().zip(self.gradient);
        if self.settings.nesterov {
            for ((weight, gradient), velocity) in numbers.zip(self.velocity) {
                let gradient = gradient + decay * *weight;
                *velocity = old * *velocity + gradient;
                *weight -= self.learning_rate * (gradient + momentum * *velocity);
            }
        } else {
            for ((weight, gradient), velocity) in numbers.zip(self.velocity) {
                *velocity = old * *velocity + (gradient + decay * *weight);
                *weight -= self.learning_rate * *velocity;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::{DType, Device};

    fn gradients(loss: &Tensor, variable: &Var) -> Gradients {
        let mut gradients = Gradients::new();
        let store = loss.backward().unwrap();
        gradients.add_all(&[(String::new(), variable.clone())], &store).unwrap();
        gradients
    }

    /// Weights after each of `steps` updates on `loss = weight² / 2`, whose gradient is the weight itself.
    fn descend(settings: SgdSettings, learning_rate: f64, steps: usize, dtype: DType) -> Vec<f64> {
        let weight = Tensor::ones(1, dtype, &Device::Cpu).unwrap();
        let weight = Var::from_tensor(&weight).unwrap();
        let mut sgd = Sgd::new(vec![("weight".into(), weight.clone())], settings);
        let update = |_| {
            let loss = (weight.sqr().unwrap() * 0.5).unwrap();
            sgd.step(&gradients(&loss, &weight), learning_rate).unwrap();
            weight.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()[0]
        };
        (0..steps).map(update).collect()
    }

    /// The same recurrence in plain numbers.
    fn expected(settings: &SgdSettings, learning_rate: f64, steps: usize) -> Vec<f64> {
        let (mut weight, mut velocity) = (1.0_f64, 0.0);
        let update = |_| {
            let gradient = weight + settings.weight_decay * weight;
            velocity = settings.momentum * velocity + gradient;
            let direction =
                if settings.nesterov { gradient + settings.momentum * velocity } else { velocity };
            weight -= learning_rate * direction;
            weight
        };
        (0..steps).map(update).collect()
    }

    #[test]
    fn follows_the_recurrence() {
        for (momentum, nesterov, weight_decay) in
            [(0.0, false, 0.0), (0.9, false, 0.0), (0.9, true, 0.0), (0.5, false, 0.1)]
        {
            let settings = SgdSettings { momentum, nesterov, weight_decay };
            let want = expected(&settings, 0.1, 50);
            // By tensor operations, and in place.
            for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
                let got = descend(settings.clone(), 0.1, 50, dtype);
                for (got, want) in got.iter().zip(&want) {
                    assert!((got - want).abs() < tolerance, "{dtype:?}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn a_variable_without_a_gradient_keeps_its_value() {
        let used = Var::new(1.0_f64, &Device::Cpu).unwrap();
        let unused = Var::new(2.0_f64, &Device::Cpu).unwrap();
        let settings = SgdSettings { momentum: 0.9, nesterov: false, weight_decay: 0.1 };
        let mut sgd =
            Sgd::new(vec![("b".into(), used.clone()), ("a".into(), unused.clone())], settings);
        sgd.step(&gradients(&used.sqr().unwrap(), &used), 0.1).unwrap();
        assert_eq!(unused.to_scalar::<f64>().unwrap(), 2.0);
        assert!(used.to_scalar::<f64>().unwrap() < 1.0);
    }
}
