use super::*;
use crate::experiment::Registry;
use crate::model::{Precision, norm_layers, statistics};

fn parts(lines: &str) -> (Gan, Vec<Model>) {
    let text = format!(
        "optimizer.learning_rate = 0.1\ntrain.steps = 10\nmodel.hidden = [9, 7]\ntask.kind = 'gan'\n{lines}"
    );
    let settings =
        Registry::built_in().settings(&text).unwrap_or_else(|invalid| panic!("{invalid}"));
    let sizes = Sizes { input: ImageShape { channels: 1, height: 4, width: 4 }, classes: 10 };
    let plan = Blueprint {
        model: &settings.model,
        norm: settings.norm.as_ref(),
        sizes,
        precision: Precision::F32,
        seed: 5,
        device: &Device::Cpu,
    };
    let gan = Gan {
        latent: 3,
        hidden: vec![8],
        output: Output::Sigmoid,
        is_discriminator_normalized: true,
    };
    let models = gan.build(&plan).unwrap();
    (gan, models)
}

fn batch() -> Batch {
    let pixels: Vec<f32> = (0..12 * 16).map(|i| ((i * 7) % 11) as f32 / 11.0).collect();
    let images = Tensor::from_vec(pixels, (12, 1, 4, 4), &Device::Cpu).unwrap();
    Batch::new(images, Tensor::zeros(12, DType::U32, &Device::Cpu).unwrap())
}

fn moving(model: &Model) -> Vec<Vec<f32>> {
    let values = |(_, var): (String, candle::Var)| {
        var.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    statistics(model.layers()).into_iter().map(values).collect()
}

#[test]
fn each_step_updates_only_its_own_networks_statistics_once() {
    let (gan, models) = parts("norm.decay = 0.5");
    for network in [DISCRIMINATOR, GENERATOR] {
        let before: Vec<_> = models.iter().map(moving).collect();
        gan.learn(network, &models, &batch(), &mut Turn::default()).unwrap();
        let after: Vec<_> = models.iter().map(moving).collect();
        assert_ne!(before[network], after[network]);
        assert_eq!(before[1 - network], after[1 - network]);
        for (_, norm) in norm_layers(models[network].layers()) {
            assert_eq!(norm.step(), 1, "one update for all passes of a step");
        }
    }
}

#[test]
fn gradients_equal_finite_differences() {
    // Without norm layers, because the passes would update their statistics.
    let (gan, models) = parts("norm.kind = 'none'\nmodel.activation = 'tanh'");
    for network in [DISCRIMINATOR, GENERATOR] {
        let learn = || gan.learn(network, &models, &batch(), &mut Turn::default()).unwrap();
        let found = learn().gradients;
        for (path, variable) in models[network].trainable() {
            let gradient = found.get(&variable).unwrap().flatten_all().unwrap();
            let gradient: f64 = f64::from(gradient.to_vec1::<f32>().unwrap()[0]);
            let value = variable.as_detached_tensor().copy().unwrap();
            let at = |change: f32| {
                let mut numbers: Vec<f32> = value.flatten_all().unwrap().to_vec1().unwrap();
                numbers[0] += change;
                let moved = Tensor::from_vec(numbers, value.dims(), &Device::Cpu).unwrap();
                variable.set(&moved).unwrap();
                learn().scores.values().unwrap()[0]
            };
            let step = 1e-2;
            let slope = (at(step) - at(-step)) / (2.0 * f64::from(step));
            variable.set(&value).unwrap();
            // Truncation error of the central difference, plus f32 rounding divided by the step.
            assert!((gradient - slope).abs() < 2e-4, "{path}: {gradient} {slope}");
        }
    }
}

/// In f64, other operations compute everything.
#[test]
fn gradients_of_the_generator_equal_those_in_f64() {
    let (_, models) = parts("");
    let noise = Tensor::randn(0_f32, 1.0, (6, 3, 1, 1), &Device::Cpu).unwrap();
    let gradients = |dtype: DType| {
        let mut pass = crate::model::Pass::train();
        let noise = Signal::new(noise.to_dtype(dtype).unwrap());
        let images = models[GENERATOR].layers().forward(&noise, &mut pass).unwrap();
        let scores = models[DISCRIMINATOR].layers().forward(&images, &mut pass).unwrap();
        let (_, dy) = logistic(scores.tensor(), true).unwrap();
        pass.backward(&scores, &dy).unwrap()
    };
    let (narrow, wide) = (gradients(DType::F32), gradients(DType::F64));
    for (path, variable) in models[GENERATOR].trainable() {
        let [narrow, wide] =
            [&narrow, &wide].map(|found| found.get(&variable).expect(&path).clone());
        let difference = (narrow - wide).unwrap().abs().unwrap().flatten_all().unwrap();
        assert!(difference.max(0).unwrap().to_scalar::<f32>().unwrap() < 1e-6, "{path}");
    }
}

#[test]
fn logistic_loss_of_large_scores_is_finite() {
    let scores = Tensor::new(&[[1000_f32], [-1000.0]], &Device::Cpu).unwrap();
    let (loss, gradient) = logistic(&scores, true).unwrap();
    assert_eq!(loss.values().unwrap(), [500.0]);
    assert_eq!(gradient.to_vec2::<f32>().unwrap(), [[0.0], [-0.5]]);
    let (loss, gradient) = logistic(&scores, false).unwrap();
    assert_eq!(loss.values().unwrap(), [500.0]);
    assert_eq!(gradient.to_vec2::<f32>().unwrap(), [[0.5], [0.0]]);
}

#[test]
fn each_layer_is_observed_once_per_step() {
    #[derive(Default)]
    struct Paths(Vec<String>);
    impl crate::model::Observer for Paths {
        fn output(&mut self, path: &str, _: &Tensor) -> Result<()> {
            self.0.push(path.to_owned());
            Ok(())
        }
    }
    let (gan, models) = parts("");
    let mut all = Vec::new();
    for network in [DISCRIMINATOR, GENERATOR] {
        let mut paths = Paths::default();
        let mut turn = Turn { observer: Some(&mut paths), ..Turn::default() };
        gan.learn(network, &models, &batch(), &mut turn).unwrap();
        let own = gan.networks()[network];
        assert!(paths.0.iter().all(|path| path.starts_with(own)), "{own}: {:?}", paths.0);
        all.extend(paths.0);
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}
