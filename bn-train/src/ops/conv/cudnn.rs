//! The convolution by cuDNN.
//!
//! f32 is computed in f32, not in TF32, so that results are those of a CPU up to rounding; half floats are summed in f32.
//! Among cuDNN's algorithms, those for the weights' gradient that add in an order of chance are left out, so that runs repeat
//! to the bit.

use super::ConvShape;
use candle::backend::BackendStorage;
use candle::cuda_backend::cudarc::cudnn::sys::{
    cudnnConvolutionBwdDataAlgo_t as DataAlgorithm,
    cudnnConvolutionBwdFilterAlgo_t as FilterAlgorithm,
    cudnnConvolutionFwdAlgo_t as ForwardAlgorithm, cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
    cudnnMathType_t::CUDNN_FMA_MATH, cudnnTensorFormat_t::CUDNN_TENSOR_NCHW,
};
use candle::cuda_backend::cudarc::cudnn::{
    ConvBackwardData, ConvBackwardFilter, ConvDescriptor, ConvForward, Cudnn, CudnnDataType,
    FilterDescriptor, TensorDescriptor,
};
use candle::cuda_backend::cudarc::driver::{CudaSlice, CudaView, DeviceRepr, ValidAsZeroBits};
use candle::cuda_backend::{CudaDType, CudaDevice, CudaStorageSlice, DeviceId};
use candle::{CudaStorage, DType, Error, Layout, Result, Storage, Tensor, WithDType};
use half::bf16;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Whether this module convolves tensors of a type.
pub(super) fn takes(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::BF16)
}

/// A number of cuDNN.
trait Number: CudnnDataType + CudaDType + DeviceRepr + ValidAsZeroBits + WithDType {}

impl Number for f32 {}
impl Number for bf16 {}

thread_local! {
    // Handles are bound to a thread.
    static HANDLES: RefCell<HashMap<DeviceId, Arc<Cudnn>>> = RefCell::default();
}

fn handle(device: &CudaDevice) -> Result<Arc<Cudnn>> {
    HANDLES.with_borrow_mut(|handles| {
        if let Some(found) = handles.get(&device.id()) {
            return Ok(Arc::clone(found));
        }
        let made = Cudnn::new(device.cuda_stream()).map_err(Error::wrap)?;
        handles.insert(device.id(), Arc::clone(&made));
        Ok(made)
    })
}

/// cuDNN's description of a convolution of numbers `T`, which are summed in f32.
struct Described<T> {
    convolution: ConvDescriptor<f32>,
    x: TensorDescriptor<T>,
    weights: FilterDescriptor<T>,
    y: TensorDescriptor<T>,
    device: CudaDevice,
}

impl<T: Number> Described<T> {
    fn new(shape: &ConvShape, device: &CudaDevice) -> Result<Self> {
        let int = |size: usize| size as i32;
        let cudnn = handle(device)?;
        let both = |size: usize| [int(size); 2];
        let mut convolution = cudnn
            .create_conv2d::<f32>(
                both(shape.padding),
                both(shape.stride),
                both(1),
                CUDNN_CROSS_CORRELATION,
            )
            .map_err(Error::wrap)?;
        if T::DTYPE == DType::F32 {
            convolution.set_math_type(CUDNN_FMA_MATH).map_err(Error::wrap)?;
        }
        let tensor = |dims: [usize; 4]| {
            cudnn.create_4d_tensor::<T>(CUDNN_TENSOR_NCHW, dims.map(int)).map_err(Error::wrap)
        };
        let ConvShape { images, inputs, height, width, outputs, kernel, .. } = *shape;
        let (_, _, rows, columns) = shape.output_dims();
        let weights = [outputs, inputs, kernel.0, kernel.1].map(int);
        Ok(Self {
            convolution,
            x: tensor([images, inputs, height, width])?,
            weights: cudnn
                .create_4d_filter::<T>(CUDNN_TENSOR_NCHW, weights)
                .map_err(Error::wrap)?,
            y: tensor([images, outputs, rows, columns])?,
            device: device.clone(),
        })
    }

    fn workspace(&self, bytes: usize) -> Result<CudaSlice<u8>> {
        // cuDNN wants an address, also of nothing.
        self.device.cuda_stream().alloc_zeros(bytes.max(1)).map_err(Error::wrap)
    }

    #[allow(unsafe_code)] // a launch is unsafe
    fn forward(
        &self,
        x: &CudaView<'_, T>,
        weights: &CudaView<'_, T>,
        y: &mut CudaSlice<T>,
    ) -> Result<()> {
        let op = ConvForward { conv: &self.convolution, x: &self.x, w: &self.weights, y: &self.y };
        let algorithm: ForwardAlgorithm = op.pick_algorithm().map_err(Error::wrap)?;
        let mut workspace =
            self.workspace(op.get_workspace_size(algorithm).map_err(Error::wrap)?)?;
        // SAFETY: the memory has the described types and sizes.
        unsafe { op.launch(algorithm, Some(&mut workspace), (T::one(), T::zero()), x, weights, y) }
            .map_err(Error::wrap)
    }

    #[allow(unsafe_code)] // a launch is unsafe
    fn input_gradient(
        &self,
        dy: &CudaView<'_, T>,
        weights: &CudaView<'_, T>,
        dx: &mut CudaSlice<T>,
    ) -> Result<()> {
        let op = ConvBackwardData {
            conv: &self.convolution,
            dx: &self.x,
            w: &self.weights,
            dy: &self.y,
        };
        // Algorithm 0 adds atomically; 1 is the deterministic one that takes every shape.
        let algorithm = match op.pick_algorithm().map_err(Error::wrap)? {
            DataAlgorithm::CUDNN_CONVOLUTION_BWD_DATA_ALGO_0 => {
                DataAlgorithm::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1
            }
            other => other,
        };
        let mut workspace =
            self.workspace(op.get_workspace_size(algorithm).map_err(Error::wrap)?)?;
        // SAFETY: the memory has the described types and sizes.
        unsafe {
            op.launch(algorithm, Some(&mut workspace), (T::one(), T::zero()), dx, weights, dy)
        }
        .map_err(Error::wrap)
    }

    #[allow(unsafe_code)] // a launch is unsafe
    fn weight_gradient(
        &self,
        x: &CudaView<'_, T>,
        dy: &CudaView<'_, T>,
        dw: &mut CudaSlice<T>,
    ) -> Result<()> {
        let op = ConvBackwardFilter {
            conv: &self.convolution,
            x: &self.x,
            dw: &self.weights,
            dy: &self.y,
        };
        // Algorithms 0 and 3 add atomically; 1 is the deterministic one that takes every shape.
        let algorithm = match op.pick_algorithm().map_err(Error::wrap)? {
            FilterAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0
            | FilterAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3 => {
                FilterAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1
            }
            other => other,
        };
        let mut workspace =
            self.workspace(op.get_workspace_size(algorithm).map_err(Error::wrap)?)?;
        // SAFETY: the memory has the described types and sizes.
        unsafe { op.launch(algorithm, Some(&mut workspace), (T::one(), T::zero()), x, dw, dy) }
            .map_err(Error::wrap)
    }
}

/// What a convolution of two operands computes into new memory.
#[derive(Clone, Copy)]
enum Product {
    Forward,
    InputGradient,
    WeightGradient,
}

/// The product of two contiguous operands, `elements` numbers.
fn product(
    product: Product,
    shape: &ConvShape,
    (a, a_layout): (&CudaStorage, &Layout),
    (b, b_layout): (&CudaStorage, &Layout),
    elements: usize,
) -> Result<CudaStorage> {
    let device = a.device().clone();
    if !a_layout.is_contiguous() || !b_layout.is_contiguous() {
        candle::bail!("conv2d: expected contiguous tensors, got {a_layout:?} and {b_layout:?}");
    }
    macro_rules! compute {
        ($a:ident, $b:ident, $t:ty) => {{
            let described = Described::<$t>::new(shape, &device)?;
            let (a, b) = ($a.slice(a_layout.start_offset()..), $b.slice(b_layout.start_offset()..));
            // SAFETY: cuDNN writes every element.
            #[allow(unsafe_code)] // zeroing it would be another pass over memory
            let mut to = unsafe { device.alloc::<$t>(elements)? };
            match product {
                Product::Forward => described.forward(&a, &b, &mut to)?,
                Product::InputGradient => described.input_gradient(&a, &b, &mut to)?,
                Product::WeightGradient => described.weight_gradient(&a, &b, &mut to)?,
            }
            Ok(CudaStorage::wrap_cuda_slice(to, device.clone()))
        }};
    }
    match (&a.slice, &b.slice) {
        (CudaStorageSlice::F32(a), CudaStorageSlice::F32(b)) => compute!(a, b, f32),
        (CudaStorageSlice::BF16(a), CudaStorageSlice::BF16(b)) => compute!(a, b, bf16),
        _ => candle::bail!("conv2d: types {:?} and {:?}", a.dtype(), b.dtype()),
    }
}

pub(super) fn forward(
    shape: &ConvShape,
    x: (&CudaStorage, &Layout),
    weights: (&CudaStorage, &Layout),
) -> Result<CudaStorage> {
    let (images, outputs, rows, columns) = shape.output_dims();
    product(Product::Forward, shape, x, weights, images * outputs * rows * columns)
}

pub(super) fn input_gradient(shape: &ConvShape, dy: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let dims = (shape.images, shape.inputs, shape.height, shape.width);
    of_tensors(Product::InputGradient, shape, dy, weights, dims)
}

pub(super) fn weight_gradient(shape: &ConvShape, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let dims = (shape.outputs, shape.inputs, shape.kernel.0, shape.kernel.1);
    of_tensors(Product::WeightGradient, shape, x, dy, dims)
}

fn of_tensors(
    which: Product,
    shape: &ConvShape,
    a: &Tensor,
    b: &Tensor,
    dims: (usize, usize, usize, usize),
) -> Result<Tensor> {
    let ((a, a_layout), (b, b_layout)) = (a.storage_and_layout(), b.storage_and_layout());
    let (Storage::Cuda(a), Storage::Cuda(b)) = (&*a, &*b) else {
        candle::bail!("conv2d: expected tensors on the GPU");
    };
    let elements = dims.0 * dims.1 * dims.2 * dims.3;
    let storage = product(which, shape, (a, a_layout), (b, b_layout), elements)?;
    let none = candle::op::BackpropOp::none();
    Ok(Tensor::from_storage(Storage::Cuda(storage), dims, none, false))
}
