//! The keys of `[task]`.

use super::Task;
use super::classification::{Classification, Measure};
use super::gan::{Gan, Output};
use crate::keys::{Key, Keys, Kind, Kinds, flag, list, size, words};
use crate::ops::LossFunction;
use std::sync::Arc;

/// `[task]`.
pub fn tasks() -> Kinds<Arc<dyn Task>> {
    let about = "one network with a score per class";
    let classification = |keys: &mut Keys<'_>| Some(Arc::new(classification(keys)?) as _);
    let gan_about =
        "a generator makes images, and the network of [model] discriminates them from real ones";
    let gan = |keys: &mut Keys<'_>| Some(Arc::new(gan(keys)?) as _);
    let kinds =
        vec![Kind::new("classification", about, classification), Kind::new("gan", gan_about, gan)];
    Kinds::new("task", "kind", kinds)
}

fn classification(keys: &mut Keys<'_>) -> Option<Classification> {
    let losses = words(&[
        ("cross_entropy", LossFunction::CrossEntropy, "of the softmax, in nats"),
        ("squared_error", LossFunction::SquaredError, "to 1 for the class and 0 for the others"),
    ]);
    let loss = Key::new("loss", losses, "the training loss");
    let loss = keys.with_default(loss, LossFunction::CrossEntropy);
    let measures = words(&[
        ("accuracy", Measure::Accuracy, "share of correct classifications"),
        ("top5", Measure::Top5, "share of examples whose class is among the five highest scores"),
        ("class_accuracy", Measure::ClassAccuracy, "accuracy of each class"),
    ]);
    let about = "what evaluations measure besides the loss";
    let measures = Key::new("metrics", list("metrics", measures), about);
    let measures = keys.with_default(measures, vec![Measure::Accuracy]);
    Some(Classification { loss: loss?, measures: measures? })
}

fn gan(keys: &mut Keys<'_>) -> Option<Gan> {
    let latent = Key::new("latent", size(), "dimension of the noise");
    let latent = keys.with_default(latent, 16);
    let about = "widths of the generator's hidden layers";
    let hidden = keys.with_default(Key::new("hidden", list("widths", size()), about), vec![128]);
    let outputs = words(&[
        ("sigmoid", Output::Sigmoid, "from 0 to 1"),
        ("tanh", Output::Tanh, "from -1 to 1"),
        ("linear", Output::Linear, "any number"),
    ]);
    let about = "activation of the generator's last layer";
    let output = keys.with_default(Key::new("output", outputs, about), Output::Sigmoid);
    let about = "whether the discriminator also has norm layers";
    let both = keys.with_default(Key::new("discriminator_norm", flag(), about), true);
    Some(Gan {
        latent: latent?,
        hidden: hidden?,
        output: output?,
        is_discriminator_normalized: both?,
    })
}
