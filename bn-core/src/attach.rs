//! A value computed outside candle's graph, put into it with a gradient of our own.
//!
//! candle builds graph nodes with a gradient only through its custom ops; this one returns a value that
//! is there already, on any device.

use candle::{CpuStorage, CudaStorage, CustomOp1, CustomOp3, Layout, Shape, Storage, Tensor};

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
    x.apply_op1(Attach { name, value: value.detach().contiguous()?, backward: Box::new(backward) })
}

impl CustomOp1 for Attach {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle::Result<(CpuStorage, Shape)> {
        cpu_copy(&self.value)
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> candle::Result<(CudaStorage, Shape)> {
        cuda_copy(&self.value)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle::Result<Option<Tensor>> {
        (self.backward)(grad).map(Some)
    }
}

struct AttachEmpty<F> {
    name: &'static str,
    value: Tensor,
    on_backward: F,
}

/// `value`, which has no elements, as a function of three tensors. Its gradients are zeros; taking them
/// calls `on_backward`. (candle's own ops leave tensors without elements out of the graph.)
pub(crate) fn attach_empty(
    name: &'static str,
    arguments: [&Tensor; 3],
    value: &Tensor,
    on_backward: impl Fn() -> candle::Result<()> + Send + Sync + 'static,
) -> candle::Result<Tensor> {
    let [a, b, c] = arguments;
    let value = value.detach();
    let op = AttachEmpty { name, value, on_backward };
    a.apply_op3(b, c, op)
}

impl<F: Fn() -> candle::Result<()> + Send + Sync> CustomOp3 for AttachEmpty<F> {
    fn name(&self) -> &'static str {
        self.name
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
        cpu_copy(&self.value)
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> candle::Result<(CudaStorage, Shape)> {
        cuda_copy(&self.value)
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> candle::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        (self.on_backward)()?;
        let zeros = |t: &Tensor| t.zeros_like().map(Some);
        Ok((zeros(a)?, zeros(b)?, zeros(c)?))
    }
}

fn cpu_copy(value: &Tensor) -> candle::Result<(CpuStorage, Shape)> {
    let copy = value.copy()?;
    let (storage, _) = copy.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok((storage.clone(), value.shape().clone())),
        _ => candle::bail!("value and arguments are on different devices"),
    }
}

fn cuda_copy(value: &Tensor) -> candle::Result<(CudaStorage, Shape)> {
    use candle::backend::BackendStorage;
    let copy = value.copy()?;
    let (storage, layout) = copy.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, value.shape().clone())),
        _ => candle::bail!("value and arguments are on different devices"),
    }
}
