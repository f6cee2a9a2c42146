//! Of many points in one column of pixels the first, lowest, highest and last are kept, so that no spike is lost. Pure.

use super::scene::Point;

/// Thins a line whose points go from left to right; columns are `grain` pixels wide.
pub fn thin(points: impl IntoIterator<Item = Point>, grain: f64) -> Vec<Point> {
    let mut thinned = Vec::new();
    let mut column: Option<Column> = None;
    for point in points {
        let at = (point.0 / grain).floor();
        match &mut column {
            Some(open) if open.at == at => open.push(point),
            _ => {
                if let Some(full) = column.replace(Column::new(at, point)) {
                    full.finish(&mut thinned);
                }
            }
        }
    }
    if let Some(full) = column {
        full.finish(&mut thinned);
    }
    thinned
}

/// The points of one column, reduced while they come.
struct Column {
    at: f64,
    count: usize,
    first: Point,
    last: Point,
    /// Lowest and highest, with their place among the points.
    low: (usize, Point),
    high: (usize, Point),
}

impl Column {
    fn new(at: f64, point: Point) -> Self {
        Self { at, count: 1, first: point, last: point, low: (0, point), high: (0, point) }
    }

    fn push(&mut self, point: Point) {
        if point.1 < self.low.1.1 {
            self.low = (self.count, point);
        }
        if point.1 > self.high.1.1 {
            self.high = (self.count, point);
        }
        self.last = point;
        self.count += 1;
    }

    fn finish(self, line: &mut Vec<Point>) {
        let last = self.count - 1;
        let mut kept = [(0, self.first), self.low, self.high, (last, self.last)];
        kept.sort_by_key(|(place, _)| *place);
        let mut before = None;
        for (place, point) in kept {
            if before != Some(place) {
                line.push(point);
            }
            before = Some(place);
        }
    }
}

/// The width of columns with which lines of these lengths come to at most about `budget` points over `width` pixels.
pub fn grain(lengths: impl Iterator<Item = usize> + Clone, width: f64, budget: usize) -> f64 {
    let mut grain = 1.0;
    loop {
        let most = (4.0 * width / grain).ceil() as usize;
        let points: usize = lengths.clone().map(|length| length.min(most)).sum();
        if points <= budget || grain >= width / 4.0 {
            return grain;
        }
        grain *= 1.5;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_column_keeps_its_ends_and_extremes(heights in prop::collection::vec(-1e3..1e3f64, 1..400), grain in 1.0..9.0f64) {
            let points: Vec<Point> = heights.iter().enumerate().map(|(at, &y)| (at as f64 * 0.13, y)).collect();
            let thinned = thin(points.iter().copied(), grain);
            let extremes = |points: &[Point]| {
                let mut columns: Vec<(f64, Point, Point, f64, f64)> = Vec::new();
                for &(x, y) in points {
                    let at = (x / grain).floor();
                    match columns.last_mut() {
                        Some(column) if column.0 == at => {
                            (column.2, column.3, column.4) = ((x, y), column.3.min(y), column.4.max(y));
                        }
                        _ => columns.push((at, (x, y), (x, y), y, y)),
                    }
                }
                columns
            };
            prop_assert_eq!(extremes(&thinned), extremes(&points));
            prop_assert!(thinned.len() <= 4 * extremes(&points).len());
            prop_assert!(thinned.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        }
    }

    #[test]
    fn the_grain_keeps_lines_within_the_budget() {
        assert_eq!(grain([100, 200].into_iter(), 600.0, 1000), 1.0);
        let grain = grain(std::iter::repeat_n(50_000, 200), 600.0, 30_000);
        assert!(200.0 * 4.0 * 600.0 / grain <= 30_000.0 + 800.0, "{grain}");
    }
}
