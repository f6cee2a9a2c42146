//! Outputs of kernels: slices that several tasks write.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use pulp::Simd;

use super::lanes::{Element, Real, Vector};
use super::memory::{LINE, fence, prefetch_to_write, stream};
use super::walk::{Geometry, Place};

/// Slices of this many bytes or more are written past the caches. Most of such a slice would be evicted before it is
/// read, and a store into the cache first reads the line that it overwrites. At 4 MiB both ways took the same time,
/// at 8 MiB this one took a fifth less (`speed --only linear/`).
const STREAM: usize = 6 << 20;

/// A slice that several tasks write, each other elements.
#[derive(Clone, Copy)]
pub(super) struct Output<'a, T> {
    start: *mut MaybeUninit<T>,
    len: usize,
    /// Written past the caches.
    streams: bool,
    slice: PhantomData<&'a mut [MaybeUninit<T>]>,
}

// SAFETY: it represents an exclusive borrow of a slice of `T`, which is `Send`. Tasks that share it write only through
// `Output::store`, whose callers write different elements.
#[allow(unsafe_code)] // tasks write interleaved rows of one tensor, which no split of a slice can express
unsafe impl<T: Send> Sync for Output<'_, T> {}

impl<'a, T: Element> Output<'a, T> {
    pub(super) fn new(slice: &'a mut [MaybeUninit<T>], geometry: Geometry) -> Self {
        let run = match geometry.inner {
            1 => geometry.channels,
            inner => inner,
        };
        // Full lines only: a line written in two ways, or in parts, costs more than it saves.
        let full_lines = (run * size_of::<T>()).is_multiple_of(LINE);
        let aligned = slice.as_ptr().addr().is_multiple_of(LINE);
        Self {
            streams: T::PLAIN && full_lines && aligned && size_of_val(slice) >= STREAM,
            start: slice.as_mut_ptr(),
            len: slice.len(),
            slice: PhantomData,
        }
    }

    #[cfg(test)]
    pub(super) fn streams(&self) -> bool {
        self.streams
    }

    /// Prefetches a line that will be written.
    #[inline(always)]
    pub(super) fn prefetch(&self, at: usize) {
        if !self.streams {
            prefetch_to_write(self.start, at);
        }
    }

    /// Writes a vector.
    ///
    /// # Safety
    /// The slice has the length of the place's geometry. No other thread writes any of these elements at the same
    /// time. [`Output::finish`] follows on this thread.
    #[inline(always)]
    #[allow(unsafe_code)] // see `Sync`
    pub(super) unsafe fn store<S: Simd>(&self, simd: S, place: Place, v: Vector<T, S>) {
        let lanes = T::Real::lanes::<S>();
        debug_assert!(place.at() + lanes <= self.len);
        // SAFETY: within the geometry, as all places are, and so within the slice, by the caller.
        let to = unsafe { self.start.add(place.at()) }.cast::<Vector<T, S>>();
        if self.streams && to.addr().is_multiple_of(size_of::<Vector<T, S>>()) {
            // SAFETY: aligned, and as many bytes as those lanes have, for `streams` asks for `PLAIN`.
            unsafe { stream(to, v) };
            return;
        }
        // SAFETY: as above; no other thread writes these elements, by the caller.
        let to = unsafe { std::slice::from_raw_parts_mut(self.start.add(place.at()), lanes) };
        T::store(simd, to, v);
    }

    /// Call it after a task's last store, so that other threads may read what it wrote.
    pub(super) fn finish(&self) {
        if self.streams {
            fence();
        }
    }
}
