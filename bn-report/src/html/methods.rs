//! How each number of the page was computed, in words.

use crate::compare::{Comparison, SEEDS_FACTOR};
use crate::format;
use crate::stats::{ALPHA, EXACT_UP_TO, PERMUTATIONS, RESAMPLES, power};

/// Name and explanation of each number that this page has.
pub(super) fn of(comparison: &Comparison) -> Vec<(String, String)> {
    let mut methods: Vec<(&str, String)> = vec![
        ("Headline", headline(comparison)),
        ("Runs", "Every planned run is counted by how it ended. A run that diverged has no final value and counts as worse than any other where arms are compared, so no arm is ranked by its survivors.".to_owned()),
        ("Mean \u{b1} sd", "Mean and sample standard deviation over the runs that have the value; where that is not every run, the number is given.".to_owned()),
        ("Interval", format!("At {}. Of a mean of runs: percentile bootstrap over seeds, {} resamples from a fixed seed. Of a curve: Student\u{2019}s t, step by step. With few runs both are rough, and the bootstrap is too narrow.", comparison.level, format::count(RESAMPLES as u64))),
    ];
    if comparison.rows.len() > 1 {
        let alpha = ALPHA;
        let tests = comparison.rows.len() - 1;
        methods.push(("Difference from the baseline", "Paired by seed: the arm\u{2019}s value minus the baseline\u{2019}s within each seed, then mean and interval over seeds. Seeds that only one arm has are left out.".to_owned()));
        methods.push(("Verdict", format!(
            "Sign-flip permutation test of the paired differences (all sign patterns up to {EXACT_UP_TO} pairs, {} random ones beyond), two-sided at {alpha}, with Holm\u{2019}s correction over {}. \u{201c}Better\u{201d} or \u{201c}worse\u{201d}: the test finds a difference. \u{201c}Needs about N more seeds\u{201d}: it finds none, but would probably find one of the observed size with at most {SEEDS_FACTOR} times the seeds. \u{201c}No detectable difference\u{201d}: even that would not do. With n pairs the smallest possible p is 2/2\u{207f}: below {} pairs no such test can decide here, so the page then gives interval and probability of improvement only.",
            format::count(PERMUTATIONS as u64),
            format::plural(tests, "arm", "arms"),
            power::pairs_to_decide(tests),
        )));
        methods.push(("Probability of improvement", "The share of all pairs of runs, one of each arm, in which the arm\u{2019}s run is better; ties count half.".to_owned()));
    }
    if let Some(target) = comparison.target_words() {
        let every = comparison.measured_every.map_or(String::new(), |steps| {
            format!(" Measured every {} steps at the closest, so the true step lies between that measurement and the one before: the small numbers under it.", format::count(steps))
        });
        methods.push(("Steps to target", format!("The first measured step from which a run meets {target} at every measurement to its end. A run that never does is known to take longer than it was watched: \u{201c}> steps\u{201d}. Median by Kaplan-Meier over all runs.{every}")));
    }
    if let Some(examples) = comparison.examples {
        let sd = comparison
            .rows
            .iter()
            .filter_map(|row| comparison.binomial_sd(row.final_value.mean?))
            .reduce(f64::max);
        let sd = sd.map_or(String::new(), |sd| format!(" Over other test sets of this size, a share would scatter by up to {} (standard deviation).", format::value(sd)));
        methods.push(("Size of the final split", format!("{} examples: one example is {} of the share.{sd} Less than one example wins nothing.", format::count(examples), format::value(1.0 / examples as f64))));
    }
    if comparison.rows.iter().any(|row| row.gap.is_some()) {
        methods.push(("Gap", format!("Mean validation {} by moving statistics minus that by batch statistics, of the same weights on the same examples. It counts as closed within {}.", comparison.metric, format::value(comparison.gap_tolerance))));
    }
    methods.into_iter().map(|(name, text)| (name.to_owned(), text)).collect()
}

/// By which rule the headline was made.
fn headline(comparison: &Comparison) -> String {
    let rule = if comparison.claim.is_some() {
        "The claim\u{2019}s verdict: supported where the test of this one comparison finds the expected difference, contradicted where it finds the opposite, undecided otherwise; then what was measured"
    } else if comparison.target.is_some() {
        "Steps to the target of every arm against the baseline\u{2019}s, grouped by verdict"
    } else {
        "The final value of every arm against the baseline\u{2019}s, grouped by verdict"
    };
    format!(
        "{rule}. An experiment with a claim is answered by the claim, one with a target by the steps to it, any other by the final value."
    )
}
