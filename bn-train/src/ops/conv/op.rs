//! The convolution as an operation of candle's graph.

#[cfg(feature = "cudnn")]
use super::cudnn;
use super::{ConvShape, forward, input_gradient, tensors, weight_gradient};
use crate::ops::buffer::{Numbers, is_plain, tensor};
use candle::backend::BackendStorage;
use candle::{CpuStorage, CudaStorage, CustomOp2, Layout, Result, Shape, Storage, Tensor};

/// Convolution of `x`, `[N, inputs, height, width]`, with `weights`, `[outputs, inputs, rows, columns]`, with gradients by
/// both: by this crate's kernels for f32 on the CPU, by cuDNN on an NVIDIA GPU with the feature `cudnn`, and by matrix
/// products otherwise.
///
/// # Errors
/// The shapes do not fit together, or the kernel does not fit into the image.
pub fn conv2d(x: &Tensor, weights: &Tensor, padding: usize, stride: usize) -> Result<Tensor> {
    let shape = conv_shape(x.dims4()?, weights.dims4()?, padding, stride)?;
    let (x, weights) = (x.contiguous()?, weights.contiguous()?);
    let by_kernels = is_plain(&x) && is_plain(&weights);
    let y = if by_kernels || by_cudnn(&x) {
        None
    } else {
        Some(tensors::forward(&shape, &x.detach(), &weights.detach())?)
    };
    x.apply_op2(&weights, Conv2d { shape, y })
}

/// Whether cuDNN convolves images like x.
fn by_cudnn(x: &Tensor) -> bool {
    #[cfg(feature = "cudnn")]
    return x.device().is_cuda() && cudnn::takes(x.dtype());
    #[cfg(not(feature = "cudnn"))]
    {
        let _ = x;
        false
    }
}

/// The shape of a convolution of tensors with these dimensions.
///
/// # Errors
/// The dimensions do not fit together.
pub(crate) fn conv_shape(
    x: (usize, usize, usize, usize),
    weights: (usize, usize, usize, usize),
    padding: usize,
    stride: usize,
) -> Result<ConvShape> {
    let shape = ConvShape {
        images: x.0,
        inputs: x.1,
        height: x.2,
        width: x.3,
        outputs: weights.0,
        kernel: (weights.2, weights.3),
        stride,
        padding,
    };
    if weights.1 != x.1 || stride == 0 || shape.output().is_none() || x.1 * weights.0 == 0 {
        candle::bail!(
            "conv2d: images {x:?}, weights {weights:?}, padding {padding}, stride {stride} do not fit together"
        );
    }
    Ok(shape)
}

struct Conv2d {
    shape: ConvShape,
    /// The result, where tensor operations have computed it.
    y: Option<Tensor>,
}

impl Conv2d {
    /// A copy of the result, since a tensor shares its memory; `None` where it is yet to be computed.
    fn computed<T>(&self, storage: impl Fn(&Storage) -> Option<T>) -> Option<(T, Shape)> {
        let y = self.y.as_ref()?;
        let (found, _) = y.storage_and_layout();
        Some((storage(&found)?, y.shape().clone()))
    }
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let copy = |storage: &Storage| match storage {
            Storage::Cpu(storage) => Some(storage.clone()),
            _ => None,
        };
        if let Some(y) = self.computed(copy) {
            return Ok(y);
        }
        let range = |layout: &Layout| match layout.contiguous_offsets() {
            Some((start, end)) => Ok(start..end),
            None => candle::bail!("conv2d: expected a contiguous tensor, got {layout:?}"),
        };
        let x = &x.as_slice::<f32>()?[range(x_layout)?];
        let weights = &weights.as_slice::<f32>()?[range(weights_layout)?];
        let y = forward(&self.shape, x, weights);
        Ok((CpuStorage::F32(y), self.shape.output_dims().into()))
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weights: &CudaStorage,
        weights_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        #[cfg(feature = "cudnn")]
        if self.y.is_none() {
            let y = cudnn::forward(&self.shape, (x, x_layout), (weights, weights_layout))?;
            return Ok((y, self.shape.output_dims().into()));
        }
        let dims = (self.shape.output_dims(), x.dtype(), weights.dtype());
        let copy = |storage: &Storage| match storage {
            Storage::Cuda(storage) => Some(storage.try_clone(&Layout::contiguous(dims.0))),
            _ => None,
        };
        match self.computed(copy) {
            Some((y, shape)) => Ok((y?, shape)),
            None => {
                candle::bail!("conv2d: no result for {dims:?}, {x_layout:?}, {weights_layout:?}")
            }
        }
    }

    fn bwd(
        &self,
        x: &Tensor,
        weights: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (shape, dy) = (&self.shape, dy.contiguous()?);
        // Data has no gradient.
        let wants = (x.track_op(), weights.track_op());
        if self.y.is_some() {
            let (x, weights) = (x.detach(), weights.detach());
            let dx = wants.0.then(|| tensors::input_gradient(shape, &dy, &weights));
            let dw = wants.1.then(|| tensors::weight_gradient(shape, &x, &dy));
            return Ok((dx.transpose()?, dw.transpose()?));
        }
        #[cfg(feature = "cudnn")]
        if x.device().is_cuda() {
            let dx = wants.0.then(|| cudnn::input_gradient(shape, &dy, weights));
            let dw = wants.1.then(|| cudnn::weight_gradient(shape, x, &dy));
            return Ok((dx.transpose()?, dw.transpose()?));
        }
        let dy = Numbers::of(&dy)?;
        let dx = wants.0.then(|| {
            Numbers::of(weights).and_then(|w| tensor(input_gradient(shape, &dy, &w), x.dims()))
        });
        let dw = wants.1.then(|| {
            Numbers::of(x).and_then(|x| tensor(weight_gradient(shape, &x, &dy), weights.dims()))
        });
        Ok((dx.transpose()?, dw.transpose()?))
    }
}
