//! Exponential moving averages, with and without zero-debias. A thing of its own: batch norm uses two.
//!
//! An average that starts at a made-up value remembers it for long: after t updates at decay β that
//! value still has weight βᵗ (0.37 after 1,000 updates at 0.999). Zero-debias averages from zero and
//! divides by the weight gathered so far, so the first update alone decides the first value.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use candle::{DType, Tensor, Var};

use crate::error::{Error, Result, require};
use crate::layout::{require_device, require_float, statistics_dtype};
use crate::schedule::Schedule;

/// Weight of the **old** value in a moving average: `new = decay · old + (1 − decay) · value`.
///
/// Keras and Flax call this number momentum; PyTorch's and candle's momentum is `1 − decay`
/// ([`decay_from_momentum`]). After `1 / (1 − decay)` updates an old value has about 37 % of its weight
/// left: 10 updates at 0.9, 1,000 at 0.999.
#[derive(Clone, Debug, PartialEq)]
pub enum Decay {
    /// The same at every update; in `[0, 1)`.
    Constant(f64),
    /// By the number of updates before this one; every point in `[0, 1)`.
    Schedule(Schedule),
    /// The plain mean of all updates: decay `t / (t + 1)` at update `t`, counted from 0.
    Cumulative,
}

impl Decay {
    /// # Errors
    /// [`Error::Value`] outside `[0, 1)`.
    pub(crate) fn check(&self, name: &'static str) -> Result<()> {
        let in_range = |decay: f64| (0.0..1.0).contains(&decay);
        match self {
            Decay::Constant(decay) => require(in_range(*decay), name, "0 <= decay < 1", decay),
            Decay::Schedule(schedule) => schedule.require_each(name, "0 <= decay < 1", in_range),
            Decay::Cumulative => Ok(()),
        }
    }

    /// Weight of the new value, `[1]` in f64, at the given update. `committed` holds the number of
    /// updates that took effect, where the host may not know it.
    pub(crate) fn rate(&self, update: u64, committed: &Tensor) -> candle::Result<Tensor> {
        let constant = |decay: f64| Tensor::full(1.0 - decay, 1, committed.device());
        match self {
            Decay::Constant(decay) => constant(*decay),
            Decay::Schedule(schedule) => constant(schedule.at(update)),
            Decay::Cumulative => (committed.to_dtype(DType::F64)? + 1.0)?.recip(),
        }
    }
}

impl From<f64> for Decay {
    fn from(decay: f64) -> Self {
        Decay::Constant(decay)
    }
}

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
/// Source: `moving_averages.assign_moving_average` of TensorFlow; Kingma & Ba 2014 for the debiasing.
#[derive(Debug)]
pub struct MovingAverage {
    average: Average,
    decay: Decay,
    updates: AtomicU64,
}

impl MovingAverage {
    /// An average that reads `initial` until its first update. Half floats are kept in f32.
    /// # Errors
    /// [`Error::Value`] for a decay outside `[0, 1)`; [`Error::DType`] for integers.
    pub fn new(initial: &Tensor, decay: impl Into<Decay>, zero_debias: bool) -> Result<Self> {
        let decay = decay.into();
        decay.check("decay")?;
        require_float("MovingAverage", "initial", initial)?;
        let value = initial.detach().to_dtype(statistics_dtype(initial.dtype()))?;
        let debias = match zero_debias {
            true => Some(Debias {
                biased: Var::from_tensor(&value.zeros_like()?)?,
                weight: Var::from_tensor(&value.zeros_like()?)?,
            }),
            false => None,
        };
        // A copy: the average must not move the caller's tensor, even where that is a variable.
        let value = Var::from_tensor(&value.copy()?)?;
        Ok(Self { average: Average { value, debias }, decay, updates: AtomicU64::new(0) })
    }

    /// Moves the average by one value.
    /// # Errors
    /// [`Error::Shape`] or [`Error::Device`] when the value is not like the initial one.
    pub fn update(&self, value: &Tensor) -> Result<()> {
        const OP: &str = "MovingAverage::update";
        let like = self.average.value.as_tensor();
        if value.dims() != like.dims() {
            return Err(Error::shape(OP, "value", format!("{:?}", like.dims()), value.dims()));
        }
        require_device(OP, "value", value, like.device())?;
        let update = self.updates.fetch_add(1, Relaxed);
        let committed = Tensor::full(update as f64, 1, like.device())?;
        let rate = self.decay.rate(update, &committed)?;
        Ok(self.average.update(value, &rate, None)?)
    }

    /// The average now; the initial value before the first update.
    pub fn value(&self) -> Result<Tensor> {
        Ok(self.average.value.as_detached_tensor().copy()?)
    }

    /// How many values it has taken.
    pub fn updates(&self) -> u64 {
        self.updates.load(Relaxed)
    }
}

/// The variables of one average; the layer counts its updates itself.
#[derive(Debug, Clone)]
pub(crate) struct Average {
    /// What evaluation reads.
    pub(crate) value: Var,
    /// With zero-debias.
    pub(crate) debias: Option<Debias>,
}

/// A zero-started sum and the weight it has gathered.
#[derive(Debug, Clone)]
pub(crate) struct Debias {
    pub(crate) biased: Var,
    pub(crate) weight: Var,
}

impl Average {
    /// Moves the average by `rate` towards `x`, where `keep` (u8, broadcast) is not 0.
    pub(crate) fn update(
        &self,
        x: &Tensor,
        rate: &Tensor,
        keep: Option<&Tensor>,
    ) -> candle::Result<()> {
        let x = x.detach().to_dtype(DType::F64)?;
        let Some(Debias { biased, weight }) = &self.debias else {
            return move_towards(&self.value, &x, rate, keep);
        };
        // The value moves by its share of the gathered weight instead of being divided out of the sum:
        // sum and weight are rounded apart, and a constant would not stay that constant.
        let before = weight.as_detached_tensor().to_dtype(DType::F64)?;
        let gathered = before.affine(-1.0, 1.0)?.broadcast_mul(rate)?;
        let gathered = gathered.broadcast_add(&before)?.reshape(before.dims())?;
        let share = gathered.recip()?.broadcast_mul(rate)?.reshape(before.dims())?;
        let old = self.value.as_detached_tensor().to_dtype(DType::F64)?;
        let moved = (&old + ((&x - &old)? * share)?)?;
        let new = before.gt(0.0)?.where_cond(&moved, &x)?;
        assign(&self.value, &new, keep)?;
        assign(biased, &(new * &gathered)?, keep)?;
        assign(weight, &gathered, keep)
    }
}

/// `v ← v + (x − v) · rate`: this form leaves a constant exactly where it is.
pub(crate) fn move_towards(
    v: &Var,
    x: &Tensor,
    rate: &Tensor,
    keep: Option<&Tensor>,
) -> candle::Result<()> {
    let old = v.as_detached_tensor().to_dtype(DType::F64)?;
    let new = old.broadcast_add(&(x - &old)?.broadcast_mul(rate)?)?;
    assign(v, &new, keep)
}

/// `v ← new` where `keep` (u8, broadcast) is not 0, by a select on the device.
pub(crate) fn assign(v: &Var, new: &Tensor, keep: Option<&Tensor>) -> candle::Result<()> {
    let old = v.as_detached_tensor();
    // A rate of shape [1] has made a scalar a vector.
    let new = new.to_dtype(old.dtype())?.reshape(old.dims())?;
    match keep {
        None => v.set(&new),
        Some(keep) => v.set(&keep.broadcast_as(old.dims())?.where_cond(&new, &old)?),
    }
}
