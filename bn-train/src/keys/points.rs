//! Keys that take a number that depends on the step.

use super::numbers::{Number, as_number, as_whole, write_whole};
use super::takes::Takes;
use bn_core::Schedule;
use toml::Value;

/// Points `[[step, number], ...]`: at least one, with non-decreasing steps. `what` names the number.
pub fn points(what: &str, bounds: Number) -> Takes<Schedule> {
    let accepts = format!(
        "points [[step, {what}], ...] with non-decreasing steps, each {what} {}",
        bounds.accepts(what)
    );
    Takes::new(accepts, move |value| read_points(value, bounds), write_points)
}

/// A number, or points with linear interpolation.
pub fn bound(bounds: Number) -> Takes<Schedule> {
    let read = move |value: &Value| match as_number(value) {
        Some(number) => bounds.holds(number).then(|| Schedule::constant(number)),
        None => read_points(value, bounds),
    };
    let write = |schedule: &Schedule| match schedule.points() {
        [(0, number)] => Value::Float(*number),
        _ => write_points(schedule),
    };
    Takes {
        accepts: Box::new(move |name| {
            let number = bounds.accepts(name);
            format!("{number}; or points [[step, {name}], ...] with non-decreasing steps")
        }),
        ..Takes::new("", read, write)
    }
}

fn read_points(value: &Value, bounds: Number) -> Option<Schedule> {
    let point = |point: &Value| match point.as_array()?.as_slice() {
        [step, number] => {
            Some((as_whole(step)?, as_number(number).filter(|&number| bounds.holds(number))?))
        }
        _ => None,
    };
    let points: Option<Vec<(u64, f64)>> = value.as_array()?.iter().map(point).collect();
    Schedule::piecewise(points?).ok()
}

fn write_points(schedule: &Schedule) -> Value {
    let point =
        |&(step, number): &(u64, f64)| Value::Array(vec![write_whole(step), Value::Float(number)]);
    Value::Array(schedule.points().iter().map(point).collect())
}

#[cfg(test)]
mod tests {
    use super::super::number;
    use super::super::takes::tests::rewritten;
    use super::*;

    #[test]
    fn written_bounds_read_back_equal() {
        let bounds = bound(number().from(0.0));
        for (value, written) in [
            ("3", "3.0"),
            ("[[0, 1], [5, 2.5]]", "[[0, 1.0], [5, 2.5]]"),
            ("[[5, 1]]", "[[5, 1.0]]"),
            ("[[0, 1]]", "1.0"),
        ] {
            assert_eq!(rewritten(&bounds, value).as_deref(), Some(written));
            assert_eq!(rewritten(&bounds, written).as_deref(), Some(written));
        }
        for wrong in ["-1", "[]", "[[5, 1], [0, 1]]", "[[0, -1]]", "[[0.5, 1]]", "[1, 2]"] {
            assert_eq!(rewritten(&bounds, wrong), None, "{wrong}");
        }
    }
}
