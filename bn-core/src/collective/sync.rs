//! Batch statistics over all ranks, as a node of each rank's graph.
//!
//! Forward gathers every rank's moments and merges them in rank order. Backward adds up what the ranks
//! want changed of the merged mean and variance (the two backward sums), so that each rank's gradients
//! are those of the sum of all ranks' losses.

use std::sync::Arc;

use candle::{DType, Tensor};

use super::Collective;
use crate::attach::{attach, attach_empty};
use crate::error::Result;
use crate::moments::Moments;

/// The moments of all ranks together; gradients flow to this rank's.
pub(crate) fn merge_over_ranks(local: &Moments, ranks: &Arc<dyn Collective>) -> Result<Moments> {
    let device = local.mean().device();
    let channels = local.mean().elem_count();
    let gathered = ranks.all_gather(&packed(local)?.flatten_all()?.to_vec1::<f64>()?)?;
    let parts: Vec<Moments> = gathered
        .chunks_exact(4 * channels)
        .map(|part| unpacked(part, channels))
        .collect::<Result<_>>()?;
    let merged = Moments::merge_all(&parts)?.unwrap_or_else(|| local.detach());

    let stack = Tensor::stack(&[local.mean(), local.variance()], 0)?;
    let value = Tensor::stack(&[merged.mean(), merged.variance()], 0)?.to_device(device)?;
    let backward = {
        let (local, merged, ranks) = (local.detach(), merged.clone(), ranks.clone());
        move |grad: &Tensor| share_of_gradient(grad, &local, &merged, ranks.as_ref())
    };
    let node = attach("batch-norm-sync", &stack, &value, backward)?;
    Ok(Moments::from_parts(
        merged.weight().to_device(device)?,
        merged.squared_weight().to_device(device)?,
        node.get(0)?,
        node.get(1)?,
    ))
}

/// `y`, which has no elements, as a function of x, gamma and beta: its backward takes this rank's part in
/// the sums that the other ranks wait for.
pub(crate) fn join_backward(
    arguments: [&Tensor; 3],
    y: &Tensor,
    channels: usize,
    ranks: &Arc<dyn Collective>,
) -> Result<Tensor> {
    let ranks = ranks.clone();
    Ok(attach_empty("batch-norm-sync-empty", arguments, y, move || {
        ranks.all_reduce_sum_f64(&mut vec![0.0; 2 * channels])?;
        Ok(())
    })?)
}

/// This rank's share of the gradient `[2, C]` with respect to the merged mean and variance.
///
/// With `s = W_rank / W`: `dmean_rank = s·dmean + 2s·(mean_rank − mean)·dvariance`, `dvariance_rank = s·dvariance`.
fn share_of_gradient(
    grad: &Tensor,
    local: &Moments,
    merged: &Moments,
    ranks: &dyn Collective,
) -> candle::Result<Tensor> {
    let device = grad.device();
    let mut sums = grad.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    ranks.all_reduce_sum_f64(&mut sums)?;
    let sums = Tensor::from_vec(sums, grad.dims(), device)?;
    let (dmean, dvariance) = (sums.get(0)?, sums.get(1)?);
    let share = (local.weight() / merged.weight().to_device(device)?)?;
    let offset = (local.mean() - merged.mean().to_device(device)?)?;
    let through_variance = (offset * 2.0)?.mul(&dvariance)?;
    let dmean = (dmean + through_variance)?.mul(&share)?;
    Tensor::stack(&[dmean, dvariance.mul(&share)?], 0)
}

fn packed(moments: &Moments) -> candle::Result<Tensor> {
    let moments = moments.detach();
    let parts = [moments.weight(), moments.squared_weight(), moments.mean(), moments.variance()];
    Tensor::stack(&parts, 0)
}

fn unpacked(part: &[f64], channels: usize) -> Result<Moments> {
    let row = |i: usize| Tensor::new(&part[i * channels..(i + 1) * channels], &candle::Device::Cpu);
    Ok(Moments::from_parts(row(0)?, row(1)?, row(2)?, row(3)?))
}
