//! A forward pass by kernels in candle's graph: one custom op, whose value is there before the op runs
//! (its moments were needed for the update) and whose gradient is the kernels'.
//!
//! An op takes three tensors at most, so gamma and beta travel packed as `[2, C]`.

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
    let Arguments {
        x,
        gamma,
        beta,
        residual,
    } = arguments;
    let tracked = |t: &Option<Tensor>| t.as_ref().is_some_and(Tensor::track_op);
    if !(x.track_op() || tracked(gamma) || tracked(beta) || tracked(residual)) {
        return Ok(tensor(y, x.dims()));
    }
    let packed = match (gamma, beta) {
        _ if !(tracked(gamma) || tracked(beta)) => None,
        (Some(gamma), Some(beta)) => Some(pack(gamma, beta)?),
        (one, other) => one.clone().or(other.clone()),
    };
    let op = Op {
        y: Mutex::new(Some(y)),
        shape: x.shape().clone(),
        back,
        gamma: gamma.is_some(),
        beta: beta.is_some(),
    };
    match (packed, residual) {
        (None, None) => x.apply_op1(One(op)),
        (Some(packed), None) => x.apply_op2(&packed, Affine(op)),
        (None, Some(residual)) => x.apply_op2(residual, Residual(op)),
        (Some(packed), Some(residual)) => x.apply_op3(&packed, residual, op),
    }
}

/// `[2, C]`, in f64 where the two differ in type.
fn pack(gamma: &Tensor, beta: &Tensor) -> candle::Result<Tensor> {
    if gamma.dtype() == beta.dtype() {
        return Tensor::stack(&[gamma, beta], 0);
    }
    Tensor::stack(
        &[gamma.to_dtype(DType::F64)?, beta.to_dtype(DType::F64)?],
        0,
    )
}

/// x, gamma and beta, residual.
struct Op {
    y: Mutex<Option<CpuStorage>>,
    shape: Shape,
    back: Box<dyn Differentiate>,
    gamma: bool,
    beta: bool,
}

/// x alone.
struct One(Op);

/// x, gamma and beta.
struct Affine(Op);

/// x and residual.
struct Residual(Op);

const NAME: &str = "batch_norm";

impl Op {
    fn value(&self) -> candle::Result<(CpuStorage, Shape)> {
        match lock(&self.y).take() {
            Some(y) => Ok((y, self.shape.clone())),
            None => bail!("{NAME}: applied twice"),
        }
    }

    /// Gradients of x, of what is packed, of the residual.
    fn gradients(
        &self,
        x: &Tensor,
        packed: Option<&Tensor>,
        residual: Option<&Tensor>,
        dy: &Tensor,
    ) -> candle::Result<[Option<Tensor>; 3]> {
        let dy = dy.contiguous()?;
        let with_dv = residual.is_some() && !self.back.passes_dy_on();
        let found = self.back.differentiate(x, residual, &dy, with_dv)?;
        let packed = match packed {
            None => None,
            Some(packed) => {
                let mut values = Vec::with_capacity(packed.elem_count());
                if self.gamma {
                    values.extend(&found.gamma);
                }
                if self.beta {
                    values.extend(&found.beta);
                }
                Some(vector_of(&values, packed.dtype())?.reshape(packed.dims())?)
            }
        };
        let residual = match (residual, found.dv) {
            (None, _) => None,
            (Some(_), Some(dv)) => Some(tensor(dv, x.dims())),
            (Some(_), None) => Some(dy),
        };
        Ok([Some(tensor(found.dx, x.dims())), packed, residual])
    }
}

impl CustomOp1 for One {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle::Result<(CpuStorage, Shape)> {
        self.0.value()
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> candle::Result<Option<Tensor>> {
        let [dx, _, _] = self.0.gradients(x, None, None, dy)?;
        Ok(dx)
    }
}

impl CustomOp2 for Affine {
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
        self.0.value()
    }

    fn bwd(
        &self,
        x: &Tensor,
        packed: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> candle::Result<(Option<Tensor>, Option<Tensor>)> {
        let [dx, packed, _] = self.0.gradients(x, Some(packed), None, dy)?;
        Ok((dx, packed))
    }
}

impl CustomOp2 for Residual {
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
        self.0.value()
    }

    fn bwd(
        &self,
        x: &Tensor,
        residual: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> candle::Result<(Option<Tensor>, Option<Tensor>)> {
        let [dx, _, residual] = self.0.gradients(x, None, Some(residual), dy)?;
        Ok((dx, residual))
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
        packed: &Tensor,
        residual: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> candle::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, packed, residual] = self.gradients(x, Some(packed), Some(residual), dy)?;
        Ok((dx, packed, residual))
    }
}
