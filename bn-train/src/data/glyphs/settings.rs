//! The keys of glyphs: sizes, difficulty, selection bias, and the shift between training and test.

use super::super::generated::Sizes;
use super::shift::Shift;
use crate::keys::{Key, Keys, number, whole, words};

/// What to draw.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) sizes: Sizes,
    pub(super) classes: usize,
    /// Height and width in pixels.
    pub(super) size: usize,
    pub(super) channels: usize,
    /// Strokes of a glyph.
    pub(super) strokes: usize,
    /// How far an example bends the strokes and turns, stretches and shifts the glyph; 1 is half its size.
    pub(super) jitter: f32,
    /// Strokes that mean nothing, per example.
    pub(super) clutter: usize,
    /// Standard deviation of the noise of a pixel.
    pub(super) noise: f32,
    /// How far ink and ground may be from white and black.
    pub(super) colour: f32,
    /// Examples of the first class for each of the last, in training.
    pub(super) skew: f64,
    /// Of the test examples.
    pub(super) shift: Shift,
}

/// Numbers that a difficulty stands for.
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

/// Numbers of one data set, at most: 2 GiB of pixels.
const MOST_PIXELS: usize = 1 << 29;

pub(super) fn read(keys: &mut Keys<'_>) -> Option<Settings> {
    let classes = Key::new("classes", whole(2..=1000), "how many glyphs there are");
    let classes = keys.with_default(classes, 10).map(|classes| classes as usize);
    let size = Key::new("size", whole(8..=64), "height and width of an image, in pixels");
    let size = keys.with_default(size, 16).map(|size| size as usize);
    let either = whole(1..=3).only("1 (grey) or 3 (colours), a whole number", |n| n != 2);
    let channels = keys.with_default(Key::new("channels", either, "colour planes"), 1);
    let sizes = Sizes::read(keys, 5000, 1000);

    let difficulty = words(&[
        ("easy", EASY, "clean strokes, little bent"),
        ("medium", MEDIUM, "bent, some clutter, noise and shades"),
        ("hard", HARD, "much of everything"),
    ]);
    let about = "the defaults of strokes, jitter, clutter, noise and colour";
    let difficulty = keys.with_default(Key::new("difficulty", difficulty, about), MEDIUM);
    let preset = difficulty.unwrap_or(MEDIUM);
    let strokes = Key::new("strokes", whole(1..=16), "strokes of a glyph; more are easier to tell");
    let strokes = keys.with_default(strokes, preset.strokes);
    let about = "how far an example bends, turns, stretches and shifts its glyph";
    let jitter = Key::new("jitter", number().from(0.0).to(1.0), about);
    let jitter = keys.with_default(jitter, preset.jitter);
    let about = "strokes that mean nothing, in each example";
    let clutter = keys.with_default(Key::new("clutter", whole(0..=16), about), preset.clutter);
    let about = "standard deviation of each pixel's noise; black is 0, white 1";
    let noise =
        keys.with_default(Key::new("noise", number().from(0.0).to(1.0), about), preset.noise);
    let about = "how much the shades (3 channels: the colours) of ink and ground vary";
    let colour =
        keys.with_default(Key::new("colour", number().from(0.0).to(1.0), about), preset.colour);

    let about = "selection bias: how many training examples the first class has for each of the last; 1 is fair";
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
    let about = "of test images: factor by which they differ from middle grey; 1 is none";
    let contrast = keys.with_default(Key::new("contrast", number().from(0.0).to(4.0), about), 1.0);
    let about = "of test images: what is added to each pixel; 0 is none";
    let brightness =
        keys.with_default(Key::new("brightness", number().from(-1.0).to(1.0), about), 0.0);
    let about = "of test images: standard deviation of a Gaussian blur, in pixels; 0 is none";
    let blur = keys.with_default(Key::new("blur", number().from(0.0).to(8.0), about), 0.0);
    Some(Shift { contrast: contrast? as f32, brightness: brightness? as f32, blur: blur? as f32 })
}

/// Whether the data can be held in memory; else that is a problem of the number of examples.
fn fits(settings: &Settings, keys: &mut Keys<'_>) -> bool {
    let Settings { size, channels, sizes, .. } = *settings;
    let pixels = sizes.total() * channels * size * size;
    if pixels > MOST_PIXELS {
        let message = format!(
            "`{}` is {}: all images together have {pixels} numbers; expected {MOST_PIXELS} at most",
            keys.path("examples"),
            sizes.train
        );
        keys.refuse("examples", message);
    }
    pixels <= MOST_PIXELS
}
