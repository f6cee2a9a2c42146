//! The loss over a learning rate that rises: smoothed, and what can be read from it.

/// Part of the steps that a smoothed value is the mean of.
const WINDOW: f64 = 0.05;
/// A loss this many times the lowest, and above the first, ends a sweep.
const BLOW_UP: f64 = 4.0;

/// Losses of training batches, the rate rising by a constant ratio.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sweep {
    from: f64,
    to: f64,
    steps: u64,
    losses: Vec<f64>,
}

/// How a sweep ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    /// At the highest rate, the loss still low.
    Highest,
    /// The smoothed loss rose far above its lowest, at this rate.
    Rose(f64),
    /// The loss was not finite, at this rate.
    NotFinite(f64),
}

/// What a sweep tells. Rates are none where the loss never fell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    /// The rate at which the smoothed loss falls fastest over the logarithm of the rate.
    pub(super) steepest: Option<f64>,
    /// The lowest smoothed loss and its rate.
    pub(super) lowest: Option<(f64, f64)>,
    /// How it ended.
    pub(super) end: End,
}

impl Sweep {
    /// From one rate to another in so many steps, at least 2.
    pub(super) fn new(from: f64, to: f64, steps: u64) -> Self {
        Self { from, to, steps, losses: Vec::new() }
    }

    /// The rate of a step, as the exponential schedule has it.
    pub(super) fn rate(&self, step: usize) -> f64 {
        self.from * (self.to / self.from).powf(step as f64 / self.steps as f64)
    }

    /// Adds the loss of the next step; false when there is no point in going on.
    pub(super) fn push(&mut self, loss: f64) -> bool {
        self.losses.push(loss);
        loss.is_finite() && self.risen().is_none() && (self.losses.len() as u64) < self.steps
    }

    /// The losses, step by step.
    pub(super) fn losses(&self) -> &[f64] {
        &self.losses
    }

    /// Half of the window, in steps.
    fn reach(&self) -> usize {
        (0.5 * WINDOW * self.steps as f64).round().max(1.0) as usize
    }

    /// The finite losses, each the mean of those around it. Centred, so that nothing moves to higher rates.
    pub(super) fn smoothed(&self) -> Vec<f64> {
        let losses: Vec<f64> =
            self.losses.iter().copied().take_while(|loss| loss.is_finite()).collect();
        let reach = self.reach();
        (0..losses.len())
            .map(|at| {
                let window = &losses[at.saturating_sub(reach)..losses.len().min(at + reach + 1)];
                window.iter().sum::<f64>() / window.len() as f64
            })
            .collect()
    }

    /// The first step at which the mean of the last window is far above the lowest before it.
    fn risen(&self) -> Option<usize> {
        let window = 2 * self.reach() + 1;
        let means: Vec<f64> = self
            .losses
            .windows(window)
            .map(|window| window.iter().sum::<f64>() / window.len() as f64)
            .collect();
        let first = *means.first()?;
        let mut lowest = first;
        for (at, &mean) in means.iter().enumerate() {
            lowest = lowest.min(mean);
            if mean > BLOW_UP * lowest && mean > first {
                return Some(at + window - 1);
            }
        }
        None
    }

    /// What the losses tell.
    pub(super) fn read(&self) -> Reading {
        let smoothed = self.smoothed();
        let lowest = (0..smoothed.len()).min_by(|&a, &b| smoothed[a].total_cmp(&smoothed[b]));
        // Means of equal losses differ by rounding.
        let lowest = lowest.filter(|&at| smoothed[0] - smoothed[at] > 1e-9 * smoothed[0].abs());
        let steepest = lowest.and_then(|lowest| {
            let reach = self.reach();
            let fall =
                |at: usize| smoothed[at.saturating_sub(reach)] - smoothed[(at + reach).min(lowest)];
            (0..=lowest).max_by(|&a, &b| fall(a).total_cmp(&fall(b)))
        });
        let not_finite = self.losses.iter().position(|loss| !loss.is_finite());
        Reading {
            steepest: steepest.map(|at| self.rate(at)),
            lowest: lowest.map(|at| (smoothed[at], self.rate(at))),
            end: match (self.risen(), not_finite) {
                (Some(step), _) => End::Rose(self.rate(step)),
                (None, Some(step)) => End::NotFinite(self.rate(step)),
                (None, None) => End::Highest,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sweep over six decades whose losses are a function of the logarithm of the rate.
    fn sweep(loss: impl Fn(f64) -> f64) -> Sweep {
        let mut sweep = Sweep::new(1e-5, 10.0, 600);
        for step in 0..600 {
            if !sweep.push(loss(sweep.rate(step).log10())) {
                break;
            }
        }
        sweep
    }

    #[test]
    fn rates_rise_by_a_constant_ratio() {
        let sweep = Sweep::new(1e-3, 1.0, 300);
        assert!((sweep.rate(0) - 1e-3).abs() < 1e-15);
        assert!((sweep.rate(100) - 1e-2).abs() < 1e-14);
        assert!((sweep.rate(300) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn steepest_fall_and_lowest_loss_are_found_to_a_window() {
        // Falls as a logistic around 10^-2, rises from 10^-0.5 on.
        let sweep =
            sweep(|log| 1.0 / (1.0 + (6.0 * (log + 2.0)).exp()) + 0.2 + (8.0 * (log + 0.25)).exp());
        let Reading { steepest, lowest, end } = sweep.read();
        // A window is 5 % of six decades.
        assert!((steepest.unwrap().log10() + 2.0).abs() < 0.3, "{steepest:?}");
        let (loss, rate) = lowest.unwrap();
        assert!((0.2..0.25).contains(&loss) && (-1.5..-0.7).contains(&rate.log10()), "{rate}");
        let End::Rose(rate) = end else { panic!("{end:?}") };
        assert!((-0.5..0.1).contains(&rate.log10()), "{rate}");
        assert!(sweep.losses().len() < 600);
    }

    #[test]
    fn loss_that_never_falls_has_no_rates() {
        let Reading { steepest, lowest, end } = sweep(|_| 2.3).read();
        assert_eq!((steepest, lowest, end), (None, None, End::Highest));
    }

    #[test]
    fn loss_that_is_not_finite_ends_the_sweep() {
        let sweep = sweep(|log| if log < -1.0 { -log } else { f64::NAN });
        let Reading { lowest, end, .. } = sweep.read();
        let End::NotFinite(rate) = end else { panic!("{end:?}") };
        assert!((rate.log10() + 1.0).abs() < 0.011 && lowest.is_some(), "{rate}");
        assert!(sweep.smoothed().iter().all(|loss| loss.is_finite()));
    }

    #[test]
    fn short_sweeps_and_losses_of_zero_are_read() {
        for losses in [&[][..], &[1.0], &[0.0, 0.0], &[f64::NAN], &[2.0, 1.0]] {
            let mut sweep = Sweep::new(0.1, 1.0, 2);
            for &loss in losses {
                sweep.push(loss);
            }
            sweep.read();
        }
    }
}
