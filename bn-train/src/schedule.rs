//! Learning-rate schedules: pure functions from a step to a factor on the learning rate.
//!
//! Steps count optimizer updates from 0, so the first update uses `factor(0)`.

use crate::keys::{Key, Keys, Kind, Kinds, Span, number, points, span};

/// The shape of the learning rate over a run, as a factor on `optimizer.learning_rate`.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Factor 1 throughout.
    Constant,
    /// Multiplied by `factor` after every `every` steps.
    Step {
        /// Steps between two changes; at least 1.
        every: u64,
        /// Factor of the rate at each change.
        factor: f64,
    },
    /// Half a cosine from 1 down to `final_factor` at the last step.
    Cosine {
        /// The factor at the end of the run.
        final_factor: f64,
    },
    /// A straight line from 1 to `final_factor` at the last step.
    Linear {
        /// The factor at the end of the run.
        final_factor: f64,
    },
    /// Exponential interpolation from 1 to `final_factor` at the last step.
    Exponential {
        /// The factor at the end of the run; above 0.
        final_factor: f64,
    },
    /// Linear interpolation between points, constant before the first and after the last.
    Piecewise(bn_core::Schedule),
}

/// A shape with an optional warm-up.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The shape after the warm-up; its steps count from the start of the run.
    pub shape: Shape,
    /// Steps over which the factor also rises linearly from `1 / warmup_steps` to 1; 0 for none.
    pub warmup_steps: u64,
}

impl Schedule {
    /// The factor on the learning rate at `step` of a run of `total_steps`.
    pub fn factor(&self, step: u64, total_steps: u64) -> f64 {
        let warmup = if step < self.warmup_steps {
            (step + 1) as f64 / self.warmup_steps as f64
        } else {
            1.0
        };
        warmup * self.shape.factor(step, total_steps)
    }
}

/// The learning rate of every update of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct LearningRate {
    /// `optimizer.learning_rate`: where the factor is 1.
    pub base: f64,
    /// The factor.
    pub schedule: Schedule,
    /// Updates of the run.
    pub total_steps: u64,
}

impl LearningRate {
    /// The rate of the update after `step` others.
    pub fn at(&self, step: u64) -> f64 {
        self.base * self.schedule.factor(step, self.total_steps)
    }
}

impl Shape {
    fn factor(&self, step: u64, total_steps: u64) -> f64 {
        let progress =
            if total_steps == 0 { 1.0 } else { (step as f64 / total_steps as f64).min(1.0) };
        match self {
            Self::Constant => 1.0,
            Self::Step { every, factor } => factor.powf((step / every) as f64),
            Self::Cosine { final_factor } => {
                final_factor
                    + (1.0 - final_factor) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
            Self::Linear { final_factor } => 1.0 + (final_factor - 1.0) * progress,
            Self::Exponential { final_factor } => final_factor.powf(progress),
            Self::Piecewise(points) => points.at(step),
        }
    }
}

/// `[schedule]`, without the warm-up.
pub fn shapes() -> Kinds<Shape> {
    let kinds = vec![
        Kind::new("constant", "factor 1 throughout", |_: &mut Keys<'_>| Some(Shape::Constant)),
        Kind::new("step", "multiplied by a factor at regular intervals", step),
        Kind::new("cosine", "half a cosine from 1 to the final factor", |keys: &mut Keys<'_>| {
            Some(Shape::Cosine { final_factor: final_factor(keys)? })
        }),
        Kind::new("linear", "linear from 1 to the final factor", |keys: &mut Keys<'_>| {
            Some(Shape::Linear { final_factor: final_factor(keys)? })
        }),
        Kind::new(
            "exponential",
            "a constant ratio per step from 1 to the final factor",
            exponential,
        ),
        Kind::new("piecewise", "linear interpolation between points", piecewise),
    ];
    Kinds::new("schedule", "kind", kinds)
}

fn step(keys: &mut Keys<'_>) -> Option<Shape> {
    let every = Key::new("every", span(1), "interval between changes; no default");
    let length = keys.length();
    let every = keys.required(every, Span::Steps(500)).map(|every| every.steps(length));
    let about = "factor of the rate at each change";
    let factor = Key::new("factor", number().from(0.0), about).also(&["gamma"]);
    let factor = keys.with_default(factor, 0.1);
    Some(Shape::Step { every: every?, factor: factor? })
}

fn final_factor(keys: &mut Keys<'_>) -> Option<f64> {
    let about = "the factor at the end of the run";
    keys.with_default(Key::new("final_factor", number().from(0.0), about), 0.0)
}

fn exponential(keys: &mut Keys<'_>) -> Option<Shape> {
    let about = "the factor at the end of the run; no default";
    let key = Key::new("final_factor", number().above(0.0), about);
    Some(Shape::Exponential { final_factor: keys.required(key, 0.01)? })
}

fn piecewise(keys: &mut Keys<'_>) -> Option<Shape> {
    let about = "points of steps and factors, interpolated linearly; no default";
    let example = bn_core::Schedule::piecewise([(0, 1.0), (900, 0.1)])
        .unwrap_or_else(|error| unreachable!("the points ascend: {error}"));
    let points = Key::new("points", points("factor", number().from(0.0)), about);
    Some(Shape::Piecewise(keys.required(points, example)?))
}

/// `schedule.warmup_steps`, common to all kinds.
pub fn warmup_steps(keys: &mut Keys<'_>) -> Option<u64> {
    let about = "length of the initial linear warm-up";
    let key = Key::new("warmup_steps", span(0), about).also(&["warmup"]);
    keys.steps(key, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(shape: Shape, warmup_steps: u64) -> Vec<f64> {
        let schedule = Schedule { shape, warmup_steps };
        (0..=100).map(|step| schedule.factor(step, 100)).collect()
    }

    #[test]
    fn constant_is_1_throughout() {
        assert!(factors(Shape::Constant, 0).iter().all(|&factor| factor == 1.0));
    }

    #[test]
    fn decays_fall_from_1_to_the_final_factor() {
        for final_factor in [0.0, 0.1, 0.5] {
            for shape in [Shape::Cosine { final_factor }, Shape::Linear { final_factor }] {
                let factors = factors(shape, 0);
                assert_eq!(factors[0], 1.0);
                assert!((factors[100] - final_factor).abs() < 1e-12);
                assert!(factors.windows(2).all(|pair| pair[1] <= pair[0]));
            }
        }
    }

    #[test]
    fn exponential_has_one_ratio_and_ends_where_told() {
        for final_factor in [1e-4, 0.5, 1.0, 1e5] {
            let factors = factors(Shape::Exponential { final_factor }, 0);
            assert_eq!(factors[0], 1.0);
            assert!((factors[100] / final_factor - 1.0).abs() < 1e-12);
            let ratio = final_factor.powf(0.01);
            assert!(factors.windows(2).all(|pair| (pair[1] / pair[0] / ratio - 1.0).abs() < 1e-12));
        }
    }

    #[test]
    fn steps_multiply_at_each_interval() {
        let factors = factors(Shape::Step { every: 30, factor: 0.5 }, 0);
        assert_eq!(
            [factors[0], factors[29], factors[30], factors[60], factors[100]],
            [1.0, 1.0, 0.5, 0.25, 0.125]
        );
    }

    #[test]
    fn piecewise_is_linear_inside_and_constant_outside() {
        let points = bn_core::Schedule::piecewise([(10, 0.0), (20, 1.0), (40, 0.5)]).unwrap();
        let factors = factors(Shape::Piecewise(points), 0);
        assert_eq!([factors[0], factors[10], factors[15], factors[20]], [0.0, 0.0, 0.5, 1.0]);
        assert_eq!([factors[30], factors[40], factors[100]], [0.75, 0.5, 0.5]);
    }

    #[test]
    fn warmup_rises_to_the_shape() {
        let factors = factors(Shape::Constant, 4);
        assert_eq!(factors[..6], [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    }
}
