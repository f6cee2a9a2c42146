//! Laws of a trainer: its state is complete, accumulation equals the full batch, and divergence names its layer.

use super::super::deferred::deferred;
use super::*;
use crate::data::Source;
use crate::experiment::Registry;
use crate::model::norm_layers;
use candle::{DType, Device, Tensor, Var};

const OPTIMIZERS: [&str; 5] = [
    "kind = 'sgd', momentum = 0.9, learning_rate = 0.1, weight_decay = 1e-3",
    "kind = 'sgd', nesterov = true, learning_rate = 0.1, clip_norm = 0.5",
    "kind = 'adam', learning_rate = 0.01, weight_decay = 1e-3",
    "kind = 'adamw', learning_rate = 0.01, weight_decay = 1e-2",
    "kind = 'rmsprop', learning_rate = 0.01",
];

const NORMS: [&str; 4] = [
    "norm.kind = 'none'",
    "norm = { decay = 0.9, zero_debias = 'both' }",
    "norm = { kind = 'renorm', decay = 0.9, renorm.variant = 'keras' }",
    "norm = { kind = 'renorm', decay = 0.9, renorm.variant = 'tf1' }",
];

fn settings(lines: &str) -> Settings {
    let text = format!("train.steps = 20\ntrain.batch_size = 30\n{lines}");
    Registry::built_in().settings(&text).unwrap_or_else(|error| panic!("{lines}: {error}"))
}

fn data(settings: &Settings) -> DeviceData {
    let source: &Source = &settings.data;
    DeviceData::new(&source.load().unwrap(), &Device::Cpu).unwrap()
}

/// Takes `count` steps, all of which must succeed.
fn steps(trainer: &mut Trainer, count: usize) -> Vec<Vec<f64>> {
    let step = |_| match trainer.step().unwrap() {
        StepOutcome::Updated(scores) => scores,
        other => panic!("{other:?}"),
    };
    (0..count).map(step).collect()
}

fn bytes(trainer: &Trainer) -> Vec<u8> {
    trainer.state().unwrap().to_bytes().unwrap()
}

#[test]
fn loaded_state_continues_bitwise() {
    let models = [
        "model.hidden = [12, 7]",
        "model = { kind = 'convnet', channels = [3, 4] }",
        "task = { kind = 'gan', latent = 3, hidden = [6] }\nmodel.hidden = [8]",
    ];
    for (index, optimizer) in OPTIMIZERS.iter().enumerate() {
        for norm in NORMS {
            let more = [
                "average.kind = 'ema'\naverage.decay = 0.8",
                "train.accumulate = 3\nschedule = { kind = 'cosine', warmup_steps = 3 }",
                "",
            ];
            let lines = format!(
                "optimizer = {{ {optimizer} }}\n{norm}\n{}\n{}",
                models[index % 3],
                more[index % 3]
            );
            let settings = settings(&lines);
            let data = data(&settings);
            let mut straight = Trainer::new(&settings, 3, &data).unwrap();
            let mut scores = steps(&mut straight, 5);
            scores.extend(steps(&mut straight, 5));

            let mut first = Trainer::new(&settings, 3, &data).unwrap();
            let mut halves = steps(&mut first, 5);
            let saved = bytes(&first);
            drop(first);
            let mut second = Trainer::new(&settings, 3, &data).unwrap();
            second.load(State::from_bytes(&saved).unwrap()).unwrap();
            assert!(bytes(&second) == saved, "{lines}");
            halves.extend(steps(&mut second, 5));

            assert_eq!(halves, scores, "{lines}");
            assert!(bytes(&second) == bytes(&straight), "{lines}");
            assert_eq!(second.take_recent(), straight.take_recent());
        }
    }
}

#[test]
fn every_kind_of_batch_continues_bitwise() {
    for lines in [
        "sampler = { kind = 'skewed', skew = 5, norm_weights = true, loss_weights = true }",
        "sampler = { kind = 'grouped', images = 2, arrangement = 'split' }",
        "augment = { flip = true, shift = 2, crop = 0.8 }",
        "sampler = { kind = 'grouped', images = 3 }\naugment.shift = 1\ntrain.accumulate = 2",
        "data = { name = 'glyphs', skew = 4, examples = 90 }\nsampler.norm_weights = true\naugment.flip = true",
    ] {
        let lines = format!("optimizer.learning_rate = 0.1\nmodel.hidden = [7]\n{lines}");
        let settings = settings(&lines);
        let data = data(&settings);
        let mut straight = Trainer::new(&settings, 3, &data).unwrap();
        let scores = steps(&mut straight, 12);
        let mut first = Trainer::new(&settings, 3, &data).unwrap();
        let mut halves = steps(&mut first, 7);
        let saved = bytes(&first);
        let mut fresh = Trainer::new(&settings, 3, &data).unwrap();
        fresh.load(State::from_bytes(&saved).unwrap()).unwrap();
        halves.extend(steps(&mut fresh, 5));
        assert_eq!(halves, scores, "{lines}");
        assert!(bytes(&fresh) == bytes(&straight), "{lines}");
    }
}

#[test]
fn pending_steps_train_alike() {
    let more = "average.kind = 'ema'\nlayers.every = 3\nshadow.decays = [0.5]";
    for (lines, name) in [
        ("model.hidden = [12, 7]\ntrain.accumulate = 3", "loss"),
        ("task = { kind = 'gan', latent = 3, hidden = [6] }\nmodel.hidden = [8]", "generator_loss"),
    ] {
        for optimizer in OPTIMIZERS {
            let settings = settings(&format!("{lines}\noptimizer = {{ {optimizer} }}\n{more}"));
            let data = data(&settings);
            let mut known = Trainer::new(&settings, 3, &data).unwrap();
            let mut scores = steps(&mut known, 11);
            let mut pending = Trainer::new(&deferred(&settings), 3, &data).unwrap();
            let outcomes: Vec<_> = (0..11).map(|_| pending.step().unwrap()).collect();
            for (step, outcome) in outcomes.into_iter().enumerate() {
                // A probed step is settled at once.
                let is_probed = (step + 1) % 3 == 0;
                let settled = StepOutcome::Updated(scores[step].clone());
                assert_eq!(outcome, if is_probed { settled } else { StepOutcome::Pending });
            }
            assert!(pending.state().is_err(), "steps are pending");
            let last = scores.pop().unwrap();
            assert_eq!(pending.settle().unwrap(), Some(StepOutcome::Updated(last)));
            assert_eq!(pending.settle().unwrap(), None);
            assert!(bytes(&pending) == bytes(&known), "{lines}: {name}");
            assert_eq!(pending.take_recent(), known.take_recent());
            assert_eq!(pending.take_layer_rows(), known.take_layer_rows());
        }
    }
}

#[test]
fn pending_steps_are_bounded() {
    let settings = settings("optimizer.learning_rate = 0.1\nmodel.hidden = [5]\nlayers.every = 0");
    let mut trainer = Trainer::new(&deferred(&settings), 0, &data(&settings)).unwrap();
    let outcomes: Vec<_> = (0..200).map(|_| trainer.step().unwrap()).collect();
    let known = outcomes.iter().filter(|outcome| **outcome != StepOutcome::Pending).count();
    assert_eq!(known, 3);
}

/// Products of bfloat16 have 8 bits, so a loss moves by some `2⁻⁸` of itself in each of a few layers.
#[test]
fn bfloat16_trains_as_f32_up_to_rounding() {
    for model in [
        "model.hidden = [12, 7]",
        "model = { kind = 'convnet', channels = [3, 4] }",
        "model = { kind = 'resnet', depth = 8 }",
        "model.hidden = [8]\nnorm = { kind = 'group', groups = 2 }",
        "task = { kind = 'gan', latent = 3, hidden = [6] }\nmodel.hidden = [8]",
    ] {
        let lines = format!("optimizer = {{ kind = 'sgd', learning_rate = 0.02 }}\n{model}");
        let settings =
            |precision: &str| settings(&format!("{lines}\ntrain.precision = '{precision}'"));
        let data = data(&settings("f32"));
        let train = |precision: &str| {
            let mut trainer = Trainer::new(&settings(precision), 3, &data).unwrap();
            let scores = steps(&mut trainer, 8);
            (trainer, scores)
        };
        let ((_, want), (trainer, got)) = (train("f32"), train("bf16"));
        assert_ne!(got, want, "{model}");
        for (got, want) in got.iter().zip(&want) {
            assert!((got[0] - want[0]).abs() < 0.05 * want[0], "{model}: {got:?} {want:?}");
        }
        for (path, variable) in trainer.networks().variables() {
            assert_ne!(variable.dtype(), DType::BF16, "{path}");
        }
        // Its state continues, like any other.
        let saved = bytes(&trainer);
        let mut second = Trainer::new(&settings("bf16"), 3, &data).unwrap();
        second.load(State::from_bytes(&saved).unwrap()).unwrap();
        let mut first = trainer;
        assert_eq!(steps(&mut first, 3), steps(&mut second, 3));
        assert!(bytes(&first) == bytes(&second), "{model}");
        // Evaluations stay close too.
        let examples = data.split(bn_report::schema::Split::Validation);
        let scores = first.networks().evaluate(examples, crate::model::Mode::Moving, 100).unwrap();
        assert!(scores.iter().all(|score| score.is_finite()), "{model}: {scores:?}");
    }
}

/// The learning rate is so small that the weights hardly change. With weights, moving statistics converge to those of all
/// examples; without, to those of the biased selection.
#[test]
fn norm_weights_correct_for_biased_sampling() {
    let difference = |weighted: bool| {
        let settings = settings(&format!(
            "optimizer.learning_rate = 1e-12\nmodel.hidden = [20]\nnorm = {{ decay = 0.99, zero_debias = 'both' }}\n\
             sampler = {{ kind = 'skewed', skew = 100, norm_weights = {weighted} }}"
        ));
        let data = data(&settings);
        let mut trainer = Trainer::new(&settings, 0, &data).unwrap();
        steps(&mut trainer, 400);
        let images = &data.split(bn_report::schema::Split::Train).images;
        let population = trainer.networks().population(images, 1257).unwrap();
        let layers = norm_layers(trainer.networks().evaluated().layers());
        let (path, norm) = &layers[0];
        let moving =
            norm.moving_mean().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
        let all = &population[path];
        let mean = all.mean().to_vec1::<f64>().unwrap();
        let variance = all.variance().to_vec1::<f64>().unwrap();
        let channels = moving.iter().zip(mean).zip(variance);
        let squares: f64 =
            channels.map(|((got, want), variance)| (got - want).powi(2) / variance).sum();
        (squares / 20.0).sqrt()
    };
    let (weighted, plain) = (difference(true), difference(false));
    assert!(weighted < 0.1 && plain > 3.0 * weighted, "{weighted} {plain}");
}

#[test]
fn state_of_another_run_is_refused() {
    let lines = "optimizer.learning_rate = 0.1\nmodel.hidden = [5]";
    let one = settings(lines);
    let data = data(&one);
    let state = || Trainer::new(&one, 0, &data).unwrap().state().unwrap();
    for (lines, seed, expected) in [
        (lines, 1, "`seed`"),
        ("optimizer.learning_rate = 0.1\nmodel.hidden = [6]", 0, "`model.hidden1."),
        (
            "optimizer = { kind = 'adam', learning_rate = 0.1 }\nmodel.hidden = [5]",
            0,
            "`optimizer.kind`",
        ),
        (
            "optimizer.learning_rate = 0.1\nmodel.hidden = [5]\nnorm.kind = 'none'",
            0,
            "model.hidden1.",
        ),
        (
            "optimizer.learning_rate = 0.1\nmodel.hidden = [5]\naverage.kind = 'ema'",
            0,
            "`average.updates`",
        ),
    ] {
        let error = Trainer::new(&settings(lines), seed, &data).unwrap().load(state()).unwrap_err();
        assert!(error.to_string().contains(expected), "{lines}: {error}");
    }
}

/// Values of all variables, by path.
fn values(trainer: &Trainer) -> Vec<(String, Vec<f64>)> {
    let values = |(path, variable): (String, Var)| {
        let values = variable.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
        (path, values.to_vec1::<f64>().unwrap())
    };
    trainer.networks.variables().into_iter().map(values).collect()
}

#[test]
fn accumulation_without_norm_layers_equals_the_full_batch() {
    let plain = "optimizer.learning_rate = 0.1\nmodel.hidden = [9]\nnorm.kind = 'none'";
    let weighted =
        format!("{plain}\nsampler = {{ kind = 'skewed', skew = 20, loss_weights = true }}");
    let train = |lines: &str, parts: usize| {
        let settings = settings(&format!("{lines}\ntrain.accumulate = {parts}"));
        let mut trainer = Trainer::new(&settings, 0, &data(&settings)).unwrap();
        let scores = steps(&mut trainer, 4);
        (scores, values(&trainer))
    };
    for (lines, parts) in [plain, &weighted].into_iter().flat_map(|l| [(l, 2), (l, 5), (l, 30)]) {
        let (scores, all) = train(lines, 1);
        let (in_parts, values) = train(lines, parts);
        for (got, want) in in_parts.iter().zip(&scores) {
            assert!((got[0] - want[0]).abs() < 1e-6, "{parts} parts: {got:?} {want:?}");
            assert!((got[1] - want[1]).abs() < 1e-12);
        }
        for ((path, got), (_, want)) in values.iter().zip(&all) {
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < 2e-6, "{path}, {parts} parts: {got} {want}");
            }
        }
    }
}

/// So the experiment `micro-batches` needs no arms of ghost batch normalization.
#[test]
fn a_batch_in_parts_trains_as_ghost_batches_of_their_size() {
    let train = |lines: &str| {
        let lines = format!("optimizer.learning_rate = 0.1\nmodel.hidden = [9]\n{lines}");
        let settings = settings(&lines);
        let mut trainer = Trainer::new(&settings, 0, &data(&settings)).unwrap();
        let scores = steps(&mut trainer, 4);
        (scores, values(&trainer))
    };
    for (parts, size) in [(2, 15), (3, 10), (10, 3)] {
        let (scores, in_parts) = train(&format!("train.accumulate = {parts}"));
        let (ghost_scores, ghost) = train(&format!("norm = {{ kind = 'ghost', size = {size} }}"));
        for (got, want) in scores.iter().zip(&ghost_scores) {
            assert!((got[0] - want[0]).abs() < 1e-5, "{parts} parts: {got:?} {want:?}");
        }
        let trained = ghost.iter().filter(|(path, _)| !path.contains(".moving_"));
        for (path, want) in trained {
            let (_, got) = in_parts.iter().find(|(known, _)| known == path).unwrap();
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < 1e-5, "{path}, {parts} parts: {got} {want}");
            }
        }
    }
}

#[test]
fn accumulation_commits_once_with_the_pooled_moments() {
    let lines = "optimizer.learning_rate = 0.1\nmodel.hidden = [9]\nnorm.decay = 0.5";
    let train = |parts: usize| {
        let settings = settings(&format!("{lines}\ntrain.accumulate = {parts}"));
        let mut trainer = Trainer::new(&settings, 0, &data(&settings)).unwrap();
        steps(&mut trainer, 1);
        trainer
    };
    let (all, in_parts) = (train(1), train(3));
    for (path, norm) in norm_layers(in_parts.networks.evaluated().layers()) {
        assert_eq!(norm.health().unwrap().committed, 1, "{path}");
    }
    let moving = |trainer: &Trainer| {
        let all = values(trainer).into_iter();
        all.filter(|(path, _)| path.contains(".moving_")).collect::<Vec<_>>()
    };
    let (all, in_parts) = (moving(&all), moving(&in_parts));
    assert_eq!(all.len(), 2);
    for ((path, got), (_, want)) in in_parts.iter().zip(&all) {
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-5 * want.abs().max(1.0), "{path}: {got} {want}");
        }
    }
}

/// Fills the variable at `path`.
fn fill(trainer: &Trainer, path: &str, value: f64) {
    let all = trainer.networks.variables();
    let (_, variable) = all.iter().find(|(known, _)| known == path).unwrap();
    let values = Tensor::full(value as f32, variable.dims(), &Device::Cpu).unwrap();
    variable.set(&values).unwrap();
}

#[test]
fn divergence_names_the_first_layer_that_is_not_finite() {
    let model = "model = { hidden = [9, 8, 7], activation = 'relu' }";
    let (plain, normalized) = ("norm.kind = 'none'", "norm.decay = 0.9");
    // These weights are finite, but their products overflow. In the other cases a weight itself is not finite.
    let large: &[(&str, f64)] = &[("hidden1.weight", 1e30), ("hidden2.weight", 1e30)];
    for (norm, filled, expected) in [
        (plain, large, "hidden2"),
        (normalized, &[("hidden2.weight", 3e38)], "hidden2"),
        (plain, &[("hidden3.weight", f64::NAN)], "hidden3.weight"),
        (normalized, &[("hidden3.weight", f64::NAN)], "hidden3.weight"),
        (normalized, &[("output.bias", f64::INFINITY)], "output.bias"),
    ] {
        let settings = settings(&format!("optimizer.learning_rate = 0.1\n{model}\n{norm}"));
        let mut trainer = Trainer::new(&settings, 0, &data(&settings)).unwrap();
        for (path, value) in filled {
            fill(&trainer, path, *value);
        }
        let before = values(&trainer);
        let StepOutcome::Diverged { scores, layer } = trainer.step().unwrap() else {
            panic!("{norm}, {filled:?} trained on")
        };
        assert!(!scores[0].is_finite());
        assert_eq!(layer.as_deref(), Some(expected), "{norm}, {filled:?}");
        assert_eq!(trainer.updates(), 0);
        for ((path, before), (_, after)) in before.iter().zip(&values(&trainer)) {
            let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            let moves = path.contains(".moving_") || path.ends_with(".updates");
            assert!(moves || bits(before) == bits(after), "{path}");
        }
    }
}

/// At this rate a loss overflows after some steps.
#[test]
fn pending_steps_find_the_same_divergence() {
    for optimizer in ["kind = 'sgd', learning_rate = 1e9", "kind = 'adam', learning_rate = 1e25"] {
        for lines in [
            "model = { hidden = [9, 8], activation = 'leaky_relu' }\nnorm.kind = 'none'",
            "task = { kind = 'gan', latent = 3, hidden = [6], output = 'linear' }\n\
             model = { hidden = [8], activation = 'leaky_relu' }\nnorm.kind = 'none'",
        ] {
            let settings =
                settings(&format!("{lines}\noptimizer = {{ {optimizer} }}\nlayers.every = 0"));
            let data = data(&settings);
            let until_end = |trainer: &mut Trainer| {
                for _ in 0..60 {
                    if let diverged @ StepOutcome::Diverged { .. } = trainer.step().unwrap() {
                        return format!("{:?}", Some(diverged));
                    }
                }
                format!("{:?}", trainer.settle().unwrap())
            };
            let mut known = Trainer::new(&settings, 3, &data).unwrap();
            let mut pending = Trainer::new(&deferred(&settings), 3, &data).unwrap();
            let (want, got) = (until_end(&mut known), until_end(&mut pending));
            assert!(want.starts_with("Some(Diverged"), "{lines}, {optimizer}: {want}");
            assert_eq!(got, want);
            assert_eq!(pending.updates(), known.updates());
            assert_eq!(pending.take_recent(), known.take_recent());
            let weights = |trainer: &Trainer| {
                let trained = trainer.networks().trainable().into_iter();
                let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                let all =
                    trained.map(|(_, var)| bits(var.flatten_all().unwrap().to_vec1().unwrap()));
                all.collect::<Vec<_>>()
            };
            assert_eq!(weights(&pending), weights(&known));
        }
    }
}

#[test]
fn averaged_weights_do_not_affect_training() {
    let lines = "optimizer.learning_rate = 0.1\nmodel.hidden = [9]";
    let plain = settings(lines);
    let data = data(&plain);
    let mut without = Trainer::new(&plain, 0, &data).unwrap();
    let scores = steps(&mut without, 6);
    for statistics in ["averaged", "copied"] {
        let averaged = settings(&format!(
            "{lines}\naverage = {{ kind = 'ema', decay = 0.5, statistics = '{statistics}' }}"
        ));
        let mut with = Trainer::new(&averaged, 0, &data).unwrap();
        assert_eq!(steps(&mut with, 6), scores);
        assert_eq!(values(&with), values(&without));
        let inside =
            with.average().unwrap().evaluate(|| Ok::<_, candle::Error>(values(&with))).unwrap();
        assert_eq!(values(&with), values(&without));
        for ((path, average), (_, weight)) in inside.iter().zip(&values(&with)) {
            let is_moving = path.contains(".moving_");
            let stays = is_moving && statistics == "copied" || path.ends_with(".updates");
            assert_eq!(average == weight, stays, "{statistics}: {path}");
        }
    }
}

#[test]
fn statistics_stay_frozen_after_freeze_after() {
    let settings = settings(
        "optimizer.learning_rate = 0.1\nmodel.hidden = [9]\nnorm = { decay = 0.5, freeze_after = 3 }",
    );
    let data = data(&settings);
    let mut trainer = Trainer::new(&settings, 0, &data).unwrap();
    let moving = |trainer: &Trainer| {
        let all = values(trainer).into_iter();
        all.filter(|(path, _)| path.contains(".moving_")).collect::<Vec<_>>()
    };
    steps(&mut trainer, 2);
    let before = moving(&trainer);
    steps(&mut trainer, 1);
    let frozen = moving(&trainer);
    assert_ne!(before, frozen);
    let saved = bytes(&trainer);
    let scores = steps(&mut trainer, 2);
    assert_eq!(moving(&trainer), frozen);
    // The same holds after a resume.
    let mut second = Trainer::new(&settings, 0, &data).unwrap();
    second.load(State::from_bytes(&saved).unwrap()).unwrap();
    assert_eq!(steps(&mut second, 2), scores);
    assert_eq!(moving(&second), frozen);
}
