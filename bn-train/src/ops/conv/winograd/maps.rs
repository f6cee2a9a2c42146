//! Images in lanes, and where their tiles' numbers lie.

use super::transform::PLACES;
use super::{LINE, STRIP};
use crate::ops::buffer::Slot;
use crate::ops::conv::lanes::block;
use crate::ops::{lanes, transpose};

/// Images in lanes: `[images, blocks, points + 1, block]`. The last point of each block stands for all outside the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maps {
    pub(super) channels: usize,
    pub(super) block: usize,
    /// Of one image.
    pub(super) points: usize,
}

impl Maps {
    /// In blocks of at least a vector, whichever channels there are.
    pub(super) fn new(channels: usize, (rows, columns): (usize, usize)) -> Self {
        Self { channels, block: block(channels).max(lanes()), points: rows * columns }
    }

    /// Copies the planes of an image to its place.
    pub(super) fn pack(self, planes: &[f32], image: usize, to: &mut [f32]) {
        let size = self.points * self.block;
        let planes = planes[..self.channels * self.points].chunks(size);
        let blocks = to[image * self.image()..].chunks_exact_mut(size + self.block);
        for (planes, block) in planes.zip(blocks) {
            let (block, outside) = block.split_at_mut(size);
            transpose::to_lanes(planes, self.points, self.block, block);
            outside.fill(0.0);
        }
    }

    /// Copies an image from its place to planes.
    pub(super) fn unpack<T: Slot>(self, from: &[f32], image: usize, planes: &mut [T]) {
        let size = self.points * self.block;
        let blocks = from[image * self.image()..].chunks_exact(size + self.block);
        for (planes, block) in planes.chunks_mut(size).zip(blocks) {
            transpose::from_lanes(&block[..size], self.points, self.block, planes);
        }
    }

    pub(super) fn blocks(self) -> usize {
        self.channels.div_ceil(self.block)
    }

    /// Channels with those that fill the last block.
    pub(super) fn width(self) -> usize {
        self.blocks() * self.block
    }

    /// Elements of an image.
    pub(super) fn image(self) -> usize {
        self.blocks() * (self.points + 1) * self.block
    }

    /// Elements of the numbers of a strip of tiles: `[16, tiles, width]` or `[16, blocks, tiles, block]`.
    pub(super) fn strip(self) -> usize {
        PLACES * self.place(STRIP)
    }

    /// Distance from one place to the next.
    pub(super) fn place(self, tiles: usize) -> usize {
        tiles * self.width() + LINE
    }
}
