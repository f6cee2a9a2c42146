//! A custom optimizer whose state is saved in checkpoints: `cargo run --example own_optimizer -- run signs`.

use bn_train::keys::{Key, number};
use bn_train::model::{Gradients, Parameter};
use bn_train::optimizer::{BuildOptimizer, Optimizer};
use bn_train::state::{State, StateError};
use candle::{Result, Tensor};

/// `v = momentum * v + gradient`, `weight -= learning_rate * sign(v)`.
#[derive(Debug)]
struct Signs {
    momentum: f64,
}

#[derive(Debug)]
struct SignsOf {
    momentum: f64,
    parameters: Vec<(Parameter, Tensor)>,
}

impl BuildOptimizer for Signs {
    fn build(&self, parameters: Vec<Parameter>) -> Result<Box<dyn Optimizer>> {
        let trained = parameters.into_iter().filter(|parameter| parameter.is_trained);
        let at_rest = |parameter: Parameter| Ok((parameter.clone(), parameter.var.zeros_like()?));
        let parameters = trained.map(at_rest).collect::<Result<_>>()?;
        Ok(Box::new(SignsOf { momentum: self.momentum, parameters }))
    }
}

impl Optimizer for SignsOf {
    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        for (Parameter { var, .. }, v) in &mut self.parameters {
            let Some(gradient) = gradients.get(var) else { continue };
            *v = ((&*v * self.momentum)? + gradient)?;
            var.set(&(var.as_detached_tensor() - (v.sign()? * learning_rate)?)?)?;
        }
        Ok(())
    }

    fn state(&self) -> std::result::Result<State, StateError> {
        let mut state = State::new();
        for (parameter, v) in &self.parameters {
            state.put_tensor(&parameter.path, v)?;
        }
        Ok(state)
    }

    fn load(&mut self, mut state: State) -> std::result::Result<(), StateError> {
        for (parameter, v) in &mut self.parameters {
            *v = state.take_tensor(&parameter.path, &parameter.var)?;
        }
        state.finish()
    }
}

const EXPERIMENT: &str = "optimizer = { kind = 'signs', learning_rate = 0.002 }
model.hidden = [30]
train = { epochs = 10, evaluate_every = '2 epochs' }
arm = [{ name = 'slow', norm.decay = 0.99 }, { name = 'fast', norm.decay = 0.9 }]";

fn main() -> std::process::ExitCode {
    bn_train::Laboratory::new()
        .optimizer("signs", "steps by the sign of the averaged gradient", |keys| {
            let momentum =
                Key::new("momentum", number().from(0.0).below(1.0), "weight of the old average");
            Some(Signs { momentum: keys.with_default(momentum, 0.9)? })
        })
        .experiment("signs", EXPERIMENT)
        .main()
}
