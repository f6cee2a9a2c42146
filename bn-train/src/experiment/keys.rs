//! Every key of an experiment: what it accepts, its default, and where it applies.
//!
//! The one list that reading, messages and the template's test share.

use super::problem::did_you_mean;

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// Dotted path, as `--set` takes it.
    pub(super) path: &'static str,
    /// What a message says is expected.
    pub(super) accepts: &'static str,
    /// The default, as TOML; none where the key must be given or may be absent.
    pub(super) default: Option<&'static str>,
    /// When the key has an effect; empty for always.
    pub(super) applies: &'static str,
}

const fn key(
    path: &'static str,
    accepts: &'static str,
    default: Option<&'static str>,
    applies: &'static str,
) -> Key {
    Key { path, accepts, default, applies }
}

const MLP: &str = "where model.kind is \"mlp\"";
const CONVNET: &str = "where model.kind is \"convnet\"";
const RESNET: &str = "where model.kind is \"resnet\"";
const NORM: &str = "where norm.kind is \"batch\" or \"renorm\"";
const RENORM: &str = "where norm.kind is \"renorm\"";
const BOUND: &str = "where norm.kind is \"renorm\" and norm.renorm.schedule is not \"paper\"";
const BOUND_ACCEPTS: &str =
    "a number, or points [[step, number], ...] with steps that do not go back";

/// Keys of the experiment as a whole, which an arm cannot override.
pub(super) const EXPERIMENT_KEYS: &[Key] = &[
    key("name", "a text", None, ""),
    key("question", "a text", None, ""),
    key("seeds", "a list of different whole numbers from 0", Some("[0, 1, 2, 3, 4]"), ""),
    key("target.metric", "\"accuracy\" or \"loss\"", None, ""),
    key("target.value", "a number", None, ""),
    key(
        "target.split",
        "\"train\", \"validation\" or \"test\"",
        Some("\"validation\""),
        "beside target.metric",
    ),
    key("target.statistics", "\"moving\" or \"batch\"", Some("\"moving\""), "beside target.metric"),
];

/// Keys that an arm can override.
pub(super) const ARM_KEYS: &[Key] = &[
    key("data.name", "\"digits\"", Some("\"digits\""), ""),
    key("model.kind", "\"mlp\", \"convnet\" or \"resnet\"", Some("\"mlp\""), ""),
    key(
        "model.hidden",
        "a list of widths, whole numbers from 1 to 65536",
        Some("[100, 100, 100]"),
        MLP,
    ),
    key(
        "model.channels",
        "a list of channel counts, whole numbers from 1 to 65536",
        Some("[16, 32]"),
        CONVNET,
    ),
    key("model.kernel", "an odd whole number from 1 to 31", Some("3"), CONVNET),
    key("model.depth", "a whole number 6n + 2 from 8 to 1202", Some("20"), RESNET),
    key(
        "model.activation",
        "\"sigmoid\", \"tanh\", \"relu\" or \"leaky_relu\"",
        Some("\"relu\""),
        "",
    ),
    key("norm.kind", "\"none\", \"batch\" or \"renorm\"", Some("\"batch\""), ""),
    key("norm.position", "\"before\" or \"after\" (the activation)", Some("\"before\""), NORM),
    key("norm.decay", "a number, 0 <= decay < 1", Some("0.999"), NORM),
    key("norm.epsilon", "a number above 0", Some("0.001"), NORM),
    key("norm.center", "true or false", Some("true"), NORM),
    key("norm.scale", "true or false", Some("true"), NORM),
    key("norm.zero_debias", "\"none\", \"mean\", \"variance\" or \"both\"", Some("\"none\""), NORM),
    key("norm.renorm.variant", "\"keras\", \"tf1\" or \"paper\"", Some("\"keras\""), RENORM),
    key("norm.renorm.decay", "a number, 0 <= decay < 1", Some("0.99"), RENORM),
    key("norm.renorm.schedule", "\"none\" or \"paper\"", Some("\"none\""), RENORM),
    key("norm.renorm.r_min", BOUND_ACCEPTS, None, BOUND),
    key("norm.renorm.r_max", BOUND_ACCEPTS, None, BOUND),
    key("norm.renorm.d_max", BOUND_ACCEPTS, None, BOUND),
    key("optimizer.kind", "\"sgd\"", Some("\"sgd\""), ""),
    key("optimizer.learning_rate", "a number above 0", None, ""),
    key("optimizer.momentum", "a number, 0 <= momentum < 1", Some("0.9"), ""),
    key("optimizer.nesterov", "true or false", Some("false"), ""),
    key("optimizer.weight_decay", "a number from 0", Some("0.0"), ""),
    key(
        "schedule.kind",
        "\"constant\", \"step\", \"cosine\", \"linear\" or \"piecewise\"",
        Some("\"constant\""),
        "",
    ),
    key("schedule.every", "a whole number from 1", None, "where schedule.kind is \"step\""),
    key("schedule.factor", "a number from 0", Some("0.1"), "where schedule.kind is \"step\""),
    key(
        "schedule.final_factor",
        "a number from 0",
        Some("0.0"),
        "where schedule.kind is \"cosine\" or \"linear\"",
    ),
    key(
        "schedule.points",
        "points [[step, factor], ...] with steps that do not go back and factors from 0",
        None,
        "where schedule.kind is \"piecewise\"",
    ),
    key("schedule.warmup_steps", "a whole number from 0", Some("0"), ""),
    key("train.steps", "a whole number from 1", None, ""),
    key(
        "train.batch_size",
        "a whole number from 1 to the number of training examples",
        Some("60"),
        "",
    ),
    key("train.evaluate_every", "a whole number from 1", Some("50"), ""),
    key("train.evaluate_at", "a list of steps, whole numbers from 0", Some("[]"), ""),
];

/// The key at `path`, wherever it belongs.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    EXPERIMENT_KEYS.iter().chain(ARM_KEYS).find(|key| key.path == path)
}

/// Whether `path` is a table that holds keys.
pub(super) fn is_table(path: &str) -> bool {
    EXPERIMENT_KEYS.iter().chain(ARM_KEYS).any(|key| key.path.starts_with(&format!("{path}.")))
}

/// What to say of a key that is not in the lists.
pub(super) fn unknown(path: &str, in_arm: bool) -> String {
    let known = || ARM_KEYS.iter().chain(if in_arm { &[] } else { EXPERIMENT_KEYS });
    if let Some(key) = EXPERIMENT_KEYS.iter().find(|key| in_arm && key.path == path) {
        return format!(
            "`{}` belongs to the experiment, not to an arm: put it at the top of the file",
            key.path
        );
    }
    if let Some(key) = known().find(|key| path.starts_with(&format!("{}.", key.path))) {
        return format!("`{}` is not a table; expected {}", key.path, key.accepts);
    }
    let children: Vec<&str> =
        known().filter_map(|key| key.path.strip_prefix(&format!("{path}."))).collect();
    if !children.is_empty() {
        return format!(
            "`{path}` is a table; expected [{path}] with some of its keys: {}",
            children.join(", ")
        );
    }
    if let Some(path_meant) = did_you_mean(path, known().map(|key| key.path)) {
        let accepts = find(path_meant).map_or("", |key| key.accepts);
        return format!("unknown key `{path}`; did you mean `{path_meant}`? (It takes {accepts}.)");
    }
    match path.rsplit_once('.').map(|(table, _)| table) {
        Some(table) if known().any(|key| key.path.starts_with(&format!("{table}."))) => {
            let keys: Vec<&str> =
                known().filter_map(|key| key.path.strip_prefix(&format!("{table}."))).collect();
            format!("unknown key `{path}`; [{table}] takes {}", keys.join(", "))
        }
        _ => {
            let mut tops: Vec<&str> =
                known().map(|key| key.path.split('.').next().unwrap_or(key.path)).collect();
            tops.dedup();
            format!(
                "unknown key `{path}`; the top of the file takes {} and [[arm]]",
                tops.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_toml_and_no_key_stands_twice() {
        let mut paths: Vec<&str> =
            EXPERIMENT_KEYS.iter().chain(ARM_KEYS).map(|key| key.path).collect();
        let count = paths.len();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), count);
        for key in EXPERIMENT_KEYS.iter().chain(ARM_KEYS) {
            assert!(
                key.default.is_none_or(|text| toml::de::DeValue::parse(text).is_ok()),
                "{}",
                key.path
            );
        }
    }

    #[test]
    fn unknown_keys_get_the_help_they_need() {
        assert!(unknown("norm.dekay", true).contains("did you mean `norm.decay`"));
        assert!(unknown("norm", false).contains("[norm]"));
        assert!(unknown("norm.decay.x", false).contains("expected a number"));
        assert!(unknown("seeds", true).contains("belongs to the experiment"));
        assert!(unknown("norm.colour", true).contains("[norm] takes kind, position, decay"));
        assert!(unknown("weather", false).contains("takes data, model, norm"));
    }
}
