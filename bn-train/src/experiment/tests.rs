//! Laws of reading: what is written reads back, every problem is found, and the template tells the truth.

use super::*;
use keys::{ARM_KEYS, EXPERIMENT_KEYS};

const MINIMAL: &str = "[optimizer]\nlearning_rate = 0.1\n[train]\nsteps = 10\n";

fn accepted(text: &str) -> Experiment {
    parse("x.toml", "x", text, &[]).unwrap_or_else(|invalid| panic!("{invalid}"))
}

/// Every message about `text` with these `--set` flags.
fn refused(text: &str, set: &[&str]) -> Vec<String> {
    let set: Vec<String> = set.iter().map(ToString::to_string).collect();
    match parse("x.toml", "x", text, &set) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(invalid) => invalid
            .to_string()
            .lines()
            .filter(|line| !line.ends_with("trained"))
            .map(Into::into)
            .collect(),
    }
}

/// `MINIMAL` with one more line in one of its tables, or in a table of its own.
fn with(table: &str, line: &str) -> String {
    let header = format!("[{table}]\n");
    if MINIMAL.contains(&header) {
        MINIMAL.replace(&header, &format!("{header}{line}\n"))
    } else {
        format!("{MINIMAL}{header}{line}\n")
    }
}

#[test]
fn shipped_experiments_are_valid() {
    for shipped in shipped::ALL.iter().chain([&shipped::TEMPLATE]) {
        let experiment = load(shipped.name, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(experiment.name, shipped.name);
        assert!(experiment.question.is_some());
    }
    assert!(shipped::find(shipped::DEFAULT).is_some());
}

#[test]
fn what_a_run_writes_reads_back() {
    for shipped in shipped::ALL.iter().chain([&shipped::TEMPLATE]) {
        let experiment = load(shipped.name, &[]).unwrap();
        let plan = plan::Plan::new(&experiment, &plan::Selection::default()).unwrap();
        for run in &plan.runs {
            let config = plan.config(run, "version", "cpu", "digest").to_toml().unwrap();
            let again = accepted(&config);
            assert_eq!(again.arms, [Arm { name: run.arm.clone(), settings: run.settings.clone() }]);
            assert_eq!((again.seeds, again.target), (vec![run.seed], experiment.target.clone()));
            let again = plan::Plan::new(&accepted(&config), &plan::Selection::default()).unwrap();
            assert_eq!(again.runs[0].digest, run.digest);
        }
    }
}

#[test]
fn the_template_has_every_key_with_its_default() {
    let template = shipped::TEMPLATE.text;
    let line = |key: &keys::Key| {
        let (table, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        let start = if table.is_empty() { Some(0) } else { template.find(&format!("\n[{table}]")) };
        let section = &template[start.unwrap_or_else(|| panic!("no [{table}]")) + 1..];
        let section = &section[..section.find("\n[").unwrap_or(section.len())];
        let is_key = |line: &&str| {
            let line = line.strip_prefix("# ").unwrap_or(line);
            line.split_once('=').is_some_and(|(key, _)| key.trim() == name)
        };
        section
            .lines()
            .find(is_key)
            .unwrap_or_else(|| panic!("{} is not in the template", key.path))
    };
    for key in EXPERIMENT_KEYS.iter().chain(ARM_KEYS) {
        let line = line(key);
        assert!(line.contains('#') || key.path == "target.value", "{} is not explained", key.path);
        let value =
            line.strip_prefix("# ").unwrap_or(line).split_once('=').map_or("", |(_, value)| value);
        let value = value.split('#').next().unwrap_or_default().trim();
        if let Some(default) = key.default {
            assert_eq!(value, default, "{}", key.path);
        }
    }
}

#[test]
fn defaults_are_what_the_list_of_keys_says() {
    let settings = &accepted(MINIMAL).arms[0].settings;
    let written = settings.written.to_string();
    for expected in [
        "decay = 0.999",
        "epsilon = 0.001",
        "hidden = [100, 100, 100]",
        "momentum = 0.9",
        "batch_size = 60",
    ] {
        assert!(written.contains(expected), "{expected} in\n{written}");
    }
    assert_eq!(accepted(MINIMAL).arms[0].name, "base");
    assert_eq!(accepted(MINIMAL).seeds, [0, 1, 2, 3, 4]);
}

#[test]
fn arms_override_and_flags_override_arms() {
    let text = with("norm", "decay = 0.5")
        + "[[arm]]\nname = 'a'\n[[arm]]\nname = 'b'\nnorm.decay = 0.7\n";
    let decays = |experiment: &Experiment| -> Vec<f64> {
        experiment
            .arms
            .iter()
            .map(|arm| arm.settings.written["norm"]["decay"].as_float().unwrap())
            .collect()
    };
    assert_eq!(decays(&accepted(&text)), [0.5, 0.7]);
    let set = parse("x", "x", &text, &["norm.decay=0.9".into()]).unwrap();
    assert_eq!(decays(&set), [0.9, 0.9]);
    assert_eq!(set.notes, ["norm.decay is 0.9 in every arm; it replaces the own value of \"b\""]);
}

#[test]
fn whole_numbers_and_points_serve_as_bounds() {
    let renorm = "kind = 'renorm'\nrenorm = { r_max = 3, d_max = [[0, 0], [10, 5.0]] }";
    let settings = accepted(&with("norm", renorm)).arms.remove(0).settings;
    let clipping = settings.norm.unwrap().layer.renorm.unwrap().clipping;
    let bounds = clipping.at(5);
    assert_eq!((bounds.r_min, bounds.r_max, bounds.d_max), (None, Some(3.0), Some(2.5)));
}

#[test]
fn every_wrong_value_is_told_with_its_place_and_what_is_accepted() {
    for (table, line, expected) in [
        ("norm", "decay = 1.0", "expected a number, 0 <= decay < 1"),
        ("norm", "decay = -0.1", "0 <= decay < 1"),
        ("norm", "decay = 'high'", "0 <= decay < 1"),
        ("norm", "decay = nan", "0 <= decay < 1"),
        ("norm", "decay = { a = 1 }", "is not a table"),
        ("norm", "epsilon = 0", "above 0"),
        ("norm", "center = 1", "true or false"),
        ("norm", "kind = 'layer'", "\"none\", \"batch\" or \"renorm\""),
        ("norm", "zero_debias = true", "\"none\", \"mean\", \"variance\" or \"both\""),
        ("norm", "renorm.decay = 0.9", "no effect here: it applies where norm.kind is \"renorm\""),
        ("norm", "kind = 'renorm'\nrenorm = { r_max = 0.5 }", "r_max >= 1"),
        ("norm", "kind = 'renorm'\nrenorm = { r_min = 2 }", "0 <= r_min <= 1"),
        (
            "norm",
            "kind = 'renorm'\nrenorm = { d_max = [[5, 1], [0, 1]] }",
            "steps that do not go back",
        ),
        ("norm", "kind = 'renorm'\nrenorm = { schedule = 'paper', r_max = 3 }", "both give bounds"),
        ("norm", "kind = 'renorm'\nzero_debias = 'both'", "must be \"none\" with renorm"),
        ("norm", "dekay = 0.9", "did you mean `norm.decay`"),
        ("model", "hidden = [100, 0]", "whole numbers from 1"),
        ("model", "hidden = 100", "a list of widths"),
        ("model", "channels = [8]", "it applies where model.kind is \"convnet\""),
        ("model", "kind = 'convnet'\nchannels = [8, 8, 8, 8]", "halved 3 times at most"),
        ("model", "kind = 'convnet'\nkernel = 4", "odd"),
        ("model", "kind = 'resnet'\ndepth = 21", "6n + 2"),
        ("model", "activation = 'swish'", "\"sigmoid\", \"tanh\""),
        ("data", "name = 'mnist'", "expected \"digits\""),
        ("optimizer", "momentum = 1", "0 <= momentum < 1"),
        ("optimizer", "kind = 'adam'", "expected \"sgd\""),
        ("schedule", "kind = 'piecewise'\npoints = []", "points [[step, factor], ...]"),
        ("schedule", "every = 5", "it applies where schedule.kind is \"step\""),
        ("train", "batch_size = 0", "a whole number from 1"),
        ("train", "batch_size = 5000", "there are 1257 training examples"),
        ("train", "batch_size = 1", "batch statistics need 2 examples"),
        ("train", "evaluate_every = 0", "a whole number from 1"),
        ("train", "evaluate_at = [0.5]", "a list of steps"),
        ("train", "evaluate_every = 99999999999999999999", "a whole number from 1"),
    ] {
        let messages = refused(&with(table, line), &[]);
        assert_eq!(messages.len(), 1, "{line}: {messages:#?}");
        assert!(messages[0].starts_with("x.toml:"), "{messages:?}");
        assert!(messages[0].contains(expected), "{line}: {messages:?}");
        let lines = with(table, line);
        let at: usize = messages[0].split(':').nth(1).unwrap().parse().unwrap();
        let named = line.split('\n').next_back().unwrap();
        let place = lines.lines().nth(at - 1).unwrap();
        assert!(place == named || line.contains(place), "{messages:?} points at {place:?}");
    }
}

#[test]
fn wrong_keys_of_the_experiment_are_told() {
    for (line, expected) in [
        ("seeds = []", "at least one"),
        ("seeds = [1, 1]", "none twice"),
        ("seeds = [-1]", "whole numbers from 0"),
        ("seed = 1", "did you mean `seeds`"),
        ("name = ''", "expected a text"),
        ("norm = 3", "expected [norm] with some of its keys"),
        ("arm = 3", "and [[arm]]"),
        ("weather = 'fine'", "the top of the file takes"),
        ("target = { metric = 'accuracy' }", "needs `target.value`"),
        ("target = { metric = 'speed', value = 1 }", "\"accuracy\" or \"loss\""),
        ("normm = { decay = 0.5 }", "did you mean `norm.decay`"),
        ("arm = [3]", "each headed [[arm]]"),
    ] {
        let messages = refused(&format!("{line}\n{MINIMAL}"), &[]);
        assert_eq!(messages.len(), 1, "{line}: {messages:#?}");
        assert!(messages[0].starts_with("x.toml:1:"), "{messages:?}");
        assert!(messages[0].contains(expected), "{line}: {messages:?}");
    }
}

#[test]
fn what_is_missing_is_told() {
    let messages = refused("", &[]);
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(
        messages[0].contains("`optimizer.learning_rate` is missing; expected a number above 0")
    );
    assert!(messages[1].contains("`train.steps` is missing; expected a whole number from 1"));
}

#[test]
fn problems_in_arms_are_told_once_and_at_their_place() {
    let arms = "[[arm]]\nname = 'a'\nnorm.dekay = 0.5\n[[arm]]\nname = 'A'\n[[arm]]\n[[arm]]\nname = 'c'\nseeds = [1]\n";
    let messages = refused(&format!("{}{arms}", with("norm", "decay = 2")), &[]);
    assert_eq!(messages.len(), 5, "{messages:#?}");
    for (message, (at, expected)) in messages.iter().zip([
        ("x.toml:6:9", "`norm.decay` is 2"),
        ("x.toml:9:6", "did you mean `norm.decay`"),
        ("x.toml:11:8", "would share the folder \"a\""),
        ("x.toml:12:", "every [[arm]] needs a `name`"),
        ("x.toml:15:1", "belongs to the experiment"),
    ]) {
        assert!(
            message.starts_with(at) && message.contains(expected),
            "{message} / {at} {expected}"
        );
    }
}

#[test]
fn problems_of_flags_point_at_the_flag() {
    let messages =
        refused(MINIMAL, &["train.stesp=5", "norm.decay=2", "nonsense", "train.steps=5"]);
    assert_eq!(messages.len(), 3, "{messages:#?}");
    assert!(messages[0].starts_with("--set nonsense: expected KEY=VALUE"), "{messages:?}");
    assert!(messages[1].starts_with("--set norm.decay=2: `norm.decay` is 2;"), "{messages:?}");
    assert!(messages[2].starts_with("--set train.stesp=5: unknown key"), "{messages:?}");
}

#[test]
fn a_flag_may_make_keys_of_the_file_idle() {
    let text = with("norm", "decay = 0.5");
    let set = parse("x", "x", &text, &["norm.kind=none".into()]).unwrap();
    assert!(set.arms[0].settings.norm.is_none());
}

#[test]
fn mistakes_of_syntax_are_told_beside_others_and_hide_nothing_twice() {
    let messages = refused("a = \n[norm]\ndecay = = 2\nepsilon = -1\n", &[]);
    assert!(messages.iter().any(|message| message.starts_with("x.toml:1:") && message.contains("this is not TOML")));
    assert!(messages.iter().any(|message| message.starts_with("x.toml:3:")));
    assert!(
        messages
            .iter()
            .any(|message| message.starts_with("x.toml:4:") && message.contains("above 0"))
    );
    assert!(!messages.iter().any(|message| message.contains("missing")), "{messages:#?}");
}

#[test]
fn unknown_names_and_files_are_told_apart() {
    let error = load("decay-and-renrom", &[]).unwrap_err().to_string();
    assert!(error.contains("did you mean decay-and-renorm?"), "{error}");
    let error = load("no/such/file.toml", &[]).unwrap_err().to_string();
    assert!(error.starts_with("no/such/file.toml: "), "{error}");
}
