//! How many channels a block has, and the vectors that kernels run in.

use crate::ops::lanes;
use pulp::WithSimd;

/// Vectors side by side in a block of channels.
const MOST_VECTORS: usize = 2;

/// Numbers of channels in a block, on this machine: of so many vectors that few lanes stay empty.
pub(super) fn block(channels: usize) -> usize {
    let lanes = lanes();
    if lanes == 2 * HALF && channels <= HALF {
        return HALF;
    }
    let vectors = channels.div_ceil(lanes);
    if vectors.is_multiple_of(2) || vectors > 4 { MOST_VECTORS * lanes } else { lanes }
}

/// Lanes of AVX2, where AVX-512 has twice as many: as fast for as many channels, and twice as fast as half empty vectors.
const HALF: usize = 8;

/// Runs a kernel over blocks of so many channels, in the vectors that [`block`] chose.
pub(super) fn dispatch<W: WithSimd>(block: usize, kernel: W) -> W::Output {
    if block == HALF && lanes() == 2 * HALF {
        in_halves(kernel)
    } else {
        pulp::Arch::new().dispatch(kernel)
    }
}

#[cfg(target_arch = "x86_64")]
fn in_halves<W: WithSimd>(kernel: W) -> W::Output {
    match pulp::x86::V3::try_new() {
        Some(simd) => pulp::Simd::vectorize(simd, kernel),
        // Processors with AVX-512 have AVX2.
        None => unreachable!("AVX-512 without AVX2"),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn in_halves<W: WithSimd>(kernel: W) -> W::Output {
    pulp::Arch::new().dispatch(kernel)
}
