//! The kinds of networks and norm layers, and their keys.

use super::architecture::Architecture;
use super::settings::{Activation, NormLayer, NormSettings, Position};
use super::{convnet, inception, mlp, resnet};
use crate::keys::{Key, Keys, Kind, Kinds, Span, bound, flag, number, size, span, words};
use bn_core::{
    BatchNormConfig, Clipping, DataFormat, Decay, RMin, RenormConfig, RenormVariant, ZeroDebias,
};
use std::sync::Arc;

/// `[model]`.
pub fn models() -> Kinds<Arc<dyn Architecture>> {
    Kinds::new(
        "model",
        "kind",
        vec![mlp::kind(), convnet::kind(), resnet::kind(), inception::kind()],
    )
}

/// `model.activation`, common to all kinds.
pub fn activation(keys: &mut Keys<'_>) -> Option<Activation> {
    let activations = words(&[
        ("sigmoid", Activation::Sigmoid, "1 / (1 + exp(-x))"),
        ("tanh", Activation::Tanh, "hyperbolic tangent"),
        ("relu", Activation::Relu, "max(x, 0)"),
        ("leaky_relu", Activation::LeakyRelu, "x, or 0.01 x below 0"),
    ]);
    let key = Key::new("activation", activations, "activation of every hidden layer");
    keys.with_default(key, Activation::Relu)
}

/// `model.initial_scale`, common to all kinds.
pub fn initial_scale(keys: &mut Keys<'_>) -> Option<f64> {
    let about = "factor of the initial weights of dense layers and convolutions";
    keys.with_default(Key::new("initial_scale", number().above(0.0), about), 1.0)
}

/// `[norm]`. The kind without norm layers reads as `Some(None)`.
pub fn norms() -> Kinds<Option<NormSettings>> {
    let kinds = vec![
        Kind::new("batch", "batch normalization (Ioffe & Szegedy 2015)", |keys: &mut Keys<'_>| {
            batch(keys).map(Some)
        }),
        Kind::new("renorm", "batch renormalization (Ioffe 2017)", |keys: &mut Keys<'_>| {
            renorm(keys).map(Some)
        }),
        Kind::new("ghost", "batch normalization over parts of the batch", |keys: &mut Keys<'_>| {
            ghost(keys).map(Some)
        }),
        Kind::new("group", "group normalization (Wu & He 2018)", |keys: &mut Keys<'_>| {
            group(keys).map(Some)
        }),
        Kind::new("layer", "layer normalization (Ba et al. 2016)", |keys: &mut Keys<'_>| {
            layer(keys).map(Some)
        }),
        Kind::new("none", "no norm layers", |_: &mut Keys<'_>| Some(None)),
    ];
    Kinds::new("norm", "kind", kinds)
}

fn position(keys: &mut Keys<'_>) -> Option<Position> {
    let positions = words(&[("before", Position::Before, ""), ("after", Position::After, "")]);
    let position = Key::new("position", positions, "before or after the activation");
    keys.with_default(position, Position::Before)
}

fn epsilon(keys: &mut Keys<'_>) -> Option<f64> {
    let epsilon = Key::new("epsilon", number().above(0.0), "added to the variance").also(&["eps"]);
    keys.with_default(epsilon, 0.001)
}

fn group(keys: &mut Keys<'_>) -> Option<NormSettings> {
    let position = position(keys);
    let about = "groups of channels; must divide the channels of every layer";
    let groups = keys.with_default(Key::new("groups", size(), about), 4);
    let epsilon = epsilon(keys);
    let layer = NormLayer::Group { groups: groups?, epsilon: epsilon? };
    Some(NormSettings::new(position?, layer))
}

fn layer(keys: &mut Keys<'_>) -> Option<NormSettings> {
    let position = position(keys);
    let layer = NormLayer::Group { groups: 1, epsilon: epsilon(keys)? };
    Some(NormSettings::new(position?, layer))
}

fn ghost(keys: &mut Keys<'_>) -> Option<NormSettings> {
    let settings = batch(keys);
    let about = "examples per part, each with its own statistics; the last part takes the rest";
    let size = Key::new("size", size(), about).also(&["virtual_batch_size", "ghost_batch_size"]);
    let size = keys.with_default(size, 16)?;
    settings?.with_batch_norm(|layer| layer.normalization_batch = Some(size))
}

/// The keys that all kinds of batch normalization share.
fn batch(keys: &mut Keys<'_>) -> Option<NormSettings> {
    let position = position(keys);
    let about = "weight of the old value in the moving statistics; near 1 = slow";
    let decay = Key::new("decay", number().from(0.0).below(1.0), about).also(&["momentum"]);
    let decay = keys.with_default(decay, 0.999);
    let epsilon = epsilon(keys);
    let about = "learn an offset (beta); the preceding layer then has no bias";
    let center = keys.with_default(Key::new("center", flag(), about).also(&["beta", "bias"]), true);
    let scale = Key::new("scale", flag(), "learn a scale (gamma)").also(&["gamma", "affine"]);
    let scale = keys.with_default(scale, true);
    let debias = words(&[
        ("none", ZeroDebias::None, "neither"),
        ("mean", ZeroDebias::Mean, "only the mean, like TensorFlow's zero_debias_moving_mean"),
        ("variance", ZeroDebias::Variance, "only the variance"),
        ("both", ZeroDebias::Both, "both"),
    ]);
    let about = "which moving averages are divided by their accumulated weight";
    let zero_debias = keys.with_default(Key::new("zero_debias", debias, about), ZeroDebias::None);
    let about = "after this, moving statistics are frozen and also used in training; absent: never";
    let freeze_after = Key::new("freeze_after", span(1), about);
    let length = keys.length();
    let freeze_after = keys.optional(freeze_after, Span::Steps(800));
    let freeze_after = freeze_after.map(|span| span.map(|span| span.steps(length)));
    let layer = BatchNormConfig {
        data_format: DataFormat::Nchw,
        decay: Decay::Constant(decay?),
        epsilon: epsilon?,
        center: center?,
        scale: scale?,
        zero_debias: zero_debias?,
        ..BatchNormConfig::tf_slim()
    };
    let layer = NormLayer::Batch(Box::new(layer));
    Some(NormSettings { freeze_after: freeze_after?, ..NormSettings::new(position?, layer) })
}

fn renorm(keys: &mut Keys<'_>) -> Option<NormSettings> {
    let settings = batch(keys);
    let variants = words(&[
        ("keras", RenormVariant::Keras, "TensorFlow today"),
        ("tf1", RenormVariant::Tf1, "TensorFlow in 2017"),
        ("paper", RenormVariant::Paper, "Ioffe 2017"),
    ]);
    let variant = Key::new("renorm.variant", variants, "how r and d are computed");
    let variant = keys.with_default(variant, RenormVariant::Keras);
    let about = "weight of the old value in the averages used for r and d";
    let decay = Key::new("renorm.decay", number().from(0.0).below(1.0), about);
    let decay = keys.with_default(decay, 0.99);
    let clipping = clipping(keys);
    let (settings, variant) = (settings?, variant?);
    let is_debiased = settings.batch_norm()?.zero_debias != ZeroDebias::None;
    if variant != RenormVariant::Tf1 && is_debiased {
        let message = "`norm.zero_debias` must be \"none\" with the renorm variants \"keras\" and \"paper\", whose r and d \
                       use the raw moving statistics";
        keys.refuse("zero_debias", message.to_owned());
        return None;
    }
    let renorm = RenormConfig { variant, decay: decay?, clipping: clipping? };
    settings.with_batch_norm(|layer| layer.renorm = Some(renorm))
}

/// The bounds of r and d.
fn clipping(keys: &mut Keys<'_>) -> Option<Clipping> {
    let schedules = words(&[
        ("none", false, "the bounds below"),
        ("paper", true, "the paper's bounds, scaled to the run's length"),
    ]);
    let schedule = Key::new("renorm.schedule", schedules, "schedule of the bounds of r and d");
    let is_paper = keys.with_default(schedule, false);
    let about = "lower bound of r; absent: no bound";
    let r_min = Key::new("renorm.r_min", bound(number().from(0.0).to(1.0)), about);
    let r_min = keys.optional(r_min, bn_core::Schedule::constant(0.33));
    let about = "upper bound of r, interpolated linearly between points; absent: no bound";
    let r_max = Key::new("renorm.r_max", bound(number().from(1.0)), about);
    let r_max = keys.optional(r_max, rising(1.0, 3.0));
    let about = "bound of |d|; absent: no bound";
    let d_max = Key::new("renorm.d_max", bound(number().from(0.0)), about);
    let d_max = keys.optional(d_max, bn_core::Schedule::constant(5.0));
    if !is_paper? {
        return Some(Clipping { r_min: r_min?.map(RMin::Bound), r_max: r_max?, d_max: d_max? });
    }
    for name in ["renorm.r_min", "renorm.r_max", "renorm.d_max"] {
        if keys.is_given(name) {
            let (path, schedule) = (keys.path(name), keys.path("renorm.schedule"));
            let message =
                format!("`{path}` and `{schedule}` = \"paper\" both set bounds; drop one");
            keys.refuse(name, message);
        }
    }
    Some(Clipping::paper(keys.length().steps))
}

fn rising(from: f64, to: f64) -> bn_core::Schedule {
    bn_core::Schedule::piecewise([(0, from), (500, to)])
        .unwrap_or_else(|error| unreachable!("the points ascend: {error}"))
}
