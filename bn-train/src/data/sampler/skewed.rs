//! Sampling with a known class bias.

use super::super::Description;
use super::{Batches, Labels, Sampler};
use crate::keys::{Key, Keys, Kind, number};
use crate::random::{Purpose, Stream};
use std::sync::Arc;

/// Draws a class, then one of its examples. Class probabilities form a geometric series, where the first class is drawn
/// `skew` times as often as the last.
#[derive(Clone, Copy, Debug)]
pub struct Skewed {
    /// Ratio of the first class's probability to the last one's, at least 1.
    pub skew: f64,
}

/// `sampler.kind = "skewed"`.
pub(super) fn kind() -> Kind<Arc<dyn Sampler>> {
    let about = "draws classes with a known bias, which weights can correct";
    Kind::new("skewed", about, |keys: &mut Keys<'_>| {
        let about = "ratio of draws of the first class to the last";
        let skew = Key::new("skew", number().from(1.0).to(1000.0), about);
        let skew = keys.with_default(skew, 10.0)?;
        Some(Arc::new(Skewed { skew }) as Arc<dyn Sampler>)
    })
}

impl Sampler for Skewed {
    fn batches(&self, labels: Labels<'_>, batch_size: usize, seed: u64) -> Box<dyn Batches> {
        Box::new(Draws::new(self.skew, labels, batch_size, seed))
    }

    fn misfit(&self, _data: Description, _batch_size: usize) -> Option<(&'static str, String)> {
        None
    }
}

/// Draws with replacement.
#[derive(Clone, Debug)]
struct Draws {
    seed: u64,
    batch_size: usize,
    members: Vec<Vec<usize>>,
    /// Cumulative probabilities of the classes.
    cumulative: Vec<f64>,
    weights: Vec<f32>,
}

impl Draws {
    fn new(skew: f64, labels: Labels<'_>, batch_size: usize, seed: u64) -> Self {
        let members = labels.by_class();
        let last = labels.classes.saturating_sub(1).max(1) as f64;
        // A class without examples is never drawn.
        let chance = |(class, members): (usize, &Vec<usize>)| {
            if members.is_empty() { 0.0 } else { skew.powf(-(class as f64) / last) }
        };
        let chances: Vec<f64> = members.iter().enumerate().map(chance).collect();
        let sum: f64 = chances.iter().sum();
        let mut cumulative = Vec::new();
        let mut before = 0.0;
        for chance in &chances {
            before += chance / sum;
            cumulative.push(before);
        }
        let examples = labels.each.len() as f64;
        let weight = |(chance, members): (&f64, &Vec<usize>)| {
            if members.is_empty() {
                0.0
            } else {
                (members.len() as f64 / examples / (chance / sum)) as f32
            }
        };
        let weights = chances.iter().zip(&members).map(weight).collect();
        Self { seed, batch_size, members, cumulative, weights }
    }

    fn draw(&self, stream: &mut Stream) -> usize {
        let point = f64::from(stream.unit());
        let is_below = |sum: &f64| *sum <= point;
        let class = self.cumulative.iter().take_while(|sum| is_below(sum)).count();
        // The last sum may be rounded to just below 1, and its class may be empty.
        let drawable = |class: &usize| self.members.get(*class).is_some_and(|all| !all.is_empty());
        let class = (0..=class).rev().find(drawable).unwrap_or(0);
        let members = &self.members[class];
        members[stream.below(members.len() as u64) as usize]
    }
}

impl Batches for Draws {
    fn at(&mut self, step: u64) -> Vec<usize> {
        let mut stream = Stream::new(self.seed, Purpose::Sample(step));
        (0..self.batch_size).map(|_| self.draw(&mut stream)).collect()
    }

    fn class_weights(&self) -> Option<&[f32]> {
        Some(&self.weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three classes of 10, 30 and 60 examples.
    fn labels() -> Vec<u32> {
        (0..100)
            .map(|i| {
                if i < 10 {
                    0
                } else if i < 40 {
                    1
                } else {
                    2
                }
            })
            .collect()
    }

    #[test]
    fn classes_are_drawn_with_skew_and_weights_correct_it() {
        let labels = labels();
        let all = Labels { each: &labels, classes: 4 };
        let mut draws = Draws::new(8.0, all, 1000, 5);
        let mut counts = [0.0_f64; 4];
        let mut seen = std::collections::BTreeSet::new();
        for index in (0..40).flat_map(|step| draws.at(step)) {
            counts[labels[index] as usize] += 1.0;
            seen.insert(index);
        }
        // 8 : 4 : 2, since the fourth class has no examples.
        for (count, share) in counts.iter().zip([8.0 / 14.0, 4.0 / 14.0, 2.0 / 14.0, 0.0]) {
            // Within six standard errors for 40,000 draws.
            assert!((count / 40_000.0 - share).abs() < 0.015, "{counts:?}");
        }
        assert_eq!(seen.len(), 100);
        let weights = draws.class_weights().unwrap().to_vec();
        for (class, share) in [0.1, 0.3, 0.6].into_iter().enumerate() {
            let weighted = counts[class] * f64::from(weights[class]) / 40_000.0;
            assert!((weighted - share).abs() < 0.1 * share, "{class}: {weighted} {share}");
        }
    }

    #[test]
    fn batch_depends_only_on_seed_and_step() {
        let labels = labels();
        let all = Labels { each: &labels, classes: 3 };
        let mut draws = Draws::new(3.0, all, 9, 1);
        let (first, second) = (draws.at(0), draws.at(1));
        assert_eq!(draws.at(0), first);
        assert_ne!(first, second);
        assert_ne!(Draws::new(3.0, all, 9, 2).at(0), first);
    }
}
