//! A forward pass by kernels in candle's graph: one custom op, whose value is there before the op runs
//! (its moments were needed for the update) and whose gradient is the kernels'.
//!
//! An op takes three tensors at most. Where x, gamma, beta and a residual come together, gamma and beta
//! travel packed as `[2, C]`.

use std::sync::Mutex;

use candle::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Shape, Tensor, bail};

use super::Arguments;
use super::saved::Differentiate;
use crate::host::{tensor, vector_of};
use crate::updates::lock;

/// y as a function of the call's tensors.
pub(super) fn attach(
    arguments: &Arguments,
    y: CpuStorage,
    back: Box<dyn Differentiate>,
) -> candle::Result<Tensor> {
    let x = &arguments.x;
    let tracked = |t: &&Tensor| t.track_op();
    let gamma = arguments.gamma.as_ref().filter(tracked);
    let beta = arguments.beta.as_ref().filter(tracked);
    let residual = arguments.residual.as_ref();
    if !(x.track_op()
        || gamma.is_some()
        || beta.is_some()
        || residual.is_some_and(Tensor::track_op))
    {
        return Ok(tensor(y, x.dims()));
    }
    let mut others = Vec::with_capacity(2);
    match (gamma, beta) {
        (Some(gamma), Some(beta)) if residual.is_some() => {
            others.push((Input::Packed, pack(gamma, beta)?));
        }
        _ => {
            others.extend(gamma.map(|gamma| (Input::Gamma, gamma.clone())));
            others.extend(beta.map(|beta| (Input::Beta, beta.clone())));
        }
    }
    // It is needed to find where an activation bends, with or without a gradient of its own.
    others.extend(residual.map(|residual| (Input::Residual, residual.clone())));
    let op = Op {
        y: Mutex::new(Some(y)),
        shape: x.shape().clone(),
        back,
        others: others.iter().map(|(input, _)| *input).collect(),
    };
    match others.as_slice() {
        [] => x.apply_op1(op),
        [(_, one)] => x.apply_op2(one, op),
        [(_, one), (_, two), ..] => x.apply_op3(one, two, op),
    }
}

/// `[2, C]`, in f64 where the two differ in type.
fn pack(gamma: &Tensor, beta: &Tensor) -> candle::Result<Tensor> {
    if gamma.dtype() == beta.dtype() {
        return Tensor::stack(&[gamma, beta], 0);
    }
    let wide = |t: &Tensor| t.to_dtype(DType::F64);
    Tensor::stack(&[wide(gamma)?, wide(beta)?], 0)
}

/// An input of the op beside x.
#[derive(Clone, Copy)]
enum Input {
    Gamma,
    Beta,
    /// Gamma and beta.
    Packed,
    Residual,
}

/// The layer as an op of x and up to two others.
struct Op {
    y: Mutex<Option<CpuStorage>>,
    shape: Shape,
    back: Box<dyn Differentiate>,
    others: Vec<Input>,
}

const NAME: &str = "batch_norm";

impl Op {
    fn value(&self) -> candle::Result<(CpuStorage, Shape)> {
        match lock(&self.y).take() {
            Some(y) => Ok((y, self.shape.clone())),
            None => bail!("{NAME}: applied twice"),
        }
    }

    /// The gradients of x and of the other inputs.
    fn gradients<const N: usize>(
        &self,
        x: &Tensor,
        others: [&Tensor; N],
        y: &Tensor,
        dy: &Tensor,
    ) -> candle::Result<(Option<Tensor>, [Option<Tensor>; N])> {
        let dy = dy.contiguous()?;
        let each = || self.others.iter().zip(others);
        let residual = each().find(|(input, _)| matches!(input, Input::Residual));
        let residual = residual.map(|(_, t)| t);
        let found = self.back.differentiate(x, Some(y), residual, &dy)?;
        let mut gradients = [const { None }; N];
        let mut dv = found.dv;
        for ((input, t), gradient) in each().zip(&mut gradients) {
            *gradient = Some(match input {
                Input::Gamma => vector_of(&found.gamma, t.dtype())?,
                Input::Beta => vector_of(&found.beta, t.dtype())?,
                Input::Packed => {
                    let both = [&found.gamma[..], &found.beta[..]].concat();
                    vector_of(&both, t.dtype())?.reshape(t.dims())?
                }
                Input::Residual => match dv.take() {
                    Some(dv) => tensor(dv, x.dims()),
                    None => dy.clone(),
                },
            });
        }
        Ok((Some(tensor(found.dx, x.dims())), gradients))
    }
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle::Result<(CpuStorage, Shape)> {
        self.value()
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> candle::Result<Option<Tensor>> {
        let (dx, []) = self.gradients(x, [], y, dy)?;
        Ok(dx)
    }
}

impl CustomOp2 for Op {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle::Result<(CpuStorage, Shape)> {
        self.value()
    }

    fn bwd(
        &self,
        x: &Tensor,
        one: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> candle::Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, [one]) = self.gradients(x, [one], y, dy)?;
        Ok((dx, one))
    }
}

impl CustomOp3 for Op {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle::Result<(CpuStorage, Shape)> {
        self.value()
    }

    fn bwd(
        &self,
        x: &Tensor,
        one: &Tensor,
        two: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> candle::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, [one, two]) = self.gradients(x, [one, two], y, dy)?;
        Ok((dx, one, two))
    }
}
