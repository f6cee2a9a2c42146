//! The whole configuration drawn at once: every option with every other, forward, gradients and all
//! statistics over several steps, against plain loops in f64 and against finite differences of those.

#[path = "../common/mod.rs"]
mod common;

mod case;
mod differences;

use bn_core::{Activation, BatchNorm, Call, Initializer, Updates};
use candle::{DType, Var};
use case::{Case, drawn};
use common::reference::{Batch, Pass, Reference};
use common::{Numbers, Outcome, assert_within, epsilon_of, gradients, rounded, tensor, values};
use differences::check_finite_differences;
use proptest::prelude::*;

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
    0.5 * epsilon_of(dtype) * v.abs() + if dtype == DType::F16 { 2f64.powi(-25) } else { 0.0 }
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
        let stddevs =
            pass.groups.iter().flat_map(|g| &g.variance).map(|v| (v + config.epsilon).sqrt());
        let smallest = stddevs.fold(f64::INFINITY, f64::min);
        largest = x.iter().fold(largest, |m, v| m.max(v.abs()));
        let error = unit(case, step, n, largest / smallest.min(0.5));
        // At the kink itself there is no gradient to compare (laws.rs has its convention).
        let kink = matches!(config.activation, Activation::Relu | Activation::LeakyRelu(_));
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
                assert!(grads.get(var).is_none(), "{name}: a frozen layer has no gradient");
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
        let call = Call { weights: None, ..Call::eval() };
        let call = Call {
            gamma: given_gamma.as_ref().map(Var::as_tensor),
            beta: given_beta.as_ref().map(Var::as_tensor),
            residual: rt.as_ref().map(Var::as_tensor),
            ..call
        };
        let evaluated = reference.evaluate(&batch);
        let stddev = reference.variance.iter().map(|v| (v + config.epsilon).sqrt());
        let stddev = stddev.fold(f64::INFINITY, f64::min);
        let bound = |i: usize| {
            let z = (largest / stddev) * gamma.iter().fold(0.0f64, |m, g| m.max(g.abs()));
            steepest * error * (4.0 + 4.0 * z + scale[i]) * (1.0 + largest / stddev)
                + rounding(case.dtype, evaluated[i])
        };
        assert_within("evaluation", &values(&bn.forward_with(&xt, &call)?), &evaluated, bound);
    }
    let health = bn.health()?;
    assert_eq!((health.committed, health.refused), (case.examples.len() as u64, 0));
    assert!(!health.evaluated_before_update);
    Ok(())
}

/// Sum of the absolute values of what an element of v is added up from.
pub(crate) fn v_scale(batch: &Batch<'_>, pass: &Pass, i: usize) -> f64 {
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
    assert_within("d", &values(correction.d()), &d, |i| spread * error * (1.0 + d[i].abs() + r[i]));
    let differs = |a: f64, b: f64| ((a - b).abs() > 1e-3 * (1.0 + a.abs()), a != b);
    let share = |pairs: Vec<(bool, bool)>| {
        let n = pairs.len() as f64;
        let count =
            |pick: fn(&(bool, bool)) -> bool| pairs.iter().filter(|p| pick(p)).count() as f64;
        // A share is a number of n-ths: half of one apart is another share.
        ((count(|p| p.0) - 0.5) / n, (count(|p| p.1) + 0.5) / n)
    };
    // What is clipped by a hair may go either way.
    let (low, high) = share((0..r.len()).map(|i| differs(pass.unclipped[i].0, r[i])).collect());
    let got = correction.clipped_r();
    assert!((low..=high).contains(&got), "clipped r: {got} not in {low}..={high}");
    let (low, high) = share((0..d.len()).map(|i| differs(pass.unclipped[i].1, d[i])).collect());
    let got = correction.clipped_d();
    assert!((low..=high).contains(&got), "clipped d: {got} not in {low}..={high}");
    Ok(())
}

fn check_statistics(bn: &BatchNorm, reference: &Reference, error: f64, largest: f64) {
    for (name, var) in bn.statistics() {
        let got = values(var.as_tensor());
        let mut want = reference.named(&name);
        want.truncate(got.len());
        // Means are as exact as the data are large, variances as their square is.
        let size = want.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
        let size = size.max(if name.contains("variance") { largest * largest } else { largest });
        let bound = if name == "updates" { 0.0 } else { error * size };
        assert_within(&name, &got, &want, |_| bound);
    }
}

/// 512 configurations, or as many as `PROPTEST_CASES` asks for.
fn cases() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(512), failure_persistence: None, ..default }
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
