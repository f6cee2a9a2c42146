//! Stochastic gradient descent with momentum, over variables in the order of their names.
//!
//! `velocity = momentum * velocity + gradient (+ weight_decay * weight)`, `weight -= learning_rate * velocity`, as in
//! `PyTorch` and TensorFlow's `MomentumOptimizer`. candle-nn's own optimizer has no momentum.

use candle::backprop::GradStore;
use candle::{Result, Tensor, Var};

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

/// The optimizer of one run: its variables, and a velocity for each.
#[derive(Debug)]
pub struct Sgd {
    settings: SgdSettings,
    variables: Vec<(Var, Option<Tensor>)>,
}

impl Sgd {
    /// An optimizer of `variables`, taken in the order of their names.
    pub fn new(mut variables: Vec<(String, Var)>, settings: SgdSettings) -> Self {
        variables.sort_by(|(left, _), (right, _)| left.cmp(right));
        Self {
            settings,
            variables: variables
                .into_iter()
                .map(|(_, variable)| (variable, None))
                .collect(),
        }
    }

    /// One update by `gradients`; a variable without a gradient keeps its value.
    ///
    /// # Errors
    /// What candle's tensor operations report.
    pub fn step(&mut self, gradients: &GradStore, learning_rate: f64) -> Result<()> {
        let SgdSettings {
            momentum,
            nesterov,
            weight_decay,
        } = self.settings;
        for (variable, velocity) in &mut self.variables {
            let Some(gradient) = gradients.get(variable) else {
                continue;
            };
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
            let direction = if nesterov {
                (gradient + (&next * momentum)?)?
            } else {
                next.clone()
            };
            variable.set(&(weight - (direction * learning_rate)?)?)?;
            *velocity = Some(next);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Device;

    /// Weights after each of `steps` updates on `loss = weight² / 2`, whose gradient is the weight itself.
    fn descend(settings: SgdSettings, learning_rate: f64, steps: usize) -> Vec<f64> {
        let weight = Var::new(1.0_f64, &Device::Cpu).unwrap();
        let mut sgd = Sgd::new(vec![("weight".into(), weight.clone())], settings);
        let update = |_| {
            let loss = (weight.sqr().unwrap() * 0.5).unwrap();
            sgd.step(&loss.backward().unwrap(), learning_rate).unwrap();
            weight.to_scalar::<f64>().unwrap()
        };
        (0..steps).map(update).collect()
    }

    /// The same recurrence in plain numbers.
    fn expected(settings: &SgdSettings, learning_rate: f64, steps: usize) -> Vec<f64> {
        let (mut weight, mut velocity) = (1.0_f64, 0.0);
        let update = |_| {
            let gradient = weight + settings.weight_decay * weight;
            velocity = settings.momentum * velocity + gradient;
            let direction = if settings.nesterov {
                gradient + settings.momentum * velocity
            } else {
                velocity
            };
            weight -= learning_rate * direction;
            weight
        };
        (0..steps).map(update).collect()
    }

    #[test]
    fn follows_the_recurrence() {
        for (momentum, nesterov, weight_decay) in [
            (0.0, false, 0.0),
            (0.9, false, 0.0),
            (0.9, true, 0.0),
            (0.5, false, 0.1),
        ] {
            let settings = SgdSettings {
                momentum,
                nesterov,
                weight_decay,
            };
            let want = expected(&settings, 0.1, 50);
            for (got, want) in descend(settings, 0.1, 50).iter().zip(want) {
                assert!((got - want).abs() < 1e-12, "{got} {want}");
            }
        }
    }

    #[test]
    fn a_variable_without_a_gradient_keeps_its_value() {
        let used = Var::new(1.0_f64, &Device::Cpu).unwrap();
        let unused = Var::new(2.0_f64, &Device::Cpu).unwrap();
        let settings = SgdSettings {
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.1,
        };
        let mut sgd = Sgd::new(
            vec![("b".into(), used.clone()), ("a".into(), unused.clone())],
            settings,
        );
        sgd.step(&used.sqr().unwrap().backward().unwrap(), 0.1)
            .unwrap();
        assert_eq!(unused.to_scalar::<f64>().unwrap(), 2.0);
        assert!(used.to_scalar::<f64>().unwrap() < 1.0);
    }
}
