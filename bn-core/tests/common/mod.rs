//! What the tests share: made-up numbers, tensors from them and back, layers, comparison, gradients.
//!
//! The expected values are in [`reference`]; nothing here computes any.

// Every test file is a crate of its own and uses a part of this.
#![allow(dead_code, unreachable_pub)]

pub mod functions;
pub mod reference;

use std::sync::OnceLock;

use bn_core::{BatchNorm, BatchNormConfig};
use candle::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};

pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// `SplitMix64`: the same numbers from the same seed, on every machine.
#[derive(Clone, Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    pub fn normals(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.normal()).collect()
    }

    /// A standard normal tensor of f64 on the CPU.
    pub fn tensor(&mut self, dims: &[usize]) -> Tensor {
        tensor(&self.normals(dims.iter().product()), dims, DType::F64)
    }
}

/// The device that the tests run on: `BN_TEST_DEVICE`, by default the CPU. `cuda` and `cuda:N` need the feature `cuda`.
pub fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let open = || {
        let name = std::env::var("BN_TEST_DEVICE").unwrap_or_default();
        let (kind, number) = name.split_once(':').unwrap_or((&name, "0"));
        match kind {
            "" | "cpu" => Device::Cpu,
            "cuda" => Device::new_cuda(number.parse().expect("cuda:N")).expect("a GPU"),
            _ => panic!("BN_TEST_DEVICE={name}: expected cpu, cuda or cuda:N"),
        }
    };
    DEVICE.get_or_init(open).clone()
}

/// Distance between neighbouring numbers just above 1.
pub fn epsilon_of(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::F32 => f64::from(f32::EPSILON),
        DType::F16 => 2f64.powi(-10),
        _ => 2f64.powi(-7), // bf16
    }
}

pub fn tensor(values: &[f64], dims: &[usize], dtype: DType) -> Tensor {
    // On the host, since candle's kernels take no tensors without elements.
    let made = Tensor::from_slice(values, dims, &Device::Cpu).and_then(|t| t.to_dtype(dtype));
    made.and_then(|t| t.to_device(&device())).expect("as many values as the shape has")
}

/// The elements in order, as f64.
pub fn values(t: impl std::borrow::Borrow<Tensor>) -> Vec<f64> {
    let host = t.borrow().to_device(&Device::Cpu).and_then(|t| t.to_dtype(DType::F64));
    host.and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1()).expect("a float tensor")
}

/// What a type makes of these numbers.
pub fn rounded(values: &[f64], dtype: DType) -> Vec<f64> {
    self::values(tensor(values, &[values.len()], dtype))
}

/// The bits of the elements: equal for equal numbers only, NaN and the sign of 0 included.
pub fn bits(t: &Tensor) -> Vec<u64> {
    values(t).iter().map(|v| v.to_bits()).collect()
}

/// Name and bits of everything that updates move.
pub fn state_bits(bn: &BatchNorm) -> Vec<(String, Vec<u64>)> {
    let named = |(name, var): (String, Var)| (name, bits(var.as_tensor()));
    bn.statistics().into_iter().map(named).collect()
}

/// A layer with variables of its own.
pub fn layer(
    config: &BatchNormConfig,
    channels: usize,
    dtype: DType,
) -> bn_core::Result<BatchNorm> {
    let vb = VarBuilder::from_varmap(&VarMap::new(), dtype, &device());
    config.clone().build(channels, vb)
}

/// `|got − want| ≤ abs + rel · |want|` everywhere; NaN is nowhere close.
#[track_caller]
pub fn assert_close(what: &str, got: &[f64], want: &[f64], rel: f64, abs: f64) {
    assert_within(what, got, want, |i| abs + rel * want[i].abs());
}

/// `|got − want| ≤ bound` with a bound for each element.
#[track_caller]
pub fn assert_within(what: &str, got: &[f64], want: &[f64], bound: impl Fn(usize) -> f64) {
    assert_eq!(got.len(), want.len(), "{what}: number of values");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let near = (g - w).abs() <= bound(i);
        assert!(
            near || g == w,
            "{what}[{i}]: got {g:e}, want {w:e}, off by {:e}, allowed {:e}",
            (g - w).abs(),
            bound(i)
        );
    }
}

/// Gradients of `Σ dy · y`: dy is whatever the caller says, for after a normalization the gradient of a
/// plain sum is zero and any mistake would pass.
pub fn gradients(y: &Tensor, dy: &Tensor) -> candle::Result<candle::backprop::GradStore> {
    (y * dy)?.sum_all()?.backward()
}
