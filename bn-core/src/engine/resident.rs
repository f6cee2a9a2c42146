//! [`Resident`]: an engine that keeps per-channel values on its device, so that no step waits for it.

// What only such an engine reads.
#![cfg_attr(not(feature = "cuda"), allow(dead_code))]

use std::sync::Arc;

use candle::{DType, Tensor};

use super::ByGroup;
use crate::channel::{Affine, Averages, Bounds, Channel, CommitRules, Weight};
use crate::error::Result;
use crate::tensors::{Value, values};

/// What a device normalizes by: a layer's parameters, its statistics, and the options of one step.
pub(crate) struct Parameters<'a> {
    pub(crate) gamma: Option<&'a Tensor>,
    pub(crate) beta: Option<&'a Tensor>,
    pub(crate) averages: &'a Averages<Tensor>,
    pub(crate) epsilon: f64,
    /// The bounds of r and d where this pass applies renorm.
    pub(crate) bounds: Option<Bounds>,
}

/// A forward pass by the batch.
pub(crate) struct Kept {
    pub(crate) y: Value,
    pub(crate) fields: Fields,
    /// Means, then biased variances, of all groups together: `[2, C]`.
    pub(crate) batch: Tensor,
}

/// The gradients of one forward pass.
pub(crate) struct KeptGradients {
    /// `[C]`; in the types asked for.
    pub(crate) gamma: Tensor,
    pub(crate) beta: Tensor,
    /// None where it was not asked for.
    pub(crate) dx: Option<Value>,
    /// Of the residual; `None` if it equals dy.
    pub(crate) dv: Option<Value>,
}

/// The passes over one call's tensors, without weights, each by formulas on the device. `y` and `dy` are as for
/// [`Engine`](super::Engine).
pub(crate) trait Resident: Send + Sync {
    /// Total weight of each group; all channels share it.
    fn weights(&self) -> &[Weight];

    /// Normalizes every group by its own moments.
    fn by_batch(&self, by: &Parameters<'_>) -> Result<Kept>;

    /// Normalizes by the moving statistics.
    fn by_moving(&self, by: &Parameters<'_>) -> Result<(Value, Fields)>;

    /// `of_input`: dx and dv too.
    fn gradients(
        &self,
        fields: &Fields,
        dy: &Tensor,
        types: [DType; 2],
        of_input: bool,
    ) -> Result<KeptGradients>;
}

/// [`Channel`]s on a device: a row of `[7, groups, C]` for each number of them, in f64.
#[derive(Clone, Debug)]
pub(crate) struct Fields(pub(crate) Tensor);

impl Fields {
    pub(crate) const COUNT: usize = 7;
    const R_CLIPPED: u64 = 1;
    const D_CLIPPED: u64 = 2;
    const THROUGH: u64 = 4;

    /// The fields of each channel: mean, scale, offset, `inv_std`, r, d, flags.
    pub(crate) fn of(channels: &ByGroup<Channel>) -> Vec<f64> {
        let number = |field: usize, c: &Channel| match field {
            0 => c.affine.mean,
            1 => c.affine.scale,
            2 => c.affine.offset,
            3 => c.inv_std,
            4 => c.r,
            5 => c.d,
            _ => {
                let flag = |is: bool, flag: u64| if is { flag } else { 0 };
                let [r, d] = c.clipped;
                let flags = flag(r, Self::R_CLIPPED) + flag(d, Self::D_CLIPPED);
                (flags + flag(c.through, Self::THROUGH)) as f64
            }
        };
        let each = |field| channels.iter().flatten().map(move |c| number(field, c));
        (0..Self::COUNT).flat_map(each).collect()
    }

    /// Waits for the device.
    pub(crate) fn read(&self) -> candle::Result<ByGroup<Channel>> {
        let (fields, groups, channels) = self.0.dims3()?;
        debug_assert_eq!(fields, Self::COUNT);
        let all = values(&self.0)?;
        let count = groups * channels;
        let channel = |at: usize| {
            let field = |k: usize| all[k * count + at];
            let flags = field(6) as u64;
            Channel {
                affine: Affine { mean: field(0), scale: field(1), offset: field(2) },
                inv_std: field(3),
                r: field(4),
                d: field(5),
                clipped: [flags & Self::R_CLIPPED != 0, flags & Self::D_CLIPPED != 0],
                through: flags & Self::THROUGH != 0,
            }
        };
        let group =
            |group: usize| (group * channels..(group + 1) * channels).map(channel).collect();
        Ok((0..groups).map(group).collect())
    }
}

/// Channels on the host, or where a device keeps them.
#[derive(Clone, Debug)]
pub(crate) enum Channels {
    Host(Arc<ByGroup<Channel>>),
    Device(Fields),
}

impl Channels {
    /// On the host; waits for the device.
    pub(crate) fn read(&self) -> candle::Result<Arc<ByGroup<Channel>>> {
        match self {
            Self::Host(channels) => Ok(channels.clone()),
            Self::Device(fields) => Ok(Arc::new(fields.read()?)),
        }
    }
}

/// A commit on the device: see [`Commit`](crate::channel::Commit). It waits for nothing, not even to know whether the
/// update took effect.
pub(crate) struct DeviceCommit<'a> {
    pub(crate) rules: &'a CommitRules,
    pub(crate) averages: &'a Averages<Tensor>,
    /// Means, then biased variances, `[2, C]` in f64.
    pub(crate) batch: &'a Tensor,
    pub(crate) weight: Weight,
    pub(crate) step: u64,
    /// The number of updates that took effect: i64 or f64.
    pub(crate) updates: &'a Tensor,
    /// [`DeviceCommit::COUNTS`] in f64: refused, committed, skipped variance, `Σa`, `Σa²/n`.
    pub(crate) counts: &'a Tensor,
}

impl DeviceCommit<'_> {
    pub(crate) const COUNTS: usize = 5;
}

/// The averages' tensors in the kernels' order: value, sum and weight of the mean and of the variance; renorm's.
pub(crate) fn in_order(averages: &Averages<Tensor>) -> [Option<&Tensor>; 11] {
    let Averages { mean, variance, renorm } = averages;
    let of_mean = mean.debias.as_ref();
    let of_variance = variance.debias.as_ref();
    let renorm = renorm.as_ref();
    let weights = renorm.and_then(|renorm| renorm.weights.as_ref());
    [
        Some(&mean.value),
        of_mean.map(|debias| &debias.biased),
        of_mean.map(|debias| &debias.weight),
        Some(&variance.value),
        of_variance.map(|debias| &debias.biased),
        of_variance.map(|debias| &debias.weight),
        renorm.map(|renorm| &renorm.mean),
        renorm.map(|renorm| &renorm.stddev),
        weights.map(|[of_mean, _]| of_mean),
        weights.map(|[_, of_stddev]| of_stddev),
        renorm.and_then(|renorm| renorm.moving_stddev.as_ref()),
    ]
}

#[cfg(test)]
mod tests {
    use candle::Device;

    use super::{Affine, Channel, Fields, Tensor};

    #[test]
    fn fields_hold_all_of_a_channel() {
        let channel = |k: u32| {
            let v = f64::from(k);
            Channel {
                affine: Affine { mean: v, scale: v + 0.1, offset: v + 0.2 },
                inv_std: v + 0.3,
                r: v + 0.4,
                d: v + 0.5,
                clipped: [k.is_multiple_of(2), k.is_multiple_of(3)],
                through: k < 4,
            }
        };
        let channels = vec![
            vec![channel(0), channel(1), channel(2)],
            vec![channel(3), channel(4), channel(5)],
        ];
        let numbers = Fields::of(&channels);
        let fields =
            Tensor::from_vec(numbers, (Fields::COUNT, 2, 3), &Device::Cpu).expect("a tensor");
        assert_eq!(Fields(fields).read().expect("on the host"), channels);
    }
}
