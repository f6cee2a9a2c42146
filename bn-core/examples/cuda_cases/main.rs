//! Training steps of layers on the CPU, as numbers in a file: `cargo run --example cuda_cases -- FILE`. The CUDA
//! kernels, run on the CPU by `tools/cuda-host.sh`, must compute the same; `tools/cuda-host/layer.cpp` has the format.

use std::error::Error;

use bn_core::{
    Activation, BatchNorm, BatchNormConfig, Call, Clipping, DataFormat, Decay, Degenerate,
    Initializer, Policy, RenormConfig, RenormVariant, Schedule, StoredVariance, ZeroDebias,
};
use candle::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};

#[path = "../../tests/common/mod.rs"]
mod common;

use common::{Numbers, tensor, values};

/// The statistics in the file's order.
const AVERAGES: [&str; 11] = [
    "moving_mean",
    "moving_mean_biased",
    "moving_mean_weight",
    "moving_variance",
    "moving_variance_biased",
    "moving_variance_weight",
    "renorm_mean",
    "renorm_stddev",
    "renorm_mean_weight",
    "renorm_stddev_weight",
    "moving_stddev",
];
const TYPES: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];
const STEPS: usize = 3;

struct Case {
    config: BatchNormConfig,
    dims: Vec<usize>,
    dtype: DType,
    residual: bool,
    /// A channel of this case is constant.
    constant: bool,
    /// A value of the second step is infinite.
    infinite: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: cuda_cases FILE")?;
    let mut numbers = Numbers(20_261_126);
    let mut file = Vec::new();
    let cases = cases();
    for case in &cases {
        write_case(case, &mut numbers, &mut file)?;
    }
    let bytes: Vec<u8> = file.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(&path, bytes).map_err(|error| format!("{path}: {error}"))?;
    println!("{} cases, {} numbers", cases.len(), file.len());
    Ok(())
}

fn cases() -> Vec<Case> {
    let shapes: [&[usize]; 6] = [&[6, 3, 8], &[5, 4, 7], &[7, 9], &[12, 16], &[1, 5], &[2, 2, 33]];
    let activations = [
        Activation::None,
        Activation::Relu,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::LeakyRelu(0.2),
    ];
    let clipping = Clipping {
        r_max: Some(Schedule::constant(1.5)),
        ..Clipping::constant(Some(0.6), None, Some(0.5))
    };
    let renorm = |variant| Some(RenormConfig { decay: 0.8, clipping: clipping.clone(), variant });
    let biased =
        BatchNormConfig { stored_variance: StoredVariance::Biased, ..BatchNormConfig::default() };
    let skips =
        Degenerate { constant_channel: Policy::SkipVarianceUpdate, ..Degenerate::default() };
    let configs = [
        BatchNormConfig::default(),
        BatchNormConfig { zero_debias: ZeroDebias::Both, ..biased.clone() },
        BatchNormConfig { renorm: renorm(RenormVariant::Tf1), ..biased.clone() },
        BatchNormConfig { renorm: renorm(RenormVariant::Keras), scale: false, ..biased.clone() },
        BatchNormConfig { renorm: renorm(RenormVariant::Paper), center: false, ..biased.clone() },
        BatchNormConfig {
            decay: Decay::Cumulative,
            normalization_batch: Some(2),
            ..biased.clone()
        },
        BatchNormConfig {
            renorm: Some(RenormConfig::new(RenormVariant::Tf1)),
            zero_debias: ZeroDebias::Both,
            normalization_batch: Some(4),
            ..biased.clone()
        },
        BatchNormConfig {
            degenerate: skips,
            zero_debias: ZeroDebias::Mean,
            ..BatchNormConfig::default()
        },
    ];
    let mut cases = Vec::new();
    for (s, dims) in shapes.iter().enumerate() {
        for (k, config) in configs.iter().enumerate() {
            let number = s * configs.len() + k;
            cases.push(Case {
                config: BatchNormConfig {
                    data_format: DataFormat::Axis(1),
                    activation: activations[number % activations.len()],
                    gamma_initializer: Initializer::Constant(1.25),
                    beta_initializer: Initializer::Constant(-0.5),
                    decay: if config.decay == Decay::Cumulative {
                        Decay::Cumulative
                    } else {
                        0.7.into()
                    },
                    ..config.clone()
                },
                dims: dims.to_vec(),
                // All types meet all options: 8 options, and 5 is coprime to 4.
                dtype: TYPES[(number + s) % TYPES.len()],
                residual: number.is_multiple_of(3),
                constant: k == 7,
                infinite: number % 5 == 2,
            });
        }
    }
    cases
}

fn write_case(
    case: &Case,
    numbers: &mut Numbers,
    file: &mut Vec<f64>,
) -> Result<(), Box<dyn Error>> {
    let Case { config, dims, dtype, .. } = case;
    let wide = if *dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let vb = VarBuilder::from_varmap(&VarMap::new(), wide, &Device::Cpu);
    let channels = dims[1];
    let layer = config.clone().build(channels, vb)?;
    write_options(case, file);
    for parameter in [layer.gamma(), layer.beta()].into_iter().flatten() {
        file.extend(values(parameter.as_tensor()));
    }
    write_averages(&layer, file, true);
    for step in 0..STEPS {
        let mut draw = || numbers.normals(dims.iter().product());
        let mut x = draw();
        let inner: usize = dims[2..].iter().product();
        for (i, v) in x.iter_mut().enumerate() {
            let constant = case.constant && i / inner % channels == 1;
            *v = if constant { 0.75 } else { 1.5 + 2.0 * *v };
        }
        if case.infinite && step == 1 {
            x[0] = f64::INFINITY;
        }
        let x = tensor(&x, dims, *dtype);
        let residual = case.residual.then(|| tensor(&draw(), dims, *dtype));
        let dy = tensor(&draw(), dims, *dtype);
        let call = Call { residual: residual.as_ref(), ..Call::train() };
        let (y, saved) = layer.forward_with_saved(&x, &call)?;
        let gradients = saved.gradients(&dy)?;
        let tensors = [Some(&x), residual.as_ref(), Some(&dy), Some(&y), Some(&gradients.x)];
        let of_parameters = [gradients.gamma.as_ref(), gradients.beta.as_ref()];
        for t in tensors.into_iter().chain(of_parameters).flatten() {
            file.extend(values(t));
        }
        write_averages(&layer, file, false);
        let health = layer.health()?;
        let counts = [health.committed, health.refused, health.skipped_variance];
        file.extend(counts.map(|count| count as f64));
        file.push(health.effective_sample_size);
    }
    Ok(())
}

/// In the order of `Options` in layer.cpp.
fn write_options(case: &Case, file: &mut Vec<f64>) {
    let Case { config, dims, dtype, .. } = case;
    let flag = |is: bool| f64::from(u8::from(is));
    let (kind, slope) = match config.activation {
        Activation::None => (0.0, 0.0),
        Activation::Relu => (1.0, 0.0),
        Activation::Sigmoid => (2.0, 0.0),
        Activation::Tanh => (3.0, 0.0),
        Activation::LeakyRelu(slope) => (4.0, slope),
    };
    let variant = config.renorm.as_ref().map_or(0.0, |renorm| match renorm.variant {
        RenormVariant::Tf1 => 1.0,
        RenormVariant::Keras => 2.0,
        RenormVariant::Paper => 3.0,
    });
    let bounds = config.renorm.as_ref().map(|renorm| renorm.clipping.at(0)).unwrap_or_default();
    let decay = if let Decay::Constant(decay) = config.decay { decay } else { 0.0 };
    let element = TYPES.iter().position(|known| known == dtype).map_or(0.0, |at| at as f64 + 1.0);
    file.extend([
        element,
        flag(*dtype == DType::F64),
        dims[0] as f64,
        dims[1] as f64,
        dims[2..].iter().product::<usize>() as f64,
        config.normalization_batch.map_or(dims[0], |group| group.min(dims[0])) as f64,
        kind,
        slope,
        flag(case.residual),
        flag(config.scale),
        flag(config.center),
        config.epsilon,
        decay,
        flag(config.decay == Decay::Cumulative),
        flag(config.stored_variance == StoredVariance::Unbiased),
        flag(config.degenerate.constant_channel == Policy::SkipVarianceUpdate),
        variant,
        config.renorm.as_ref().map_or(0.0, |renorm| renorm.decay),
        bounds.r_min.unwrap_or(f64::NEG_INFINITY),
        bounds.r_max.unwrap_or(f64::INFINITY),
        bounds.d_max.unwrap_or(f64::INFINITY),
        STEPS as f64,
    ]);
}

/// Each of the statistics that the layer has; with `flags`, whether it has it comes first.
fn write_averages(layer: &BatchNorm, file: &mut Vec<f64>, flags: bool) {
    let named = layer.statistics();
    for name in AVERAGES {
        let found: Option<&Tensor> =
            named.iter().find(|(known, _)| known == name).map(|(_, var)| var.as_tensor());
        if flags {
            file.push(f64::from(u8::from(found.is_some())));
        }
        file.extend(found.map(values).unwrap_or_default());
    }
}
