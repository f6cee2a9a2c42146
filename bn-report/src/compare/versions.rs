//! Two experiments, or two versions of one, arm by arm: did anything get worse? Pure.

use super::against::{Against, Decision, Terms, compare_pairs};
use super::{Choice, Comparison};
use crate::format;
use crate::read::Experiment;
use crate::schema::Direction;
use crate::stats::{Level, Summary};

/// What a newer experiment says against an older one.
#[derive(Debug, Clone, PartialEq)]
pub struct Versions {
    /// What is compared: `final test accuracy`.
    pub heading: String,
    /// Which way is better.
    pub better: Direction,
    /// Level of the intervals.
    pub level: Level,
    /// The arms that both have, in the newer one's order.
    pub rows: Vec<VersionRow>,
    /// Names of the arms that only the older one has.
    pub only_old: Vec<String>,
    /// Names of the arms that only the newer one has.
    pub only_new: Vec<String>,
}

/// One arm in both.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionRow {
    /// Its name.
    pub name: String,
    /// Its final values in the older experiment.
    pub old: Summary,
    /// Its final values in the newer one.
    pub new: Summary,
    /// New against old, paired by seed; Holm's correction runs over all arms.
    pub against: Against,
    /// Whether every seed that both have ended with the same bits.
    pub is_identical: bool,
}

impl VersionRow {
    /// Whether the newer one is worse: by the test, or because runs diverge that did not, and none the other way round.
    pub fn is_regression(&self, better: Direction) -> bool {
        self.verdict(better) == "worse"
    }

    /// The decision in words.
    pub fn verdict(&self, better: Direction) -> String {
        match self.against.decision {
            _ if self.is_identical => "identical".to_owned(),
            // Runs of one seed repeat: one that newly diverges needs no test.
            Decision::TooFewSeeds { .. } | Decision::OneSeed
                if self.against.lost.0 > 0 && self.against.lost.1 == 0 =>
            {
                "worse".to_owned()
            }
            decision => decision.words(Some(better)),
        }
    }
}

impl Versions {
    /// Compares the arms of the same names.
    pub fn of(old: &Experiment, new: &Experiment, choice: &Choice) -> Self {
        let metric = Choice { baseline: None, ..choice.clone() };
        let (old, new) = (Comparison::with(old, &metric), Comparison::with(new, &metric));
        let better = new.definition.better;
        let shared: Vec<_> = new
            .rows
            .iter()
            .filter_map(|row| Some((old.rows.iter().find(|other| other.name == row.name)?, row)))
            .collect();
        let pairs: Vec<_> = shared.iter().map(|(old, new)| (&new.finals, &old.finals)).collect();
        let resolution = new.resolution();
        let terms = Terms { better: Some(better), resolution, level: new.level };
        let all = compare_pairs(&pairs, terms);
        let rows = shared.iter().zip(all).map(|((old, new), against)| VersionRow {
            name: new.name.clone(),
            old: old.final_value,
            new: new.final_value,
            is_identical: against.n > 0
                && against.lost == (0, 0)
                && against.pairs.differences.iter().all(|(_, difference)| *difference == 0.0),
            against,
        });
        let without = |rows: &[super::ArmRow], others: &[super::ArmRow]| {
            let names = rows.iter().map(|row| row.name.clone());
            names.filter(|name| others.iter().all(|row| row.name != *name)).collect()
        };
        Self {
            heading: new.final_heading(),
            better,
            level: new.level,
            rows: rows.collect(),
            only_old: without(&old.rows, &new.rows),
            only_new: without(&new.rows, &old.rows),
        }
    }

    /// How many arms got worse.
    pub fn regressions(&self) -> usize {
        self.rows.iter().filter(|row| row.is_regression(self.better)).count()
    }

    /// The table for a terminal, and what it leaves out.
    pub fn render(&self) -> String {
        let interval = format!("{} interval", self.level);
        let heading = ["arm", "old", "new", "difference", &interval, "seeds", "verdict"];
        let mut lines: Vec<Vec<String>> = vec![heading.map(str::to_owned).to_vec()];
        for row in &self.rows {
            let pairs = &row.against.pairs;
            let mean = pairs.mean.map(|mean| format::signed(mean, format::value));
            lines.push(vec![
                row.name.clone(),
                format::mean_sd(&row.old, format::value),
                format::mean_sd(&row.new, format::value),
                mean.unwrap_or_else(|| format::ABSENT.to_owned()),
                format::interval(pairs.interval, format::value),
                row.against.n.to_string(),
                row.verdict(self.better),
            ]);
        }
        let mut text = format!("{}\n\n{}", self.heading, super::table::align(&lines));
        for (names, which) in [(&self.only_old, "older"), (&self.only_new, "newer")] {
            if !names.is_empty() {
                text += &format!("only in the {which}: {}\n", names.join(", "));
            }
        }
        text
    }
}
