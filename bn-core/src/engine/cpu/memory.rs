//! Cache lines: prefetches, and stores past the caches.

use pulp::bytemuck::Pod;

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Prefetches the line at `start + at`, which may lie beyond the slice.
#[inline(always)]
pub(super) fn prefetch<T>(start: *const T, at: usize) {
    fetch::<T, false>(start, at);
}

/// Prefetches a line that will be written: other cores release it now, not at the store.
#[inline(always)]
pub(super) fn prefetch_to_write<T>(start: *const T, at: usize) {
    fetch::<T, true>(start, at);
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(unsafe_code)] // the intrinsic takes a raw pointer
fn fetch<T, const WRITE: bool>(start: *const T, at: usize) {
    use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0, _mm_prefetch};
    let line = start.wrapping_add(at).cast();
    // SAFETY: a prefetch reads nothing that the program can see, and faults at no address.
    unsafe {
        if WRITE { _mm_prefetch::<_MM_HINT_ET0>(line) } else { _mm_prefetch::<_MM_HINT_T0>(line) }
    }
}

/// Elsewhere the hardware's prefetching has to suffice.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn fetch<T, const WRITE: bool>(_: *const T, _: usize) {}

/// Writes a vector past the caches, where the machine has such a store for it; see [`fence`].
///
/// # Safety
/// `to` may be written, and is aligned to the vector's size. The machine has the instructions of `V`, as it
/// does inside of [`dispatch`](super::lanes::dispatch). [`fence`] follows on this thread before another one reads what was written.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(unsafe_code)] // the intrinsics take raw pointers, and vectors of their own types
pub(super) unsafe fn stream<V: Pod>(to: *mut V, v: V) {
    use std::arch::x86_64::{_mm256_stream_si256, _mm512_stream_si512};
    // SAFETY: a vector of that size exists where the machine has its instructions; `to` by the caller.
    unsafe {
        match size_of::<V>() {
            64 => _mm512_stream_si512(to.cast(), std::mem::transmute_copy(&v)),
            32 => _mm256_stream_si256(to.cast(), std::mem::transmute_copy(&v)),
            _ => to.write(v),
        }
    }
}

/// Orders what [`stream`] wrote before all later stores of this thread, so that other threads may read it.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // the intrinsic needs SSE
pub(super) fn fence() {
    // SAFETY: every x86-64 has SSE.
    unsafe { std::arch::x86_64::_mm_sfence() };
}

/// # Safety
/// `to` may be written, and is aligned to the vector's size.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
#[allow(unsafe_code)] // as on the other machines
pub(super) unsafe fn stream<V: Pod>(to: *mut V, v: V) {
    // SAFETY: by the caller.
    unsafe { to.write(v) }
}

/// Nothing was written past the caches.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn fence() {}
