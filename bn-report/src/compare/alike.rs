//! Arms whose nets are the same while they train, and differ only in what evaluation reads. Pure.

use std::collections::BTreeMap;

use crate::read::{Arm, Experiment};
use crate::schema::Split;

/// Groups of two or more arms whose runs logged the same values on training data: same seeds, same steps, same bits.
///
/// Arms without training values, or with those of a single step, are in no group: that would say too little.
pub fn trained_alike(experiment: &Experiment) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<Vec<String>, Vec<usize>> = BTreeMap::new();
    for (index, arm) in experiment.arms.iter().enumerate() {
        groups.entry(training(arm)).or_default().push(index);
    }
    let mut groups: Vec<Vec<usize>> = groups
        .into_iter()
        .filter(|(training, arms)| !training.is_empty() && arms.len() > 1)
        .map(|(_, arms)| arms)
        .collect();
    groups.sort();
    groups
}

/// Every training value of an arm, in a form that is equal only for equal bits.
fn training(arm: &Arm) -> Vec<String> {
    let mut values = Vec::new();
    let mut steps = Vec::new();
    for run in &arm.runs {
        for row in run.rows().iter().filter(|row| row.split == Split::Train) {
            let bits = row.value.map(f64::to_bits);
            values.push(format!("{} {} {} {bits:?}", run.seed, row.step, row.metric));
            steps.push(row.step);
        }
    }
    steps.sort_unstable();
    steps.dedup();
    if steps.len() < 2 {
        values.clear();
    }
    values
}
