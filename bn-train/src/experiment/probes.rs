//! `[evaluate]`, `[population]` and `[shadow]`: additional statistics under which a run is evaluated.

use crate::keys::{Key, Keys, Takes, list, whole, words};
use crate::model::NormSettings;
use bn_report::schema::{Debiased, Shadow, ShadowDecay};
use toml::Value;

/// How a run is evaluated, and under which statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeSettings {
    /// Examples of one evaluation pass, at least 1.
    pub batch_size: usize,
    /// When the network is also evaluated under population statistics.
    pub population: PopulationWhen,
    /// Number of training examples for population statistics, at least 2.
    pub population_examples: usize,
    /// Moving averages with other decays to track.
    pub shadows: Vec<Shadow>,
}

/// When a network is evaluated under population statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopulationWhen {
    /// Never.
    Never,
    /// At the last evaluation.
    End,
    /// At every evaluation.
    Evaluations,
}

impl PopulationWhen {
    /// Whether an evaluation includes population statistics.
    pub fn applies(self, is_last: bool) -> bool {
        self == Self::Evaluations || (self == Self::End && is_last)
    }
}

/// Reads the probes of a run with the norm layers `norm`, where `Some(None)` means no norm layers.
pub(super) fn read(
    keys: &mut Keys<'_>,
    norm: Option<&Option<NormSettings>>,
) -> Option<ProbeSettings> {
    let about = "examples per evaluation pass; `batch` rows use the statistics of each pass";
    let batch_size = Key::new("batch_size", whole(1..=u64::MAX), about);
    let batch_size = keys.table("evaluate").with_default(batch_size, 500);

    let mut population = keys.table("population");
    let when = words(&[
        ("never", PopulationWhen::Never, ""),
        ("end", PopulationWhen::End, "at the end of training"),
        ("evaluations", PopulationWhen::Evaluations, "at every evaluation"),
    ]);
    let about =
        "when to evaluate also under the statistics of training examples with the current weights";
    let when = population.with_default(Key::new("when", when, about), PopulationWhen::End);
    let about = "maximum number of training examples for these statistics, evenly spread";
    let examples = Key::new("examples", whole(2..=u64::MAX), about);
    let examples = population.with_default(examples, 1024);

    let shadows = shadows(&mut keys.table("shadow"), norm);
    Some(ProbeSettings {
        batch_size: batch_size? as usize,
        population: when?,
        population_examples: examples? as usize,
        shadows: shadows?,
    })
}

fn shadows(keys: &mut Keys<'_>, norm: Option<&Option<NormSettings>>) -> Option<Vec<Shadow>> {
    let about =
        "decays of additional moving averages to track and to evaluate with the run's weights";
    let decays = Key::new("decays", list("decays", decay()), about);
    let decays = keys.with_default(decays, Vec::new());
    let debiased = words(&[
        ("none", Debiased::None, "neither"),
        ("mean", Debiased::Mean, "only the mean"),
        ("variance", Debiased::Variance, "only the variance"),
        ("both", Debiased::Both, "both"),
    ]);
    let about = "which of these averages are divided by their accumulated weight";
    let debiased = keys.with_default(Key::new("zero_debias", debiased, about), Debiased::None);
    let (decays, debiased) = (decays?, debiased?);
    let mut shadows: Vec<Shadow> = Vec::new();
    for decay in decays {
        let shadow = Shadow { decay, debiased };
        if shadows.contains(&shadow) {
            let path = keys.path("decays");
            keys.refuse("decays", format!("`{path}` lists a decay twice"));
            return None;
        }
        shadows.push(shadow);
    }
    let refusal = match norm {
        Some(None) => Some("needs norm layers; norm.kind is \"none\""),
        Some(Some(norm)) if norm.batch_norm().is_none() => {
            Some("needs norm.kind = \"batch\": other norms have no moving statistics")
        }
        Some(Some(norm)) if norm.batch_norm().is_some_and(|layer| layer.renorm.is_some()) => Some(
            "needs norm.kind = \"batch\": renorm reads its moving statistics in training, so another decay would \
             train a different network",
        ),
        _ => None,
    };
    if let Some(refusal) = refusal.filter(|_| !shadows.is_empty()) {
        let path = keys.path("decays");
        keys.refuse("decays", format!("`{path}` {refusal}"));
        return None;
    }
    Some(shadows)
}

/// A number, or `"cumulative"`.
fn decay() -> Takes<ShadowDecay> {
    let read = |value: &Value| match value {
        Value::String(word) if word == "cumulative" => Some(ShadowDecay::Cumulative),
        Value::Float(decay) => ShadowDecay::constant(*decay),
        Value::Integer(0) => ShadowDecay::constant(0.0),
        _ => None,
    };
    let write = |decay: &ShadowDecay| match decay {
        ShadowDecay::Constant(bits) => Value::Float(f64::from_bits(*bits)),
        ShadowDecay::Cumulative => Value::String("cumulative".to_owned()),
    };
    Takes::new("a number, 0 <= it < 1, or \"cumulative\"", read, write)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Registry;

    fn read(lines: &str) -> Result<ProbeSettings, String> {
        let text = format!("optimizer.learning_rate = 0.1\ntrain.steps = 10\n{lines}");
        let settings = Registry::built_in().settings(&text);
        settings.map(|settings| settings.probes).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn shadows_keep_their_order() {
        let probes = read("shadow = { decays = [0.99, 'cumulative', 0], zero_debias = 'both' }");
        let decays = probes.unwrap().shadows.into_iter().map(|shadow| shadow.decay);
        let constant = |decay| ShadowDecay::constant(decay).unwrap();
        let want = [constant(0.99), ShadowDecay::Cumulative, constant(0.0)];
        assert_eq!(decays.collect::<Vec<_>>(), want);
    }

    #[test]
    fn invalid_shadows_are_refused_with_the_reason() {
        for (lines, reason) in [
            (
                "norm.kind = 'renorm'\nshadow.decays = [0.9]",
                "renorm reads its moving statistics in training",
            ),
            ("norm.kind = 'none'\nshadow.decays = [0.9]", "needs norm layers"),
            ("shadow.decays = [0.9, 0.9]", "lists a decay twice"),
            ("shadow.decays = [1.0]", "0 <= it < 1, or \"cumulative\""),
            ("shadow.decays = ['mean']", "0 <= it < 1, or \"cumulative\""),
            ("population.examples = 1", "from 2"),
            ("evaluate.batch_size = 0", "from 1"),
        ] {
            let message = read(lines).unwrap_err();
            assert!(message.contains(reason), "{lines}: {message}");
        }
        assert!(read("norm.kind = 'none'").is_ok());
    }
}
