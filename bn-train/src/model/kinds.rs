//! The kinds of networks and of norm layers that a file can name, each with its keys.

use super::architecture::Architecture;
use super::settings::{Activation, NormSettings, Position};
use super::{convnet, mlp, resnet};
use crate::keys::{Key, Keys, Kind, Kinds, bound, flag, number, words};
use bn_core::{
    BatchNormConfig, Clipping, DataFormat, Decay, RMin, RenormConfig, RenormVariant, ZeroDebias,
};
use std::sync::Arc;

/// `[model]`.
pub fn models() -> Kinds<Arc<dyn Architecture>> {
    Kinds::new("model", "kind", vec![mlp::kind(), convnet::kind(), resnet::kind()])
}

/// `model.activation`, whatever the kind.
pub fn activation(keys: &mut Keys<'_>) -> Option<Activation> {
    let activations = words(&[
        ("sigmoid", Activation::Sigmoid, "1 / (1 + exp(-x))"),
        ("tanh", Activation::Tanh, "hyperbolic tangent"),
        ("relu", Activation::Relu, "max(x, 0)"),
        ("leaky_relu", Activation::LeakyRelu, "x, or 0.01 x below 0"),
    ]);
    let key = Key::new("activation", activations, "after every hidden layer");
    keys.with_default(key, Activation::Relu)
}

/// `[norm]`; a kind without norm layers gives `Some(None)`.
pub fn norms() -> Kinds<Option<NormSettings>> {
    let kinds = vec![
        Kind::new("batch", "batch normalization (Ioffe & Szegedy 2015)", |keys: &mut Keys<'_>| {
            batch(keys).map(Some)
        }),
        Kind::new("renorm", "batch renormalization (Ioffe 2017)", |keys: &mut Keys<'_>| {
            renorm(keys).map(Some)
        }),
        Kind::new("none", "no norm layers", |_: &mut Keys<'_>| Some(None)),
    ];
    Kinds::new("norm", "kind", kinds)
}

fn batch(keys: &mut Keys<'_>) -> Option<NormSettings> {
    let positions = words(&[("before", Position::Before, ""), ("after", Position::After, "")]);
    let position = Key::new("position", positions, "on which side of the activation");
    let position = keys.with_default(position, Position::Before);
    let about = "weight of the old value in the moving statistics; near 1 = slow";
    let decay = Key::new("decay", number().from(0.0).below(1.0), about).also(&["momentum"]);
    let decay = keys.with_default(decay, 0.999);
    let epsilon = Key::new("epsilon", number().above(0.0), "added to the variance").also(&["eps"]);
    let epsilon = keys.with_default(epsilon, 0.001);
    let about = "learn an offset (beta); the layer in front then has no bias of its own";
    let center = keys.with_default(Key::new("center", flag(), about).also(&["beta", "bias"]), true);
    let scale = Key::new("scale", flag(), "learn a scale (gamma)").also(&["gamma", "affine"]);
    let scale = keys.with_default(scale, true);
    let debias = words(&[
        ("none", ZeroDebias::None, "of neither"),
        ("mean", ZeroDebias::Mean, "of the mean alone, as TensorFlow's zero_debias_moving_mean"),
        ("variance", ZeroDebias::Variance, "of the variance alone"),
        ("both", ZeroDebias::Both, "of both"),
    ]);
    let about = "whose average is divided by the weight that it has gathered since step 0";
    let zero_debias = keys.with_default(Key::new("zero_debias", debias, about), ZeroDebias::None);
    let layer = BatchNormConfig {
        data_format: DataFormat::Nchw,
        decay: Decay::Constant(decay?),
        epsilon: epsilon?,
        center: center?,
        scale: scale?,
        zero_debias: zero_debias?,
        ..BatchNormConfig::tf_slim()
    };
    Some(NormSettings::new(position?, layer))
}

fn renorm(keys: &mut Keys<'_>) -> Option<NormSettings> {
    let norm = batch(keys);
    let variants = words(&[
        ("keras", RenormVariant::Keras, "TensorFlow today"),
        ("tf1", RenormVariant::Tf1, "TensorFlow in 2017"),
        ("paper", RenormVariant::Paper, "Ioffe 2017"),
    ]);
    let variant = Key::new("renorm.variant", variants, "how r and d are found");
    let variant = keys.with_default(variant, RenormVariant::Keras);
    let about = "weight of the old value in the averages that r and d refer to";
    let decay = Key::new("renorm.decay", number().from(0.0).below(1.0), about);
    let decay = keys.with_default(decay, 0.99);
    let clipping = clipping(keys);
    let (mut norm, variant) = (norm?, variant?);
    if variant != RenormVariant::Tf1 && norm.layer.zero_debias != ZeroDebias::None {
        let message = "`norm.zero_debias` must be \"none\" with renorm of variant \"keras\" or \"paper\", whose r and d \
                       refer to the moving statistics as they are";
        keys.refuse("zero_debias", message.to_owned());
        return None;
    }
    norm.layer.renorm = Some(RenormConfig { variant, decay: decay?, clipping: clipping? });
    Some(norm)
}

/// The bounds of r and d.
fn clipping(keys: &mut Keys<'_>) -> Option<Clipping> {
    let schedules = words(&[
        ("none", false, "the bounds below"),
        ("paper", true, "the paper's, scaled to the run"),
    ]);
    let schedule = Key::new("renorm.schedule", schedules, "bounds of r and d over time");
    let is_paper = keys.with_default(schedule, false);
    let about = "lower bound of r; absent: no bound";
    let r_min = Key::new("renorm.r_min", bound(number().from(0.0).to(1.0)), about);
    let r_min = keys.optional(r_min, bn_core::Schedule::constant(0.33));
    let about = "upper bound of r, with lines between the points; absent: no bound";
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
                format!("`{path}` and `{schedule}` = \"paper\" both give bounds; drop one");
            keys.refuse(name, message);
        }
    }
    Some(Clipping::paper(keys.length().steps))
}

fn rising(from: f64, to: f64) -> bn_core::Schedule {
    bn_core::Schedule::piecewise([(0, from), (500, to)])
        .unwrap_or_else(|error| unreachable!("two points that rise: {error}"))
}
