//! A commit on the CPU, over slices: what [`State::commit`] does in tensor ops, slice by slice and to
//! the same bits. (Forty ops on `[C]` tensors cost more than a small layer's forward pass.)

use super::State;
use crate::config::{Policy, StoredVariance};
use crate::host::{Slot, read};
use crate::moments::{Moments, WeightKind};
use crate::moving_average::{Average, Decay};
use crate::renorm::HostFollowed;

/// The variables of one average, open to be changed.
struct AverageSlots<'a> {
    value: Slot<'a>,
    debias: Option<(Slot<'a>, Slot<'a>)>,
}

impl<'a> AverageSlots<'a> {
    fn open(average: &'a Average) -> Option<Self> {
        Some(Self {
            value: Slot::open(&average.value)?,
            debias: match &average.debias {
                Some(debias) => Some((Slot::open(&debias.biased)?, Slot::open(&debias.weight)?)),
                None => None,
            },
        })
    }

    /// Moves the average by `rate` towards `x` where `keep` says so.
    fn update(&mut self, x: &[f64], rate: f64, keep: &[bool]) {
        let Some((biased, weight)) = &mut self.debias else {
            return self.value.move_towards(x, rate, keep);
        };
        let gather = |before: &f64| (1.0 - before) * rate + before;
        let gathered: Vec<f64> = weight.values().iter().map(gather).collect();
        let each = self.value.values().iter().zip(x);
        let new: Vec<f64> = each
            .zip(weight.values().iter().zip(&gathered))
            .map(|((old, x), (before, gathered))| {
                let moved = old + (x - old) * (gathered.recip() * rate);
                if *before > 0.0 { moved } else { *x }
            })
            .collect();
        self.value.set(new.iter().copied(), keep);
        biased.set(new.iter().zip(&gathered).map(|(new, g)| new * g), keep);
        weight.set(gathered.into_iter(), keep);
    }

    fn close(self) -> candle::Result<()> {
        self.value.close()?;
        if let Some((biased, weight)) = self.debias {
            biased.close()?;
            weight.close()?;
        }
        Ok(())
    }
}

/// What a commit reads of the batch.
struct Batch {
    weight: Vec<f64>,
    squared_weight: Vec<f64>,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

impl Batch {
    fn of(moments: &Moments) -> Option<Self> {
        Some(Self {
            weight: read(moments.weight())?,
            squared_weight: read(moments.squared_weight())?,
            mean: read(moments.mean())?,
            variance: read(moments.variance())?,
        })
    }

    /// [`Moments::unbiased_variance`].
    fn unbiased(&self, kind: WeightKind) -> Vec<f64> {
        let weights = self.weight.iter().zip(&self.squared_weight);
        let each = self.variance.iter().zip(weights);
        each.map(|(variance, (weight, squared))| {
            let taken = match kind {
                WeightKind::Frequency => 1.0,
                WeightKind::Reliability => squared / positive(*weight),
            };
            let freedom = weight - taken;
            let unbiased = (variance * weight) / freedom;
            if freedom > 0.0 { unbiased } else { *variance }
        })
        .collect()
    }
}

/// A divisor.
fn positive(v: f64) -> f64 {
    if v > 0.0 { v } else { f64::MIN_POSITIVE }
}

impl State {
    /// Moves the averages by one batch, if all of it is on the CPU and can be changed in place.
    pub(super) fn commit_on_host(&self, moments: &Moments) -> Option<candle::Result<()>> {
        let batch = Batch::of(moments)?;
        let mut mean = AverageSlots::open(&self.mean)?;
        let mut variance = AverageSlots::open(&self.variance)?;
        let mut renorm = match &self.renorm {
            Some(renorm) => Some(renorm.slots()?),
            None => None,
        };
        let mut committed = Slot::open(&self.committed)?;
        let mut refused = Slot::open(&self.refused)?;
        let mut gathered = Slot::open(&self.spread.gathered)?;
        let mut squares = Slot::open(&self.spread.squares)?;

        let step = match self.step() {
            Ok(step) => step,
            Err(error) => return Some(Err(error)),
        };
        self.set_step(step + 1);
        let rate = match &self.rules.decay {
            Decay::Constant(decay) => 1.0 - decay,
            Decay::Schedule(schedule) => 1.0 - schedule.at(step),
            Decay::Cumulative => (committed.values()[0] + 1.0).recip(),
        };
        let unbiased = match self.rules.stored {
            StoredVariance::Biased => None,
            StoredVariance::Unbiased => Some(batch.unbiased(self.rules.kind)),
        };
        let stored = unbiased.as_ref().unwrap_or(&batch.variance);
        // As the averages will hold them: f32 has no place for the variance of values of 1e20.
        let finite = |values: &[f64]| values.iter().all(|v| mean.value.holds(*v));
        let accepted = finite(&batch.mean) && finite(stored) && batch.weight[0] > 0.0;
        let keep_mean = vec![accepted; batch.mean.len()];
        let keep_variance = self.keeps_variance(&batch, accepted);
        let keep = [&keep_mean[..], &keep_variance[..]];
        let followed =
            renorm.as_mut().map(|renorm| renorm.update(&batch.mean, &batch.variance, rate, keep));
        match followed {
            None => {
                mean.update(&batch.mean, rate, keep[0]);
                variance.update(stored, rate, keep[1]);
            }
            Some(HostFollowed::Average { mean: m, variance: v }) => {
                mean.update(&m, rate, keep[0]);
                variance.update(&v, rate, keep[1]);
            }
            Some(HostFollowed::Stddev { variance: v }) => {
                mean.update(&batch.mean, rate, keep[0]);
                variance.value.set(v.into_iter(), keep[1]);
            }
            Some(HostFollowed::Equal { mean: m, variance: v }) => {
                mean.value.set(m.into_iter(), keep[0]);
                variance.value.set(v.into_iter(), keep[1]);
            }
        }
        let add = |slot: &mut Slot<'_>, by: f64| {
            let new = slot.values()[0] + by;
            slot.set(std::iter::once(new), &[true]);
        };
        if accepted {
            let (weight, squared) = (batch.weight[0], batch.squared_weight[0]);
            let values = weight * weight / positive(squared);
            gathered.move_towards(&[1.0], rate, &[true]);
            let left = 1.0 - rate;
            let new = squares.values()[0] * (left * left) + rate * rate / positive(values);
            squares.set(std::iter::once(new), &[true]);
            add(&mut committed, 1.0);
        } else {
            add(&mut refused, 1.0);
        }
        let close = || {
            mean.close()?;
            variance.close()?;
            renorm.map_or(Ok(()), |renorm| renorm.close())?;
            committed.close()?;
            refused.close()?;
            gathered.close()?;
            squares.close()
        };
        Some(close())
    }

    /// Which variances the batch moves, if any; see `State::keep`.
    fn keeps_variance(&self, batch: &Batch, accepted: bool) -> Vec<bool> {
        let several = self.rules.one_value != Policy::Accept;
        let free = self.rules.stored == StoredVariance::Unbiased
            && self.rules.kind == WeightKind::Frequency;
        let varied =
            matches!(self.rules.constant_channel, Policy::SkipVarianceUpdate | Policy::UseMoving);
        let weights = batch.weight.iter().zip(&batch.squared_weight);
        let each = weights.zip(&batch.variance);
        each.map(|((weight, squared), variance)| {
            accepted
                & (!several | (weight * weight > squared * (1.0 + 1e-12)))
                & (!free | (*weight > 1.0))
                & (!varied | (*variance > 0.0))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use candle::{DType, Device};
    use candle_nn::{VarBuilder, VarMap};

    use crate::config::{BatchNormConfig, Degenerate, Policy, StoredVariance, ZeroDebias};
    use crate::host::vector;
    use crate::moments::{Moments, WeightKind};
    use crate::moving_average::Decay;
    use crate::renorm::{RenormConfig, RenormVariant};
    use crate::schedule::Schedule;

    fn configs() -> Vec<BatchNormConfig> {
        let plain = BatchNormConfig::tf_layers();
        let mut configs = vec![BatchNormConfig::torch()];
        let decays = [
            Decay::Constant(0.9),
            Decay::Cumulative,
            Decay::Schedule(Schedule::piecewise([(0, 0.5), (3, 0.95)]).expect("a schedule")),
        ];
        for decay in decays {
            for zero_debias in [ZeroDebias::None, ZeroDebias::Mean, ZeroDebias::Both] {
                let config = BatchNormConfig { decay: decay.clone(), zero_debias, ..plain.clone() };
                for kind in [WeightKind::Frequency, WeightKind::Reliability] {
                    configs.push(BatchNormConfig {
                        stored_variance: StoredVariance::Unbiased,
                        weight_kind: kind,
                        ..config.clone()
                    });
                }
                configs.push(BatchNormConfig {
                    renorm: Some(RenormConfig::new(RenormVariant::Tf1)),
                    ..config
                });
            }
        }
        for variant in [RenormVariant::Keras, RenormVariant::Paper] {
            configs.push(BatchNormConfig {
                renorm: Some(RenormConfig::new(variant)),
                ..plain.clone()
            });
        }
        for policy in [Policy::Accept, Policy::SkipVarianceUpdate, Policy::UseMoving] {
            configs.push(BatchNormConfig {
                degenerate: Degenerate {
                    one_value: policy,
                    constant_channel: policy,
                    ..Degenerate::default()
                },
                ..plain.clone()
            });
        }
        configs
    }

    #[test]
    fn a_commit_over_slices_is_that_in_tensor_ops_to_the_bit() {
        let batch = |weight: f64, squares: f64, mean: [f64; 3], variance: [f64; 3]| {
            let all = |v: f64| vector(vec![v; 3]);
            let of = |v: [f64; 3]| vector(v.to_vec());
            Moments::from_parts(all(weight), all(squares), of(mean), of(variance))
        };
        let batches = [
            batch(8.0, 8.0, [0.1, -2.0, 3.3], [1.7, 0.3, 0.0]),
            batch(7.5, 6.25, [1e-3, 4.0, 3.1], [0.7, 1e-9, 5e4]),
            batch(8.0, 8.0, [f64::NAN, 4.0, 3.1], [0.7, 1.0, 1.0]),
            batch(1.0, 1.0, [0.3, 4.0, 3.1], [0.0, 0.0, 0.0]),
            batch(8.0, 8.0, [0.1, 4.0, 3.1], [0.7, f64::INFINITY, 1.0]),
            batch(8.0, 8.0, [0.1, 4.0, 3.1], [0.7, 1e60, 1.0]),
            batch(8.0, 8.0, [-1e60, 4.0, 3.1], [0.7, 1.0, 1.0]),
            batch(0.4, 0.1, [0.3, 4.0, 3.1], [0.2, 0.1, 0.3]),
            batch(64.0, 64.0, [0.3, -4.0, 0.1], [0.2, 0.1, 0.3]),
        ];
        for config in configs() {
            for dtype in [DType::F32, DType::F64] {
                let build = || {
                    let variables = VarMap::new();
                    let vb = VarBuilder::from_varmap(&variables, dtype, &Device::Cpu);
                    config.clone().build(3, vb).expect("a layer")
                };
                let (slices, ops) = (build(), build());
                for batch in &batches {
                    let done = slices.state.commit_on_host(batch);
                    done.expect("all of it is on the CPU").expect("a commit");
                    ops.state.commit_by_ops(batch).expect("a commit");
                    let all = |bn: &crate::BatchNorm| -> Vec<(String, Vec<u64>)> {
                        let spread = &bn.state.spread;
                        let more = [&bn.state.refused, &spread.gathered, &spread.squares];
                        let more = more.map(|var| ("more".to_owned(), var.clone()));
                        let named = bn.statistics().into_iter().chain(more);
                        let bits = |(name, var): (String, candle::Var)| {
                            let values = crate::host::read(&var).expect("on the CPU");
                            (name, values.iter().map(|v| v.to_bits()).collect())
                        };
                        named.map(bits).collect()
                    };
                    assert_eq!(all(&slices), all(&ops), "{config:?} {dtype:?}");
                    assert_eq!(slices.step(), ops.step());
                }
            }
        }
    }
}
