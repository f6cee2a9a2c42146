//! Matrix products over slices, for the sizes that perceptrons have.
//!
//! Columns of the result are cut into strips of two vectors. A task copies its strip of the right matrix into a panel that is
//! read in a row, and walks over the left one where it lies. Not by `gemm`, candle's crate for this: at 128x128x128 it
//! spends a seventh of its time on packing, and its threads wait for each other (`benches/README.md`).

mod kernel;

use super::buffer::{Buffer, Windows, filled};
use super::{lanes, parallel, transpose};
use kernel::{Strip, VECTORS};
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Multiplications that are not worth a second thread.
const SMALL: usize = 1 << 16;
/// Rows of a task, at least: the strip of the right matrix is copied for each.
const ROWS: usize = 32;

thread_local! {
    /// The strip of a task.
    static PANEL: RefCell<Buffer> = RefCell::default();
}

/// A matrix in a slice, read as it lies or transposed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    steps: (usize, usize),
}

impl<'a> Matrix<'a> {
    /// Row after row.
    ///
    /// # Panics
    /// When there are not as many numbers.
    pub(crate) fn new(numbers: &'a [f32], (rows, columns): (usize, usize)) -> Self {
        assert_eq!(numbers.len(), rows * columns, "a matrix of {rows} rows and {columns} columns");
        Self { numbers, rows, columns, steps: (columns, 1) }
    }

    /// The same numbers with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, steps: (self.steps.1, self.steps.0), ..self }
    }

    /// Some columns as the kernel reads them, `[rows, width]`; what has no column becomes 0.
    fn copy_columns(self, columns: Range<usize>, width: usize, panel: &mut [f32]) {
        if self.steps.1 == 1 {
            let rows = self.numbers.chunks_exact(self.columns.max(1));
            for (row, panel) in rows.zip(panel.chunks_exact_mut(width)) {
                let row = &row[columns.clone()];
                // A call to copy a short row takes longer than the copy.
                match (row.first_chunk::<32>(), panel.first_chunk_mut()) {
                    (Some(row), Some(panel)) => *panel = *row,
                    _ => {
                        let (numbers, zeros) = panel.split_at_mut(row.len());
                        numbers.copy_from_slice(row);
                        zeros.fill(0.0);
                    }
                }
            }
        } else {
            let planes = &self.numbers[columns.start * self.rows..columns.end * self.rows];
            transpose::to_lanes(planes, self.rows, width, panel);
        }
    }

    /// `self · other`.
    ///
    /// # Panics
    /// When `other` has not as many rows as this has columns.
    pub(crate) fn times(self, other: Self) -> Product<'a> {
        assert_eq!(self.columns, other.rows, "the inner size of a product");
        Product { left: self, right: other, bias: None }
    }
}

/// A product of matrices, not yet computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a> {
    left: Matrix<'a>,
    right: Matrix<'a>,
    bias: Option<&'a [f32]>,
}

impl<'a> Product<'a> {
    /// With a number per column added to each row, where there is a bias.
    ///
    /// # Panics
    /// When there are not as many numbers as columns.
    pub(crate) fn plus(self, bias: Option<&'a [f32]>) -> Self {
        let columns = self.right.columns;
        assert!(bias.is_none_or(|bias| bias.len() == columns), "a bias of {columns} columns");
        Self { bias, ..self }
    }

    /// The numbers of the product, row after row.
    pub(crate) fn computed(self) -> Vec<f32> {
        let product = |to: &mut [MaybeUninit<f32>]| {
            let to = Windows::new(to, self.right.columns);
            let tasks = self.tasks(rayon::current_num_threads());
            parallel::each(self.is_small(), tasks.count(), |task| {
                self.strip(tasks.at(task), &to);
            });
        };
        // SAFETY: the tasks' strips are all of the product.
        #[allow(unsafe_code)] // see `filled`
        unsafe {
            filled(self.len(), product)
        }
    }

    fn len(&self) -> usize {
        self.left.rows * self.right.columns
    }

    fn is_small(&self) -> bool {
        self.len() * self.left.columns <= SMALL
    }

    /// How many threads there are decides who computes a number, not how.
    fn tasks(&self, threads: usize) -> Tasks {
        let (rows, columns) = (self.left.rows, self.right.columns);
        let width = VECTORS * lanes();
        let strips = columns.div_ceil(width);
        let blocks = match threads {
            1 => 1,
            _ => (2 * threads).div_ceil(strips.max(1)),
        };
        Tasks {
            size: (rows, columns),
            step: (rows.div_ceil(blocks).next_multiple_of(8).max(ROWS), width),
        }
    }

    /// Fills the window of a task.
    fn strip(
        &self,
        (rows, columns): (Range<usize>, Range<usize>),
        to: &Windows<'_, MaybeUninit<f32>>,
    ) {
        let lanes = lanes();
        let width = columns.len().div_ceil(lanes) * lanes;
        let inner = self.right.rows;
        PANEL.with_borrow_mut(|panel| {
            let panel = panel.take(inner * width);
            self.right.copy_columns(columns.clone(), width, panel);
            pulp::Arch::new().dispatch(Strip {
                a: self.left,
                rows,
                columns,
                panel,
                bias: self.bias,
                to,
            });
        });
    }
}

/// Windows of a matrix, strip by strip.
struct Tasks {
    size: (usize, usize),
    step: (usize, usize),
}

impl Tasks {
    fn blocks(&self) -> usize {
        self.size.0.div_ceil(self.step.0)
    }

    fn count(&self) -> usize {
        self.blocks() * self.size.1.div_ceil(self.step.1)
    }

    /// Rows and columns of a task; those of different tasks share no place.
    fn at(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let part = |index: usize, step: usize, len: usize| {
            let start = index * step;
            start..len.min(start + step)
        };
        (
            part(task % self.blocks(), self.step.0, self.size.0),
            part(task / self.blocks(), self.step.1, self.size.1),
        )
    }
}

#[cfg(test)]
mod tests;
