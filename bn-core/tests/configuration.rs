//! The whole configuration drawn at once: every option with every other, forward, gradients and all
//! statistics over several steps, against plain loops in f64 and against finite differences of those.

mod common;

use bn_core::{
    Activation, BatchNorm, BatchNormConfig, Call, Clipping, DataFormat, Decay, Initializer,
    RenormConfig, RenormVariant, Schedule, StoredVariance, Updates, WeightKind, ZeroDebias,
};
use candle::{DType, Tensor, Var};
use common::reference::{Batch, Pass, Reference};
use common::{Numbers, Outcome, assert_within, epsilon_of, gradients, rounded, tensor, values};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Weights {
    None,
    PerExample,
    Mask,
    /// Sizes kept at the axes of these bits, 1 at the others; leading ones left out on the last bit.
    Broadcast(u8),
}

/// Everything that is drawn. What the layer refuses by contract is mended in [`drawn`].
#[derive(Clone, Debug)]
struct Case {
    config: BatchNormConfig,
    dtype: DType,
    /// Shape without the size of the channel axis and, by step, of axis 0.
    dims: Vec<usize>,
    axis: usize,
    channels: usize,
    examples: Vec<usize>,
    weights: Weights,
    residual: bool,
    /// gamma and beta at the call: 0 no, 1 `[C]`, 2 `[N, C]`.
    given: (u8, u8),
    deferred: bool,
    seed: u64,
}

fn drawn() -> impl Strategy<Value = Case> {
    let shape = (
        2usize..=5,
        0usize..5,
        prop::collection::vec(1usize..=3, 5),
        1usize..=4,
        prop::collection::vec(2usize..=6, 1..=4),
        prop::sample::select(vec![DType::F64, DType::F32, DType::F16, DType::BF16]),
        any::<bool>(),
    );
    let weights = prop_oneof![
        Just(Weights::None),
        Just(Weights::PerExample),
        Just(Weights::Mask),
        any::<u8>().prop_map(Weights::Broadcast),
    ];
    let variant = prop::option::of(prop::sample::select(vec![
        RenormVariant::Tf1,
        RenormVariant::Keras,
        RenormVariant::Paper,
    ]));
    let bounds = (
        prop::option::of(0.5..=1.0),
        prop::option::of(1.0..2.0),
        prop::option::of(0.0..0.6),
    );
    let averages = (
        prop_oneof![
            (0.0..0.99).prop_map(Decay::Constant),
            Just(Decay::Cumulative),
            (0.0..0.99, 0.0..0.99).prop_map(|(from, to)| {
                Decay::Schedule(Schedule::piecewise([(0, from), (2, to)]).expect("two points"))
            }),
        ],
        prop::sample::select(vec![
            ZeroDebias::None,
            ZeroDebias::Mean,
            ZeroDebias::Variance,
            ZeroDebias::Both,
        ]),
        any::<bool>(),
        any::<bool>(),
        0.0..0.99,
        prop::option::of(1usize..=4),
    );
    let tail = (
        prop_oneof![
            Just(Activation::None),
            Just(Activation::Relu),
            Just(Activation::Sigmoid),
            Just(Activation::Tanh),
            (-0.5..1.5).prop_map(Activation::LeakyRelu),
        ],
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        (0u8..3, 0u8..3),
        prop::bool::weighted(0.85),
        any::<bool>(),
        any::<u64>(),
    );
    (shape, weights, variant, bounds, averages, tail).prop_map(
        |(shape, weights, variant, bounds, averages, tail)| {
            let (rank, axis, sizes, channels, examples, dtype, by_name) = shape;
            let axis = axis % rank;
            let (decay, debias, unbiased, reliability, renorm_decay, ghost) = averages;
            let (activation, residual, center, scale, given, trainable, deferred, seed) = tail;
            let mut numbers = Numbers(seed);
            let mut each = |low, high| {
                let v = (0..channels)
                    .map(|_| numbers.between(low, high))
                    .collect::<Vec<_>>();
                // Initial values that every type holds exactly.
                Initializer::Values(rounded(&v, DType::BF16))
            };
            let config = BatchNormConfig {
                data_format: match (by_name, axis) {
                    (true, 1) => DataFormat::Nchw,
                    (true, axis) if axis == rank - 1 => DataFormat::Nhwc,
                    (_, axis) => DataFormat::Axis(axis),
                },
                decay,
                epsilon: 1e-3,
                center,
                scale,
                activation,
                beta_initializer: each(-1.0, 1.0),
                gamma_initializer: each(-1.5, 1.5),
                moving_mean_initializer: each(-1.0, 1.0),
                moving_variance_initializer: each(0.5, 2.0),
                zero_debias: match variant {
                    None | Some(RenormVariant::Tf1) => debias,
                    Some(_) => ZeroDebias::None,
                },
                stored_variance: match unbiased && variant.is_none() {
                    true => StoredVariance::Unbiased,
                    false => StoredVariance::Biased,
                },
                weight_kind: match reliability {
                    true => WeightKind::Reliability,
                    false => WeightKind::Frequency,
                },
                renorm: variant.map(|variant| RenormConfig {
                    variant,
                    decay: renorm_decay,
                    clipping: Clipping::constant(bounds.0, bounds.1, bounds.2),
                }),
                normalization_batch: ghost.filter(|_| axis != 0),
                trainable,
                ..BatchNormConfig::tf_slim()
            };
            let per_example = |kind: u8| if axis == 0 { kind.min(1) } else { kind };
            Case {
                config,
                dtype,
                dims: sizes[..rank].to_vec(),
                axis,
                channels,
                examples,
                weights: match weights {
                    Weights::PerExample if axis == 0 => Weights::Mask,
                    weights => weights,
                },
                residual,
                given: (per_example(given.0), per_example(given.1)),
                deferred,
                seed,
            }
        },
    )
}

impl Case {
    fn dims(&self, step: usize) -> Vec<usize> {
        let mut dims = self.dims.clone();
        dims[0] = self.examples[step];
        dims[self.axis] = self.channels;
        dims
    }

    /// Weights in the shape they are given in, and per element of x.
    fn weights(&self, dims: &[usize], numbers: &mut Numbers) -> (Option<Tensor>, Vec<f64>) {
        let all: usize = dims.iter().product();
        let shape: Vec<usize> = match self.weights {
            Weights::None => return (None, vec![1.0; all]),
            Weights::PerExample => vec![dims[0]],
            Weights::Mask => (0..dims.len())
                .map(|a| if a == self.axis { 1 } else { dims[a] })
                .collect(),
            Weights::Broadcast(bits) => {
                let kept = |a: usize| a != self.axis && bits >> a & 1 == 1;
                let shape: Vec<usize> = (0..dims.len())
                    .map(|a| if kept(a) { dims[a] } else { 1 })
                    .collect();
                let ones = shape.iter().take_while(|&&size| size == 1).count();
                match shape[ones..].len() {
                    // One axis of N values would be read as one weight per example.
                    0 | 1 => shape,
                    _ if bits >> 7 == 1 => shape[ones..].to_vec(),
                    _ => shape,
                }
            }
        };
        let count: usize = shape.iter().product();
        // Multiples of 1/8 sum exactly, so that W = 1 is W = 1. A mask keeps the first of each example:
        // a group without weight is an error by default.
        let of_example = count / shape[0];
        let draw = |i: usize, numbers: &mut Numbers| match self.weights {
            Weights::Mask if self.axis == 0 => {
                f64::from(u8::from(i == 0 || numbers.bits() & 1 == 1))
            }
            Weights::Mask => f64::from(u8::from(
                i.is_multiple_of(of_example) || numbers.bits() & 1 == 1,
            )),
            _ => (1 + numbers.below(24)) as f64 / 8.0,
        };
        let given: Vec<f64> = (0..count).map(|i| draw(i, numbers)).collect();
        let mut full = vec![1; dims.len()];
        if self.weights == Weights::PerExample {
            full[0] = dims[0];
        } else {
            full[dims.len() - shape.len()..].copy_from_slice(&shape);
        }
        let of_element = |i: usize| {
            let (mut left, mut at, mut stride) = (i, 0, 1);
            for a in (0..dims.len()).rev() {
                let index = left % dims[a];
                left /= dims[a];
                at += if full[a] == 1 { 0 } else { index * stride };
                stride *= full[a];
            }
            given[at]
        };
        (
            Some(tensor(&given, &shape, DType::F32)),
            (0..all).map(of_element).collect(),
        )
    }

    /// A parameter at the call, and its values; the layer's own where none is given.
    fn parameter(
        &self,
        kind: u8,
        own: &Initializer,
        on: bool,
        neutral: f64,
        n: usize,
        numbers: &mut Numbers,
    ) -> Outcome<(Option<Var>, Vec<f64>)> {
        let dims = match kind {
            0 => {
                return Ok((
                    None,
                    match own {
                        Initializer::Values(values) if on => values.clone(),
                        _ => vec![neutral; self.channels],
                    },
                ));
            }
            1 => vec![self.channels],
            _ => vec![n, self.channels],
        };
        let v = rounded(&numbers.normals(dims.iter().product()), self.dtype);
        let wide = if self.dtype == DType::F64 {
            DType::F64
        } else {
            DType::F32
        };
        Ok((Some(Var::from_tensor(&tensor(&v, &dims, wide))?), v))
    }
}

/// Relative error that the composed arithmetic may make, before the output is rounded to x's type.
///
/// f64: `n` roundings of the longest sum, eight operations around it. Narrower types: the crate's contract
/// for f32, a mean within one ulp and a variance within 1e-5. Both grow by |x|/stddev, and by the step
/// where r and d refer to rounded averages.
fn unit(case: &Case, step: usize, n: usize, condition: f64) -> f64 {
    let steps = (step + 1) as f64;
    match case.dtype {
        DType::F64 => 8.0 * steps * n as f64 * f64::EPSILON * (1.0 + condition),
        _ => steps * 2f64.powi(-23) * condition + 1e-5,
    }
}

/// Half the distance of neighbours, and half the smallest number: f16 has subnormals worth noting.
fn rounding(dtype: DType, v: f64) -> f64 {
    0.5 * epsilon_of(dtype) * v.abs()
        + if dtype == DType::F16 {
            2f64.powi(-25)
        } else {
            0.0
        }
}

fn check(case: &Case) -> Outcome {
    let config = &case.config;
    let own = |i: &Initializer| match i {
        Initializer::Values(values) => values.clone(),
        Initializer::Constant(_) => unreachable!("every initializer is drawn by channel"),
    };
    let mut reference = Reference::new(
        config,
        &own(&config.moving_mean_initializer),
        &own(&config.moving_variance_initializer),
    );
    let updates = Updates::new();
    let mut bn = common::layer(config, case.channels, case.dtype)?;
    if case.deferred {
        bn = bn.with_updates(&updates);
    }
    let mut numbers = Numbers(case.seed ^ 1);
    let mut largest = 1.0f64;
    for step in 0..case.examples.len() {
        let dims = case.dims(step);
        let n: usize = dims.iter().product();
        let (offset, spread) = (numbers.between(-3.0, 3.0), numbers.between(0.3, 3.0));
        let mut draw = |n| rounded(&numbers.normals(n), case.dtype);
        let x: Vec<f64> = draw(n).iter().map(|v| offset + spread * v).collect();
        let x = rounded(&x, case.dtype);
        let residual = case.residual.then(|| draw(n));
        let mut dy = draw(n);
        let (w, weights) = case.weights(&dims, &mut numbers);
        let (given_gamma, gamma) = case.parameter(
            case.given.0,
            &config.gamma_initializer,
            config.scale,
            1.0,
            dims[0],
            &mut numbers,
        )?;
        let (given_beta, beta) = case.parameter(
            case.given.1,
            &config.beta_initializer,
            config.center,
            0.0,
            dims[0],
            &mut numbers,
        )?;
        let batch = Batch {
            dims: &dims,
            x: &x,
            weights: &weights,
            gamma: &gamma,
            beta: &beta,
            residual: residual.as_deref(),
        };
        let pass = reference.forward(&batch);
        let stddevs = pass
            .groups
            .iter()
            .flat_map(|g| &g.variance)
            .map(|v| (v + config.epsilon).sqrt());
        let smallest = stddevs.fold(f64::INFINITY, f64::min);
        largest = x.iter().fold(largest, |m, v| m.max(v.abs()));
        let error = unit(case, step, n, largest / smallest.min(0.5));
        // At the kink itself there is no gradient to compare (laws.rs has its convention).
        let kink = matches!(
            config.activation,
            Activation::Relu | Activation::LeakyRelu(_)
        );
        let scale: Vec<f64> = (0..n).map(|i| v_scale(&batch, &pass, i)).collect();
        for i in 0..n {
            if kink && pass.v[i].abs() <= 1e-3 + error * scale[i] {
                dy[i] = 0.0;
            }
        }

        let xt = Var::from_tensor(&tensor(&x, &dims, case.dtype))?;
        let rt = match &residual {
            Some(r) => Some(Var::from_tensor(&tensor(r, &dims, case.dtype))?),
            None => None,
        };
        let call = Call {
            weights: w.as_ref(),
            gamma: given_gamma.as_ref().map(Var::as_tensor),
            beta: given_beta.as_ref().map(Var::as_tensor),
            residual: rt.as_ref().map(Var::as_tensor),
            ..Call::train()
        };
        let y = bn.forward_with(&xt, &call)?;
        assert_eq!((y.dims(), y.dtype()), (&dims[..], case.dtype));
        let steepest = match config.activation {
            Activation::LeakyRelu(slope) => slope.abs().max(1.0),
            _ => 1.0,
        };
        let y_bound = |i: usize| steepest * error * scale[i] + rounding(case.dtype, pass.y[i]);
        assert_within("y", &values(&y), &pass.y, y_bound);
        check_correction(&bn, &pass, error, largest)?;

        // Gradients.
        let want = reference.backward(&batch, &dy, &pass);
        let grads = gradients(&y, &tensor(&dy, &dims, case.dtype))?;
        let curved = 4.0 + 2.0 * scale.iter().fold(0.0f64, |m, s| m.max(*s));
        let dx = values(grads.get(&xt).ok_or("no dx")?);
        let dx_bound =
            |i: usize| curved * error * want.dx_scale[i] + rounding(case.dtype, want.dx[i]);
        assert_within("dx", &dx, &want.dx, dx_bound);
        if let Some(rt) = &rt {
            let got = values(grads.get(rt).ok_or("no dresidual")?);
            let bound =
                |i: usize| curved * error * dy[i].abs() + rounding(case.dtype, want.dresidual[i]);
            assert_within("dresidual", &got, &want.dresidual, bound);
        }
        let own_gamma = bn.gamma().filter(|_| given_gamma.is_none());
        let own_beta = bn.beta().filter(|_| given_beta.is_none());
        let parameters = [
            ("dgamma", own_gamma, &given_gamma, &want.dgamma),
            ("dbeta", own_beta, &given_beta, &want.dbeta),
        ];
        for (name, own, given, want_each) in parameters {
            let Some(var) = given.as_ref().or(own) else {
                continue;
            };
            if given.is_none() && !config.trainable {
                assert!(
                    grads.get(var).is_none(),
                    "{name}: a frozen layer has no gradient"
                );
                continue;
            }
            let got = values(grads.get(var).ok_or("no gradient of a parameter")?);
            let size = match want.dgamma_scale.len() == want_each.len() {
                true => want.dgamma_scale.clone(),
                false => vec![want.dgamma_scale.iter().sum(); want_each.len()],
            };
            let bound = |i: usize| curved * error * size[i] + rounding(DType::F32, want_each[i]);
            assert_within(name, &got, want_each, bound);
        }
        if case.dtype == DType::F64 {
            check_finite_differences(&reference, &batch, &dy, &pass, &dx, &mut numbers);
        }

        // Statistics, and evaluation by them.
        reference.update(&batch);
        if case.deferred {
            updates.commit()?;
        }
        check_statistics(&bn, &reference, error, largest);
        let call = Call {
            weights: None,
            ..Call::eval()
        };
        let call = Call {
            gamma: given_gamma.as_ref().map(Var::as_tensor),
            beta: given_beta.as_ref().map(Var::as_tensor),
            residual: rt.as_ref().map(Var::as_tensor),
            ..call
        };
        let evaluated = reference.evaluate(&batch);
        let stddev = reference
            .variance
            .iter()
            .map(|v| (v + config.epsilon).sqrt());
        let stddev = stddev.fold(f64::INFINITY, f64::min);
        let bound = |i: usize| {
            let z = (largest / stddev) * gamma.iter().fold(0.0f64, |m, g| m.max(g.abs()));
            steepest * error * (4.0 + 4.0 * z + scale[i]) * (1.0 + largest / stddev)
                + rounding(case.dtype, evaluated[i])
        };
        assert_within(
            "evaluation",
            &values(&bn.forward_with(&xt, &call)?),
            &evaluated,
            bound,
        );
    }
    let health = bn.health()?;
    assert_eq!(
        (health.committed, health.refused),
        (case.examples.len() as u64, 0)
    );
    assert!(!health.evaluated_before_update);
    Ok(())
}

/// Sum of the absolute values of what an element of v is added up from.
fn v_scale(batch: &Batch<'_>, pass: &Pass, i: usize) -> f64 {
    let largest = |v: &[f64]| v.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let r = pass.r.iter().fold(0.0f64, |m, r| m.max(largest(r)));
    let d = pass.d.iter().fold(0.0f64, |m, d| m.max(largest(d)));
    let gamma = largest(batch.gamma);
    let residual = batch.residual.map_or(0.0, |residual| residual[i].abs());
    gamma * (r * (1.0 + pass.x_hat[i].abs()) + d + 1.0) + largest(batch.beta) + residual
}

fn check_correction(bn: &BatchNorm, pass: &Pass, error: f64, largest: f64) -> Outcome {
    let Some(correction) = bn.last_correction() else {
        assert!(bn.config().renorm.is_none(), "renorm, but no correction");
        return Ok(());
    };
    let (r, d) = (pass.r.concat(), pass.d.concat());
    assert_eq!(correction.r().dims(), [pass.groups.len(), bn.channels()]);
    let spread = 4.0 * (1.0 + largest);
    assert_within("r", &values(correction.r()), &r, |i| spread * error * r[i]);
    assert_within("d", &values(correction.d()), &d, |i| {
        spread * error * (1.0 + d[i].abs() + r[i])
    });
    let differs = |a: f64, b: f64| ((a - b).abs() > 1e-3 * (1.0 + a.abs()), a != b);
    let share = |pairs: Vec<(bool, bool)>| {
        let n = pairs.len() as f64;
        let count =
            |pick: fn(&(bool, bool)) -> bool| pairs.iter().filter(|p| pick(p)).count() as f64;
        // A share is a number of n-ths: half of one apart is another share.
        ((count(|p| p.0) - 0.5) / n, (count(|p| p.1) + 0.5) / n)
    };
    // What is clipped by a hair may go either way.
    let (low, high) = share(
        (0..r.len())
            .map(|i| differs(pass.unclipped[i].0, r[i]))
            .collect(),
    );
    let got = correction.clipped_r()?;
    assert!(
        (low..=high).contains(&got),
        "clipped r: {got} not in {low}..={high}"
    );
    let (low, high) = share(
        (0..d.len())
            .map(|i| differs(pass.unclipped[i].1, d[i]))
            .collect(),
    );
    let got = correction.clipped_d()?;
    assert!(
        (low..=high).contains(&got),
        "clipped d: {got} not in {low}..={high}"
    );
    Ok(())
}

fn check_statistics(bn: &BatchNorm, reference: &Reference, error: f64, largest: f64) {
    for (name, var) in bn.statistics() {
        let got = values(var.as_tensor());
        let mut want = reference.named(&name);
        want.truncate(got.len());
        // Means are as exact as the data are large, variances as their square is.
        let size = want.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
        let size = size.max(if name.contains("variance") {
            largest * largest
        } else {
            largest
        });
        let bound = if name == "updates" { 0.0 } else { error * size };
        assert_within(&name, &got, &want, |_| bound);
    }
}

/// Central differences of the loss with r, d and weights held constant. With a step of 1e-4 stddevs the
/// truncation is 1e-8 of the third derivative in stddevs, to which the activation adds (gamma·r)².
fn check_finite_differences(
    reference: &Reference,
    batch: &Batch<'_>,
    dy: &[f64],
    pass: &Pass,
    dx: &[f64],
    numbers: &mut Numbers,
) {
    let want = reference.backward(batch, dy, pass);
    let stddevs = pass
        .groups
        .iter()
        .flat_map(|g| &g.variance)
        .map(|v| (v + 1e-3).sqrt());
    let smallest = stddevs.fold(f64::INFINITY, f64::min);
    let h = 1e-4 * smallest;
    let loss = |x: &[f64], gamma: &[f64], beta: &[f64]| {
        reference.loss(
            &Batch {
                x,
                gamma,
                beta,
                ..batch.clone()
            },
            dy,
            pass,
        )
    };
    let size: f64 = (0..dy.len())
        .map(|i| dy[i].abs() * v_scale(batch, pass, i))
        .sum();
    let steep = (0..dy.len())
        .map(|i| v_scale(batch, pass, i))
        .fold(1.0, f64::max);
    let noise = 8.0 * dy.len() as f64 * f64::EPSILON * size / h;
    for _ in 0..12 {
        let i = numbers.below(dx.len());
        let moved = |by: f64| {
            let mut x = batch.x.to_vec();
            x[i] += by;
            loss(&x, batch.gamma, batch.beta)
        };
        let slope = (moved(h) - moved(-h)) / (2.0 * h);
        let bound =
            noise + 1e-7 * steep * steep * want.dx_scale[i].max(size / smallest / dy.len() as f64);
        assert_within("finite difference of x", &[dx[i]], &[slope], |_| bound);
    }
    let reach = pass.z.iter().fold(1.0f64, |m, z| m.max(z.abs()));
    for (name, analytic, which) in [("gamma", &want.dgamma, 0), ("beta", &want.dbeta, 1)] {
        let i = numbers.below(analytic.len());
        let moved = |by: f64| {
            let mut parameters = [batch.gamma.to_vec(), batch.beta.to_vec()];
            parameters[which][i] += by;
            loss(batch.x, &parameters[0], &parameters[1])
        };
        let slope = (moved(1e-4) - moved(-1e-4)) / 2e-4;
        let noise = 8.0 * dy.len() as f64 * f64::EPSILON * size / 1e-4;
        // A parameter acts through the activation alone, whose third derivative is below 2: h²/6 · 2 · z³.
        let bound = noise + 1e-8 * reach.powi(3) * dy.iter().map(|dy| dy.abs()).sum::<f64>();
        assert_within(name, &[analytic[i]], &[slope], |_| bound);
    }
}

/// 512 configurations, or as many as `PROPTEST_CASES` asks for.
fn cases() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.max(512),
        failure_persistence: None,
        ..default
    }
}

proptest! {
    #![proptest_config(cases())]
    #[test]
    fn every_option_with_every_other(case in drawn()) {
        if let Err(error) = check(&case) {
            return Err(TestCaseError::fail(format!("{error}")));
        }
    }
}
