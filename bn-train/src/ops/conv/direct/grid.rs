//! The index arithmetic of the forward pass and of the gradient by the input.

use crate::ops::conv::ConvShape;

/// A zero-padded plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Border {
    /// Rows and columns of the interior.
    pub(super) inner: (usize, usize),
    /// Zero rows above and zero columns to the left.
    pub(super) before: (usize, usize),
    /// Total rows and columns.
    pub(super) outer: (usize, usize),
}

impl Border {
    pub(super) fn len(&self) -> usize {
        self.outer.0 * self.outer.1
    }
}

/// Sums of products at the points of a grid: `y[point] = Σ w[tap] · x[point + tap]`, for row-major planes of x and y. A
/// convolution is one grid; the gradient by its input has one grid per residue of the position modulo the stride.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// Rows and columns of points.
    pub(super) points: (usize, usize),
    /// Offsets in x from one row and from one column to the next.
    pub(super) input_step: (usize, usize),
    /// Offset of the first point in y.
    pub(super) output_start: usize,
    /// Offsets in y from one row and from one column to the next.
    pub(super) output_step: (usize, usize),
    /// For each tap, its offset in x and the index of its weight.
    pub(super) taps: Vec<(usize, usize)>,
}

impl ConvShape {
    /// The padding and grid of the forward pass. `output` is from [`ConvShape::output`].
    pub(super) fn forward_grid(&self, output: (usize, usize)) -> (Border, Grid) {
        let border = Border {
            inner: (self.height, self.width),
            before: (self.padding, self.padding),
            outer: (self.height + 2 * self.padding, self.width + 2 * self.padding),
        };
        let row = border.outer.1;
        let taps =
            (0..self.kernel.0).flat_map(|ky| (0..self.kernel.1).map(move |kx| ky * row + kx));
        let grid = Grid {
            points: output,
            input_step: (self.stride * row, self.stride),
            output_start: 0,
            output_step: (output.1, 1),
            taps: taps.enumerate().map(|(weight, offset)| (offset, weight)).collect(),
        };
        (border, grid)
    }

    /// The padding and grids of the gradient by the input: `dx[y] = Σ w[k] · dy[(y + padding − k) / stride]` over all k for
    /// which the division is exact.
    pub(super) fn input_gradient_grids(&self, output: (usize, usize)) -> (Border, Vec<Grid>) {
        let rows = Axis::new(self, self.height, output.0, self.kernel.0);
        let columns = Axis::new(self, self.width, output.1, self.kernel.1);
        let border = Border {
            inner: output,
            before: (rows.before, columns.before),
            outer: (rows.outer, columns.outer),
        };
        let mut grids = Vec::new();
        for (y, row) in rows.residues.iter().enumerate() {
            for (x, column) in columns.residues.iter().enumerate() {
                let taps = row.taps.iter().flat_map(|&(start_y, ky)| {
                    column.taps.iter().map(move |&(start_x, kx)| {
                        (start_y * columns.outer + start_x, ky * self.kernel.1 + kx)
                    })
                });
                grids.push(Grid {
                    points: (row.points, column.points),
                    input_step: (columns.outer, 1),
                    output_start: y * self.width + x,
                    output_step: (self.stride * self.width, self.stride),
                    taps: taps.collect(),
                });
            }
        }
        (border, grids)
    }
}

/// One axis of the gradient by the input.
struct Axis {
    before: usize,
    outer: usize,
    residues: Vec<Residue>,
}

/// The positions `residue, residue + stride, …` of an axis.
struct Residue {
    points: usize,
    /// For each tap, its offset in the padded dy at the first point, and its index.
    taps: Vec<(usize, usize)>,
}

impl Axis {
    fn new(shape: &ConvShape, length: usize, output: usize, kernel: usize) -> Self {
        let (stride, padding) = (shape.stride, shape.padding);
        let starts = |residue: usize| {
            let taps = (0..kernel).filter(move |tap| (residue + padding) % stride == tap % stride);
            taps.map(move |tap| ((residue + padding) as isize - tap as isize) / stride as isize)
        };
        let points = |residue: usize| length.saturating_sub(residue).div_ceil(stride);
        let residues = 0..stride.min(length);
        let first = residues.clone().flat_map(starts).min().unwrap_or(0);
        let last = |residue| starts(residue).map(move |at| at + points(residue) as isize);
        let end = residues.clone().flat_map(last).max().unwrap_or(0);
        let before = (-first).max(0) as usize;
        let residue = |residue: usize| Residue {
            points: points(residue),
            taps: starts(residue)
                .zip((0..kernel).filter(|tap| (residue + padding) % stride == tap % stride))
                .map(|(at, tap)| ((at + before as isize) as usize, tap))
                .collect(),
        };
        Self {
            before,
            outer: before + output.max(end.max(0) as usize),
            residues: residues.map(residue).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grids_of_a_gradient_cover_the_image_exactly_once() {
        for (height, width, kernel, stride) in [
            (16, 16, 3, 1),
            (16, 16, 3, 2),
            (13, 9, 5, 3),
            (14, 14, 5, 1),
            (9, 9, 1, 2),
            (1, 1, 1, 1),
        ] {
            let shape = ConvShape {
                images: 1,
                inputs: 1,
                height,
                width,
                outputs: 1,
                kernel: (kernel, kernel),
                stride,
                padding: kernel / 2,
            };
            let (_, grids) = shape.input_gradient_grids(shape.output().unwrap());
            let mut seen = vec![0; height * width];
            for grid in &grids {
                for row in 0..grid.points.0 {
                    for column in 0..grid.points.1 {
                        let (down, right) = (row * grid.output_step.0, column * grid.output_step.1);
                        seen[grid.output_start + down + right] += 1;
                    }
                }
            }
            assert!(seen.iter().all(|&times| times == 1), "{shape:?}");
        }
    }
}
