//! Compares five training steps with PyTorch, from the same weights on the same batch: the losses of all steps and the last
//! gradients agree to 1e-4. `tests/torch/generate.py` generated the values.

use super::Turn;
use crate::data::{Batch, ImageShape};
use crate::experiment::Registry;
use crate::model::{Sizes, parameters};
use candle::{Device, Tensor};
use serde_json::Value;

const TOLERANCE: f64 = 1e-4;

/// The script's `pattern`.
fn pattern(count: usize, salt: u64) -> Vec<f64> {
    let mask = u64::from(u32::MAX);
    let mixed = (1..=count as u64).map(|i| (i * 2_654_435_761 + salt * 40_503) & mask);
    let mixed = mixed.map(|h| ((h ^ (h >> 15)) * 2_246_822_519) & mask);
    mixed.map(|h| h as f64 / f64::from(1_u32 << 31) - 1.0).collect()
}

/// The script's `initial`.
fn initial(name: &str, shape: &[usize], salt: u64) -> Vec<f32> {
    let count: usize = shape.iter().product();
    let fan_in = (count / shape[0]) as f64;
    let value = |v: f64| match name.rsplit('.').next() {
        Some("gamma") => 1.0 + 0.1 * v,
        Some("beta" | "bias") => 0.1 * v,
        _ => v / fan_in.sqrt(),
    };
    pattern(count, salt).into_iter().map(|v| value(v) as f32).collect()
}

fn assert_close(got: f64, want: f64, scale: f64, what: &str) {
    assert!((got - want).abs() <= TOLERANCE * scale, "{what}: {got}, PyTorch has {want}");
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn train_as_torch(which: &str, model: &str, input: ImageShape, batch: usize) {
    let values: Value =
        serde_json::from_str(include_str!("../../tests/torch/values.json")).unwrap();
    let values = &values[which];
    let text = format!(
        "model = {{ {model} }}\nnorm.epsilon = 1e-5\noptimizer = {{ learning_rate = 0.05, momentum = 0.9 }}\ntrain.steps = 5\n"
    );
    let settings =
        Registry::built_in().settings(&text).unwrap_or_else(|invalid| panic!("{invalid}"));
    let sizes = Sizes { input, classes: 10 };
    let networks = settings.networks(sizes, 0, &Device::Cpu).unwrap();
    let model = networks.evaluated();
    for (salt, (name, variable)) in model.trainable().iter().enumerate() {
        let values = initial(name, variable.dims(), salt as u64);
        variable.set(&Tensor::from_vec(values, variable.dims(), &Device::Cpu).unwrap()).unwrap();
    }
    let pixels: Vec<f32> =
        pattern(batch * input.pixels(), 1000).iter().map(|&v| v as f32).collect();
    let dims = (batch, input.channels, input.height, input.width);
    let images = Tensor::from_vec(pixels, dims, &Device::Cpu).unwrap();
    let labels: Vec<u32> = (0..batch as u32).map(|i| 7 * i % 10).collect();
    let batch = Batch::new(images, Tensor::new(labels, &Device::Cpu).unwrap());

    let mut optimizer = settings.optimizer.build(parameters(model.layers())).unwrap();
    let losses = values["losses"].as_array().unwrap();
    for (step, want) in losses.iter().enumerate() {
        let output =
            settings.task.learn(0, networks.models(), &batch, &mut Turn::default()).unwrap();
        let loss = output.scores.values().unwrap()[0];
        assert_close(loss, number(want), number(want), &format!("{which}: loss {step}"));
        if step + 1 < losses.len() {
            optimizer.step(&output.gradients, settings.learning_rate).unwrap();
            continue;
        }
        let stored = values["gradients"].as_object().unwrap();
        assert_eq!(stored.len(), model.trainable().len());
        for (salt, (name, variable)) in model.trainable().iter().enumerate() {
            let what = |part: &str| format!("{which}: {part} of the gradient of {name}");
            let gradient = output.gradients.get(variable).unwrap();
            let gradient: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
            let gradient: Vec<f64> = gradient.into_iter().map(f64::from).collect();
            let want = &stored[name];
            let norm = number(&want["norm"]);
            let got = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            assert_close(got, norm, norm, &what("norm"));
            let along = pattern(gradient.len(), 2000 + salt as u64);
            let got = gradient.iter().zip(along).map(|(g, p)| g * p).sum();
            assert_close(got, number(&want["projection"]), norm, &what("projection"));
            for (got, want) in gradient.iter().zip(want["first"].as_array().unwrap()) {
                assert_close(*got, number(want), norm, &what("start"));
            }
        }
    }
}

#[test]
fn mlp_trains_like_pytorch() {
    let input = ImageShape { channels: 3, height: 4, width: 4 };
    train_as_torch("mlp", "kind = 'mlp', hidden = [10, 10, 10], activation = 'sigmoid'", input, 12);
}

#[test]
fn resnet_trains_like_pytorch() {
    let input = ImageShape { channels: 3, height: 16, width: 16 };
    train_as_torch("resnet", "kind = 'resnet', depth = 8, activation = 'relu'", input, 6);
}
