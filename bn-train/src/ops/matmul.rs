//! Matrix products over slices, by the `gemm` crate, as candle's own. Called directly because candle's way there reads
//! `/proc/cpuinfo` for each product (unless `RAYON_NUM_THREADS` is set) and zeroes the result first.

use super::buffer::filled;
use gemm::{Parallelism, gemm};

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
        assert_eq!(
            numbers.len(),
            rows * columns,
            "a matrix of {rows} rows and {columns} columns"
        );
        Self {
            numbers,
            rows,
            columns,
            steps: (columns, 1),
        }
    }

    /// The same numbers with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            steps: (self.steps.1, self.steps.0),
            ..self
        }
    }

    /// `self · other`, row after row.
    ///
    /// # Panics
    /// When `other` has not as many rows as this has columns.
    pub(crate) fn product(self, other: Self) -> Vec<f32> {
        assert_eq!(self.columns, other.rows, "the inner size of a product");
        let (rows, columns, inner) = (self.rows, other.columns, self.columns);
        if inner == 0 {
            return vec![0.0; rows * columns];
        }
        let parallelism = match rayon::current_num_threads() {
            1 => Parallelism::None,
            threads => Parallelism::Rayon(threads),
        };
        filled(rows * columns, |to| {
            let step = |step: usize| step as isize;
            // SAFETY: the constructors hold every number that rows, columns and steps reach within the slices, and `to`
            // has `rows · columns` places, which are written and (`read_dst` being false) not read.
            #[allow(unsafe_code)]
            unsafe {
                gemm(
                    rows,
                    columns,
                    inner,
                    to.as_mut_ptr().cast::<f32>(),
                    1,
                    step(columns),
                    false,
                    self.numbers.as_ptr(),
                    step(self.steps.1),
                    step(self.steps.0),
                    other.numbers.as_ptr(),
                    step(other.steps.1),
                    step(other.steps.0),
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    parallelism,
                );
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_sums_of_products_on_any_number_of_threads() {
        for (rows, inner, columns) in [
            (1, 1, 1),
            (3, 5, 7),
            (60, 100, 10),
            (128, 130, 129),
            (0, 3, 2),
            (2, 0, 3),
        ] {
            let number = |i: usize| ((i * 37 + 11) % 23) as f32 - 11.0;
            let a: Vec<f32> = (0..rows * inner).map(number).collect();
            let b: Vec<f32> = (0..inner * columns).map(number).collect();
            let at: Vec<f32> = (0..rows * inner)
                .map(|i| a[i % rows * inner + i / rows])
                .collect();
            let bt: Vec<f32> = (0..inner * columns)
                .map(|i| b[i % inner * columns + i / inner])
                .collect();
            // Whole numbers: every order of summation gives the same.
            let want: Vec<f32> = (0..rows * columns)
                .map(|i| {
                    let (row, column) = (i / columns, i % columns);
                    (0..inner)
                        .map(|k| a[row * inner + k] * b[k * columns + column])
                        .sum()
                })
                .collect();
            for threads in [1, 2, 3] {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                pool.install(|| {
                    let (a, b) = (
                        Matrix::new(&a, (rows, inner)),
                        Matrix::new(&b, (inner, columns)),
                    );
                    let at = Matrix::new(&at, (inner, rows)).transposed();
                    let bt = Matrix::new(&bt, (columns, inner)).transposed();
                    assert_eq!(a.product(b), want);
                    assert_eq!(at.product(b), want);
                    assert_eq!(a.product(bt), want);
                    assert_eq!(at.product(bt), want);
                });
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let number = |i: usize| ((i * 2_654_435_761) % 1_000_003) as f32 / 1e6 - 0.5;
        let a: Vec<f32> = (0..130 * 784).map(number).collect();
        let b: Vec<f32> = (0..784 * 101).map(number).collect();
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| Matrix::new(&a, (130, 784)).product(Matrix::new(&b, (784, 101))))
        };
        assert_eq!(on(1), on(2));
        assert_eq!(on(1), on(4));
    }
}
