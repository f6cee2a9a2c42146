//! From what a file says to checked settings: reads one arm's keys, and holds them against each other.

use super::problem::Problem;
use super::raw::Leaves;
use super::reader::{Reader, Word};
use super::settings::{
    Activation, ModelKind, ModelSettings, NormSettings, Position, Settings, TrainSettings, words,
};
use crate::data::{Description, Source};
use crate::optimizer::SgdSettings;
use crate::schedule::{Schedule, Shape};
use bn_core::{
    BatchNormConfig, Clipping, DataFormat, Decay, RMin, RenormConfig, RenormVariant, ZeroDebias,
};
use std::collections::BTreeSet;

const WIDTHS: std::ops::RangeInclusive<u64> = 1..=65_536;
const DEPTHS: std::ops::RangeInclusive<u64> = 8..=1202;

words! { ModelWord { Mlp = "mlp", Convnet = "convnet", Resnet = "resnet", } }
words! { NormWord { None = "none", Batch = "batch", Renorm = "renorm", } }
words! { OptimizerWord { Sgd = "sgd", } }
words! { ClippingWord { None = "none", Paper = "paper", } }
words! { ScheduleWord { Constant = "constant", Step = "step", Cosine = "cosine", Linear = "linear", Piecewise = "piecewise", } }

/// One arm, read.
pub(super) struct Checked {
    /// To be relied on only if there was no problem.
    pub(super) settings: Settings,
    /// The keys that had a say.
    pub(super) asked: BTreeSet<&'static str>,
}

/// Reads the settings of one arm from all that is said about it; what is wrong goes to `problems`.
pub(super) fn settings(leaves: &Leaves, problems: &mut Vec<Problem>) -> Checked {
    let mut reader = Reader::new(leaves, problems);
    let data = reader.word("data.name", Source::Digits);
    let model = model(&mut reader, data.describe());
    let (optimizer, learning_rate) = optimizer(&mut reader);
    let schedule = schedule(&mut reader);
    let train = train(&mut reader, data.describe());
    let norm = norm(&mut reader, &train);
    let (asked, written) = (reader.asked, reader.effective);
    Checked {
        settings: Settings {
            data,
            model,
            norm,
            optimizer,
            learning_rate,
            schedule,
            train,
            written,
        },
        asked,
    }
}

fn model(reader: &mut Reader<'_>, data: Description) -> ModelSettings {
    let kind = match reader.word("model.kind", ModelWord::Mlp) {
        ModelWord::Mlp => ModelKind::Mlp { hidden: sizes(reader.integers("model.hidden", WIDTHS)) },
        ModelWord::Convnet => {
            let channels = sizes(reader.integers("model.channels", WIDTHS));
            let halvings = data.shape.height.min(data.shape.width).ilog2() as usize;
            if channels.len() > halvings {
                let (height, width) = (data.shape.height, data.shape.width);
                let message = format!(
                    "`model.channels` has {} layers; images of {height}x{width} can be halved {halvings} times at most",
                    channels.len()
                );
                reader.complain("model.channels", message);
            }
            let kernel = reader.integer("model.kernel", 3, 1..=31);
            if kernel.is_multiple_of(2) {
                let message = format!(
                    "`model.kernel` is {kernel}; expected an odd whole number from 1 to 31"
                );
                reader.complain("model.kernel", message);
            }
            ModelKind::Convnet { channels, kernel: kernel as usize }
        }
        ModelWord::Resnet => {
            let depth = reader.integer("model.depth", 8, DEPTHS);
            if depth % 6 != 2 {
                let message = format!(
                    "`model.depth` is {depth}; expected 6n + 2 for n blocks per group, for instance 20, 32 or 56"
                );
                reader.complain("model.depth", message);
            }
            ModelKind::Resnet { depth: depth as usize }
        }
    };
    ModelSettings { kind, activation: reader.word("model.activation", Activation::Relu) }
}

fn norm(reader: &mut Reader<'_>, train: &TrainSettings) -> Option<NormSettings> {
    let kind = reader.word("norm.kind", NormWord::Batch);
    if kind == NormWord::None {
        return None;
    }
    if train.batch_size == 1 {
        let message =
            "`train.batch_size` is 1; batch statistics need 2 examples, or norm.kind = \"none\""
                .to_owned();
        reader.complain("train.batch_size", message);
    }
    let position = reader.word("norm.position", Position::Before);
    let layer = BatchNormConfig {
        data_format: DataFormat::Nchw,
        decay: Decay::Constant(
            reader.number("norm.decay", 0.0, |decay| (0.0..1.0).contains(&decay)),
        ),
        epsilon: reader.number("norm.epsilon", 1.0, |epsilon| epsilon > 0.0),
        center: reader.flag("norm.center"),
        scale: reader.flag("norm.scale"),
        zero_debias: reader.word("norm.zero_debias", ZeroDebias::None),
        renorm: (kind == NormWord::Renorm).then(|| renorm(reader, train.steps)),
        ..BatchNormConfig::tf_slim()
    };
    let refers_to_moving =
        layer.renorm.as_ref().is_some_and(|renorm| renorm.variant != RenormVariant::Tf1);
    if refers_to_moving && layer.zero_debias != ZeroDebias::None {
        let message = "`norm.zero_debias` must be \"none\" with renorm of variant \"keras\" or \"paper\", whose r and d \
                       refer to the moving statistics as they are"
            .to_owned();
        reader.complain("norm.zero_debias", message);
    }
    Some(NormSettings { position, layer })
}

fn renorm(reader: &mut Reader<'_>, total_steps: u64) -> RenormConfig {
    RenormConfig {
        variant: reader.word("norm.renorm.variant", RenormVariant::Keras),
        decay: reader.number("norm.renorm.decay", 0.0, |decay| (0.0..1.0).contains(&decay)),
        clipping: clipping(reader, total_steps),
    }
}

fn clipping(reader: &mut Reader<'_>, total_steps: u64) -> Clipping {
    if reader.word("norm.renorm.schedule", ClippingWord::None) == ClippingWord::Paper {
        for path in ["norm.renorm.r_min", "norm.renorm.r_max", "norm.renorm.d_max"] {
            if reader.is_given(path) {
                let message = format!(
                    "`{path}` and `norm.renorm.schedule` = \"paper\" both give bounds; drop one"
                );
                reader.complain(path, message);
                reader.asked.extend(super::keys::find(path).map(|key| key.path));
            }
        }
        return Clipping::paper(total_steps);
    }
    let mut bound = |path: &str, wanted: &str, accept: fn(f64) -> bool| {
        let bound = reader.optional_bound(path)?;
        if let Some((step, value)) = bound.points().iter().find(|point| !accept(point.1)) {
            reader.complain(path, format!("`{path}` is {value} at step {step}; expected {wanted}"));
        }
        Some(bound)
    };
    Clipping {
        r_min: bound("norm.renorm.r_min", "0 <= r_min <= 1", |r| (0.0..=1.0).contains(&r))
            .map(RMin::Bound),
        r_max: bound("norm.renorm.r_max", "r_max >= 1", |r| r >= 1.0),
        d_max: bound("norm.renorm.d_max", "d_max >= 0", |d| d >= 0.0),
    }
}

fn optimizer(reader: &mut Reader<'_>) -> (SgdSettings, f64) {
    let OptimizerWord::Sgd = reader.word("optimizer.kind", OptimizerWord::Sgd);
    let learning_rate = reader.number("optimizer.learning_rate", 1.0, |rate| rate > 0.0);
    let settings = SgdSettings {
        momentum: reader
            .number("optimizer.momentum", 0.0, |momentum| (0.0..1.0).contains(&momentum)),
        nesterov: reader.flag("optimizer.nesterov"),
        weight_decay: reader.number("optimizer.weight_decay", 0.0, |decay| decay >= 0.0),
    };
    (settings, learning_rate)
}

fn schedule(reader: &mut Reader<'_>) -> Schedule {
    let from_zero = |factor: f64| factor >= 0.0;
    let shape = match reader.word("schedule.kind", ScheduleWord::Constant) {
        ScheduleWord::Constant => Shape::Constant,
        ScheduleWord::Step => Shape::Step {
            every: reader.integer("schedule.every", 1, 1..=u64::MAX),
            factor: reader.number("schedule.factor", 1.0, from_zero),
        },
        ScheduleWord::Cosine => {
            Shape::Cosine { final_factor: reader.number("schedule.final_factor", 0.0, from_zero) }
        }
        ScheduleWord::Linear => {
            Shape::Linear { final_factor: reader.number("schedule.final_factor", 0.0, from_zero) }
        }
        ScheduleWord::Piecewise => Shape::Piecewise(reader.points("schedule.points", from_zero)),
    };
    Schedule { shape, warmup_steps: reader.integer("schedule.warmup_steps", 0, 0..=u64::MAX) }
}

fn train(reader: &mut Reader<'_>, data: Description) -> TrainSettings {
    let steps = reader.integer("train.steps", 1, 1..=u64::MAX);
    let batch_size = reader.integer("train.batch_size", 2, 1..=u64::MAX) as usize;
    if batch_size > data.train {
        let message = format!(
            "`train.batch_size` is {batch_size}; there are {} training examples",
            data.train
        );
        reader.complain("train.batch_size", message);
    }
    let evaluate_every = reader.integer("train.evaluate_every", 1, 1..=u64::MAX);
    let mut evaluate_at = reader.integers("train.evaluate_at", 0..=u64::MAX);
    evaluate_at.sort_unstable();
    TrainSettings { steps, batch_size, evaluate_every, evaluate_at }
}

fn sizes(numbers: Vec<u64>) -> Vec<usize> {
    numbers.into_iter().map(|number| number as usize).collect()
}
