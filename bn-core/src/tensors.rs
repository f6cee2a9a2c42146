//! Tensors and their values: read and written in place, built without zeroing, and attached to candle's graph with
//! their own gradient. The only file that knows candle's storages.

#[cfg(feature = "cuda")]
pub(crate) mod cuda;

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle::{
    CpuStorage, CudaStorage, CustomOp3, DType, Device, InplaceOp1, Layout, MetalStorage, Result,
    Shape, Storage, Tensor, Var, bail,
};
use half::{bf16, f16};
use pulp::{Arch, Simd, WithSimd};

/// Locks, even after another thread panicked: values behind these locks are replaced by one assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An element type of tensors on the CPU.
pub(crate) trait Stored: Copy {
    fn slice(storage: &CpuStorage) -> Option<&[Self]>;
    fn storage(values: Vec<Self>) -> CpuStorage;
    fn nan() -> Self;
}

macro_rules! stored {
    ($($t:ident $dtype:ident $nan:expr),*) => {$(
        impl Stored for $t {
            fn slice(storage: &CpuStorage) -> Option<&[Self]> {
                if let CpuStorage::$dtype(values) = storage { Some(values) } else { None }
            }
            fn storage(values: Vec<Self>) -> CpuStorage {
                CpuStorage::$dtype(values)
            }
            fn nan() -> Self {
                $nan
            }
        }
    )*};
}

stored!(f32 F32 f32::NAN, f64 F64 f64::NAN, f16 F16 f16::NAN, bf16 BF16 bf16::NAN, i64 I64 i64::MIN);

/// A tensor's values, locked for reading; `None` unless it is contiguous, on the CPU, and of type `T`.
pub(crate) fn slice<T: Stored>(t: &Tensor) -> Option<impl Deref<Target = [T]>> {
    let (storage, layout) = t.storage_and_layout();
    let (start, end) = layout.contiguous_offsets()?;
    let slice = Slice { storage, range: start..end, element: PhantomData };
    slice.get().is_some().then_some(slice)
}

struct Slice<S, T> {
    storage: S,
    range: Range<usize>,
    element: PhantomData<T>,
}

impl<S: Deref<Target = Storage>, T: Stored> Slice<S, T> {
    fn get(&self) -> Option<&[T]> {
        match &*self.storage {
            Storage::Cpu(storage) => T::slice(storage)?.get(self.range.clone()),
            _ => None,
        }
    }
}

impl<S: Deref<Target = Storage>, T: Stored> Deref for Slice<S, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.get().unwrap_or_default()
    }
}

/// A tensor's values as f64, in order. Waits for the device, unless that is the CPU.
pub(crate) fn values(t: &Tensor) -> Result<Vec<f64>> {
    if t.elem_count() == 0 {
        return Ok(Vec::new()); // candle launches no kernel without threads, but fails
    }
    if let Some(single) = slice::<f32>(t) {
        let mut wide = vec![0.0; single.len()];
        convert(&single, &mut wide, f64::from);
        return Ok(wide);
    }
    match slice::<f64>(t) {
        Some(values) => Ok(values.to_vec()),
        None => t.detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1(),
    }
}

/// A `[len]` tensor of f64 values in another type.
pub(crate) fn vector(values: &[f64], dtype: DType, device: &Device) -> Result<Tensor> {
    match (dtype, device) {
        (DType::F64, Device::Cpu) => Ok(from_values(values.to_vec(), values.len())),
        (DType::F32, Device::Cpu) => {
            let mut narrow = vec![0f32; values.len()];
            convert(values, &mut narrow, |v| v as f32);
            Ok(from_values(narrow, values.len()))
        }
        _ => Tensor::from_slice(values, values.len(), device)?.to_dtype(dtype),
    }
}

/// A CPU tensor outside the graph.
pub(crate) fn from_values<T: Stored>(values: Vec<T>, shape: impl Into<Shape>) -> Tensor {
    Value::new(values, shape.into()).into_tensor()
}

/// Writes values to a variable, rounded to its type.
pub(crate) fn write(var: &Var, new: &[f64]) -> Result<()> {
    if var.device().is_cpu() {
        return var.inplace_op1(&Write(new));
    }
    let new = Tensor::from_slice(new, new.len(), var.device())?.to_dtype(var.dtype())?;
    var.set(&new.reshape(var.dims())?)
}

struct Write<'a>(&'a [f64]);

impl InplaceOp1 for Write<'_> {
    fn name(&self) -> &'static str {
        "write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets().filter(|(s, e)| e - s == self.0.len())
        else {
            bail!("a statistic is not contiguous");
        };
        match storage {
            CpuStorage::F32(to) => convert(self.0, &mut to[start..end], |v| v as f32),
            CpuStorage::F64(to) => to[start..end].copy_from_slice(self.0),
            CpuStorage::I64(to) => convert(self.0, &mut to[start..end], |v| v as i64),
            _ => bail!("a statistic must be f32, f64 or i64"),
        }
        Ok(())
    }
}

/// Converts each value, in the machine's widest vectors.
fn convert<A: Copy, B>(from: &[A], to: &mut [B], one: impl Fn(A) -> B) {
    Arch::new().dispatch(Convert { from, to, one });
}

struct Convert<'a, A, B, F> {
    from: &'a [A],
    to: &'a mut [B],
    one: F,
}

impl<A: Copy, B, F: Fn(A) -> B> WithSimd for Convert<'_, A, B, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (to, v) in self.to.iter_mut().zip(self.from) {
            *to = (self.one)(*v);
        }
    }
}

/// Room for `len` values, not zeroed: that would be another pass over memory.
pub(crate) fn room<T: Stored>(len: usize) -> Box<[MaybeUninit<T>]> {
    let mut room = Box::new_uninit_slice(len);
    if cfg!(debug_assertions) {
        // In tests, an element that was not written is NaN.
        room.fill(MaybeUninit::new(T::nan()));
    }
    room
}

/// The result of a computation outside candle's graph, not yet a tensor.
pub(crate) struct Value {
    storage: Storage,
    shape: Shape,
}

impl Value {
    pub(crate) fn new<T: Stored>(values: Vec<T>, shape: Shape) -> Self {
        Self { storage: Storage::Cpu(T::storage(values)), shape }
    }

    /// A copy of a tensor's values, since a tensor shares its storage.
    pub(crate) fn of(t: &Tensor) -> Result<Self> {
        let (storage, layout) = t.storage_and_layout();
        if layout.is_contiguous() && layout.start_offset() == 0 {
            return Ok(Self { storage: storage.try_clone(layout)?, shape: t.shape().clone() });
        }
        drop(storage);
        Self::of(&t.force_contiguous()?)
    }

    pub(crate) fn into_tensor(self) -> Tensor {
        Tensor::from_storage(self.storage, self.shape, candle::op::BackpropOp::none(), false)
    }

    /// The value as a function of three tensors, whose gradients are `gradient`'s.
    pub(crate) fn attach(self, [a, b, c]: [&Tensor; 3], gradient: impl Gradient) -> Result<Tensor> {
        a.apply_op3(b, c, Node { value: Mutex::new(Some(self)), gradient })
    }
}

/// The gradient of a value that was [attached](Value::attach) to a graph.
pub(crate) trait Gradient: Send + Sync + 'static {
    /// The gradient of each input, in order; `None` for an input that gets none.
    fn gradient(
        &self,
        inputs: [&Tensor; 3],
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<[Option<Tensor>; 3]>;
}

/// candle builds graph nodes with a gradient only through custom ops. This one returns a value that was computed
/// before.
struct Node<G> {
    value: Mutex<Option<Value>>,
    gradient: G,
}

/// candle needs one method per device; they differ only in the type of storage.
macro_rules! take_value {
    ($method:ident, $storage:ident, $device:ident) => {
        fn $method(
            &self,
            _: &$storage,
            _: &Layout,
            _: &$storage,
            _: &Layout,
            _: &$storage,
            _: &Layout,
        ) -> Result<($storage, Shape)> {
            match lock(&self.value).take() {
                Some(Value { storage: Storage::$device(storage), shape }) => Ok((storage, shape)),
                Some(_) => bail!("batch_norm: the value is not on the device of its inputs"),
                None => bail!("batch_norm: applied twice"),
            }
        }
    };
}

impl<G: Gradient> CustomOp3 for Node<G> {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    take_value!(cpu_fwd, CpuStorage, Cpu);
    take_value!(cuda_fwd, CudaStorage, Cuda);
    take_value!(metal_fwd, MetalStorage, Metal);

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        self.gradient.gradient([a, b, c], y, dy).map(Into::into)
    }
}
