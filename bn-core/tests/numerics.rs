//! The numerics contract for f32 input: mean within 1 ulp, variance within 1e-5 of itself, y within
//! `2⁻²³·|mean|/stddev + 1e-5`, all against f64 on the same input, for |mean|/stddev up to 1e6.

mod common;

use bn_core::{
    BatchNormConfig, Call, DataFormat, Decay, Moments, RenormConfig, RenormVariant, Updates,
    moments, weighted_moments,
};
use candle::{DType, Tensor, Var};
use common::reference::{Batch, Reference};
use common::{Numbers, Outcome, assert_within, gradients, layer, rounded, tensor, values};

/// Distance of f32 neighbours at `v`.
fn ulp(v: f64) -> f64 {
    let v = v.abs() as f32;
    f64::from(v.next_up()) - f64::from(v)
}

/// Sizes with sums from a few to many: `[N, C]`, `[N, C, L]` and channels in between.
fn shapes() -> Vec<(Vec<usize>, DataFormat)> {
    vec![
        (vec![2, 3], DataFormat::Nhwc),
        (vec![33, 2, 5], DataFormat::Nchw),
        (vec![257, 1], DataFormat::Nhwc),
        (vec![16, 9, 9, 3], DataFormat::Nhwc),
        (vec![8, 3, 31, 31], DataFormat::Nchw),
        (vec![1 << 16, 2], DataFormat::Nhwc),
        (vec![2, 2, 1 << 15], DataFormat::Nchw),
    ]
}

/// Given as f32, `offset + spread · normal`; the first values of every channel far out.
fn data(dims: &[usize], offset: f64, spread: f64, numbers: &mut Numbers) -> Vec<f64> {
    let x: Vec<f64> =
        numbers.normals(dims.iter().product()).iter().map(|v| offset + spread * v).collect();
    rounded(&x, DType::F32)
}

struct Exact {
    reference: Reference,
    y: Vec<f64>,
    mean: Vec<f64>,
    variance: Vec<f64>,
    dx: Vec<f64>,
    dx_scale: Vec<f64>,
}

fn exact(
    config: &BatchNormConfig,
    dims: &[usize],
    x: &[f64],
    dy: &[f64],
    channels: usize,
) -> Exact {
    let (ones, zeros) = (vec![1.0; channels], vec![0.0; channels]);
    let mut reference = Reference::new(config, &zeros, &ones);
    let weights = vec![1.0; x.len()];
    let batch = Batch { dims, x, weights: &weights, gamma: &ones, beta: &zeros, residual: None };
    let pass = reference.forward(&batch);
    let grads = reference.backward(&batch, dy, &pass);
    reference.update(&batch);
    let group = &pass.groups[0];
    Exact {
        mean: group.mean.clone(),
        variance: group.variance.clone(),
        y: pass.y,
        dx: grads.dx,
        dx_scale: grads.dx_scale,
        reference,
    }
}

#[test]
fn the_contract() -> Outcome {
    let mut numbers = Numbers(1502);
    for (dims, data_format) in shapes() {
        let axis = if data_format == DataFormat::Nchw { 1 } else { dims.len() - 1 };
        let channels = dims[axis];
        let inner: usize = dims[axis + 1..].iter().product();
        let axes: Vec<usize> = (0..dims.len()).filter(|&a| a != axis).collect();
        for power in 0..=6 {
            for (sign, spread) in [(1.0, 1.0), (-1.0, 1e-3), (1.0, 1e4)] {
                let what = format!("{dims:?}, mean/stddev 1e{power}, stddev {spread:e}");
                let config = BatchNormConfig {
                    data_format,
                    decay: Decay::Constant(0.0),
                    epsilon: 1e-12,
                    ..BatchNormConfig::keras()
                };
                let x = data(&dims, sign * spread * 10f64.powi(power), spread, &mut numbers);
                let dy = rounded(&numbers.normals(x.len()), DType::F32);
                let want = exact(&config, &dims, &x, &dy, channels);
                // Of two or three values the stddev may come out anywhere: the contract's ratio is the data's.
                let stddev: Vec<f64> = want.variance.iter().map(|v| (v + 1e-12).sqrt()).collect();
                let ratio: Vec<f64> =
                    (0..channels).map(|c| want.mean[c].abs() / stddev[c]).collect();
                if ratio.iter().any(|ratio| *ratio > 2e6) {
                    continue; // beyond the contract, by the luck of two values
                }
                let bn = layer(&config, channels, DType::F32)?;
                let xt = Var::from_tensor(&tensor(&x, &dims, DType::F32))?;
                let y = bn.forward_train(&xt)?;
                let channel = |i: usize| i / inner % channels;
                assert_within(&format!("y, {what}"), &values(&y), &want.y, |i| {
                    2f64.powi(-23) * ratio[channel(i)] + 1e-5 * (1.0 + want.y[i].abs())
                });

                let of_mean = |c: usize| ulp(want.mean[c]);
                let of_variance = |c: usize| 1e-5 * want.variance[c];
                let (mean, variance) = moments(&xt, &axes, false)?;
                assert_within(&format!("mean, {what}"), &values(&mean), &want.mean, of_mean);
                assert_within(
                    &format!("variance, {what}"),
                    &values(&variance),
                    &want.variance,
                    of_variance,
                );
                let value = Moments::of(&xt, data_format)?;
                assert_within("Moments mean", &values(value.mean()), &want.mean, of_mean);
                assert_within(
                    "Moments variance",
                    &values(value.variance()),
                    &want.variance,
                    of_variance,
                );
                // Decay 0: the moving statistics are the batch's.
                assert_within("moving mean", &values(&bn.moving_mean()?), &want.mean, of_mean);
                assert_within(
                    "moving variance",
                    &values(&bn.moving_variance()?),
                    &want.variance,
                    of_variance,
                );
                assert_eq!(bn.health()?.committed, 1);

                // dx is made of x̂, which is off as y is, and of 1/stddev.
                let grads = gradients(&y, &tensor(&dy, &dims, DType::F32))?;
                let dx = values(grads.get(&xt).ok_or("no dx")?);
                assert_within(&format!("dx, {what}"), &dx, &want.dx, |i| {
                    4.0 * (2f64.powi(-23) * ratio[channel(i)] + 1e-5) * want.dx_scale[i]
                });
            }
        }
    }
    Ok(())
}

/// The same bounds where weights, merging and ghost batches come in.
#[test]
fn the_contract_for_weights_and_merges() -> Outcome {
    let mut numbers = Numbers(31);
    for power in 0..=6 {
        let dims = [1000, 2];
        let x = data(&dims, 10f64.powi(power), 1.0, &mut numbers);
        let w: Vec<f64> = (0..1000).map(|_| (1 + numbers.below(8)) as f64 / 4.0).collect();
        let (xt, wt) = (tensor(&x, &dims, DType::F32), tensor(&w, &[1000, 1], DType::F32));
        let total: f64 = w.iter().sum();
        let exact = |c: usize| {
            let of = |f: &dyn Fn(f64) -> f64| {
                (0..1000).map(|i| w[i] * f(x[2 * i + c])).sum::<f64>() / total
            };
            let mean = of(&|x| x);
            (mean, of(&|x| (x - mean).powi(2)))
        };
        let (mean, variance): (Vec<f64>, Vec<f64>) = (0..2).map(exact).unzip();
        let weighted = weighted_moments(&xt, &[0], &wt, false)?;
        let part = |start, len| {
            Moments::weighted(
                &xt.narrow(0, start, len)?,
                &wt.narrow(0, start, len)?,
                DataFormat::Nhwc,
            )
        };
        let merged = part(0, 1)?.merge(&part(1, 899)?)?.merge(&part(900, 100)?)?;
        let updates = Updates::new();
        let config = BatchNormConfig {
            decay: Decay::Constant(0.0),
            normalization_batch: Some(64),
            ..BatchNormConfig::keras()
        };
        let bn = layer(&config, 2, DType::F32)?.with_updates(&updates);
        for (start, len) in [(0, 300), (300, 700)] {
            let rows = wt.narrow(0, start, len)?;
            bn.forward_with(&xt.narrow(0, start, len)?, &Call::train().with_weights(&rows))?;
        }
        updates.commit()?;
        for (got_mean, got_variance) in [
            weighted,
            (merged.mean().clone(), merged.variance().clone()),
            (bn.moving_mean()?, bn.moving_variance()?),
        ] {
            assert_within("mean", &values(&got_mean), &mean, |c| ulp(mean[c]));
            assert_within("variance", &values(&got_variance), &variance, |c| 1e-5 * variance[c]);
        }
    }
    Ok(())
}

/// Subnormal, constant, tiny and huge values: what is finite in f64 stays right; no state ever holds NaN.
#[test]
fn extremes() -> Outcome {
    let subnormal = f64::from(f32::from_bits(1));
    let batches: Vec<(&str, Vec<f64>)> = vec![
        ("subnormal", vec![subnormal, -3.0 * subnormal, 7.0 * subnormal, 0.0]),
        (
            "smallest normal",
            vec![f64::from(f32::MIN_POSITIVE), -f64::from(f32::MIN_POSITIVE), 0.0, 1e-38],
        ),
        ("negative zero", vec![-0.0, 0.0, -0.0, 0.0]),
        ("constant", vec![0.1, 0.1, 0.1, 0.1]),
        ("large constant", vec![3e38, 3e38, 3e38, 3e38]),
        ("one ulp apart", vec![1.0, 1.0 + f64::from(f32::EPSILON), 1.0, 1.0]),
        ("1e18", vec![1e18, -1e18, 2e18, 0.0]),
        ("1e25", vec![1e25, -1e25, 2e25, 0.0]),
        ("largest", vec![f64::from(f32::MAX), -f64::from(f32::MAX), f64::from(f32::MAX), 0.0]),
    ];
    let renorm = |variant| Some(RenormConfig::new(variant));
    let (tf1, keras, paper) =
        (renorm(RenormVariant::Tf1), renorm(RenormVariant::Keras), renorm(RenormVariant::Paper));
    for renorm in [None, tf1, keras, paper] {
        for base in [BatchNormConfig::keras(), BatchNormConfig::haiku()] {
            let config = BatchNormConfig {
                renorm: renorm.clone(),
                zero_debias: Default::default(),
                ..base.clone()
            };
            let config = if renorm.is_none() { base } else { config };
            let all = layer(&config, 1, DType::F32)?; // sees every batch, one after the other
            for (what, x) in &batches {
                let x = rounded(x, DType::F32);
                let dy = [1.0, -2.0, 3.0, 0.5];
                let xt = Var::from_tensor(&tensor(&x, &[4, 1], DType::F32))?;
                let fresh = layer(&config, 1, DType::F32)?;
                let y = fresh.forward_train(&xt)?;
                let want = exact(&config, &[4, 1], &x, &dy, 1);
                let ratio = want.mean[0].abs() / (want.variance[0] + config.epsilon).sqrt();
                // Unclipped, renorm takes the mean off and adds it again: the sum is as exact as its terms.
                let size = want.y.iter().fold(1.0f64, |m, y| m.max(y.abs()));
                let bound = |_| (2f64.powi(-23) * ratio + 1e-5) * size;
                assert_within(&format!("y, {what}"), &values(&y), &want.y, bound);
                let dx = gradients(&y, &tensor(&dy, &[4, 1], DType::F32))?;
                let dx = values(dx.get(&xt).ok_or("no dx")?);
                assert_within(&format!("dx, {what}"), &dx, &want.dx, |i| {
                    4.0 * (2f64.powi(-23) * ratio + 1e-5) * want.dx_scale[i] + subnormal
                });
                let fits = want.reference.variance[0].abs() <= f64::from(f32::MAX)
                    && want.variance[0] <= f64::from(f32::MAX);
                assert_eq!(
                    fresh.health()?.committed,
                    u64::from(fits),
                    "{what}: taken, or refused and counted"
                );
                all.forward_train(&xt)?;
                for bn in [&fresh, &all] {
                    for (name, var) in bn.statistics() {
                        let finite = values(var.as_tensor()).iter().all(|v| v.is_finite());
                        assert!(finite, "{name} after {what}: {:?}", values(var.as_tensor()));
                    }
                    let y = values(&bn.forward_eval(&Tensor::zeros(
                        (1, 1),
                        DType::F32,
                        &common::device(),
                    )?)?);
                    // Infinite where f32 has no place for so many stddevs, but a number.
                    assert!(!y[0].is_nan(), "evaluation after {what}: {y:?}");
                }
            }
        }
    }
    Ok(())
}
