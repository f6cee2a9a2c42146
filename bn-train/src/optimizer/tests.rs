//! Laws of optimizers, for every kind, in place and by tensor operations, and comparison with PyTorch. On a GPU
//! (`BN_TEST_DEVICE`), f32 is updated by the kernel.

use super::*;
use crate::device::of_tests;
use crate::model::Role;
use candle::{DType, Tensor, Var};
use serde_json::Value;

/// Every kind, with settings that exercise each of its terms.
fn kinds() -> Vec<(&'static str, OptimizerSettings)> {
    let with =
        |kind, weight_decay| OptimizerSettings { weight_decay, ..OptimizerSettings::from(kind) };
    let sgd = |momentum, nesterov| OptimizerKind::Sgd(Sgd { momentum, nesterov });
    vec![
        ("sgd", with(sgd(0.0, false), 0.0)),
        ("momentum", with(sgd(0.9, false), 0.05)),
        ("nesterov", with(sgd(0.9, true), 0.05)),
        ("adam", with(OptimizerKind::Adam(Adam::default()), 0.0)),
        (
            "adam_decay",
            with(OptimizerKind::Adam(Adam { beta1: 0.8, beta2: 0.99, epsilon: 1e-3 }), 0.05),
        ),
        ("adamw", with(OptimizerKind::AdamW(Adam::default()), 0.05)),
        (
            "rmsprop",
            with(OptimizerKind::RmsProp(RmsProp { momentum: 0.0, ..RmsProp::default() }), 0.0),
        ),
        (
            "rmsprop_momentum",
            with(
                OptimizerKind::RmsProp(RmsProp { decay: 0.9, epsilon: 1e-3, momentum: 0.9 }),
                0.05,
            ),
        ),
    ]
}

const PLAIN: OptimizerKind = OptimizerKind::Sgd(Sgd { momentum: 0.0, nesterov: false });

/// The script's `pattern`.
fn pattern(count: usize, salt: u64) -> Vec<f32> {
    let mask = u64::from(u32::MAX);
    let mixed = (1..=count as u64).map(|i| (i * 2_654_435_761 + salt * 40_503) & mask);
    let mixed = mixed.map(|h| ((h ^ (h >> 15)) * 2_246_822_519) & mask);
    mixed.map(|h| (h as f64 / f64::from(1_u32 << 31) - 1.0) as f32).collect()
}

/// A weight that decays, a bias that does not, and their gradients.
struct Example {
    parameters: Vec<Parameter>,
    dtype: DType,
}

const SHAPES: [(&str, &[usize]); 2] = [("weight", &[3, 4]), ("bias", &[5])];

fn numbers(shape: &[usize], salt: u64, factor: f32, dtype: DType) -> Tensor {
    let values = pattern(shape.iter().product(), salt).into_iter().map(|v| v * factor);
    let values = Tensor::from_iter(values, &of_tests()).unwrap();
    values.reshape(shape).unwrap().to_dtype(dtype).unwrap()
}

impl Example {
    fn new(dtype: DType) -> Self {
        let parameter = |(salt, (name, shape)): (u64, (&str, &[usize]))| Parameter {
            path: name.to_owned(),
            role: if name == "weight" { Role::Weight } else { Role::Bias },
            var: Var::from_tensor(&numbers(shape, salt, 1.0, dtype)).unwrap(),
            is_trained: true,
        };
        Self { parameters: (0..).zip(SHAPES).map(parameter).collect(), dtype }
    }

    /// Gradients that alternate between small and large.
    fn gradients(&self, step: u64) -> Gradients {
        let mut gradients = Gradients::new();
        let factor = (step % 3) as f32 + 0.1;
        for (index, parameter) in (0..).zip(&self.parameters) {
            let salt = 100 + 10 * step + index;
            let gradient = numbers(parameter.var.dims(), salt, factor, self.dtype);
            gradients.add(&parameter.var, gradient).unwrap();
        }
        gradients
    }

    fn step(&self, optimizer: &mut dyn Optimizer, rate: f64, step: u64) {
        let rate = rate * (1.0 - step as f64 / 40.0);
        optimizer.step(&self.gradients(step), rate).unwrap();
    }

    /// All values, concatenated.
    fn weights(&self) -> Vec<f64> {
        let values = |parameter: &Parameter| {
            let values = parameter.var.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
            values.to_vec1::<f64>().unwrap()
        };
        self.parameters.iter().flat_map(values).collect()
    }
}

/// The script's learning rate of this kind.
fn rate(settings: &OptimizerSettings) -> f64 {
    if matches!(settings.kind, OptimizerKind::Sgd(_)) { 0.1 } else { 0.01 }
}

#[test]
fn twenty_steps_equal_pytorchs() {
    let torch: Value =
        serde_json::from_str(include_str!("../../tests/torch/optimizers.json")).unwrap();
    for (name, settings) in kinds() {
        for (suffix, clip_norm) in [("", None), ("_clipped", Some(2.0))] {
            let settings = OptimizerSettings { clip_norm, ..settings.clone() };
            let want = torch[format!("{name}{suffix}")].as_array().unwrap();
            for dtype in [DType::F32, DType::F64] {
                let example = Example::new(dtype);
                let mut optimizer = settings.build(example.parameters.clone()).unwrap();
                let mut kept = want.iter();
                for step in 0..20 {
                    example.step(&mut *optimizer, rate(&settings), step);
                    if ![1, 2, 3, 10, 20].contains(&(step + 1)) {
                        continue;
                    }
                    let want = kept.next().unwrap().as_array().unwrap();
                    assert_eq!(want.len(), 17);
                    for (got, want) in example.weights().iter().zip(want) {
                        let want = want.as_f64().unwrap();
                        assert!(
                            (got - want).abs() <= 1e-5,
                            "{name}{suffix}, {dtype:?}, step {}: {got}, PyTorch has {want}",
                            step + 1
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn loaded_state_continues_bitwise() {
    for (name, settings) in kinds() {
        for dtype in [DType::F32, DType::F64] {
            let straight = Example::new(dtype);
            let mut optimizer = settings.build(straight.parameters.clone()).unwrap();
            let resumed = Example::new(dtype);
            let mut first = settings.build(resumed.parameters.clone()).unwrap();
            for step in 0..7 {
                straight.step(&mut *optimizer, 0.01, step);
                resumed.step(&mut *first, 0.01, step);
            }
            let bytes = first.state().unwrap().to_bytes().unwrap();
            let mut second = settings.build(resumed.parameters.clone()).unwrap();
            second.load(State::from_bytes(&bytes).unwrap()).unwrap();
            assert_eq!(second.state().unwrap().to_bytes().unwrap(), bytes, "{name}");
            for step in 7..14 {
                straight.step(&mut *optimizer, 0.01, step);
                resumed.step(&mut *second, 0.01, step);
            }
            assert_eq!(straight.weights(), resumed.weights(), "{name}, {dtype:?}");
        }
    }
}

#[test]
fn state_that_does_not_fit_is_refused() {
    let example = Example::new(DType::F32);
    let build = |kind: OptimizerKind| {
        OptimizerSettings::from(kind).build(example.parameters.clone()).unwrap()
    };
    let state = build(OptimizerKind::Adam(Adam::default())).state().unwrap();
    let error = build(PLAIN).load(state.clone()).unwrap_err();
    assert!(error.to_string().contains("expected the text \"sgd\""), "{error}");

    let fewer = vec![example.parameters[0].clone()];
    let mut fewer =
        OptimizerSettings::from(OptimizerKind::Adam(Adam::default())).build(fewer).unwrap();
    let error = fewer.load(state).unwrap_err().to_string();
    assert!(error.contains("bias"), "{error}");
    let mut all = build(OptimizerKind::Adam(Adam::default()));
    let error = all.load(fewer.state().unwrap()).unwrap_err().to_string();
    assert!(error.contains("`updates.bias` is missing"), "{error}");
}

#[test]
fn variable_without_a_gradient_keeps_its_value_and_state() {
    for (name, settings) in kinds() {
        for dtype in [DType::F32, DType::F64] {
            let example = Example::new(dtype);
            let mut optimizer = settings.build(example.parameters.clone()).unwrap();
            example.step(&mut *optimizer, 0.1, 1);
            let before = (example.weights(), optimizer.state().unwrap());
            let mut gradients = Gradients::new();
            let weight = &example.parameters[0].var;
            gradients.add(weight, weight.copy().unwrap().detach()).unwrap();
            optimizer.step(&gradients, 0.1).unwrap();
            let after = (example.weights(), optimizer.state().unwrap());
            assert_ne!(before.0[..12], after.0[..12], "{name}");
            assert_eq!(before.0[12..], after.0[12..], "{name}");
            for ((path, before), (_, after)) in before.1.iter().zip(after.1.iter()) {
                if path.ends_with("bias") {
                    let same = match (before, after) {
                        (
                            crate::state::Value::Tensor(before),
                            crate::state::Value::Tensor(after),
                        ) => {
                            before.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()
                                == after.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap()
                        }
                        _ => before.to_string() == after.to_string(),
                    };
                    assert!(same, "{name}: {path}");
                }
            }
        }
    }
}

#[test]
fn decay_excludes_gamma_beta_and_biases_by_default() {
    for decay_norm_and_bias in [false, true] {
        let settings = OptimizerSettings {
            weight_decay: 0.5,
            decay_norm_and_bias,
            ..OptimizerSettings::from(PLAIN)
        };
        let example = Example::new(DType::F32);
        let mut gradients = Gradients::new();
        for Parameter { var, .. } in &example.parameters {
            gradients.add(var, var.zeros_like().unwrap()).unwrap();
        }
        let before = example.weights();
        settings.build(example.parameters.clone()).unwrap().step(&gradients, 0.1).unwrap();
        for (index, (before, after)) in before.iter().zip(example.weights()).enumerate() {
            let shrinks = index < 12 || decay_norm_and_bias;
            let want = if shrinks { 0.95 * before } else { *before };
            assert!((after - want).abs() < 1e-6, "{after} {want}");
        }
    }
}

#[test]
fn updates_are_bitwise_equal_for_any_thread_count() {
    for (name, settings) in kinds() {
        let settings = OptimizerSettings { clip_norm: Some(1.0), ..settings };
        let train = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let sizes = [100_003, 7, 40_000];
                let parameters: Vec<Parameter> = (0..)
                    .zip(sizes)
                    .map(|(salt, size)| Parameter {
                        path: size.to_string(),
                        role: Role::Weight,
                        var: Var::from_tensor(&numbers(&[size], salt, 1.0, DType::F32)).unwrap(),
                        is_trained: true,
                    })
                    .collect();
                let mut optimizer = settings.build(parameters.clone()).unwrap();
                for step in 0..3 {
                    let mut gradients = Gradients::new();
                    for (index, Parameter { var, .. }) in (0..).zip(&parameters) {
                        let gradient = numbers(var.dims(), 50 + 10 * step + index, 1.0, DType::F32);
                        gradients.add(var, gradient).unwrap();
                    }
                    optimizer.step(&gradients, 0.1).unwrap();
                }
                let bits =
                    |p: &Parameter| p.var.to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits);
                parameters.iter().flat_map(bits).collect::<Vec<u32>>()
            })
        };
        let one = train(1);
        assert!(one == train(2) && one == train(5), "{name}");
    }
}

#[test]
fn clipping_shortens_gradients_and_keeps_their_direction() {
    let sgd = OptimizerSettings::from(PLAIN);
    let moved = |clip_norm| {
        let example = Example::new(DType::F32);
        let before = example.weights();
        let settings = OptimizerSettings { clip_norm, ..sgd.clone() };
        settings
            .build(example.parameters.clone())
            .unwrap()
            .step(&example.gradients(2), 1.0)
            .unwrap();
        before
            .iter()
            .zip(example.weights())
            .map(|(before, after)| before - after)
            .collect::<Vec<f64>>()
    };
    let length = |moved: &[f64]| moved.iter().map(|v| v * v).sum::<f64>().sqrt();
    let (plain, clipped) = (moved(None), moved(Some(0.5)));
    assert!(length(&plain) > 2.0);
    assert!((length(&clipped) - 0.5).abs() < 1e-5);
    for (plain, clipped) in plain.iter().zip(&clipped) {
        assert!((plain * 0.5 / length(&moved(None)) - clipped).abs() < 1e-6);
    }
    assert_eq!(moved(Some(1e3)), plain);
}
