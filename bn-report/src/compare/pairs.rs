//! Every arm against every other, for an appendix: Holm's correction runs over all pairs of a measure. Pure.

use rayon::prelude::*;

use super::Comparison;
use super::against::{Against, Outcomes, Terms, corrected, pair_up};
use super::claim::of_arm;
use super::outcome::Measured;
use super::table::{Room, TextTable, test_cells};
use crate::format;
use crate::read::Experiment;
use crate::schema::{Direction, Measure};

/// Of more arms than this no pairs are compared: there would be more of them than anybody reads.
pub const MOST_ARMS: usize = 60;

/// One arm against another.
#[derive(Debug, Clone, PartialEq)]
pub struct PairRow {
    /// What is compared, in words.
    pub measure: String,
    /// Which way of it is better.
    pub better: Direction,
    /// Whether it is a number of steps.
    pub is_steps: bool,
    /// The arm, by its place.
    pub arm: usize,
    /// The arm that it is compared with, by its place.
    pub other: usize,
    /// The comparison.
    pub against: Against,
}

impl PairRow {
    /// How its numbers are written.
    pub fn number(&self) -> fn(f64) -> String {
        if self.is_steps { format::steps } else { format::value }
    }
}

impl Comparison {
    /// Every pair of arms by final value and by steps to the target, the later arm against the earlier; empty with fewer than three
    /// arms, where the comparison with the baseline says it all, and with more than [`MOST_ARMS`].
    pub fn all_pairs(&self, experiment: &Experiment) -> Vec<PairRow> {
        if !(3..=MOST_ARMS).contains(&self.rows.len()) {
            return Vec::new();
        }
        let finals: Vec<Outcomes> = self.rows.iter().map(|row| row.finals.clone()).collect();
        let better = self.definition.better;
        let mut rows = self.pairs_of(&finals, self.final_heading(), better, false);
        if let Some(target) = self.target_words() {
            let measure = Measure::StepsToTarget;
            let measured = Measured { experiment, measure: &measure, horizon: self.horizon };
            let steps: Vec<Outcomes> =
                experiment.arms.iter().map(|arm| of_arm(&measured, arm)).collect();
            let words = format!("steps to {target}");
            rows.extend(self.pairs_of(&steps, words, Direction::Lower, true));
        }
        rows
    }

    fn pairs_of(
        &self,
        arms: &[Outcomes],
        measure: String,
        better: Direction,
        is_steps: bool,
    ) -> Vec<PairRow> {
        let places: Vec<(usize, usize)> = (0..arms.len())
            .flat_map(|other| (other + 1..arms.len()).map(move |arm| (arm, other)))
            .collect();
        let resolution = if is_steps { None } else { self.resolution() };
        let terms = Terms { better: Some(better), resolution, level: self.level };
        let pair = |&(arm, other): &(usize, usize)| pair_up(&arms[arm], &arms[other], terms);
        let all: Vec<Against> = places.par_iter().map(pair).collect();
        let row = |((arm, other), against)| PairRow {
            measure: measure.clone(),
            better,
            is_steps,
            arm,
            other,
            against,
        };
        places.into_iter().zip(corrected(all, terms)).map(row).collect()
    }

    /// Pairs of arms as a table of text.
    pub fn pairs_table(&self, pairs: &[PairRow]) -> TextTable {
        let interval = format!("{} interval", self.level);
        let heading = [
            "arm",
            "against",
            "of",
            "seeds",
            "difference",
            &interval,
            "probability of improvement",
            "p",
            "p after Holm",
            "verdict",
        ];
        let columns = [
            Room::Fold,
            Room::Fold,
            Room::Fold,
            Room::Leave(1),
            Room::Stay,
            Room::Leave(3),
            Room::Leave(2),
            Room::Leave(0),
            Room::Stay,
            Room::Fold,
        ];
        let mut lines = vec![heading.map(str::to_owned).to_vec()];
        for pair in pairs {
            let [arm, other] = [pair.arm, pair.other].map(|place| self.rows[place].name.clone());
            let mut line = vec![arm, other, pair.measure.clone()];
            line.extend(test_cells(&pair.against, pair.better, pair.number()));
            lines.push(line);
        }
        TextTable { columns: columns.to_vec(), lines }
    }
}
