//! Keys that take a length of training, in steps or in epochs.

use super::numbers::{as_whole, write_whole};
use super::takes::Takes;
use toml::Value;

/// How long a run is, for keys that are scaled to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLength {
    /// Updates of the run; 1 where they are not known.
    pub steps: u64,
    /// Updates of one epoch; 1 where they are not known.
    pub per_epoch: u64,
}

impl RunLength {
    /// Of a run that nothing is known of.
    pub const UNKNOWN: Self = Self { steps: 1, per_epoch: 1 };
}

/// A length of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Span {
    /// So many updates.
    Steps(u64),
    /// So many passes over the training examples.
    Epochs(f64),
}

impl Span {
    /// The updates that this is; at least 1, unless it is 0.
    pub fn steps(self, length: RunLength) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Epochs(0.0) => 0,
            // A float that is too large becomes the largest number of steps.
            Self::Epochs(epochs) => ((epochs * length.per_epoch as f64).round() as u64).max(1),
        }
    }
}

/// Steps as a whole number from `least` (0 or 1), or epochs as a text: `50`, `"2 epochs"`, `"0.5 epochs"`.
pub fn span(least: u64) -> Takes<Span> {
    let read = move |value: &Value| match value {
        Value::String(text) => {
            epochs(text).filter(|epochs| least == 0 || *epochs > 0.0).map(Span::Epochs)
        }
        _ => as_whole(value).filter(|steps| *steps >= least).map(Span::Steps),
    };
    let write = |span: &Span| match span {
        Span::Steps(steps) => write_whole(*steps),
        Span::Epochs(1.0) => Value::String("1 epoch".to_owned()),
        Span::Epochs(epochs) => Value::String(format!("{epochs} epochs")),
    };
    Takes::new(
        format!("steps, a whole number from {least}, or epochs, as in \"2 epochs\""),
        read,
        write,
    )
}

fn epochs(text: &str) -> Option<f64> {
    let number = text.strip_suffix("epochs").or_else(|| text.strip_suffix("epoch"))?;
    number.trim().parse().ok().filter(|epochs: &f64| epochs.is_finite() && *epochs >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::super::takes::tests::rewritten;
    use super::*;

    #[test]
    fn steps_and_epochs_read_back_to_the_same() {
        let takes = span(1);
        for (text, written) in [
            ("50", Some("50")),
            ("1e3", Some("1000")),
            ("'2 epochs'", Some("\"2 epochs\"")),
            ("'0.5 epochs'", Some("\"0.5 epochs\"")),
            ("'1epoch'", Some("\"1 epoch\"")),
            ("0", None),
            ("'0 epochs'", None),
            ("'-1 epochs'", None),
            ("'nan epochs'", None),
            ("'two epochs'", None),
            ("'2'", None),
        ] {
            assert_eq!(rewritten(&takes, text).as_deref(), written, "{text}");
        }
        assert_eq!(rewritten(&span(0), "'0 epochs'").as_deref(), Some("\"0 epochs\""));
    }

    #[test]
    fn epochs_are_so_many_steps() {
        let length = RunLength { steps: 1000, per_epoch: 20 };
        assert_eq!(Span::Steps(7).steps(length), 7);
        assert_eq!(Span::Epochs(2.5).steps(length), 50);
        assert_eq!(Span::Epochs(0.01).steps(length), 1);
        assert_eq!(Span::Epochs(0.0).steps(length), 0);
        assert_eq!(Span::Epochs(1e300).steps(length), u64::MAX);
    }
}
