//! From logged values to points: where a line is broken, where it bends, where its markers stand.

use super::ArmLines;
use crate::chart::axes::Axes;
use crate::chart::scene::Point;
use crate::chart::thin::thin;

/// Pixels of a stretch, thinned; with steps where values hold.
pub(super) fn pixels(
    axes: &Axes,
    stepped: bool,
    stretch: Vec<(u64, f64)>,
    grain: f64,
) -> Vec<Point> {
    let mut before: Option<Point> = None;
    let points = stretch.into_iter().flat_map(|(step, value)| {
        let point = axes.map(step, value);
        let corner = before.filter(|_| stepped).map(|before| (point.0, before.1));
        before = Some(point);
        corner.into_iter().chain([point])
    });
    thin(points, grain)
}

pub(super) fn last_point(axes: &Axes, line: &ArmLines) -> Option<Point> {
    let (step, value) =
        line.mean.iter().rev().find_map(|&(step, value, _)| Some((step, value?)))?;
    Some(axes.map(step, value))
}

/// Cuts a line at its absent values: the stretches of neighbouring steps that have one.
pub(super) fn stretches<T>(line: impl Iterator<Item = (u64, Option<T>)>) -> Vec<Vec<(u64, T)>> {
    let mut stretches = vec![Vec::new()];
    for (step, value) in line {
        match (value, stretches.last_mut()) {
            (Some(value), Some(stretch)) => stretch.push((step, value)),
            _ => stretches.push(Vec::new()),
        }
    }
    stretches.retain(|stretch| !stretch.is_empty());
    stretches
}

/// Cuts a mean line at its absent values, and where it becomes the mean of fewer runs: it would leap there.
pub(super) fn same_count(mean: &[(u64, Option<f64>, usize)]) -> Vec<Vec<(u64, f64)>> {
    let mut stretches: Vec<Vec<(u64, f64)>> = vec![Vec::new()];
    let mut before = 0;
    for &(step, value, n) in mean {
        if value.is_none() || n < before {
            stretches.push(Vec::new());
        }
        if let (Some(value), Some(stretch)) = (value, stretches.last_mut()) {
            stretch.push((step, value));
        }
        before = n;
    }
    stretches.retain(|stretch| !stretch.is_empty());
    stretches
}

/// Places of markers along a line: about four across the axes, shifted from arm to arm so that they do not cover each other.
pub(super) fn along(points: &[Point], axes: &Axes, arm: usize) -> Vec<Point> {
    let (left, right) = axes.x.pixels();
    let apart = (right - left) / 4.0;
    let shift = (arm as f64 * 0.381_966).fract();
    let wanted = (0..4).map(|index| left + (f64::from(index) + 0.1 + 0.8 * shift) * apart);
    let between = |x: f64| {
        let pair = points.windows(2).find(|pair| pair[0].0 <= x && x <= pair[1].0)?;
        let width = pair[1].0 - pair[0].0;
        let share = if width > 0.0 { (x - pair[0].0) / width } else { 0.0 };
        Some((x, pair[0].1 + share * (pair[1].1 - pair[0].1)))
    };
    wanted.filter_map(between).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_broken_where_values_are_absent_or_runs_drop_out() {
        let mean = [
            (0, Some(1.0), 3),
            (1, Some(2.0), 3),
            (2, Some(9.0), 2),
            (3, Some(9.0), 2),
            (4, None, 0),
            (5, Some(3.0), 3),
        ];
        assert_eq!(
            same_count(&mean),
            [vec![(0, 1.0), (1, 2.0)], vec![(2, 9.0), (3, 9.0)], vec![(5, 3.0)]]
        );
    }
}
