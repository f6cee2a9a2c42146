//! Matrix products over slices, for the sizes of MLPs.
//!
//! The columns of the result are divided into strips of two vectors. A task copies its strip of the right matrix into a
//! panel that is read sequentially, and reads the left matrix in place. Candle's crate `gemm` is not used, because at
//! 128x128x128 it spends a seventh of its time on packing, and its threads wait for each other (`benches/README.md`).

mod kernel;

use super::buffer::{Buffer, Windows, filled};
use super::{lanes, parallel, transpose};
use kernel::{Strip, VECTORS};
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Up to this many multiplications, a single thread is faster.
const SMALL: usize = 1 << 16;
/// Minimum rows per task, since each task copies its strip of the right matrix.
const ROWS: usize = 32;

thread_local! {
    /// The panel of a task.
    static PANEL: RefCell<Buffer> = RefCell::default();
}

/// A matrix view of a slice, possibly transposed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    steps: (usize, usize),
}

impl<'a> Matrix<'a> {
    /// A row-major matrix.
    ///
    /// # Panics
    /// `numbers` does not have `rows * columns` elements.
    pub(crate) fn new(numbers: &'a [f32], (rows, columns): (usize, usize)) -> Self {
        assert_eq!(numbers.len(), rows * columns, "a matrix of {rows} rows and {columns} columns");
        Self { numbers, rows, columns, steps: (columns, 1) }
    }

    /// The transposed view.
    pub(crate) fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, steps: (self.steps.1, self.steps.0), ..self }
    }

    /// Copies columns into a panel `[rows, width]`, padded with 0.
    fn copy_columns(self, columns: Range<usize>, width: usize, panel: &mut [f32]) {
        if self.steps.1 == 1 {
            let rows = self.numbers.chunks_exact(self.columns.max(1));
            for (row, panel) in rows.zip(panel.chunks_exact_mut(width)) {
                let row = &row[columns.clone()];
                // For short rows, a call to memcpy takes longer than the copy.
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
    /// `other` does not have as many rows as `self` has columns.
    pub(crate) fn times(self, other: Self) -> Product<'a> {
        assert_eq!(self.columns, other.rows, "the inner size of a product");
        Product { left: self, right: other, bias: None }
    }
}

/// A matrix product, not yet computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a> {
    left: Matrix<'a>,
    right: Matrix<'a>,
    bias: Option<&'a [f32]>,
}

impl<'a> Product<'a> {
    /// Adds an optional bias per column.
    ///
    /// # Panics
    /// The bias does not have one element per column.
    pub(crate) fn plus(self, bias: Option<&'a [f32]>) -> Self {
        let columns = self.right.columns;
        assert!(bias.is_none_or(|bias| bias.len() == columns), "a bias of {columns} columns");
        Self { bias, ..self }
    }

    /// Computes the product in row-major order.
    pub(crate) fn computed(self) -> Vec<f32> {
        let product = |to: &mut [MaybeUninit<f32>]| {
            let to = Windows::new(to, self.right.columns);
            let tasks = self.tasks(rayon::current_num_threads());
            parallel::each(self.is_small(), tasks.count(), |task| {
                self.strip(tasks.at(task), &to);
            });
        };
        // SAFETY: the tasks' strips cover the product.
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

    /// Divides the work. The number of threads does not affect how an element is computed.
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

    /// Computes the window of a task.
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

/// The windows of all tasks, ordered by strip.
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

    /// Rows and columns of a task. Different tasks are disjoint.
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
