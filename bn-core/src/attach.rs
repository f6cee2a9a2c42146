//! A value computed outside candle's graph, put into it with a gradient of our own.
//!
//! candle builds graph nodes with a gradient only through its custom ops; this one returns a value that
//! is there already, on any device.

use candle::{CpuStorage, CudaStorage, CustomOp1, Layout, Shape, Storage, Tensor};

type Backward = Box<dyn Fn(&Tensor) -> candle::Result<Tensor> + Send + Sync>;

struct Attach {
    name: &'static str,
    value: Tensor,
    backward: Backward,
}

/// `value` as a function of `x`, whose gradient is `backward` of the value's gradient.
pub(crate) fn attach(
    name: &'static str,
    x: &Tensor,
    value: &Tensor,
    backward: impl Fn(&Tensor) -> candle::Result<Tensor> + Send + Sync + 'static,
) -> candle::Result<Tensor> {
    x.apply_op1(Attach {
        name,
        value: value.detach().contiguous()?,
        backward: Box::new(backward),
    })
}

impl CustomOp1 for Attach {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle::Result<(CpuStorage, Shape)> {
        let copy = self.value.copy()?;
        let (storage, _) = copy.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.clone(), self.value.shape().clone())),
            _ => candle::bail!("{}: value and argument are on different devices", self.name),
        }
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> candle::Result<(CudaStorage, Shape)> {
        use candle::backend::BackendStorage;
        let copy = self.value.copy()?;
        let (storage, layout) = copy.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, self.value.shape().clone())),
            _ => candle::bail!("{}: value and argument are on different devices", self.name),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle::Result<Option<Tensor>> {
        (self.backward)(grad).map(Some)
    }
}
