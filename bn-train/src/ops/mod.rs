//! What candle lacks a fast gradient for on the CPU.
//!
//! A kernel is a function over slices; an operation of candle's graph is its adapter. Work is cut by the shape of the
//! data alone, so that results are the same bits on any number of threads.

pub(crate) mod activation;
pub(crate) mod buffer;
pub mod conv;
pub mod loss;
pub(crate) mod matmul;
pub(crate) mod parallel;
pub(crate) mod pool;

pub use conv::conv2d;
pub use loss::{Loss, softmax_cross_entropy};

/// Sums of dy by channel, for `[examples, channels, …]`; what the gradient of a bias is.
pub(crate) fn channel_sums(dy: &[f32], channels: usize, examples: usize) -> Vec<f32> {
    let inner = dy.len() / (channels * examples).max(1);
    let mut sums = vec![0.0; channels];
    if inner == 1 {
        for row in dy.chunks_exact(channels) {
            for (sum, dy) in sums.iter_mut().zip(row) {
                *sum += dy;
            }
        }
    } else if inner > 0 {
        for (index, map) in dy.chunks_exact(inner).enumerate() {
            sums[index % channels] += map.iter().sum::<f32>();
        }
    }
    sums
}
