//! The same layer on a device that works behind the host's back, timed over runs of steps that end with a wait.

use std::time::Instant;

use bn_core::{BatchNormConfig, DataFormat};
use candle::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};

use crate::Fallible;
use crate::clock::Times;

/// Steps between two waits: enough that the wait does not count.
const STEPS: usize = 50;
const ROUNDS: usize = 20;

/// Batch, channels, height and width; the last two may be 1.
const SHAPES: [[usize; 4]; 8] = [
    [64, 64, 32, 32],
    [128, 16, 32, 32],
    [32, 256, 14, 14],
    [256, 512, 1, 1],
    [60, 100, 1, 1],
    [64, 256, 56, 56],
    [128, 64, 32, 32],
    [4096, 1024, 1, 1],
];

/// `cpu`, `cuda` or `cuda:N`.
pub(crate) fn named(name: &str) -> Fallible<Device> {
    let (kind, number) = name.split_once(':').unwrap_or((name, "0"));
    match kind {
        "cpu" => Ok(Device::Cpu),
        "cuda" => Ok(Device::new_cuda(number.parse()?)?),
        _ => Err(format!("--device {name}: expected cpu, cuda or cuda:N").into()),
    }
}

/// Prints `bn/*` and `bn_nhwc/*` in f32, `bn_bf16/*` and `bn_nhwc_bf16/*`, and `device_copy/*`: one pass that reads and
/// writes so many MiB.
pub(crate) fn measure(device: &Device, only: &str) -> Fallible<()> {
    for [n, c, h, w] in SHAPES {
        let flat = h * w == 1;
        let dims = if flat { format!("{n}x{c}") } else { format!("{n}x{c}x{h}x{w}") };
        for (suffix, dtype) in [("", DType::F32), ("_bf16", DType::BF16)] {
            let nchw: &[usize] = if flat { &[n, c] } else { &[n, c, h, w] };
            let name = format!("bn{suffix}/{dims}");
            step(device, only, &name, nchw, DataFormat::Nchw, dtype)?;
            if !flat {
                let name = format!("bn_nhwc{suffix}/{dims}");
                step(device, only, &name, &[n, h, w, c], DataFormat::Nhwc, dtype)?;
            }
        }
    }
    for mib in [8, 64, 512] {
        let name = format!("device_copy/{mib}MiB");
        if name.contains(only) {
            let from = Tensor::zeros(mib << 18, DType::F32, device)?;
            let times = time(device, || Ok(from.copy().map(drop)?))?;
            let per_second = 2.0 * mib as f64 / 1024.0 / (times.least / 1e3);
            print(&name, times, &format!(", \"gib_per_second\": {per_second:.1}"));
        }
    }
    Ok(())
}

fn step(
    device: &Device,
    only: &str,
    name: &str,
    dims: &[usize],
    data_format: DataFormat,
    dtype: DType,
) -> Fallible<()> {
    if !name.contains(only) {
        return Ok(());
    }
    let normal = || Tensor::randn(0f32, 1., dims, device)?.to_dtype(dtype);
    let (x, dy) = (normal()?, normal()?);
    let channels = if data_format == DataFormat::Nchw { dims[1] } else { dims[dims.len() - 1] };
    let vb = VarMap::new();
    let vb = VarBuilder::from_varmap(&vb, DType::F32, device);
    let bn = BatchNormConfig { data_format, ..BatchNormConfig::torch() }.build(channels, vb)?;
    let times = time(device, || {
        let (_, saved) = bn.forward_train_saved(&x)?;
        Ok(saved.backward(&dy).map(drop)?)
    })?;
    print(name, times, "");
    Ok(())
}

/// Median and least milliseconds of one call.
fn time(device: &Device, mut call: impl FnMut() -> Fallible<()>) -> Fallible<Times> {
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..=ROUNDS {
        let start = Instant::now();
        for _ in 0..STEPS {
            call()?;
        }
        device.synchronize()?;
        if round > 0 {
            times.push(start.elapsed().as_secs_f64() * 1e3 / STEPS as f64);
        }
    }
    Ok(Times::of(times))
}

fn print(name: &str, times: Times, more: &str) {
    let Times { median, least } = times;
    println!("{{\"name\": \"{name}\", \"median_ms\": {median:.5}, \"min_ms\": {least:.5}{more}}}");
}
