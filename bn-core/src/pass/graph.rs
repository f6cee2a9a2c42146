//! A forward pass as a node of candle's graph.

use candle::{DType, Tensor, Var};

use super::backward::{Backward, Column};
use super::input::Input;
use super::layer::Parameters;
use crate::error::Result;
use crate::tensors::{self, Value};

/// What an input of the node is to the pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    X,
    Gamma,
    Beta,
    /// gamma and beta, `[2, C]`.
    Packed,
    Residual,
    /// Fills the node, which has three inputs.
    Unused,
}

struct Node {
    backward: Backward,
    slots: [Slot; 3],
}

/// y as a function of those of the call's tensors that require gradients. `forced`: a backward pass has to
/// reach the node even if none of them does.
pub(super) fn attach(
    y: Value,
    backward: Backward,
    input: &Input,
    parameters: &Parameters,
    forced: bool,
) -> Result<Tensor> {
    let tracked = |t: Option<&Tensor>| t.filter(|t| t.track_op()).cloned();
    let residual = tracked(input.residual.as_ref());
    let (gamma, beta) = (tracked(parameters.gamma.as_ref()), tracked(parameters.beta.as_ref()));
    let mut inputs = Vec::with_capacity(4);
    inputs.extend(tracked(Some(&input.x)).map(|x| (Slot::X, x)));
    match (gamma, beta) {
        // candle's ops take three tensors at most.
        (Some(gamma), Some(beta)) if residual.is_some() && !inputs.is_empty() => {
            inputs.push((Slot::Packed, pack(&gamma, &beta)?));
        }
        (gamma, beta) => {
            inputs.extend(gamma.map(|gamma| (Slot::Gamma, gamma)));
            inputs.extend(beta.map(|beta| (Slot::Beta, beta)));
        }
    }
    inputs.extend(residual.map(|residual| (Slot::Residual, residual)));
    if inputs.is_empty() {
        if !forced {
            return Ok(y.into_tensor());
        }
        // The other ranks' gradients go through these statistics, so this rank has to take part in their
        // backward pass although none of its tensors requires a gradient.
        let witness = Var::zeros(1, DType::F32, input.x.device())?;
        inputs.push((Slot::Unused, witness.into_inner()));
    }
    inputs.resize(3, (Slot::Unused, input.x.clone()));
    let slots = std::array::from_fn(|i| inputs[i].0);
    let inputs = std::array::from_fn(|i| &inputs[i].1);
    Ok(y.attach(inputs, Node { backward, slots })?)
}

/// `[2, C]`, in f64 where the two differ in type.
fn pack(gamma: &Tensor, beta: &Tensor) -> candle::Result<Tensor> {
    if gamma.dtype() == beta.dtype() {
        return Tensor::stack(&[gamma, beta], 0);
    }
    let wide = |t: &Tensor| t.to_dtype(DType::F64);
    Tensor::stack(&[wide(gamma)?, wide(beta)?], 0)
}

impl tensors::Gradient for Node {
    fn gradient(
        &self,
        inputs: [&Tensor; 3],
        y: &Tensor,
        dy: &Tensor,
    ) -> candle::Result<[Option<Tensor>; 3]> {
        let of_input = self.slots.iter().any(|slot| matches!(slot, Slot::X | Slot::Residual));
        let mut found = self.backward.gradients(Some(y), dy, of_input)?;
        let mut gradients = [const { None }; 3];
        for ((slot, input), gradient) in self.slots.iter().zip(inputs).zip(&mut gradients) {
            let (dtype, device) = (input.dtype(), input.device());
            let column = |of: &Column| of.tensor(dtype, device)?.reshape(input.dims()).map(Some);
            *gradient = match slot {
                Slot::X => found.dx.take().map(Value::into_tensor),
                Slot::Gamma => column(&found.gamma)?,
                Slot::Beta => column(&found.beta)?,
                Slot::Packed => {
                    let both = found.gamma.joined(&found.beta, dtype, device)?;
                    Some(both.reshape(input.dims())?)
                }
                Slot::Residual => {
                    Some(found.dv.take().map_or_else(|| dy.clone(), Value::into_tensor))
                }
                Slot::Unused => None,
            };
        }
        Ok(gradients)
    }
}
