//! Augmentation: training images that are mirrored, zoomed and shifted at random.
//!
//! What happens to an image follows from the run's seed, the epoch and the example: the same on any number of threads, in
//! any order, and in every arm.

use super::ImageShape;
use crate::keys::{Key, Keys, flag, number, whole};
use crate::random::{Purpose, Stream};

/// How training images are changed at random.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augmentation {
    /// Mirrors every other image, left to right.
    pub flip: bool,
    /// Shifts by up to so many pixels up or down and left or right; what comes into sight is 0.
    pub shift: usize,
    /// Zooms in: keeps a window of at least this share of the height and width, in `(0, 1]`; 1 keeps the image.
    pub crop: f32,
}

/// None.
impl Default for Augmentation {
    fn default() -> Self {
        Self { flip: false, shift: 0, crop: 1.0 }
    }
}

impl Augmentation {
    /// `[augment]`.
    pub fn read(keys: &mut Keys<'_>) -> Option<Self> {
        let about = "mirror every other training image, left to right";
        let flip = keys.with_default(Key::new("flip", flag(), about), false);
        let about =
            "shift training images by up to so many pixels each way; what comes into sight is 0";
        let shift = Key::new("shift", whole(0..=64), about).also(&["padding", "translate"]);
        let shift = keys.with_default(shift, 0);
        let about = "zoom into training images: the least share of height and width that is kept; 1 keeps all";
        let crop = Key::new("crop", number().above(0.0).to(1.0), about);
        let crop = keys.with_default(crop, 1.0);
        Some(Self { flip: flip?, shift: shift? as usize, crop: crop? as f32 })
    }

    /// Whether images stay as they are.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Why images of this shape cannot be changed so: the key that is wrong, what was found and what was expected.
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
            Some((key, format!("changes images; these examples have {height}x{width} pixels")))
        } else if self.shift >= smallest {
            let message = format!(
                "is {}; expected less than {smallest}, the smaller side of an image",
                self.shift
            );
            Some(("shift", message))
        } else {
            None
        }
    }

    /// Writes `image`, changed as the stream of this seed, epoch and example says, into `changed`.
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
            view.look(from, to);
        }
    }
}

/// Where one image is looked at.
#[derive(Clone, Copy, Debug)]
struct View {
    height: usize,
    width: usize,
    flips: bool,
    /// Down and right.
    shift: [isize; 2],
    /// Side of the window as a share of the image's, and its corner in pixels: top and left.
    window: f32,
    corner: [f32; 2],
}

impl View {
    fn draw(augmentation: Augmentation, shape: ImageShape, stream: &mut Stream) -> Self {
        let Augmentation { flip, shift, crop } = augmentation;
        let ImageShape { height, width, .. } = shape;
        // Drawn whether they are used or not: a key that is switched on moves no draw of another.
        let flips = stream.unit() < 0.5 && flip;
        let mut shifted = || stream.below(2 * shift as u64 + 1) as isize - shift as isize;
        let shift = [shifted(), shifted()];
        let window = stream.uniform(crop, 1.0);
        let mut corner = |side: usize| stream.unit() * (1.0 - window) * side as f32;
        let corner = [corner(height), corner(width)];
        Self { height, width, flips, shift, window, corner }
    }

    fn look(self, from: &[f32], to: &mut [f32]) {
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

    /// The pixel of the window; between pixels, a mean of its four neighbours by nearness.
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

/// The place that is seen at `at` after a shift; none where that is outside.
fn inside(at: usize, shift: isize, side: usize) -> Option<usize> {
    at.checked_add_signed(-shift).filter(|&place| place < side)
}

/// The pixel before the place that is seen at `at` of a window, and how far the place is on its way to the next.
fn neighbour(corner: f32, at: usize, window: f32, side: usize) -> (usize, f32) {
    let place = (corner + (at as f32 + 0.5) * window - 0.5).clamp(0.0, (side - 1) as f32);
    let before = place.floor();
    (before as usize, place - before)
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
    fn without_augmentation_an_image_stays_as_it_is() {
        assert!(Augmentation::default().is_none());
        assert_eq!(changed(Augmentation::default(), 3, 7), image());
    }

    #[test]
    fn half_of_the_images_are_mirrored() {
        let flip = Augmentation { flip: true, ..Augmentation::default() };
        let mirrored: Vec<f32> =
            image().chunks(4).flat_map(|row| row.iter().rev().copied()).collect();
        let count = (0..1000).filter(|&example| {
            let seen = changed(flip, 0, example);
            assert!(seen == image() || seen == mirrored);
            seen == mirrored
        });
        // Six standard deviations of 1000 coins are 95.
        assert!(count.count().abs_diff(500) < 95);
    }

    #[test]
    fn a_shift_moves_every_pixel_alike_and_fills_with_0() {
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
    fn a_crop_stays_within_the_values_of_the_image_and_zooms() {
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
        // Of a ramp, a window of half the size shows half the slope, or more.
        let out = changed(crop, 0, 0);
        assert!(out[2] - out[1] < 1.0 && out[2] - out[1] > 0.4, "{out:?}");
    }

    #[test]
    fn draws_follow_from_seed_epoch_and_example_and_keys_share_them() {
        let all = Augmentation { flip: true, shift: 1, crop: 0.8 };
        assert_eq!(changed(all, 2, 5), changed(all, 2, 5));
        assert!((0..20).any(|example| changed(all, 2, example) != changed(all, 3, example)));
        // Where there is no mirror image, the shift is the same with and without `flip`.
        let shift = Augmentation { shift: 1, ..Augmentation::default() };
        let both = Augmentation { flip: true, ..shift };
        let same =
            (0..200).filter(|&example| changed(shift, 0, example) == changed(both, 0, example));
        assert!(same.count().abs_diff(100) < 45);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let shift = Augmentation { shift: 4, ..Augmentation::default() };
        assert_eq!(shift.misfit(SHAPE).unwrap().0, "shift");
        let point = ImageShape { channels: 2, height: 1, width: 1 };
        let flip = Augmentation { flip: true, ..Augmentation::default() };
        assert_eq!(flip.misfit(point).unwrap().0, "flip");
        assert_eq!(Augmentation::default().misfit(point), None);
        assert_eq!(flip.misfit(SHAPE), None);
    }
}
