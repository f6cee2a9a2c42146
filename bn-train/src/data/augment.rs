//! Augmentation: random mirroring, zooming and shifting of training images.
//!
//! The change of an image depends only on the run's seed, the epoch and the example. It is the same on any number of
//! threads, in any order, and in every arm.

use super::ImageShape;
use crate::keys::{Key, Keys, flag, number, whole};
use crate::random::{Purpose, Stream};

/// Random changes of training images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augmentation {
    /// Mirrors images left to right with probability 1/2.
    pub flip: bool,
    /// Shifts by up to this many pixels in each direction, filling with 0.
    pub shift: usize,
    /// Zooms to a random window of at least this share of height and width, in `(0, 1]`; 1 keeps the image.
    pub crop: f32,
}

/// No augmentation.
impl Default for Augmentation {
    fn default() -> Self {
        Self { flip: false, shift: 0, crop: 1.0 }
    }
}

impl Augmentation {
    /// Reads `[augment]`.
    pub fn read(keys: &mut Keys<'_>) -> Option<Self> {
        let about = "mirror training images left to right with probability 1/2";
        let flip = keys.with_default(Key::new("flip", flag(), about), false);
        let about =
            "shift training images by up to this many pixels in each direction, filling with 0";
        let shift = Key::new("shift", whole(0..=64), about).also(&["padding", "translate"]);
        let shift = keys.with_default(shift, 0);
        let about =
            "zoom into training images: the minimum share of height and width to keep; 1 keeps all";
        let crop = Key::new("crop", number().above(0.0).to(1.0), about);
        let crop = keys.with_default(crop, 1.0);
        Some(Self { flip: flip?, shift: shift? as usize, crop: crop? as f32 })
    }

    /// Whether images stay unchanged.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Why this augmentation does not fit images of this shape: the key, and what was found and expected.
    pub fn misfit(self, shape: ImageShape) -> Option<(&'static str, String)> {
        let ImageShape { height, width, .. } = shape;
        let smallest = height.min(width);
        if self.is_none() {
            None
        } else if smallest == 1 {
            let key = if self.flip {
                "flip"
            } else if self.shift > 0 {
                "shift"
            } else {
                "crop"
            };
            Some((key, format!("needs images; these examples have {height}x{width} pixels")))
        } else if self.shift >= smallest {
            let message = format!(
                "is {}; expected less than {smallest}, the shorter side of an image",
                self.shift
            );
            Some(("shift", message))
        } else {
            None
        }
    }

    /// Writes `image`, changed by the random stream of this seed, epoch and example, to `changed`.
    pub fn apply(
        self,
        image: &[f32],
        shape: ImageShape,
        seed: u64,
        epoch: u64,
        example: usize,
        changed: &mut [f32],
    ) {
        let mut stream = Stream::new(seed, Purpose::Augment { epoch, example: example as u64 });
        let view = View::draw(self, shape, &mut stream);
        let plane = shape.height * shape.width;
        for (from, to) in image.chunks_exact(plane).zip(changed.chunks_exact_mut(plane)) {
            view.render(from, to);
        }
    }
}

/// The transformation of one image.
#[derive(Clone, Copy, Debug)]
struct View {
    height: usize,
    width: usize,
    flips: bool,
    /// Pixels down and right.
    shift: [isize; 2],
    /// Side of the window as a share of the image's side, and below it the window's top left corner in pixels.
    window: f32,
    corner: [f32; 2],
}

impl View {
    fn draw(augmentation: Augmentation, shape: ImageShape, stream: &mut Stream) -> Self {
        let Augmentation { flip, shift, crop } = augmentation;
        let ImageShape { height, width, .. } = shape;
        // Always draw all values, so that enabling one key does not change the draws of another.
        let flips = stream.unit() < 0.5 && flip;
        let mut shifted = || stream.below(2 * shift as u64 + 1) as isize - shift as isize;
        let shift = [shifted(), shifted()];
        let window = stream.uniform(crop, 1.0);
        let mut corner = |side: usize| stream.unit() * (1.0 - window) * side as f32;
        let corner = [corner(height), corner(width)];
        Self { height, width, flips, shift, window, corner }
    }

    fn render(self, from: &[f32], to: &mut [f32]) {
        for (row, line) in to.chunks_exact_mut(self.width).enumerate() {
            let Some(y) = inside(row, self.shift[0], self.height) else {
                line.fill(0.0);
                continue;
            };
            for (column, pixel) in line.iter_mut().enumerate() {
                *pixel = inside(column, self.shift[1], self.width).map_or(0.0, |x| {
                    let x = if self.flips { self.width - 1 - x } else { x };
                    self.pixel(from, y, x)
                });
            }
        }
    }

    /// A pixel of the window, by bilinear interpolation.
    fn pixel(self, from: &[f32], y: usize, x: usize) -> f32 {
        if self.window == 1.0 {
            return from[y * self.width + x];
        }
        let [top, left] = self.corner;
        let (y, y_part) = neighbour(top, y, self.window, self.height);
        let (x, x_part) = neighbour(left, x, self.window, self.width);
        let (below, right) = ((y + 1).min(self.height - 1), (x + 1).min(self.width - 1));
        let at = |y: usize, x: usize| from[y * self.width + x];
        let upper = at(y, x) + x_part * (at(y, right) - at(y, x));
        let lower = at(below, x) + x_part * (at(below, right) - at(below, x));
        upper + y_part * (lower - upper)
    }
}

/// The source position for `at` after a shift; `None` outside the image.
fn inside(at: usize, shift: isize, side: usize) -> Option<usize> {
    at.checked_add_signed(-shift).filter(|&from| from < side)
}

/// The source pixel before position `at` of a window, and the interpolation weight of the next pixel.
fn neighbour(corner: f32, at: usize, window: f32, side: usize) -> (usize, f32) {
    let from = (corner + (at as f32 + 0.5) * window - 0.5).clamp(0.0, (side - 1) as f32);
    let before = from.floor();
    (before as usize, from - before)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 2, height: 5, width: 4 };

    fn image() -> Vec<f32> {
        (0..SHAPE.pixels()).map(|i| i as f32 + 1.0).collect()
    }

    fn changed(augmentation: Augmentation, epoch: u64, example: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; SHAPE.pixels()];
        augmentation.apply(&image(), SHAPE, 1, epoch, example, &mut out);
        out
    }

    #[test]
    fn default_augmentation_keeps_the_image() {
        assert!(Augmentation::default().is_none());
        assert_eq!(changed(Augmentation::default(), 3, 7), image());
    }

    #[test]
    fn flip_mirrors_half_of_the_images() {
        let flip = Augmentation { flip: true, ..Augmentation::default() };
        let mirrored: Vec<f32> =
            image().chunks(4).flat_map(|row| row.iter().rev().copied()).collect();
        let count = (0..1000).filter(|&example| {
            let seen = changed(flip, 0, example);
            assert!(seen == image() || seen == mirrored);
            seen == mirrored
        });
        // Six standard deviations of 1000 coin flips are 95.
        assert!(count.count().abs_diff(500) < 95);
    }

    #[test]
    fn shift_moves_all_pixels_alike_and_fills_with_0() {
        let shift = Augmentation { shift: 2, ..Augmentation::default() };
        let mut seen = std::collections::BTreeSet::new();
        for example in 0..400 {
            let out = changed(shift, 0, example);
            let matches = |dy: isize, dx: isize| {
                (0..SHAPE.pixels()).all(|at| {
                    let (plane, y, x) = (at / 20, at % 20 / 4, at % 4);
                    let from = inside(y, dy, 5).zip(inside(x, dx, 4));
                    out[at] == from.map_or(0.0, |(y, x)| image()[plane * 20 + y * 4 + x])
                })
            };
            let moves = (-2..=2).flat_map(|dy| (-2..=2).map(move |dx| (dy, dx)));
            seen.extend(moves.filter(|&(dy, dx)| matches(dy, dx)));
        }
        assert_eq!(seen.len(), 25);
    }

    #[test]
    fn crop_zooms_within_the_values_of_the_image() {
        let crop = Augmentation { crop: 0.5, ..Augmentation::default() };
        for example in 0..200 {
            let out = changed(crop, 0, example);
            for plane in 0..2 {
                let seen = &out[plane * 20..(plane + 1) * 20];
                let (low, high) = (plane as f32 * 20.0 + 1.0, plane as f32 * 20.0 + 20.0);
                assert!(seen.iter().all(|pixel| (low..=high).contains(pixel)), "{seen:?}");
                assert!(
                    seen.windows(2).enumerate().all(|(i, pair)| i % 4 == 3 || pair[1] >= pair[0])
                );
            }
        }
        // On a ramp, a window of half the size shows half the slope or more.
        let out = changed(crop, 0, 0);
        assert!(out[2] - out[1] < 1.0 && out[2] - out[1] > 0.4, "{out:?}");
    }

    #[test]
    fn draws_depend_only_on_seed_epoch_and_example() {
        let all = Augmentation { flip: true, shift: 1, crop: 0.8 };
        assert_eq!(changed(all, 2, 5), changed(all, 2, 5));
        assert!((0..20).any(|example| changed(all, 2, example) != changed(all, 3, example)));
        // For images that are not mirrored, the shift is the same with and without `flip`.
        let shift = Augmentation { shift: 1, ..Augmentation::default() };
        let both = Augmentation { flip: true, ..shift };
        let same =
            (0..200).filter(|&example| changed(shift, 0, example) == changed(both, 0, example));
        assert!(same.count().abs_diff(100) < 45);
    }

    #[test]
    fn misfit_names_the_key() {
        let shift = Augmentation { shift: 4, ..Augmentation::default() };
        assert_eq!(shift.misfit(SHAPE).unwrap().0, "shift");
        let point = ImageShape { channels: 2, height: 1, width: 1 };
        let flip = Augmentation { flip: true, ..Augmentation::default() };
        assert_eq!(flip.misfit(point).unwrap().0, "flip");
        assert_eq!(Augmentation::default().misfit(point), None);
        assert_eq!(flip.misfit(SHAPE), None);
    }
}
