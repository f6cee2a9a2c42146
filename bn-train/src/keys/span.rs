//! Keys that take a length of training, in steps or in epochs.

use super::numbers::{as_whole, write_whole};
use super::takes::Takes;
use toml::Value;

/// The length of a run, for keys that scale with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLength {
    /// Steps of the run; 1 if unknown.
    pub steps: u64,
    /// Steps of one epoch; 1 if unknown.
    pub per_epoch: u64,
}

impl RunLength {
    /// The length of an unknown run.
    pub const UNKNOWN: Self = Self { steps: 1, per_epoch: 1 };
}

/// A length of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Span {
    /// A number of optimizer steps.
    Steps(u64),
    /// A number of passes over the training examples.
    Epochs(f64),
}

impl Span {
    /// The number of steps, at least 1 unless the span is 0.
    pub fn steps(self, length: RunLength) -> u64 {
        match self {
            Self::Steps(steps) => steps,
            Self::Epochs(0.0) => 0,
            // The cast saturates for values beyond `u64`.
            Self::Epochs(epochs) => ((epochs * length.per_epoch as f64).round() as u64).max(1),
        }
    }
}

/// Steps as a whole number from `least` (0 or 1), or epochs as text: `50`, `"2 epochs"`, `"0.5 epochs"`.
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
    fn written_spans_read_back_equal() {
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
    fn epochs_convert_to_steps() {
        let length = RunLength { steps: 1000, per_epoch: 20 };
        assert_eq!(Span::Steps(7).steps(length), 7);
        assert_eq!(Span::Epochs(2.5).steps(length), 50);
        assert_eq!(Span::Epochs(0.01).steps(length), 1);
        assert_eq!(Span::Epochs(0.0).steps(length), 0);
        assert_eq!(Span::Epochs(1e300).steps(length), u64::MAX);
    }
}
