//! The shape of a class: strokes as quadratic Bézier curves.

use crate::random::Stream;

/// A point in the square from -1 to 1.
pub(super) type Point = [f32; 2];

/// A curve: start, control point and end.
pub(super) type Stroke = [Point; 3];

/// The strokes of a class.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Glyph {
    pub(super) strokes: Vec<Stroke>,
}

/// Minimum distance from a stroke's start to its end.
const SHORTEST: f32 = 0.6;

impl Glyph {
    /// A random glyph with `strokes` strokes.
    pub(super) fn new(stream: &mut Stream, strokes: usize) -> Self {
        Self { strokes: (0..strokes).map(|_| stroke(stream)).collect() }
    }
}

/// A random stroke in the square.
pub(super) fn stroke(stream: &mut Stream) -> Stroke {
    loop {
        let stroke: Stroke = std::array::from_fn(|_| point(stream));
        let [start, _, end] = stroke;
        let (x, y) = (end[0] - start[0], end[1] - start[1]);
        if x * x + y * y >= SHORTEST * SHORTEST {
            return stroke;
        }
    }
}

/// A random point in the square.
pub(super) fn point(stream: &mut Stream) -> Point {
    std::array::from_fn(|_| stream.uniform(-1.0, 1.0))
}

/// The point of `stroke` at `t`, from 0 at the start to 1 at the end.
pub(super) fn on_curve(stroke: &Stroke, t: f32) -> Point {
    let s = 1.0 - t;
    std::array::from_fn(|axis| {
        let [start, pull, end] = stroke.map(|point| point[axis]);
        s * s * start + 2.0 * s * t * pull + t * t * end
    })
}
