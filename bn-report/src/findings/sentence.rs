//! Sentences that know which of their words name an arm, so that a page can give those the arm's colour.

use crate::compare::ArmRow;
use crate::format;

/// A sentence that knows which of its words name an arm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sentence(pub Vec<Piece>);

/// A part of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Plain words.
    Text(String),
    /// The name of an arm.
    Arm {
        /// Which arm, counted from 0.
        index: usize,
        /// Its name.
        name: String,
    },
}

impl Sentence {
    pub(super) fn text(mut self, text: impl Into<String>) -> Self {
        self.0.push(Piece::Text(text.into()));
        self
    }

    pub(super) fn arm(mut self, (index, row): (usize, &ArmRow)) -> Self {
        self.0.push(Piece::Arm { index, name: row.name.clone() });
        self
    }

    /// `a`, `a and b`, `a, b and c`; more than `most`, or long names, are only counted.
    pub(super) fn arms_up_to(self, most: usize, arms: &[Indexed<'_>]) -> Self {
        let characters: usize = arms.iter().map(|(_, row)| row.name.chars().count()).sum();
        if arms.len() > most || (arms.len() > 1 && characters > 40 * most) {
            return self.text(format!("{} arms", arms.len()));
        }
        let mut sentence = self;
        for (position, &arm) in arms.iter().enumerate() {
            let before = match position {
                0 => "",
                _ if position + 1 == arms.len() => " and ",
                _ => ", ",
            };
            sentence =
                if before.is_empty() { sentence.arm(arm) } else { sentence.text(before).arm(arm) };
        }
        sentence
    }

    /// As plain text, arms in quotes.
    pub fn plain(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Arm { name, .. } => format!("\"{name}\""),
        };
        self.0.iter().map(piece).collect()
    }
}

/// How many of an arm's runs diverged, in words: `diverged on 3 of 10 seeds`; none where none did.
pub(super) fn diverged(row: &ArmRow) -> Option<String> {
    let (lost, total) = (row.states.diverged, row.states.total());
    (lost > 0).then(|| format!("diverged on {lost} of {}", format::plural(total, "seed", "seeds")))
}

/// An arm's row with its place in the experiment.
pub(super) type Indexed<'a> = (usize, &'a ArmRow);
