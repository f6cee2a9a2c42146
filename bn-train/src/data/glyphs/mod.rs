//! Glyphs: generated images of configurable number, size and difficulty.
//!
//! A class is a set of random strokes in the unit square, drawn from the data's seed. An example bends, rotates, stretches
//! and shifts them, varies the colours of ink and background, and adds random strokes (clutter) and noise. Training
//! examples may be selected with a bias, and test examples may be shifted in contrast, brightness and blur.

mod draw;
mod settings;
mod shape;
mod shift;

use super::generated::{Part, generate, skewed_counts};
use super::{DataError, Dataset, Description, ImageShape, Provider};
use crate::keys::{Keys, Kind};
use crate::random::{Purpose, Stream};
use settings::Settings;
use shape::Glyph;
use shift::Shift;
use std::sync::Arc;

/// `data.name = "glyphs"`.
pub(super) fn kind() -> Kind<Arc<dyn Provider>> {
    let about =
        "generated images of strokes with configurable number, size, classes and difficulty";
    Kind::new("glyphs", about, |keys: &mut Keys<'_>| {
        Some(Arc::new(Glyphs(settings::read(keys)?)) as Arc<dyn Provider>)
    })
}

/// Generated glyphs.
#[derive(Debug)]
struct Glyphs(Settings);

impl Provider for Glyphs {
    fn describe(&self) -> Description {
        let Settings { classes, sizes, .. } = self.0;
        Description { shape: self.shape(), classes, train: sizes.train }
    }

    fn load(&self) -> Result<Dataset, DataError> {
        let settings = &self.0;
        let Settings { sizes, classes, skew, .. } = *settings;
        let stream = |class| Stream::new(sizes.seed, Purpose::Class(class as u64));
        let glyphs: Vec<Glyph> =
            (0..classes).map(|class| Glyph::new(&mut stream(class), settings.strokes)).collect();
        let counts = skewed_counts(classes, sizes.train, skew);
        let data = generate(sizes, self.shape(), &counts, &|part, class, image, stream| {
            let shift = if part == Part::Test { settings.shift } else { Shift::default() };
            draw::draw(image, settings, &glyphs[class], shift, stream);
        });
        let weights = (skew > 1.0).then(|| selection_weights(&counts, &data.train.labels));
        Ok(Dataset { selection_weights: weights, ..data })
    }
}

impl Glyphs {
    fn shape(&self) -> ImageShape {
        let Settings { size, channels, .. } = self.0;
        ImageShape { channels, height: size, width: size }
    }
}

/// Weights that correct for the selection: `(1 / classes) / (count / total)` for each example.
fn selection_weights(counts: &[usize], labels: &[u32]) -> Vec<f32> {
    let total: usize = counts.iter().sum();
    let present = counts.iter().filter(|&&count| count > 0).count();
    let weight = |&label: &u32| (total as f64 / (present * counts[label as usize]) as f64) as f32;
    labels.iter().map(weight).collect()
}

#[cfg(test)]
mod tests;
