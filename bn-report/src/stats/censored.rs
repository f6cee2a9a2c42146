//! Times of which some are only known to be later than something.

/// A time, or how long was waited in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// It happened at this step.
    At(u64),
    /// It had not happened by this step, where watching ended.
    After(u64),
}

impl Time {
    /// The step, whether it happened there or watching ended.
    pub fn step(self) -> u64 {
        match self {
            Self::At(step) | Self::After(step) => step,
        }
    }

    /// The time where what happened after `horizon` counts as happening at it; none where watching ended before.
    pub fn restricted(self, horizon: u64) -> Option<u64> {
        match self {
            Self::At(step) => Some(step.min(horizon)),
            Self::After(step) => (step >= horizon).then_some(horizon),
        }
    }
}

/// The Kaplan-Meier estimate of the share that has not happened yet: at each step where something happened, ascending, the share
/// that is left behind it.
///
/// `S(t) = product over steps s <= t of (1 - happened(s) / at risk(s))`; at risk at `s` are those that neither happened nor were
/// lost before `s`. What happens at a step happens before what is lost at it. Kaplan and Meier 1958.
pub fn survival(times: &[Time]) -> Vec<(u64, f64)> {
    let mut sorted = times.to_vec();
    // At before After at the same step.
    sorted.sort_by_key(|time| (time.step(), matches!(time, Time::After(_))));
    let mut left = 1.0;
    let mut curve: Vec<(u64, f64)> = Vec::new();
    let mut index = 0;
    while index < sorted.len() {
        let step = sorted[index].step();
        let here = sorted[index..].iter().take_while(|time| time.step() == step);
        let (count, happened) = here.fold((0, 0), |(count, happened), time| {
            (count + 1, happened + usize::from(matches!(time, Time::At(_))))
        });
        if happened > 0 {
            left *= 1.0 - happened as f64 / (sorted.len() - index) as f64;
            curve.push((step, left));
        }
        index += count;
    }
    curve
}

/// The Kaplan-Meier median: the first step at which the share that is left is one half or less. None where it stays above.
pub fn median(times: &[Time]) -> Option<u64> {
    // Half of the runs may come out as one rounding above one half.
    survival(times).into_iter().find(|(_, left)| *left <= 0.5 + 1e-12).map(|(step, _)| step)
}
