//! Arms whose nets are the same while they train, and differ only in what evaluation reads. Pure.

use crate::read::{Arm, Experiment, Key, Run, Series};
use crate::schema::Split;

/// Groups of two or more arms whose runs logged the same values on training data: same seeds, same steps, same bits.
///
/// Arms without training values, or with those of a single step, are in no group: that would say too little.
pub fn trained_alike(experiment: &Experiment) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, arm) in experiment.arms.iter().enumerate() {
        if !has_trained(arm) {
            continue;
        }
        let like = |group: &&mut Vec<usize>| are_alike(arm, &experiment.arms[group[0]]);
        match groups.iter_mut().find(like) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}

fn training(run: &Run) -> impl Iterator<Item = (&Key, &Series)> {
    let log = run.record().into_iter().flat_map(|record| record.log.iter());
    log.filter(|(key, _)| key.split == Split::Train)
}

fn has_trained(arm: &Arm) -> bool {
    arm.runs.iter().any(|run| training(run).any(|(_, series)| series.len() > 1))
}

/// The training series by metric: by which statistics a net was read says nothing of how it trains.
fn metrics(run: &Run) -> impl Iterator<Item = (&str, &Series)> {
    training(run).map(|(key, series)| (key.metric.as_str(), series))
}

fn are_alike(one: &Arm, other: &Arm) -> bool {
    let runs = || one.runs.iter().zip(&other.runs);
    one.runs.len() == other.runs.len()
        && runs().all(|(one, other)| one.seed == other.seed && metrics(one).eq(metrics(other)))
}
