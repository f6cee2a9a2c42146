//! Activations as tensor operations.

use crate::experiment::settings::Activation;
use candle::{Result, Tensor};

/// Slope of the leaky rectifier below 0.
const LEAK: f64 = 0.01;

pub(super) fn apply(activation: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        // One operation of the graph with a gradient of its own; spelled out it would be four.
        Activation::Sigmoid => candle_nn::ops::sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::Relu => x.relu(),
        Activation::LeakyRelu => candle_nn::ops::leaky_relu(x, LEAK),
    }
}
