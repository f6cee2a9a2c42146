//! The keys of glyphs: sizes, difficulty, selection bias, and the shift between training and test.

use super::super::generated::Sizes;
use super::shift::Shift;
use crate::keys::{Key, Keys, number, whole, words};

/// The settings of generated glyphs.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) sizes: Sizes,
    pub(super) classes: usize,
    /// Height and width in pixels.
    pub(super) size: usize,
    pub(super) channels: usize,
    /// Strokes per glyph.
    pub(super) strokes: usize,
    /// Strength of bending, rotation, stretching and shift; 1 is half the glyph's size.
    pub(super) jitter: f32,
    /// Random strokes per example.
    pub(super) clutter: usize,
    /// Standard deviation of the pixel noise.
    pub(super) noise: f32,
    /// Variation of the shades of ink and background.
    pub(super) colour: f32,
    /// Ratio of training examples of the first class to the last.
    pub(super) skew: f64,
    /// Shift of the test examples.
    pub(super) shift: Shift,
}

/// A preset of settings.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Difficulty {
    strokes: u64,
    jitter: f64,
    clutter: u64,
    noise: f64,
    colour: f64,
}

const EASY: Difficulty =
    Difficulty { strokes: 4, jitter: 0.15, clutter: 0, noise: 0.10, colour: 0.2 };
const MEDIUM: Difficulty =
    Difficulty { strokes: 4, jitter: 0.25, clutter: 2, noise: 0.15, colour: 0.4 };
const HARD: Difficulty =
    Difficulty { strokes: 3, jitter: 0.30, clutter: 2, noise: 0.25, colour: 0.6 };

/// Maximum number of pixels of a data set: 2 GiB.
const MOST_PIXELS: usize = 1 << 29;

pub(super) fn read(keys: &mut Keys<'_>) -> Option<Settings> {
    let classes = Key::new("classes", whole(2..=1000), "number of classes");
    let classes = keys.with_default(classes, 10).map(|classes| classes as usize);
    let size = Key::new("size", whole(8..=64), "height and width of an image, in pixels");
    let size = keys.with_default(size, 16).map(|size| size as usize);
    let either = whole(1..=3).only("1 (grey) or 3 (colour), a whole number", |n| n != 2);
    let channels = keys.with_default(Key::new("channels", either, "colour planes"), 1);
    let sizes = Sizes::read(keys, 5000, 1000);

    let difficulty = words(&[
        ("easy", EASY, "clean strokes, slightly bent"),
        ("medium", MEDIUM, "bent, some clutter, noise and shades"),
        ("hard", HARD, "strong distortion, clutter, noise and shades"),
    ]);
    let about = "preset of strokes, jitter, clutter, noise and colour";
    let difficulty = keys.with_default(Key::new("difficulty", difficulty, about), MEDIUM);
    let preset = difficulty.unwrap_or(MEDIUM);
    let strokes = Key::new(
        "strokes",
        whole(1..=16),
        "strokes per glyph; more make classes easier to distinguish",
    );
    let strokes = keys.with_default(strokes, preset.strokes);
    let about = "strength of bending, rotation, stretching and shift";
    let jitter = Key::new("jitter", number().from(0.0).to(1.0), about);
    let jitter = keys.with_default(jitter, preset.jitter);
    let about = "random strokes per example";
    let clutter = keys.with_default(Key::new("clutter", whole(0..=16), about), preset.clutter);
    let about = "standard deviation of the pixel noise; black is 0, white is 1";
    let noise =
        keys.with_default(Key::new("noise", number().from(0.0).to(1.0), about), preset.noise);
    let about = "variation of the shades (with 3 channels: colours) of ink and background";
    let colour =
        keys.with_default(Key::new("colour", number().from(0.0).to(1.0), about), preset.colour);

    let about =
        "selection bias: ratio of training examples of the first class to the last; 1 is unbiased";
    let skew = keys.with_default(Key::new("skew", number().from(1.0).to(1000.0), about), 1.0);
    let shift = shift(&mut keys.table("shift"));

    let settings = Settings {
        sizes: sizes?,
        classes: classes?,
        size: size?,
        channels: channels? as usize,
        strokes: strokes? as usize,
        jitter: jitter? as f32,
        clutter: clutter? as usize,
        noise: noise? as f32,
        colour: colour? as f32,
        skew: skew?,
        shift: shift?,
    };
    difficulty?;
    fits(&settings, keys).then_some(settings)
}

fn shift(keys: &mut Keys<'_>) -> Option<Shift> {
    let about = "of test images: contrast factor around middle grey; 1 is none";
    let contrast = keys.with_default(Key::new("contrast", number().from(0.0).to(4.0), about), 1.0);
    let about = "of test images: added to each pixel; 0 is none";
    let brightness =
        keys.with_default(Key::new("brightness", number().from(-1.0).to(1.0), about), 0.0);
    let about = "of test images: standard deviation of a Gaussian blur, in pixels; 0 is none";
    let blur = keys.with_default(Key::new("blur", number().from(0.0).to(8.0), about), 0.0);
    Some(Shift { contrast: contrast? as f32, brightness: brightness? as f32, blur: blur? as f32 })
}

/// Whether the data fits in memory. Otherwise records a problem with the number of examples.
fn fits(settings: &Settings, keys: &mut Keys<'_>) -> bool {
    let Settings { size, channels, sizes, .. } = *settings;
    let pixels = sizes.total() * channels * size * size;
    if pixels > MOST_PIXELS {
        let message = format!(
            "`{}` is {}: all images together have {pixels} values; expected at most {MOST_PIXELS}",
            keys.path("examples"),
            sizes.train
        );
        keys.refuse("examples", message);
    }
    pixels <= MOST_PIXELS
}
