//! Laws of the matrix product: it does not depend on layout, tiles or threads.

use super::*;

fn on<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(work)
}

/// Small integers, whose sums are exact in any order.
fn small_integer(i: usize) -> f32 {
    ((i * 37 + 11) % 23) as f32 - 11.0
}

fn fraction(i: usize) -> f32 {
    ((i * 2_654_435_761) % 1_000_003) as f32 / 1e6 - 0.5
}

fn numbers(len: usize, number: fn(usize) -> f32) -> Vec<f32> {
    (0..len).map(number).collect()
}

fn transposed(numbers: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let at = |i: usize| numbers[i % rows * columns + i / rows];
    (0..rows * columns).map(at).collect()
}

#[test]
fn products_are_sums_of_products() {
    let mut sizes = vec![
        (60, 100, 10),
        (128, 130, 129),
        (0, 3, 2),
        (2, 0, 3),
        (19, 0, 3),
        (2, 3, 0),
        (70, 3, 784),
    ];
    for edge in 1..20 {
        sizes.extend([(edge, 5, 33), (edge + 60, 7, 64), (9, edge, 40)]);
    }
    sizes.extend((1..70).map(|columns| (13, 4, columns)));
    for (rows, inner, columns) in sizes {
        let a = numbers(rows * inner, small_integer);
        let b = numbers(inner * columns, small_integer);
        let bias = numbers(columns, small_integer);
        let (at, bt) = (transposed(&a, rows, inner), transposed(&b, inner, columns));
        let entry = |i: usize| {
            let (row, column) = (i / columns, i % columns);
            let terms = (0..inner).map(|k| a[row * inner + k] * b[k * columns + column]);
            terms.sum::<f32>()
        };
        let want: Vec<f32> = (0..rows * columns).map(entry).collect();
        let shifted = want.iter().enumerate().map(|(i, y)| y + bias[i % columns]);
        let shifted: Vec<f32> = shifted.collect();
        let lefts = [Matrix::new(&a, (rows, inner)), Matrix::new(&at, (inner, rows)).transposed()];
        let rights =
            [Matrix::new(&b, (inner, columns)), Matrix::new(&bt, (columns, inner)).transposed()];
        for threads in [1, 3] {
            on(threads, || {
                for left in lefts {
                    for right in rights {
                        let product = left.times(right);
                        assert_eq!(product.computed(), want, "{rows} {inner} {columns}");
                        assert_eq!(product.plus(Some(&bias)).computed(), shifted);
                    }
                }
            });
        }
    }
}

#[test]
fn product_is_bitwise_equal_for_any_threads_and_tiles() {
    let (rows, inner, columns) = (130, 784, 101);
    let a = numbers(rows * inner, fraction);
    let b = numbers(inner * columns, fraction);
    let (left, right) = (Matrix::new(&a, (rows, inner)), Matrix::new(&b, (inner, columns)));
    let expected = on(1, || left.times(right).computed());
    for threads in [2, 3, 8] {
        assert_eq!(on(threads, || left.times(right).computed()), expected);
    }
    // A single row uses another tile.
    for row in [0, 7, 64, 129] {
        let single = Matrix::new(&a[row * inner..][..inner], (1, inner));
        let y = single.times(right).computed();
        assert_eq!(y, expected[row * columns..][..columns]);
    }
}

#[test]
fn product_is_close_to_the_sum_in_f64() {
    let (rows, inner, columns) = (17, 1000, 35);
    let a = numbers(rows * inner, fraction);
    let b = numbers(inner * columns, fraction);
    let got = Matrix::new(&a, (rows, inner)).times(Matrix::new(&b, (inner, columns))).computed();
    for (i, got) in got.iter().enumerate() {
        let (row, column) = (i / columns, i % columns);
        let terms =
            (0..inner).map(|k| f64::from(a[row * inner + k]) * f64::from(b[k * columns + column]));
        let (want, size) =
            terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
        // Each addition rounds by half an ulp of at most the sum of magnitudes; so do products without FMA.
        let tolerance = size * (inner + 1) as f64 * f64::from(f32::EPSILON) / 2.0;
        assert!((f64::from(*got) - want).abs() <= tolerance, "{got} {want}");
    }
}
