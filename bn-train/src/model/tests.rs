//! Laws of networks: initial weights, variables, gradients and modes.

use super::*;
use crate::data::ImageShape;
use crate::device::of_tests;
use crate::experiment::{Registry, Settings};
use crate::optimizer::{BuildOptimizer as _, OptimizerKind, OptimizerSettings, Sgd};
use candle::Device;

const SIZES: Sizes = Sizes { input: ImageShape { channels: 1, height: 8, width: 8 }, classes: 10 };

fn settings(lines: &str) -> Settings {
    let text = format!("optimizer.learning_rate = 0.1\ntrain.steps = 10\n{lines}");
    Registry::built_in().settings(&text).unwrap_or_else(|invalid| panic!("{invalid}"))
}

fn build(lines: &str, seed: u64) -> Model {
    build_on(lines, seed, &Device::Cpu)
}

fn build_on(lines: &str, seed: u64, device: &Device) -> Model {
    let settings = settings(lines);
    let scale = settings.model.initial_scale;
    let parameters = Parameters::new(seed).scaled(scale).into_builder(device);
    Model::build(&settings.model, settings.norm.as_ref(), SIZES, &parameters).unwrap()
}

fn names(model: &Model) -> Vec<String> {
    parameters(model.layers()).into_iter().map(|found| found.path).collect()
}

fn values(model: &Model, name: &str) -> Vec<f32> {
    let variables = model.trainable();
    let (_, variable) = variables.iter().find(|(other, _)| other == name).unwrap();
    variable.flatten_all().unwrap().to_vec1().unwrap()
}

fn images(count: usize) -> Tensor {
    let mut stream = crate::random::Stream::new(5, crate::random::Purpose::Initialize("images"));
    let pixels: Vec<f32> = (0..count * 64).map(|_| stream.unit()).collect();
    Tensor::from_vec(pixels, (count, 1, 8, 8), &Device::Cpu).unwrap()
}

#[test]
fn arms_with_one_seed_start_from_the_same_weights() {
    let plain = build("norm.kind = 'none'", 1);
    let normalized = build("norm.kind = 'batch'", 1);
    for name in ["hidden1.weight", "hidden3.weight", "output.weight", "output.bias"] {
        assert_eq!(values(&plain, name), values(&normalized, name));
    }
    assert_ne!(
        values(&plain, "hidden1.weight"),
        values(&build("norm.kind = 'none'", 2), "hidden1.weight")
    );
    let bound = 1.0 / 8.0;
    let weights = values(&plain, "hidden1.weight");
    assert!(weights.iter().all(|weight| weight.abs() <= bound));
    assert!(weights.iter().any(|weight| weight.abs() > 0.95 * bound));
}

#[test]
fn bias_exists_unless_an_offset_follows() {
    let hidden = |lines: &str| names(&build(&format!("model.hidden = [4]\n{lines}"), 0));
    assert_eq!(
        hidden("norm.kind = 'none'"),
        ["hidden1.bias", "hidden1.weight", "output.bias", "output.weight"]
    );
    assert_eq!(
        hidden("norm.kind = 'batch'"),
        [
            "hidden1.norm.beta",
            "hidden1.norm.gamma",
            "hidden1.weight",
            "output.bias",
            "output.weight"
        ]
    );
    assert!(hidden("norm.center = false").contains(&"hidden1.bias".to_owned()));
    assert!(hidden("norm.position = 'after'").contains(&"hidden1.bias".to_owned()));
}

#[test]
fn every_variable_of_every_family_has_a_gradient() {
    for model in [
        "model.hidden = []",
        "model.hidden = [7]",
        "model.hidden = [7, 5, 3, 8]\nmodel.activation = 'tanh'",
        "model.kind = 'convnet'",
        "model = { kind = 'convnet', channels = [4, 4, 4], kernel = 5 }",
        "model = { kind = 'convnet', channels = [] }",
        "model = { kind = 'resnet', depth = 8 }",
        "model = { kind = 'inception', blocks = [8, 16, 4] }",
    ] {
        for norm in [
            "norm.kind = 'none'",
            "norm.kind = 'batch'",
            "norm.kind = 'renorm'",
            "norm.position = 'after'",
            "norm.kind = 'layer'",
        ] {
            let model = build(&format!("{model}\n{norm}"), 0);
            let mut pass = Pass::train();
            let scores = model.apply(&Signal::new(images(4)), &mut pass).unwrap();
            assert_eq!(scores.tensor().dims(), [4, 10]);
            let gradients = pass.backward(&scores, &dy(4)).unwrap();
            for (name, variable) in model.trainable() {
                assert!(gradients.get(&variable).is_some(), "{name}");
            }
        }
    }
}

#[test]
fn only_training_updates_moving_statistics() {
    for norm in [
        "norm.kind = 'batch'",
        "norm.kind = 'renorm'",
        "norm = { position = 'after', zero_debias = 'both' }",
    ] {
        let model = build(&format!("{norm}\nmodel.activation = 'sigmoid'"), 0);
        let (x, scores) = (images(8), |mode| -> Vec<f32> {
            model.evaluate(&images(8), mode).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        });
        let before = scores(Mode::Moving);
        let batch = scores(Mode::Batch);
        assert_ne!(before, batch);
        assert_eq!(scores(Mode::Moving), before, "evaluation updated statistics");
        model.forward(&x, &mut Pass::train()).unwrap();
        assert_ne!(scores(Mode::Moving), before, "training updated no statistics");
        assert_eq!(scores(Mode::Batch), batch);
    }
}

#[test]
fn position_of_the_norm_changes_the_scores() {
    let scores = |position: &str| -> Vec<f32> {
        let model = build(&format!("norm.position = '{position}'\nmodel.hidden = [6]"), 0);
        model.evaluate(&images(8), Mode::Batch).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    assert_ne!(scores("before"), scores("after"));
}

/// The gradient of some loss by the scores.
fn dy(examples: usize) -> Tensor {
    let values: Vec<f32> = (0..examples * 10).map(|i| ((i * 7) % 11) as f32 / 5.0 - 1.0).collect();
    Tensor::from_vec(values, (examples, 10), &Device::Cpu).unwrap()
}

/// Over every kind of layer, norm and activation: f64, which tensor operations compute, and the device of the tests.
#[test]
fn gradients_equal_those_in_f64() {
    let norms = [
        "norm.kind = 'none'",
        "norm.kind = 'batch'",
        "norm.kind = 'renorm'",
        "norm.position = 'after'",
        "norm = { center = false, scale = false }",
        "norm = { kind = 'ghost', size = 3 }",
        "norm.kind = 'layer'",
        "norm = { kind = 'layer', position = 'after' }",
    ];
    let models = [
        "kind = 'mlp', hidden = [7, 5]",
        "kind = 'convnet', channels = [4, 5], kernel = 5",
        "kind = 'resnet', depth = 14",
        "kind = 'inception', blocks = [8, 4]",
    ];
    for (model, activation) in models.into_iter().zip(["sigmoid", "leaky_relu", "relu", "tanh"]) {
        for norm in norms {
            let lines = format!("model = {{ {model}, activation = '{activation}' }}\n{norm}");
            let by = |model: &Model, x: Tensor| {
                let mut pass = Pass::train();
                // Not by `apply`, which computes in the network's own precision.
                let scores = model.layers().forward(&Signal::new(x), &mut pass).unwrap();
                pass.backward(&scores, &dy(6)).unwrap()
            };
            let wide = build(&lines, 3);
            let exact = by(&wide, images(6).to_dtype(DType::F64).unwrap());
            let host = |gradients: &Gradients, variable: &Var| -> Vec<f32> {
                let gradient = gradients.get(variable).unwrap();
                gradient.flatten_all().unwrap().to_vec1().unwrap()
            };
            for device in [Device::Cpu, of_tests()] {
                let model = build_on(&lines, 3, &device);
                let found = by(&model, images(6).to_device(&device).unwrap());
                let pairs: Vec<_> = model.trainable().into_iter().zip(wide.trainable()).collect();
                let all = pairs.iter().flat_map(|(_, (_, theirs))| host(&exact, theirs));
                let scale = all.fold(0.0_f32, |most, gradient| most.max(gradient.abs()));
                // A hundred roundings at the scale of the largest gradient, because small sums cancel larger terms.
                let tolerance = 100.0 * f32::EPSILON * scale;
                for ((name, ours), (_, theirs)) in pairs {
                    for (got, want) in host(&found, &ours).iter().zip(host(&exact, &theirs)) {
                        let is_close = (got - want).abs() <= tolerance;
                        assert!(is_close, "{lines} {name}: {got}, expected {want}");
                    }
                }
            }
        }
    }
}

#[test]
fn training_is_bitwise_equal_for_any_thread_count() {
    for model in [
        "model.hidden = [40, 130, 20, 33]\nmodel.activation = 'sigmoid'",
        "model.hidden = [140, 130]\nnorm.kind = 'none'",
        "model = { kind = 'resnet', depth = 8 }",
        "model = { kind = 'convnet', channels = [5, 20] }",
        "model = { kind = 'inception', blocks = [16, 8] }\nnorm = { kind = 'group', groups = 2 }",
    ] {
        let learn = || {
            let model = build(model, 0);
            let momentum = OptimizerKind::Sgd(Sgd { momentum: 0.9, nesterov: false });
            let mut optimizer =
                OptimizerSettings::from(momentum).build(parameters(model.layers())).unwrap();
            for _ in 0..3 {
                let mut pass = Pass::train();
                let scores = model.apply(&Signal::new(images(70)), &mut pass).unwrap();
                let gradients = pass.backward(&scores, &dy(70)).unwrap();
                optimizer.step(&gradients, 0.1).unwrap();
            }
            let numbers = |(name, _): &(String, Var)| values(&model, name);
            let variables = model.trainable();
            let bits = variables.iter().flat_map(numbers);
            bits.map(f32::to_bits).collect::<Vec<_>>()
        };
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(learn)
        };
        let one = on(1);
        for threads in [2, 3, 8] {
            assert!(on(threads) == one, "{model}, {threads} threads");
        }
    }
}

#[test]
fn group_norm_equals_its_formula() {
    let builder = Parameters::new(0).into_builder(&Device::Cpu);
    let norm = GroupNorm::build(2, 1e-3, 4, &builder.pp("norm")).unwrap();
    let values: Vec<f32> = (0..24).map(|i| ((i * 7) % 13) as f32).collect();
    let x = Tensor::from_vec(values.clone(), (2, 4, 3), &Device::Cpu).unwrap();
    let y = norm.forward(&Signal::new(x), &mut Pass::evaluate(Mode::Moving)).unwrap();
    let y: Vec<f32> = y.tensor().flatten_all().unwrap().to_vec1().unwrap();
    for (x, y) in values.chunks(6).zip(y.chunks(6)) {
        let mean = x.iter().sum::<f32>() / 6.0;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 6.0;
        for (x, y) in x.iter().zip(y) {
            assert!(((x - mean) / (variance + 1e-3).sqrt() - y).abs() < 1e-5);
        }
    }
    let roles: Vec<Role> = parameters(&norm).into_iter().map(|found| found.role).collect();
    assert_eq!(roles, [Role::Beta, Role::Gamma], "weight decay must not apply");
    assert!(GroupNorm::build(3, 1e-3, 4, &builder.pp("other")).is_err());
}

#[test]
fn initial_scale_applies_only_to_weights() {
    let (plain, scaled) = (build("", 3), build("model.initial_scale = 4.0", 3));
    for name in names(&plain) {
        let factor = if name.ends_with(".weight") { 4.0 } else { 1.0 };
        let want: Vec<f32> = values(&plain, &name).iter().map(|value| factor * value).collect();
        // Multiplying by a power of two is exact.
        let got = values(&scaled, &name);
        assert_eq!(got, want, "{name}");
    }
}
