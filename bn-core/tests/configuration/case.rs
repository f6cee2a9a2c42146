//! What is drawn, and how its numbers are made.

use bn_core::{
    Activation, BatchNormConfig, Clipping, DataFormat, Decay, Initializer, RenormConfig,
    RenormVariant, Schedule, StoredVariance, WeightKind, ZeroDebias,
};
use candle::{DType, Tensor, Var};
use proptest::prelude::*;

use crate::common::{Numbers, Outcome, rounded, tensor};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Weights {
    None,
    PerExample,
    Mask,
    /// Sizes kept at the axes of these bits, 1 at the others; leading ones left out on the last bit.
    Broadcast(u8),
}

/// Everything that is drawn. What the layer refuses by contract is mended in [`drawn`].
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) config: BatchNormConfig,
    pub(crate) dtype: DType,
    /// Shape without the size of the channel axis and, by step, of axis 0.
    pub(crate) dims: Vec<usize>,
    pub(crate) axis: usize,
    pub(crate) channels: usize,
    pub(crate) examples: Vec<usize>,
    pub(crate) weights: Weights,
    pub(crate) residual: bool,
    /// gamma and beta at the call: 0 no, 1 `[C]`, 2 `[N, C]`.
    pub(crate) given: (u8, u8),
    pub(crate) deferred: bool,
    pub(crate) seed: u64,
}

pub(crate) fn drawn() -> impl Strategy<Value = Case> {
    let shape = (
        2usize..=5,
        0usize..5,
        prop::collection::vec(1usize..=3, 5),
        1usize..=4,
        prop::collection::vec(2usize..=6, 1..=4),
        prop::sample::select(vec![DType::F64, DType::F32, DType::F16, DType::BF16]),
        any::<bool>(),
    );
    let weights = prop_oneof![
        Just(Weights::None),
        Just(Weights::PerExample),
        Just(Weights::Mask),
        any::<u8>().prop_map(Weights::Broadcast),
    ];
    let variant = prop::option::of(prop::sample::select(vec![
        RenormVariant::Tf1,
        RenormVariant::Keras,
        RenormVariant::Paper,
    ]));
    let bounds =
        (prop::option::of(0.5..=1.0), prop::option::of(1.0..2.0), prop::option::of(0.0..0.6));
    let averages = (
        prop_oneof![
            (0.0..0.99).prop_map(Decay::Constant),
            Just(Decay::Cumulative),
            (0.0..0.99, 0.0..0.99).prop_map(|(from, to)| {
                Decay::Schedule(Schedule::piecewise([(0, from), (2, to)]).expect("two points"))
            }),
        ],
        prop::sample::select(vec![
            ZeroDebias::None,
            ZeroDebias::Mean,
            ZeroDebias::Variance,
            ZeroDebias::Both,
        ]),
        any::<bool>(),
        any::<bool>(),
        0.0..0.99,
        prop::option::of(1usize..=4),
    );
    let tail = (
        prop_oneof![
            Just(Activation::None),
            Just(Activation::Relu),
            Just(Activation::Sigmoid),
            Just(Activation::Tanh),
            (-0.5..1.5).prop_map(Activation::LeakyRelu),
        ],
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        (0u8..3, 0u8..3),
        prop::bool::weighted(0.85),
        any::<bool>(),
        any::<u64>(),
    );
    (shape, weights, variant, bounds, averages, tail).prop_map(
        |(shape, weights, variant, bounds, averages, tail)| {
            let (rank, axis, sizes, channels, examples, dtype, by_name) = shape;
            let axis = axis % rank;
            let (decay, debias, unbiased, reliability, renorm_decay, ghost) = averages;
            let (activation, residual, center, scale, given, trainable, deferred, seed) = tail;
            let mut numbers = Numbers(seed);
            let mut each = |low, high| {
                let v = (0..channels).map(|_| numbers.between(low, high)).collect::<Vec<_>>();
                // Initial values that every type holds exactly.
                Initializer::Values(rounded(&v, DType::BF16))
            };
            let config = BatchNormConfig {
                data_format: match (by_name, axis) {
                    (true, 1) => DataFormat::Nchw,
                    (true, axis) if axis == rank - 1 => DataFormat::Nhwc,
                    (_, axis) => DataFormat::Axis(axis),
                },
                decay,
                epsilon: 1e-3,
                center,
                scale,
                activation,
                beta_initializer: each(-1.0, 1.0),
                gamma_initializer: each(-1.5, 1.5),
                moving_mean_initializer: each(-1.0, 1.0),
                moving_variance_initializer: each(0.5, 2.0),
                zero_debias: match variant {
                    None | Some(RenormVariant::Tf1) => debias,
                    Some(_) => ZeroDebias::None,
                },
                stored_variance: match unbiased && variant.is_none() {
                    true => StoredVariance::Unbiased,
                    false => StoredVariance::Biased,
                },
                weight_kind: match reliability {
                    true => WeightKind::Reliability,
                    false => WeightKind::Frequency,
                },
                renorm: variant.map(|variant| RenormConfig {
                    variant,
                    decay: renorm_decay,
                    clipping: Clipping::constant(bounds.0, bounds.1, bounds.2),
                }),
                normalization_batch: ghost.filter(|_| axis != 0),
                trainable,
                ..BatchNormConfig::tf_slim()
            };
            let per_example = |kind: u8| if axis == 0 { kind.min(1) } else { kind };
            Case {
                config,
                dtype,
                dims: sizes[..rank].to_vec(),
                axis,
                channels,
                examples,
                weights: match weights {
                    Weights::PerExample if axis == 0 => Weights::Mask,
                    weights => weights,
                },
                residual,
                given: (per_example(given.0), per_example(given.1)),
                deferred,
                seed,
            }
        },
    )
}

impl Case {
    pub(crate) fn dims(&self, step: usize) -> Vec<usize> {
        let mut dims = self.dims.clone();
        dims[0] = self.examples[step];
        dims[self.axis] = self.channels;
        dims
    }

    /// Weights in the shape they are given in, and per element of x.
    pub(crate) fn weights(
        &self,
        dims: &[usize],
        numbers: &mut Numbers,
    ) -> (Option<Tensor>, Vec<f64>) {
        let all: usize = dims.iter().product();
        let shape: Vec<usize> = match self.weights {
            Weights::None => return (None, vec![1.0; all]),
            Weights::PerExample => vec![dims[0]],
            Weights::Mask => {
                (0..dims.len()).map(|a| if a == self.axis { 1 } else { dims[a] }).collect()
            }
            Weights::Broadcast(bits) => {
                let kept = |a: usize| a != self.axis && bits >> a & 1 == 1;
                let shape: Vec<usize> =
                    (0..dims.len()).map(|a| if kept(a) { dims[a] } else { 1 }).collect();
                let ones = shape.iter().take_while(|&&size| size == 1).count();
                match shape[ones..].len() {
                    // One axis of N values would be read as one weight per example.
                    0 | 1 => shape,
                    _ if bits >> 7 == 1 => shape[ones..].to_vec(),
                    _ => shape,
                }
            }
        };
        let count: usize = shape.iter().product();
        // Multiples of 1/8 sum exactly, so that W = 1 is W = 1. A mask keeps the first of each example:
        // a group without weight is an error by default.
        let of_example = count / shape[0];
        let draw = |i: usize, numbers: &mut Numbers| match self.weights {
            Weights::Mask if self.axis == 0 => {
                f64::from(u8::from(i == 0 || numbers.bits() & 1 == 1))
            }
            Weights::Mask => {
                f64::from(u8::from(i.is_multiple_of(of_example) || numbers.bits() & 1 == 1))
            }
            _ => (1 + numbers.below(24)) as f64 / 8.0,
        };
        let given: Vec<f64> = (0..count).map(|i| draw(i, numbers)).collect();
        let mut full = vec![1; dims.len()];
        if self.weights == Weights::PerExample {
            full[0] = dims[0];
        } else {
            full[dims.len() - shape.len()..].copy_from_slice(&shape);
        }
        let of_element = |i: usize| {
            let (mut left, mut at, mut stride) = (i, 0, 1);
            for a in (0..dims.len()).rev() {
                let index = left % dims[a];
                left /= dims[a];
                at += if full[a] == 1 { 0 } else { index * stride };
                stride *= full[a];
            }
            given[at]
        };
        (Some(tensor(&given, &shape, DType::F32)), (0..all).map(of_element).collect())
    }

    /// A parameter at the call, and its values; the layer's own where none is given.
    pub(crate) fn parameter(
        &self,
        kind: u8,
        own: &Initializer,
        on: bool,
        neutral: f64,
        n: usize,
        numbers: &mut Numbers,
    ) -> Outcome<(Option<Var>, Vec<f64>)> {
        let dims = match kind {
            0 => {
                return Ok((
                    None,
                    match own {
                        Initializer::Values(values) if on => values.clone(),
                        _ => vec![neutral; self.channels],
                    },
                ));
            }
            1 => vec![self.channels],
            _ => vec![n, self.channels],
        };
        let v = rounded(&numbers.normals(dims.iter().product()), self.dtype);
        let wide = if self.dtype == DType::F64 { DType::F64 } else { DType::F32 };
        Ok((Some(Var::from_tensor(&tensor(&v, &dims, wide))?), v))
    }
}
