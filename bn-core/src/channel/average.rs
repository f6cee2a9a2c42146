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
    /// By the number of earlier updates; every point in `[0, 1)`.
    Schedule(Schedule),
    /// The plain mean of all updates: decay `t / (t + 1)` at update `t`, counted from 0.
    Cumulative,
}

impl Decay {
    /// # Errors
    /// [`Value`](crate::ErrorKind::Value) outside `[0, 1)`.
    pub(crate) fn check(&self, name: &'static str) -> Result<()> {
        let in_range = |decay: f64| (0.0..1.0).contains(&decay);
        match self {
            Decay::Constant(decay) => require(in_range(*decay), name, "0 <= decay < 1", decay),
            Decay::Schedule(schedule) => schedule.require_each(name, "0 <= decay < 1", in_range),
            Decay::Cumulative => Ok(()),
        }
    }

    /// Weight of the new value. `step` counts earlier updates, `committed` those of them that took effect.
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

/// `old + (x − old)·rate`: this form leaves a constant unchanged.
#[inline(always)]
pub(crate) fn toward(old: f64, x: f64, rate: f64) -> f64 {
    old + (x - old) * rate
}

/// Which channels an update moves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moving<'a> {
    All,
    /// The channels that are true here.
    Only(&'a [bool]),
}

/// A variable's values on the host, rounded to the variable's type when they are set.
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

    /// Whether the value is finite in the variable's type. The variance of values of 1e20 is not, in f32.
    #[inline(always)]
    pub(crate) fn holds(&self, value: f64) -> bool {
        if self.single { (value as f32).is_finite() } else { value.is_finite() }
    }

    /// `v ← x` for the channels that move.
    #[inline(always)]
    pub(crate) fn set(&mut self, x: &[f64], moving: Moving<'_>) {
        update([self], x, moving, |_, x| [x]);
    }

    /// `v ← v + (x − v)·rate` for the channels that move.
    #[inline(always)]
    pub(crate) fn move_toward(&mut self, x: &[f64], rate: f64, moving: Moving<'_>) {
        update([self], x, moving, |[old], x| [toward(old, x, rate)]);
    }

    /// Sets every channel to one value.
    pub(crate) fn fill(&mut self, value: f64) {
        self.values.fill(value);
    }
}

/// Replaces the columns' values by `new` of them and `x`, for the channels that move.
#[inline(always)]
pub(crate) fn update<const K: usize>(
    columns: [&mut Column; K],
    x: &[f64],
    moving: Moving<'_>,
    new: impl Fn([f64; K], f64) -> [f64; K],
) {
    let single = columns[0].single;
    let columns = columns.map(|column| &mut column.values[..x.len()]);
    // Each case has a loop without branches, which becomes vector instructions.
    match (moving, single) {
        (Moving::All, false) => replace(columns, x, |_, old, x| new(old, x)),
        (Moving::All, true) => replace(columns, x, |_, old, x| new(old, x).map(narrowed)),
        (Moving::Only(moves), false) => {
            let moves = &moves[..x.len()];
            replace(columns, x, |c, old, x| if moves[c] { new(old, x) } else { old });
        }
        (Moving::Only(moves), true) => {
            let moves = &moves[..x.len()];
            let narrow = |c: usize, old, x| if moves[c] { new(old, x).map(narrowed) } else { old };
            replace(columns, x, narrow);
        }
    }
}

/// Rounds to f32.
#[inline(always)]
fn narrowed(v: f64) -> f64 {
    f64::from(v as f32)
}

#[inline(always)]
fn replace<const K: usize>(
    columns: [&mut [f64]; K],
    x: &[f64],
    new: impl Fn(usize, [f64; K], f64) -> [f64; K],
) {
    for (c, x) in x.iter().enumerate() {
        let replaced = new(c, std::array::from_fn(|k| columns[k][c]), *x);
        for k in 0..K {
            columns[k][c] = replaced[k];
        }
    }
}

/// A moving average of several channels: their numbers, or the variables that hold them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Average<T = Column> {
    /// What evaluation reads.
    pub(crate) value: T,
    /// `None` without zero-debias.
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
    /// A debiased value moves by its share of the gathered weight. Dividing the sum by the weight instead would not
    /// keep a constant: sum and weight are rounded separately.
    #[inline(always)]
    pub(crate) fn update(&mut self, x: &[f64], rate: f64, moving: Moving<'_>) {
        let Some(Debias { biased, weight }) = &mut self.debias else {
            return self.value.move_toward(x, rate, moving);
        };
        update([&mut self.value, weight, biased], x, moving, |[old, before, _], x| {
            let gathered = toward(before, 1.0, rate);
            let by_share = toward(old, x, rate / gathered);
            let moved = if before > 0.0 { by_share } else { x };
            // The sum follows from the value: see above.
            [moved, gathered, moved * gathered]
        });
    }

    /// Replaces the average by values that count as having gathered all their weight.
    pub(crate) fn overwrite(&mut self, x: &[f64]) {
        self.value.set(x, Moving::All);
        if let Some(Debias { biased, weight }) = &mut self.debias {
            biased.set(x, Moving::All);
            weight.fill(1.0);
        }
    }
}
