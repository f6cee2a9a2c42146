//! Moving averages: the decay, one step, and zero-debias by gathered weight.

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use crate::error::{Result, require};
use crate::schedule::Schedule;

/// Weight of the **old** value in a moving average: `new = decay · old + (1 − decay) · value`.
///
/// Keras and Flax call this number momentum; PyTorch's and candle's momentum is `1 − decay`
/// ([`decay_from_momentum`](crate::decay_from_momentum)). After `1 / (1 − decay)` updates an old value has
/// about 37 % of its weight left: 10 updates at 0.9, 1,000 at 0.999.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
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
    /// [`Error::Value`](crate::Error::Value) outside `[0, 1)`.
    pub(crate) fn check(&self, name: &'static str) -> Result<()> {
        let in_range = |decay: f64| (0.0..1.0).contains(&decay);
        match self {
            Decay::Constant(decay) => require(in_range(*decay), name, "0 <= decay < 1", decay),
            Decay::Schedule(schedule) => schedule.require_each(name, "0 <= decay < 1", in_range),
            Decay::Cumulative => Ok(()),
        }
    }

    /// Weight of the new value. `step` counts the updates tried before this one, `committed` those that
    /// took effect.
    pub(crate) fn rate(&self, step: u64, committed: f64) -> f64 {
        match self {
            Decay::Constant(decay) => 1.0 - decay,
            Decay::Schedule(schedule) => 1.0 - schedule.at(step),
            Decay::Cumulative => (committed + 1.0).recip(),
        }
    }
}

impl From<f64> for Decay {
    fn from(decay: f64) -> Self {
        Decay::Constant(decay)
    }
}

/// `old + (x − old)·rate`: this form leaves a constant exactly where it is.
#[inline(always)]
pub(crate) fn toward(old: f64, x: f64, rate: f64) -> f64 {
    old + (x - old) * rate
}

/// Which channels an update moves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moving<'a> {
    All,
    /// Those that are true here.
    Only(&'a [bool]),
}

/// A variable's values on the host; each is rounded to the variable's type when it is set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    values: Vec<f64>,
    /// The variable is f32.
    single: bool,
}

impl Column {
    pub(crate) fn new(values: Vec<f64>, single: bool) -> Self {
        Self { values, single }
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// Whether the variable can hold the value as a finite number: f32 cannot hold the variance of
    /// values of 1e20.
    pub(crate) fn holds(&self, value: f64) -> bool {
        if self.single { (value as f32).is_finite() } else { value.is_finite() }
    }

    /// `v ← new(v, x)` for the channels that move.
    #[inline(always)]
    pub(crate) fn update(&mut self, x: &[f64], moving: Moving<'_>, new: impl Fn(f64, f64) -> f64) {
        let each = self.values.iter_mut().zip(x);
        // Loops without branches, so that they become vector instructions.
        match moving {
            Moving::All => each.for_each(|(v, x)| *v = new(*v, *x)),
            Moving::Only(moves) => {
                let each = each.zip(moves);
                each.for_each(|((v, x), moves)| *v = if *moves { new(*v, *x) } else { *v });
            }
        }
        self.round();
    }

    /// Rounds to the variable's type. What was not set has been rounded before and stays.
    fn round(&mut self) {
        if self.single {
            self.values.iter_mut().for_each(|v| *v = f64::from(*v as f32));
        }
    }

    /// `v ← x` for the channels that move.
    pub(crate) fn set(&mut self, x: &[f64], moving: Moving<'_>) {
        self.update(x, moving, |_, x| x);
    }

    /// `v ← v + (x − v)·rate` for the channels that move.
    pub(crate) fn move_toward(&mut self, x: &[f64], rate: f64, moving: Moving<'_>) {
        self.update(x, moving, |old, x| toward(old, x, rate));
    }

    /// Replaces all values.
    pub(crate) fn fill_from(&mut self, x: impl Iterator<Item = f64>) {
        self.values.iter_mut().zip(x).for_each(|(v, x)| *v = x);
        self.round();
    }
}

/// A moving average of several channels: of their numbers, or of the variables that hold them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Average<T = Column> {
    /// What evaluation reads.
    pub(crate) value: T,
    /// With zero-debias.
    pub(crate) debias: Option<Debias<T>>,
}

/// A zero-started sum and the weight it has gathered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Debias<T = Column> {
    pub(crate) biased: T,
    pub(crate) weight: T,
}

impl<T> Average<T> {
    pub(crate) fn try_map<U, E>(&self, f: &impl Fn(&T) -> Result<U, E>) -> Result<Average<U>, E> {
        let debias = match &self.debias {
            Some(Debias { biased, weight }) => {
                Some(Debias { biased: f(biased)?, weight: f(weight)? })
            }
            None => None,
        };
        Ok(Average { value: f(&self.value)?, debias })
    }

    /// Value, sum and weight.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &T> {
        let debias = self.debias.iter().flat_map(|debias| [&debias.biased, &debias.weight]);
        std::iter::once(&self.value).chain(debias)
    }
}

impl Average {
    /// Moves the average by `rate` toward `x`, for the channels that move.
    ///
    /// Debiased, the value moves by its share of the gathered weight instead of being divided out of the
    /// sum: sum and weight are rounded separately, and a constant would not stay that constant.
    pub(crate) fn update(&mut self, x: &[f64], rate: f64, moving: Moving<'_>) {
        let Some(Debias { biased, weight }) = &mut self.debias else {
            return self.value.move_toward(x, rate, moving);
        };
        let mut moved = vec![0.0; x.len()];
        let mut sums = moved.clone();
        let mut gathered = moved.clone();
        let old = self.value.values.iter().zip(&weight.values).zip(x);
        let new = moved.iter_mut().zip(&mut sums).zip(&mut gathered);
        for (((old, before), x), ((moved, sum), gathered)) in old.zip(new) {
            *gathered = toward(*before, 1.0, rate);
            let by_share = toward(*old, *x, rate / *gathered);
            *moved = if *before > 0.0 { by_share } else { *x };
            // The sum from the value, not the other way round: see above.
            *sum = *moved * *gathered;
        }
        self.value.set(&moved, moving);
        biased.set(&sums, moving);
        weight.set(&gathered, moving);
    }

    /// Replaces the average, as if these values had gathered all their weight.
    pub(crate) fn overwrite(&mut self, x: &[f64]) {
        self.value.fill_from(x.iter().copied());
        if let Some(Debias { biased, weight }) = &mut self.debias {
            biased.fill_from(x.iter().copied());
            weight.fill_from(x.iter().map(|_| 1.0));
        }
    }
}
