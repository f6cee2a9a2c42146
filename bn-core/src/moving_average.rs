//! [`MovingAverage`]: an exponential moving average, with or without zero-debias.
//!
//! The initial value of a plain average fades slowly: after t updates at decay β it still has weight βᵗ (0.37
//! after 1,000 updates at 0.999). Zero-debias averages from zero and divides by the weight gathered so far, so
//! after one update the value is that update's.

use std::collections::BTreeMap;
use std::sync::Mutex;

use candle::{DType, Device, Tensor};

use crate::channel::{Average, Column, Debias, Decay, Moving};
use crate::error::{Error, Result};
use crate::layout::{require_device, require_float, statistics_dtype};
use crate::tensors::{lock, values, vector};

/// Decay of the old value from PyTorch's and candle's momentum, the weight of the new one: `1 − momentum`.
pub fn decay_from_momentum(momentum: f64) -> f64 {
    1.0 - momentum
}

/// A moving average of `[C]` values (or of any fixed shape).
///
/// Plain: `value ← value + (x − value)(1 − decay)`, from the initial value on.
/// Zero-debiased: a sum `s` and a gathered weight `w` start at 0; `s ← s + (x − s)(1 − decay)`,
/// `w ← w + (1 − w)(1 − decay)`, `value = s / w`. At constant decay `w = 1 − decayᵗ`, TensorFlow's
/// divisor; unlike that, it stays right when the decay changes. Before the first update the value is the
/// initial one in both cases.
///
/// ```
/// use bn_core::MovingAverage;
/// use candle::{Device, Tensor};
/// let zeros = Tensor::zeros(1, candle::DType::F64, &Device::Cpu)?;
/// let plain = MovingAverage::new(&zeros, 0.5, false)?;
/// let debiased = MovingAverage::new(&zeros, 0.5, true)?;
/// for value in [3f64, 6.] {
///     let value = Tensor::new(&[value], &Device::Cpu)?;
///     plain.update(&value)?;
///     debiased.update(&value)?;
/// }
/// assert_eq!(plain.value()?.to_vec1::<f64>()?, [3.75]); // (0 + 3)/2 = 1.5, (1.5 + 6)/2
/// assert_eq!(debiased.value()?.to_vec1::<f64>()?, [5.]); // 3.75 / 0.75
/// # Ok::<(), bn_core::Error>(())
/// ```
/// [`MovingAverage::to_tensors`] saves it and [`MovingAverage::load`] restores it. The numbers lie on the host,
/// so an update from another device waits for that device.
///
/// Source: `moving_averages.assign_moving_average` of TensorFlow; Kingma & Ba 2014 for the debiasing.
#[derive(Debug)]
pub struct MovingAverage {
    dims: Vec<usize>,
    dtype: DType,
    device: Device,
    decay: Decay,
    now: Mutex<Now>,
}

#[derive(Clone, Debug)]
struct Now {
    average: Average,
    updates: u64,
}

impl MovingAverage {
    /// An average whose value is `initial` until the first update. Half floats are stored in f32.
    /// # Errors
    /// [`Value`](crate::ErrorKind::Value) for a decay outside `[0, 1)`; [`DType`](crate::ErrorKind::DType) for integers.
    pub fn new(initial: &Tensor, decay: impl Into<Decay>, zero_debias: bool) -> Result<Self> {
        let decay = decay.into();
        decay.check("decay")?;
        require_float("MovingAverage", "initial", initial)?;
        let dtype = statistics_dtype(initial.dtype());
        let column = |values| Column::new(values, dtype == DType::F32);
        let zeros = || column(vec![0.0; initial.elem_count()]);
        let debias = zero_debias.then(|| Debias { biased: zeros(), weight: zeros() });
        let average = Average { value: column(values(initial)?), debias };
        Ok(Self {
            dims: initial.dims().to_vec(),
            dtype,
            device: initial.device().clone(),
            decay,
            now: Mutex::new(Now { average, updates: 0 }),
        })
    }

    /// Updates the average with one value.
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) or [`Device`](crate::ErrorKind::Device) if shape or device differ from the initial value's.
    pub fn update(&self, value: &Tensor) -> Result<()> {
        const OP: &str = "MovingAverage::update";
        if value.dims() != self.dims {
            return Err(Error::shape(OP, "value", format!("{:?}", self.dims), value.dims()));
        }
        require_device(OP, "value", value, &self.device)?;
        let value = values(value)?;
        let mut now = lock(&self.now);
        let rate = self.decay.rate(now.updates, now.updates as f64);
        now.average.update(&value, rate, Moving::All);
        now.updates += 1;
        Ok(())
    }

    /// The current value; the initial one before the first update.
    pub fn value(&self) -> Result<Tensor> {
        self.tensor(&lock(&self.now).average.value)
    }

    /// Number of updates.
    pub fn updates(&self) -> u64 {
        lock(&self.now).updates
    }

    /// The state by name: `value`, `updates`, and with zero-debias `biased` and `weight`.
    pub fn to_tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let now = lock(&self.now).clone();
        let mut tensors = BTreeMap::new();
        for (name, column) in ["value", "biased", "weight"].into_iter().zip(now.average.parts()) {
            tensors.insert(name.to_owned(), self.tensor(column)?);
        }
        tensors.insert("updates".into(), Tensor::new(&[now.updates as f64], &self.device)?);
        Ok(tensors)
    }

    /// Restores a state that [`MovingAverage::to_tensors`] returned.
    /// # Errors
    /// [`Missing`](crate::ErrorKind::Missing) or [`Shape`](crate::ErrorKind::Shape) for a tensor that is missing or has another size; nothing changes
    /// then.
    pub fn load(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let read = |name: &str, len: usize| -> Result<Vec<f64>> {
            let missing = || Error::missing("MovingAverage::load", name.to_owned(), tensors);
            let t = tensors.get(name).ok_or_else(missing)?;
            if t.elem_count() != len {
                let expected = format!("{len} elements");
                return Err(Error::shape("MovingAverage::load", name, expected, t.dims()));
            }
            Ok(values(t)?)
        };
        let mut now = lock(&self.now);
        let mut new = now.clone();
        let len = new.average.value.values().len();
        new.average.value.set(&read("value", len)?, Moving::All);
        if let Some(Debias { biased, weight }) = &mut new.average.debias {
            biased.set(&read("biased", len)?, Moving::All);
            weight.set(&read("weight", len)?, Moving::All);
        }
        new.updates = read("updates", 1)?[0] as u64;
        *now = new;
        Ok(())
    }

    fn tensor(&self, column: &Column) -> Result<Tensor> {
        let flat = vector(column.values(), self.dtype, &self.device)?;
        Ok(flat.reshape(self.dims.as_slice())?)
    }
}
