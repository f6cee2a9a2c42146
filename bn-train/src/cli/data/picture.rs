//! Pictures of data: a sheet of images, or points in the plane.

use crate::data::{Dataset, Examples, ImageShape};
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

/// Maximum number of classes on a sheet, one per row.
const ROWS: usize = 10;
/// Training examples per class.
const TRAINING: usize = 10;
/// Test examples per class.
const TEST: usize = 5;
/// Minimum size of an image in pixels; smaller ones are scaled up.
const WIDE: usize = 48;
/// Pixels between images.
const GAP: usize = 4;
/// Pixels between training and test examples.
const WIDE_GAP: usize = 16;
/// Width and height of a plot of points.
pub(super) const PLOT: usize = 480;
const PAPER: [u8; 3] = [46, 52, 64];
/// Colours of the classes; they repeat after class 9.
const COLOURS: [[u8; 3]; 10] = [
    [86, 180, 233],
    [230, 159, 0],
    [0, 158, 115],
    [240, 228, 66],
    [204, 121, 167],
    [213, 94, 0],
    [0, 114, 178],
    [255, 255, 255],
    [148, 103, 189],
    [140, 160, 140],
];

/// An 8-bit RGB image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

impl Picture {
    /// An image of a single colour.
    fn new(width: usize, height: usize, colour: [u8; 3]) -> Self {
        Self { width, height, bytes: colour.repeat(width * height) }
    }

    /// Sets a pixel; ignores one outside the image.
    fn set(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        if x < self.width && y < self.height {
            let at = 3 * (y * self.width + x);
            self.bytes[at..at + 3].copy_from_slice(&colour);
        }
    }

    /// Writes it as PNG.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let file = BufWriter::new(File::create(path)?);
        let mut encoder = png::Encoder::new(file, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.bytes)?;
        Ok(writer.finish()?)
    }
}

/// Draws a row per class, training examples then test examples. Also returns a legend.
pub(super) fn sheet(data: &Dataset) -> (Picture, String) {
    let ImageShape { height, width, .. } = data.train.shape;
    let scale = WIDE.div_ceil(width.max(height)).max(1);
    let (cell_wide, cell_high) = (scale * width + GAP, scale * height + GAP);
    let rows = data.classes.min(ROWS);
    let test_starts = TRAINING * cell_wide + WIDE_GAP;
    let mut picture =
        Picture::new(test_starts + TEST * cell_wide + GAP, rows * cell_high + GAP, PAPER);
    let parts = [(&data.train, TRAINING, 0), (&data.test, TEST, test_starts)];
    for (examples, columns, left) in parts {
        for class in 0..rows {
            let found = of_class(examples, class as u32).take(columns);
            for (column, index) in found.enumerate() {
                let corner = (GAP + left + column * cell_wide, GAP + class * cell_high);
                draw_image(&mut picture, examples, index, corner, scale);
            }
        }
    }
    let shown = if data.classes > rows { format!("{rows} of ") } else { String::new() };
    let legend = format!(
        "{shown}{} classes from top to bottom, {TRAINING} training examples each, then {TEST} test examples; enlarged {scale} times",
        data.classes
    );
    (picture, legend)
}

/// Indices of the examples of a class.
fn of_class(examples: &Examples, class: u32) -> impl Iterator<Item = usize> {
    let labels = examples.labels.iter().enumerate();
    labels.filter(move |(_, label)| **label == class).map(|(index, _)| index)
}

fn draw_image(
    picture: &mut Picture,
    examples: &Examples,
    index: usize,
    (left, top): (usize, usize),
    scale: usize,
) {
    let ImageShape { channels, height, width } = examples.shape;
    let size = examples.shape.pixels();
    let image = &examples.pixels[index * size..(index + 1) * size];
    for y in 0..scale * height {
        for x in 0..scale * width {
            let at = y / scale * width + x / scale;
            let plane = |channel: usize| image[channel.min(channels - 1) * height * width + at];
            picture.set(left + x, top + y, [0, 1, 2].map(|channel| shade(plane(channel))));
        }
    }
}

fn shade(value: f32) -> u8 {
    (255.0 * value.clamp(0.0, 1.0)).round() as u8
}

/// Plots training points on the left and test points on the right, coloured by class. Also returns a legend.
pub(super) fn points(data: &Dataset) -> (Picture, String) {
    let mut plots = Plots::around([&data.train, &data.test]);
    plots.draw(0, &data.train);
    plots.draw(1, &data.test);
    let legend = format!(
        "{} training points on the left, {} test points on the right, {} classes; {}",
        data.train.len(),
        data.test.len(),
        data.classes,
        plots.legend()
    );
    (plots.picture, legend)
}

/// Two plots of the same square of the plane, side by side.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plots {
    picture: Picture,
    low: [f32; 2],
    side: f32,
}

impl Plots {
    /// Empty plots of the smallest square around all points, with a margin.
    pub(super) fn around(parts: [&Examples; 2]) -> Self {
        let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
        for point in parts.iter().flat_map(|examples| examples.pixels.chunks_exact(2)) {
            for axis in 0..2 {
                low[axis] = low[axis].min(point[axis]);
                high[axis] = high[axis].max(point[axis]);
            }
        }
        let side = 1.1 * (high[0] - low[0]).max(high[1] - low[1]).max(f32::MIN_POSITIVE);
        let low = [0, 1].map(|axis| 0.5 * (low[axis] + high[axis] - side));
        let mut picture = Picture::new(2 * PLOT + WIDE_GAP, PLOT, PAPER);
        for y in 0..PLOT {
            for x in PLOT..PLOT + WIDE_GAP {
                picture.set(x, y, [255; 3]);
            }
        }
        Self { picture, low, side }
    }

    /// The picture drawn so far.
    pub(super) fn picture(&self) -> &Picture {
        &self.picture
    }

    /// The range of the plane that is shown.
    pub(super) fn legend(&self) -> String {
        let [x, y] = self.low;
        let side = self.side;
        format!("x from {x:.2} to {:.2}, y from {y:.2} to {:.2}", x + side, y + side)
    }

    /// The pixel of a point within its plot; y points up.
    fn pixel(&self, point: [f32; 2]) -> [usize; 2] {
        let [x, y] = [0, 1].map(|axis| (point[axis] - self.low[axis]) / self.side * PLOT as f32);
        [x.max(0.0) as usize, (PLOT as f32 - y).max(0.0) as usize]
    }

    /// The point in the middle of a pixel of a plot.
    pub(super) fn point(&self, x: usize, y: usize) -> [f32; 2] {
        let part = |pixel: usize| (pixel as f32 + 0.5) / PLOT as f32;
        [self.low[0] + part(x) * self.side, self.low[1] + (1.0 - part(y)) * self.side]
    }

    /// Draws examples into the left plot (0) or the right one (1).
    pub(super) fn draw(&mut self, side: usize, examples: &Examples) {
        let left = side * (PLOT + WIDE_GAP);
        for (point, label) in examples.pixels.chunks_exact(2).zip(&examples.labels) {
            let [x, y] = self.pixel([point[0], point[1]]);
            let colour = COLOURS[*label as usize % COLOURS.len()];
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1), (1, 2)] {
                self.picture.set(left + x + dx, y + dy, colour);
            }
        }
    }

    /// Sets a pixel of a plot to a dark shade of a class's colour.
    pub(super) fn shade(&mut self, side: usize, x: usize, y: usize, class: u32) {
        let colour = COLOURS[class as usize % COLOURS.len()];
        let dark = [0, 1, 2].map(|part| (2 * u16::from(PAPER[part]) + u16::from(colour[part])) / 4);
        self.picture.set(side * (PLOT + WIDE_GAP) + x, y, dark.map(|part| part as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(shape: ImageShape, count: u32) -> Examples {
        let pixels = (0..count as usize * shape.pixels()).map(|i| (i % 7) as f32 / 6.0).collect();
        Examples { shape, pixels, labels: (0..count).map(|i| i % 3).collect() }
    }

    #[test]
    fn sheet_draws_each_pixel_in_its_position() {
        let shape = ImageShape { channels: 3, height: 24, width: 24 };
        let data = Dataset::new(examples(shape, 30), examples(shape, 3), examples(shape, 3), 3);
        let (picture, legend) = sheet(&data);
        assert!(legend.starts_with("3 classes"), "{legend}");
        // The second training example of class 1 has index 4; the scale is 2.
        let image = &data.train.pixels[4 * shape.pixels()..];
        let (left, top) = (GAP + 52, GAP + 52);
        for (row, column) in [(0, 0), (5, 3), (23, 23)] {
            let at = 3 * ((top + 2 * row + 1) * picture.width + left + 2 * column + 1);
            let want = [0, 1, 2].map(|plane| shade(image[plane * 576 + row * 24 + column]));
            assert_eq!(picture.bytes[at..at + 3], want);
        }
    }

    #[test]
    fn every_point_is_inside_its_plot() {
        let shape = ImageShape { channels: 2, height: 1, width: 1 };
        let data = Dataset::new(examples(shape, 30), examples(shape, 3), examples(shape, 9), 3);
        let plots = Plots::around([&data.train, &data.test]);
        for point in data.train.pixels.chunks_exact(2) {
            let [x, y] = plots.pixel([point[0], point[1]]);
            assert!(x < PLOT && y < PLOT);
            // Mapping the pixel back gives a nearby point.
            let shown = plots.point(x, y);
            assert!((shown[0] - point[0]).abs() + (shown[1] - point[1]).abs() < 0.01, "{shown:?}");
        }
        let (picture, _) = points(&data);
        assert!(picture.bytes.chunks(3).any(|pixel| pixel == COLOURS[0]));
    }
}
