//! The convolution by cuDNN.
//!
//! f32 is computed in f32, not in TF32, so that results are those of a CPU up to rounding; half floats are summed in f32.
//! Among cuDNN's algorithms, those for the weights' gradient that add in an order of chance are left out, so that runs repeat
//! to the bit.

use super::ConvShape;
use crate::ops::gpu::tensor;
use candle::backend::BackendStorage;
use candle::cuda_backend::cudarc::cudnn::sys::{
    cudnnConvolutionBwdDataAlgo_t as DataAlgorithm,
    cudnnConvolutionBwdFilterAlgo_t as FilterAlgorithm,
    cudnnConvolutionFwdAlgo_t as ForwardAlgorithm, cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
    cudnnMathType_t as Math, cudnnTensorFormat_t::CUDNN_TENSOR_NCHW,
};
use candle::cuda_backend::cudarc::cudnn::{
    ConvBackwardData, ConvBackwardFilter, ConvDescriptor, ConvForward, Cudnn, CudnnDataType,
    CudnnError, FilterDescriptor, TensorDescriptor,
};
use candle::cuda_backend::cudarc::driver::{CudaSlice, CudaView, DeviceRepr, ValidAsZeroBits};
use candle::cuda_backend::{CudaDType, CudaDevice, CudaStorageSlice, DeviceId};
use candle::{DType, Error, Result, Storage, Tensor, WithDType};
use half::bf16;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::LocalKey;

/// Whether this module convolves tensors of a type.
pub(super) fn takes(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::BF16)
}

/// Bytes that an algorithm may use besides its operands. One that wants more gives way to a slower one that needs little.
const WORKSPACE: usize = 1 << 30;

/// What is known of each convolution on each device.
type Known<T> = RefCell<HashMap<(DeviceId, ConvShape), Rc<Convolution<T>>>>;

thread_local! {
    // A handle belongs to a thread, and so does what is described by it.
    static HANDLES: RefCell<HashMap<DeviceId, Arc<Cudnn>>> = RefCell::default();
    static OF_F32: Known<f32> = RefCell::default();
    static OF_BF16: Known<bf16> = RefCell::default();
}

/// A number of cuDNN.
trait Number: CudnnDataType + CudaDType + DeviceRepr + ValidAsZeroBits + WithDType {
    /// How it may be multiplied.
    const MATH: Math;

    fn known() -> &'static LocalKey<Known<Self>>;
}

impl Number for f32 {
    // Not in TF32.
    const MATH: Math = Math::CUDNN_FMA_MATH;

    fn known() -> &'static LocalKey<Known<Self>> {
        &OF_F32
    }
}

impl Number for bf16 {
    const MATH: Math = Math::CUDNN_TENSOR_OP_MATH;

    fn known() -> &'static LocalKey<Known<Self>> {
        &OF_BF16
    }
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

/// An algorithm, and the bytes it uses besides its operands.
type Choice<A> = OnceCell<(A, usize)>;

/// cuDNN's description of a convolution of numbers `T`, which are summed in f32, and the algorithms for it, each chosen when
/// it is first needed.
struct Convolution<T> {
    convolution: ConvDescriptor<f32>,
    x: TensorDescriptor<T>,
    weights: FilterDescriptor<T>,
    y: TensorDescriptor<T>,
    device: CudaDevice,
    forward: Choice<ForwardAlgorithm>,
    input_gradient: Choice<DataAlgorithm>,
    weight_gradient: Choice<FilterAlgorithm>,
}

impl<T: Number> Convolution<T> {
    fn of(shape: &ConvShape, device: &CudaDevice) -> Result<Rc<Self>> {
        let key = (device.id(), *shape);
        if let Some(found) = T::known().with_borrow(|known| known.get(&key).cloned()) {
            return Ok(found);
        }
        let made = Rc::new(Self::described(shape, device)?);
        T::known().with_borrow_mut(|known| known.insert(key, Rc::clone(&made)));
        Ok(made)
    }

    fn described(shape: &ConvShape, device: &CudaDevice) -> Result<Self> {
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
        convolution.set_math_type(T::MATH).map_err(Error::wrap)?;
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
            forward: OnceCell::new(),
            input_gradient: OnceCell::new(),
            weight_gradient: OnceCell::new(),
        })
    }

    #[allow(unsafe_code)] // a launch is unsafe
    fn forward(
        &self,
        x: &CudaView<'_, T>,
        weights: &CudaView<'_, T>,
        y: &mut CudaSlice<T>,
    ) -> Result<()> {
        let op = ConvForward { conv: &self.convolution, x: &self.x, w: &self.weights, y: &self.y };
        let (algorithm, bytes) = chosen(
            &self.forward,
            || op.pick_algorithm(),
            ForwardAlgorithm::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
            |algorithm| op.get_workspace_size(algorithm),
        )?;
        let mut workspace = workspace(&self.device, bytes)?;
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
        // Algorithm 0 adds atomically; 1 repeats to the bit and takes every shape.
        let safe = DataAlgorithm::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
        let fastest = || match op.pick_algorithm()? {
            DataAlgorithm::CUDNN_CONVOLUTION_BWD_DATA_ALGO_0 => Ok(safe),
            other => Ok(other),
        };
        let (algorithm, bytes) = chosen(&self.input_gradient, fastest, safe, |algorithm| {
            op.get_workspace_size(algorithm)
        })?;
        let mut workspace = workspace(&self.device, bytes)?;
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
        // Algorithms 0 and 3 add atomically; 1 repeats to the bit and takes every shape.
        let safe = FilterAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;
        let fastest = || match op.pick_algorithm()? {
            FilterAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0
            | FilterAlgorithm::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3 => Ok(safe),
            other => Ok(other),
        };
        let (algorithm, bytes) = chosen(&self.weight_gradient, fastest, safe, |algorithm| {
            op.get_workspace_size(algorithm)
        })?;
        let mut workspace = workspace(&self.device, bytes)?;
        // SAFETY: the memory has the described types and sizes.
        unsafe { op.launch(algorithm, Some(&mut workspace), (T::one(), T::zero()), x, dw, dy) }
            .map_err(Error::wrap)
    }
}

/// The algorithm of a convolution: the `fastest` one, or the `safe` one where that wants too many `bytes`.
fn chosen<A: Copy>(
    choice: &Choice<A>,
    fastest: impl FnOnce() -> std::result::Result<A, CudnnError>,
    safe: A,
    bytes: impl Fn(A) -> std::result::Result<usize, CudnnError>,
) -> Result<(A, usize)> {
    if let Some(&known) = choice.get() {
        return Ok(known);
    }
    let algorithm = fastest().map_err(Error::wrap)?;
    let wanted = bytes(algorithm).map_err(Error::wrap)?;
    let found = match wanted {
        0..=WORKSPACE => (algorithm, wanted),
        _ => (safe, bytes(safe).map_err(Error::wrap)?),
    };
    Ok(*choice.get_or_init(|| found))
}

#[allow(unsafe_code)] // zeroing it would be a pass over memory
fn workspace(device: &CudaDevice, bytes: usize) -> Result<CudaSlice<u8>> {
    // SAFETY: what is in it when an algorithm starts does not matter. cuDNN wants an address, also of nothing.
    unsafe { device.alloc(bytes.max(1)) }
}

/// What a convolution of two operands computes into new memory.
#[derive(Clone, Copy)]
enum Product {
    Forward,
    InputGradient,
    WeightGradient,
}

/// The product of two contiguous operands, of these dimensions.
fn product(
    product: Product,
    shape: &ConvShape,
    a: &Tensor,
    b: &Tensor,
    dims: (usize, usize, usize, usize),
) -> Result<Tensor> {
    let device = a.device().as_cuda_device()?.clone();
    if shape.images == 0 {
        // cuDNN describes no empty tensor. The sum over no images is zero.
        return Tensor::zeros(dims, a.dtype(), a.device());
    }
    let ((a, a_layout), (b, b_layout)) = (a.storage_and_layout(), b.storage_and_layout());
    let (Storage::Cuda(a), Storage::Cuda(b)) = (&*a, &*b) else {
        candle::bail!("convolution: expected tensors on the GPU");
    };
    if !a_layout.is_contiguous() || !b_layout.is_contiguous() {
        candle::bail!("convolution: expected contiguous tensors, got {a_layout:?}, {b_layout:?}");
    }
    macro_rules! compute {
        ($a:ident, $b:ident, $t:ty) => {{
            let convolution = Convolution::<$t>::of(shape, &device)?;
            let (a, b) = ($a.slice(a_layout.start_offset()..), $b.slice(b_layout.start_offset()..));
            // SAFETY: cuDNN writes every element.
            #[allow(unsafe_code)] // zeroing it would be another pass over memory
            let mut to = unsafe { device.alloc::<$t>(dims.0 * dims.1 * dims.2 * dims.3)? };
            match product {
                Product::Forward => convolution.forward(&a, &b, &mut to)?,
                Product::InputGradient => convolution.input_gradient(&a, &b, &mut to)?,
                Product::WeightGradient => convolution.weight_gradient(&a, &b, &mut to)?,
            }
            Ok(tensor(to, dims, &device))
        }};
    }
    match (&a.slice, &b.slice) {
        (CudaStorageSlice::F32(a), CudaStorageSlice::F32(b)) => compute!(a, b, f32),
        (CudaStorageSlice::BF16(a), CudaStorageSlice::BF16(b)) => compute!(a, b, bf16),
        _ => candle::bail!("convolution: types {:?} and {:?}", a.dtype(), b.dtype()),
    }
}

pub(super) fn forward(shape: &ConvShape, x: &Tensor, weights: &Tensor) -> Result<Tensor> {
    product(Product::Forward, shape, x, weights, shape.output_dims())
}

pub(super) fn input_gradient(shape: &ConvShape, dy: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let dims = (shape.images, shape.inputs, shape.height, shape.width);
    product(Product::InputGradient, shape, dy, weights, dims)
}

pub(super) fn weight_gradient(shape: &ConvShape, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let dims = (shape.outputs, shape.inputs, shape.kernel.0, shape.kernel.1);
    product(Product::WeightGradient, shape, x, dy, dims)
}
