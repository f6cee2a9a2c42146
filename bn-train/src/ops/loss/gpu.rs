//! The loss on an NVIDIA GPU: one launch of one block.

use super::LossFunction;
use super::tensors::DeviceLoss;
use crate::ops::gpu::{BLOCK, THREADS, tensor};
use bn_core::cuda::{Program, function, with_tensors};
use candle::cuda_backend::WrapErr;
use candle::cuda_backend::cudarc::driver::{LaunchConfig, PushKernelArg};
use candle::{Result, Tensor};

const PROGRAM: Program =
    Program { name: "bn-train-loss", texts: &[BLOCK, include_str!("loss.cu")], element: 1 };

/// As [`LossFunction::loss_on_device`], for contiguous f32 scores and u32 labels on a GPU. `shares` are the factors of the
/// examples' losses, in f64; `None`: one over their number.
///
/// # Errors
/// Errors of the kernels' compiler and of the driver.
#[allow(unsafe_code)] // a launch is unsafe
pub(super) fn loss(
    of: LossFunction,
    scores: &Tensor,
    labels: &Tensor,
    shares: Option<&Tensor>,
) -> Result<DeviceLoss> {
    let (rows, classes) = scores.dims2()?;
    let device = scores.device().as_cuda_device()?;
    let stream = device.cuda_stream();
    let kernel = function(device, &PROGRAM, "loss_of_batch")?;
    // SAFETY: the kernel writes the gradient of every score, and both numbers.
    let (gradient, result) =
        unsafe { (device.alloc::<f32>(rows * classes)?, device.alloc::<f64>(2)?) };
    let gradient = tensor(gradient, (rows, classes), device);
    let result = tensor(result, 2, device);
    let tensors = [Some(scores), Some(labels), Some(&gradient), Some(&result), shares];
    let tensors: Vec<&Tensor> = tensors.into_iter().flatten().collect();
    with_tensors(&stream, &tensors, |addresses| {
        let shares = addresses.get(4).copied().unwrap_or(0);
        let (rows, classes) = (rows as i64, classes as i64);
        let is_squared = i64::from(of == LossFunction::SquaredError);
        let mut launch = stream.launch_builder(&kernel);
        launch.arg(&addresses[0]).arg(&addresses[1]).arg(&shares);
        launch.arg(&rows).arg(&classes).arg(&is_squared);
        launch.arg(&addresses[2]).arg(&addresses[3]);
        let (grid_dim, block_dim) = ((1, 1, 1), (THREADS, 1, 1));
        // SAFETY: the arguments are those of loss.cu, with a label and a share for each row of scores.
        unsafe { launch.launch(LaunchConfig { grid_dim, block_dim, shared_mem_bytes: 0 }) }.w()?;
        Ok(())
    })?;
    Ok(DeviceLoss { scores: result, gradient })
}
