//! Bad input: a typed error that names the operation, what it wanted and what it got; never a panic.

#[path = "../common/mod.rs"]
mod common;

/// The error is of this variant, and its message has all of these in it.
macro_rules! assert_error {
    ($result:expr, $variant:pat, $($part:expr),+) => {
        match $result {
            Err(error) if matches!(error.kind, $variant) => {
                let message = error.to_string();
                $(assert!(message.contains($part), "`{message}` lacks `{}`", $part);)+
            }
            Err(other) => panic!("another error: {other:?}"),
            Ok(_) => panic!("no error from {}", stringify!($result)),
        }
    };
}

mod anything;
mod inputs;
mod settings;
mod tools;

use bn_core::{BatchNorm, BatchNormConfig};
use candle::{DType, Tensor};
use common::{layer, tensor};

fn zeros(dims: &[usize]) -> Tensor {
    tensor(&vec![0.0; dims.iter().product()], dims, DType::F32)
}

fn built(config: BatchNormConfig) -> bn_core::Result<BatchNorm> {
    layer(&config, 3, DType::F32)
}

fn keras() -> BatchNormConfig {
    BatchNormConfig::keras()
}
