//! The number of channels per block, and the vector width of the kernels.

use crate::ops::lanes;
use pulp::WithSimd;

/// Maximum number of vectors per block of channels.
const MOST_VECTORS: usize = 2;

/// Channels per block on this machine, chosen so that few lanes stay empty.
pub(super) fn block(channels: usize) -> usize {
    let lanes = lanes();
    if lanes == 2 * HALF && channels <= HALF {
        return HALF;
    }
    let vectors = channels.div_ceil(lanes);
    if vectors.is_multiple_of(2) || vectors > 4 { MOST_VECTORS * lanes } else { lanes }
}

/// Lanes of AVX2. On AVX-512 machines, up to 8 channels run as 8 lanes, which is twice as fast as half-empty vectors.
const HALF: usize = 8;

/// Runs a kernel over blocks of `block` channels, with the vector width that [`block`] assumed.
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
