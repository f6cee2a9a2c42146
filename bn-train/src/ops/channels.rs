//! Adding a bias per channel to `[examples, channels, …]`, and its gradient: over slices for f32 on the CPU, and by tensor
//! operations elsewhere.

use super::buffer::{Numbers, is_plain, tensor};
use super::parallel;
use candle::{DType, Result, Tensor};

/// Up to this many elements, a single thread is faster.
const SMALL: usize = 1 << 15;
/// Columns per task.
const COLUMNS: usize = 64;

/// `y + bias`, in the type of y.
pub(crate) fn plus_bias(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let Some(bias) = bias else {
        return Ok(y);
    };
    let mut dims = vec![1; y.rank()];
    dims[1] = bias.elem_count();
    y.broadcast_add(&bias.to_dtype(y.dtype())?.reshape(dims)?)
}

/// The gradient by a bias of this many channels: a contiguous dy summed over all axes but axis 1.
pub(crate) fn bias_gradient(dy: &Tensor, channels: usize) -> Result<Tensor> {
    if is_plain(dy) {
        return tensor(channel_sums(&Numbers::of(dy)?, channels, dy.dims()[0]), channels);
    }
    // Half floats are summed in f32.
    let dy = if dy.dtype() == DType::F64 { dy.clone() } else { dy.to_dtype(DType::F32)? };
    match dy.rank() {
        2 => dy.sum(0),
        _ => dy.flatten_from(2)?.sum((0, 2)),
    }
}

/// Adds each channel's bias to all its values.
pub(crate) fn add_bias(y: &mut [f32], bias: &[f32], examples: usize) {
    let example = y.len() / examples.max(1);
    let inner = example / bias.len().max(1);
    if example == 0 || inner == 0 {
        return;
    }
    let per_task = SMALL.div_ceil(example);
    parallel::chunks(y, per_task * example, |_, y| {
        for example in y.chunks_exact_mut(example) {
            for (map, bias) in example.chunks_exact_mut(inner).zip(bias) {
                for value in map {
                    *value += bias;
                }
            }
        }
    });
}

/// Sums of dy per channel, accumulated in the order of the examples: the gradient by a bias.
fn channel_sums(dy: &[f32], channels: usize, examples: usize) -> Vec<f32> {
    let example = dy.len() / examples.max(1);
    let inner = example / channels.max(1);
    let mut sums = vec![0.0; channels];
    if inner == 0 {
        return sums;
    }
    let per_task = match dy.len() {
        ..=SMALL => channels,
        _ if inner == 1 => COLUMNS,
        _ => 1,
    };
    parallel::chunks(&mut sums, per_task, |task, sums| {
        let first = task * per_task;
        for example in dy.chunks_exact(example) {
            let own = &example[first * inner..][..sums.len() * inner];
            if inner == 1 {
                for (sum, dy) in sums.iter_mut().zip(own) {
                    *sum += dy;
                }
            } else {
                for (sum, map) in sums.iter_mut().zip(own.chunks_exact(inner)) {
                    *sum += map.iter().sum::<f32>();
                }
            }
        }
    });
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::parallel::on_threads;

    /// Small integers, whose sums are exact in any order.
    fn numbers(len: usize) -> Vec<f32> {
        (0..len).map(|i| (i * 7 % 23) as f32 - 11.0).collect()
    }

    const SHAPES: [(usize, usize, usize); 6] =
        [(3, 5, 1), (60, 100, 1), (300, 130, 1), (7, 3, 4), (40, 20, 64), (0, 3, 2)];

    #[test]
    fn channel_sums_are_sums_over_examples_and_maps() {
        for (examples, channels, inner) in SHAPES {
            let dy = numbers(examples * channels * inner);
            let sum = |channel: usize| -> f32 {
                let index = |n: usize, i: usize| (n * channels + channel) * inner + i;
                (0..examples)
                    .flat_map(|n| (0..inner).map(move |i| (n, i)))
                    .map(|(n, i)| dy[index(n, i)])
                    .sum()
            };
            let want: Vec<f32> = (0..channels).map(sum).collect();
            for threads in [1, 2, 8] {
                let got = on_threads(threads, || channel_sums(&dy, channels, examples));
                assert_eq!(got, want, "{examples}x{channels}x{inner}, {threads} threads");
            }
        }
    }

    #[test]
    fn channel_sums_are_bitwise_equal_for_any_thread_count() {
        for (examples, channels, inner) in SHAPES {
            let dy: Vec<f32> =
                numbers(examples * channels * inner).iter().map(|v| v.sin()).collect();
            let bits = |threads| {
                let sums = on_threads(threads, || channel_sums(&dy, channels, examples));
                sums.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            assert_eq!(bits(1), bits(5));
        }
    }

    #[test]
    fn every_value_of_a_channel_gets_its_bias() {
        for (examples, channels, inner) in SHAPES {
            let x = numbers(examples * channels * inner);
            let bias: Vec<f32> = (0..channels).map(|c| c as f32 * 100.0).collect();
            for threads in [1, 3] {
                let mut y = x.clone();
                on_threads(threads, || add_bias(&mut y, &bias, examples));
                for (index, (y, x)) in y.iter().zip(&x).enumerate() {
                    assert_eq!(*y, x + bias[index / inner % channels]);
                }
            }
        }
    }
}
