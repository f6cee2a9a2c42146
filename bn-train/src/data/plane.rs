//! Points in the plane, to visualize what a network learns: spirals and blobs.

use super::generated::{Sizes, generate, skewed_counts};
use super::{DataError, Dataset, Description, ImageShape, Provider};
use crate::keys::{Key, Keys, Kind, number, whole};
use crate::random::Stream;
use std::f32::consts::TAU;
use std::sync::Arc;

/// A point is an image of two channels and one pixel, so that a norm layer has a channel per coordinate.
const POINT: ImageShape = ImageShape { channels: 2, height: 1, width: 1 };

/// Generated points around curves or centres.
#[derive(Clone, Copy, Debug)]
struct Plane {
    sizes: Sizes,
    classes: usize,
    figure: Figure,
    /// Standard deviation of each coordinate.
    noise: f32,
}

/// Where the points of a class are without noise.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Figure {
    /// On an arm of a spiral, from near the centre to the unit circle.
    Spiral { turns: f32 },
    /// At a point on the unit circle.
    Blob,
}

/// `data.name = "spirals"`.
pub(super) fn spirals() -> Kind<Arc<dyn Provider>> {
    let about = "generated points in the plane: intertwined spiral arms, one per class";
    Kind::new("spirals", about, |keys: &mut Keys<'_>| {
        let about = "turns per arm";
        let turns = Key::new("turns", number().above(0.0).to(10.0), about);
        let turns = keys.with_default(turns, 1.0);
        let plane = read(keys, 0.05);
        Some(plane?.with(Figure::Spiral { turns: turns? as f32 }))
    })
}

/// `data.name = "blobs"`.
pub(super) fn blobs() -> Kind<Arc<dyn Provider>> {
    let about = "generated points in the plane: round clusters on a circle, one per class";
    Kind::new("blobs", about, |keys: &mut Keys<'_>| Some(read(keys, 0.35)?.with(Figure::Blob)))
}

fn read(keys: &mut Keys<'_>, noise: f64) -> Option<Plane> {
    let classes = Key::new("classes", whole(2..=10), "number of classes");
    let classes = keys.with_default(classes, 3).map(|classes| classes as usize);
    let about = "standard deviation of each coordinate; the circle's radius is 1";
    let noise = keys.with_default(Key::new("noise", number().from(0.0).to(10.0), about), noise);
    let sizes = Sizes::read(keys, 600, 300);
    let (classes, noise) = (classes?, noise? as f32);
    Some(Plane { sizes: sizes?, classes, figure: Figure::Blob, noise })
}

impl Plane {
    fn with(self, figure: Figure) -> Arc<dyn Provider> {
        Arc::new(Self { figure, ..self })
    }

    /// Draws a point of `class`.
    fn draw(self, class: usize, point: &mut [f32], stream: &mut Stream) {
        let part_of_circle = class as f32 / self.classes as f32;
        let (radius, angle) = match self.figure {
            Figure::Spiral { turns } => {
                let along = stream.uniform(0.1, 1.0);
                (along, part_of_circle + turns * along)
            }
            Figure::Blob => (1.0, part_of_circle),
        };
        let (sine, cosine) = (TAU * angle).sin_cos();
        for (coordinate, centre) in point.iter_mut().zip([radius * cosine, radius * sine]) {
            *coordinate = centre + self.noise * stream.nearly_normal();
        }
    }
}

impl Provider for Plane {
    fn describe(&self) -> Description {
        Description { shape: POINT, classes: self.classes, train: self.sizes.train }
    }

    fn load(&self) -> Result<Dataset, DataError> {
        let counts = skewed_counts(self.classes, self.sizes.train, 1.0);
        Ok(generate(self.sizes, POINT, &counts, &|_, class, point, stream| {
            self.draw(class, point, stream);
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(figure: Figure, noise: f32) -> Dataset {
        let sizes = Sizes { train: 300, validation: 30, test: 60, seed: 4 };
        Plane { sizes, classes: 4, figure, noise }.load().unwrap()
    }

    #[test]
    fn points_without_noise_are_on_their_figure() {
        let blobs = load(Figure::Blob, 0.0);
        for (point, label) in blobs.train.pixels.chunks(2).zip(&blobs.train.labels) {
            let want = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]][*label as usize];
            assert!((point[0] - want[0]).abs() + (point[1] - want[1]).abs() < 1e-5, "{point:?}");
        }
        let spirals = load(Figure::Spiral { turns: 2.0 }, 0.0);
        for (point, label) in spirals.train.pixels.chunks(2).zip(&spirals.train.labels) {
            let radius = point[0].hypot(point[1]);
            assert!((0.0999..1.001).contains(&radius));
            let turn = point[1].atan2(point[0]) / TAU - *label as f32 / 4.0 - 2.0 * radius;
            assert!((turn - turn.round()).abs() < 1e-4, "{point:?} of class {label}");
        }
    }

    #[test]
    fn noise_has_the_configured_deviation_and_parts_differ() {
        let (plain, noisy) = (load(Figure::Blob, 0.0), load(Figure::Blob, 0.5));
        let squares = plain.train.pixels.iter().zip(&noisy.train.pixels);
        let sum: f32 = squares.map(|(plain, noisy)| (plain - noisy).powi(2)).sum();
        let deviation = (sum / 600.0).sqrt();
        // Within six standard errors for 600 numbers.
        assert!((deviation - 0.5).abs() < 6.0 * 0.5 / 1200.0_f32.sqrt(), "{deviation}");
        assert_ne!(noisy.train.pixels[..20], noisy.test.pixels[..20]);
        assert_eq!([noisy.validation.len(), noisy.test.len()], [30, 60]);
    }
}
