//! Which points of an image belong to which tile.

use super::transform::PLACES;

/// The tiles of one image, row by row. A point outside the image has the index after its last point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tiles {
    /// The 4x4 points of the input.
    pub(super) input: Vec<[usize; PLACES]>,
    /// The 2x2 points of the output.
    pub(super) output: Vec<[usize; 4]>,
}

impl Tiles {
    pub(super) fn count((rows, columns): (usize, usize)) -> usize {
        rows.div_ceil(2) * columns.div_ceil(2)
    }

    pub(super) fn new(input: (usize, usize), output: (usize, usize), padding: usize) -> Self {
        let corners = || {
            let rows = (0..output.0).step_by(2);
            rows.flat_map(move |row| (0..output.1).step_by(2).map(move |column| (row, column)))
        };
        let at = |(row, column): (usize, usize), place: usize| {
            // Outside of the image where the subtraction fails or the end is passed.
            let row = (row + place / 4).checked_sub(padding);
            let column = (column + place % 4).checked_sub(padding);
            index(input, row, column)
        };
        let to = |(row, column): (usize, usize), place: usize| {
            index(output, Some(row + place / 2), Some(column + place % 2))
        };
        Self {
            input: corners().map(|corner| std::array::from_fn(|place| at(corner, place))).collect(),
            output: corners()
                .map(|corner| std::array::from_fn(|place| to(corner, place)))
                .collect(),
        }
    }

    /// Their number.
    pub(super) fn len(&self) -> usize {
        self.input.len()
    }
}

fn index((rows, columns): (usize, usize), row: Option<usize>, column: Option<usize>) -> usize {
    match (row, column) {
        (Some(row), Some(column)) if row < rows && column < columns => row * columns + column,
        _ => rows * columns,
    }
}
