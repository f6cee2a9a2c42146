//! Laws of reading: written settings read back equal, every problem is found, and the template matches the keys.

use super::digest::Surroundings;
use super::*;
use crate::keys::Invalid;

const MINIMAL: &str = "[optimizer]\nlearning_rate = 0.1\n[train]\nsteps = 10\n";

fn flags(set: &[&str]) -> Flags {
    Flags { set: set.iter().map(ToString::to_string).collect(), ..Flags::default() }
}

fn parse(text: &str, flags: &Flags) -> Result<Experiment, Invalid> {
    Registry::built_in().parse("x.toml", "x", text, flags)
}

fn load(name: &str) -> Result<Experiment, LoadError> {
    Registry::built_in().load(name, &Flags::default())
}

fn accepted(text: &str) -> Experiment {
    parse(text, &Flags::default()).unwrap_or_else(|invalid| panic!("{invalid}"))
}

/// The messages for `text` with these `--set` flags.
fn refused(text: &str, set: &[&str]) -> Vec<String> {
    refused_with(text, &flags(set))
}

fn refused_with(text: &str, flags: &Flags) -> Vec<String> {
    match parse(text, flags) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(invalid) => invalid
            .to_string()
            .lines()
            .filter(|line| !line.ends_with("trained"))
            .map(Into::into)
            .collect(),
    }
}

/// `MINIMAL` with one more line in `table`.
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
    for name in Registry::built_in().names() {
        let experiment = load(name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(experiment.name, name);
        assert!(experiment.question.is_some());
    }
    assert!(load(shipped::DEFAULT).is_ok());
}

#[test]
fn config_of_a_run_reads_back_equal() {
    let surroundings = Surroundings::default();
    for name in Registry::built_in().names() {
        let experiment = load(name).unwrap();
        let plan = plan::Plan::new(&experiment);
        for run in &plan.runs {
            let config = plan.config(run, &surroundings, "version", "cpu").to_toml().unwrap();
            let again = accepted(&config);
            assert_eq!(again.arms, [Arm { name: run.arm.clone(), settings: run.settings.clone() }]);
            assert_eq!((&again.seeds, &again.target), (&vec![run.seed], &experiment.target));
            let again = plan::Plan::new(&again);
            assert_eq!(again.runs[0].digest(&surroundings), run.digest(&surroundings));
        }
    }
}

#[test]
fn template_shows_every_key_with_its_default() {
    let registry = Registry::built_in();
    let template = registry.find(shipped::TEMPLATE).unwrap();
    let catalog = catalog::Catalog::new(&registry);
    let arm = catalog.arm.iter().map(|known| &known.entry);
    for entry in catalog.experiment.iter().chain(arm) {
        let (table, name) = entry.path.split_once('.').unwrap_or(("", &entry.path));
        let section = match table {
            "" => template.as_str(),
            table => template.split_once(&format!("\n[{table}]\n")).unwrap().1,
        };
        let section = section.split("\n[").next().unwrap();
        let line = format!("{name} = {}", entry.shown());
        let is_there = section.lines().any(|written| {
            let rest = written.strip_prefix("# ").unwrap_or(written).strip_prefix(&line);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        });
        assert!(is_there, "{line:?} in\n{section}");
    }
    assert!(template.lines().all(|line| line.chars().count() <= 120), "{template}");
}

#[test]
fn template_changes_only_required_keys() {
    let experiment = load(shipped::TEMPLATE).unwrap();
    let given: Vec<&str> = experiment.arms[0].settings.changed.keys().map(String::as_str).collect();
    assert_eq!(given, ["optimizer.learning_rate", "train.steps"]);
}

#[test]
fn defaults_are_written_out() {
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
    let set = parse(&text, &flags(&["norm.decay=0.9"])).unwrap();
    assert_eq!(decays(&set), [0.9, 0.9]);
    assert_eq!(set.notes, ["norm.decay is 0.9 in every arm; it overrides the value set in \"b\""]);
}

#[test]
fn whole_numbers_and_points_are_bounds() {
    let renorm = "kind = 'renorm'\nrenorm = { r_max = 3, d_max = [[0, 0], [10, 5.0]] }";
    let settings = accepted(&with("norm", renorm)).arms.remove(0).settings;
    let clipping = settings.norm.unwrap().batch_norm().unwrap().renorm.clone().unwrap().clipping;
    let bounds = clipping.at(5);
    assert_eq!((bounds.r_min, bounds.r_max, bounds.d_max), (None, Some(3.0), Some(2.5)));
}

#[test]
fn every_wrong_value_reports_its_place_and_what_is_accepted() {
    for (table, line, expected) in [
        ("norm", "decay = 1.0", "expected a number, 0 <= decay < 1"),
        ("norm", "decay = -0.1", "0 <= decay < 1"),
        ("norm", "decay = 'high'", "0 <= decay < 1"),
        ("norm", "decay = nan", "0 <= decay < 1"),
        ("norm", "decay = { a = 1 }", "is not a table"),
        ("norm", "epsilon = 0", "above 0"),
        ("norm", "center = 1", "true or false"),
        (
            "norm",
            "kind = 'instance'",
            "\"batch\", \"renorm\", \"ghost\", \"group\", \"layer\" or \"none\"",
        ),
        ("norm", "zero_debias = true", "\"none\", \"mean\", \"variance\" or \"both\""),
        ("norm", "renorm.decay = 0.9", "no effect here; it applies if norm.kind is \"renorm\""),
        ("norm", "kind = 'renorm'\nrenorm = { r_max = 0.5 }", "a number from 1"),
        ("norm", "kind = 'renorm'\nrenorm = { r_min = 2 }", "0 <= r_min <= 1"),
        ("norm", "kind = 'renorm'\nrenorm = { d_max = [[5, 1], [0, 1]] }", "non-decreasing steps"),
        ("norm", "kind = 'renorm'\nrenorm = { schedule = 'paper', r_max = 3 }", "both set bounds"),
        ("norm", "kind = 'renorm'\nzero_debias = 'both'", "must be \"none\" with the renorm"),
        ("norm", "dekay = 0.9", "did you mean `norm.decay`"),
        ("model", "hidden = [100, 0]", "each a whole number from 1"),
        ("model", "hidden = 100", "a list of widths"),
        ("model", "channels = [8]", "it applies if model.kind is \"convnet\""),
        ("model", "kind = 'convnet'\nchannels = [8, 8, 8, 8]", "halved at most 3 times"),
        ("model", "kind = 'convnet'\nkernel = 4", "odd"),
        ("model", "kind = 'resnet'\ndepth = 21", "6n + 2"),
        ("model", "activation = 'swish'", "\"sigmoid\", \"tanh\""),
        ("data", "name = 'mnits'", "did you mean \"mnist\"?"),
        ("optimizer", "momentum = 1", "0 <= momentum < 1"),
        ("optimizer", "kind = 'lion'", "expected \"sgd\", \"adam\", \"adamw\" or \"rmsprop\""),
        ("schedule", "kind = 'piecewise'\npoints = []", "points [[step, factor], ...]"),
        ("schedule", "every = 5", "it applies if schedule.kind is \"step\""),
        ("train", "batch_size = 0", "a whole number from 1"),
        ("train", "batch_size = 5000", "at most 1257, the number of training examples"),
        ("train", "batch_size = 1", "batch statistics need at least 2 examples"),
        ("train", "evaluate_every = 0", "a whole number from 1"),
        ("train", "evaluate_at = [0.5]", "a list of steps"),
        ("train", "epochs = 3", "`train.epochs` and `train.steps` exclude each other; drop one"),
        ("train", "evaluate_every = 1.5", "a whole number from 1"),
        ("train", "evaluate_every = '20'", "or epochs, as in \"2 epochs\"; write 20"),
        ("train", "evaluate_every = '-2 epochs'", "or epochs, as in"),
        ("model", "hidden = '50,50'", "each a whole number from 1 to 65536; write [50,50]"),
        (
            "optimizer",
            "lr = 0.1",
            "did you mean `optimizer.learning_rate` (takes a number above 0)?",
        ),
        ("norm", "kind = 'renrom'", "did you mean \"renorm\"?"),
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
fn wrong_experiment_keys_are_reported() {
    for (line, expected) in [
        ("seeds = []", "at least one"),
        ("seeds = [1, 1]", "without duplicates"),
        ("seeds = [-1]", "each a whole number from 0"),
        ("seed = 1", "did you mean `seeds`"),
        ("name = ''", "expected a text"),
        ("norm = 3", "expected [norm] with keys from"),
        ("arm = 3", "and [[arm]]"),
        ("weather = 'fine'", "expected data, sampler, augment, task, model, norm"),
        ("target = { metric = 'accuracy' }", "also needs `target.value`"),
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
fn missing_keys_are_reported() {
    let messages = refused("", &[]);
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(
        messages[0].contains("`optimizer.learning_rate` is missing; expected a number above 0")
    );
    assert!(messages[1].contains("`train.steps` is missing; expected a whole number from 1"));
}

#[test]
fn problems_in_arms_are_reported_once_at_their_place() {
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
fn flag_may_make_keys_of_the_file_unused() {
    let text = with("norm", "decay = 0.5");
    let set = parse(&text, &flags(&["norm.kind=none"])).unwrap();
    assert!(set.arms[0].settings.norm.is_none());
}

#[test]
fn syntax_errors_are_reported_with_other_problems() {
    let messages = refused("a = \n[norm]\ndecay = = 2\nepsilon = -1\n", &[]);
    assert!(
        messages
            .iter()
            .any(|message| message.starts_with("x.toml:1:") && message.contains("not valid TOML"))
    );
    assert!(messages.iter().any(|message| message.starts_with("x.toml:3:")));
    assert!(
        messages
            .iter()
            .any(|message| message.starts_with("x.toml:4:") && message.contains("above 0"))
    );
    assert!(!messages.iter().any(|message| message.contains("missing")), "{messages:#?}");
}

#[test]
fn unknown_names_and_missing_files_have_different_errors() {
    let error = load("decay-and-renrom").unwrap_err().to_string();
    assert!(error.contains("did you mean decay-and-renorm?"), "{error}");
    let error = load("no/such/file.toml").unwrap_err().to_string();
    assert!(error.starts_with("no/such/file.toml: "), "{error}");
}

#[test]
fn refused_flags_suggest_what_to_write() {
    for (set, expected) in [
        ("optimizer.lr=0.1", "did you mean `optimizer.learning_rate` (takes"),
        ("model.hidden=50,50", "write --set model.hidden=[50,50]"),
        ("train.steps=1.5", "expected a whole number from 1"),
        ("norm={dekay=0.5}", "did you mean `norm.decay` (takes"),
        ("train.steps='100'", "write --set train.steps=100"),
    ] {
        let messages = refused(MINIMAL, &[set]);
        assert_eq!(messages.len(), 1, "{set}: {messages:#?}");
        assert!(messages[0].starts_with(&format!("--set {set}: ")), "{messages:?}");
        assert!(messages[0].contains(expected), "{messages:?}");
    }
}

#[test]
fn flags_take_exact_floats_and_tables() {
    let set = flags(&["train.steps=1e3", "norm={decay=0.5,zero_debias='mean'}"]);
    let written = &parse(MINIMAL, &set).unwrap().arms[0].settings.written;
    assert_eq!(written["train"]["steps"], toml::Value::Integer(1000));
    assert_eq!(written["norm"]["decay"], toml::Value::Float(0.5));
    assert_eq!(written["norm"]["zero_debias"], toml::Value::String("mean".into()));
}

#[test]
fn key_set_twice_is_refused() {
    let messages = refused(MINIMAL, &["train.steps=5", "norm.decay=0.5", "train.steps=6"]);
    assert_eq!(
        messages,
        ["--set train.steps=6: `train.steps` is set twice; drop this or --set train.steps=5"]
    );
    let twice = Flags { name: Some("a".into()), ..flags(&["name=b"]) };
    assert!(refused_with(MINIMAL, &twice)[0].contains("`name` is set twice"));
    let named = Flags { name: Some("quick".into()), ..Flags::default() };
    let named = parse(&format!("{MINIMAL}[[arm]]\nname = 'a'\n"), &named).unwrap();
    assert_eq!((named.name.as_str(), named.notes.len()), ("quick", 0));
}

#[test]
fn problem_of_some_arms_names_them() {
    let registry = Registry::built_in();
    let invalid = registry.load(shipped::DEFAULT, &flags(&["norm.kind=renorm"])).unwrap_err();
    let text = invalid.to_string();
    for arm in ["decay 0.999 + debias mean", "decay 0.999 + debias both"] {
        let named = format!("(arm {arm:?})");
        let line = text.lines().find(|line| line.contains(&named));
        assert!(line.is_some_and(|line| line.contains("`norm.zero_debias` must be")), "{text}");
    }
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn problems_of_flags_and_file_are_reported_together() {
    let all = Flags {
        seeds: Some("3-1".into()),
        arms: vec!["nobody".into()],
        ..flags(&["norm.dekay=1"])
    };
    let messages = refused_with(&with("norm", "decay = 2"), &all);
    assert_eq!(messages.len(), 4, "{messages:#?}");
    assert!(messages[0].starts_with("x.toml:6:9: `norm.decay` is 2"), "{messages:#?}");
    assert!(messages[1].starts_with("--arms nobody: no arm \"nobody\"; expected"));
    assert!(messages[2].starts_with("--seeds 3-1: the range 3-1 is descending; write 1-3"));
    assert!(messages[3].starts_with("--set norm.dekay=1: unknown key"), "{messages:#?}");
}

#[test]
fn seed_of_a_config_must_be_a_whole_number() {
    for seed in ["-1", "'zero'", "1.5"] {
        let messages = refused(&format!("arm = 'a'\nseed = {seed}\n{MINIMAL}"), &[]);
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(messages[0].starts_with("x.toml:2:8: `seed` is "), "{messages:?}");
        assert!(messages[0].contains("expected a whole number from 0"), "{messages:?}");
    }
}

#[test]
fn epochs_replace_steps_and_the_last_one_set_wins() {
    let epochs = MINIMAL.replace("steps = 10", "epochs = 2");
    let steps = |text: &str, set: &[&str]| {
        let experiment = parse(text, &flags(set)).unwrap_or_else(|invalid| panic!("{invalid}"));
        experiment.arms.iter().map(|arm| arm.settings.train.steps).collect::<Vec<_>>()
    };
    assert_eq!(steps(&epochs, &[]), [40]);
    assert_eq!(steps(&epochs, &["train.steps=7"]), [7]);
    assert_eq!(steps(MINIMAL, &["train.epochs=0.5"]), [10]);
    let arms = "[[arm]]\nname = 'a'\n[[arm]]\nname = 'b'\ntrain.epochs = 1\n";
    assert_eq!(steps(&format!("{MINIMAL}{arms}"), &[]), [10, 20]);
    let messages = refused("optimizer.learning_rate = 1\n", &[]);
    assert!(messages[0].contains("a whole number from 1, or `train.epochs` instead"));
}

fn digest_of(lines: &str) -> String {
    Surroundings::default().digest(0, &Registry::built_in().settings(lines).unwrap())
}

#[test]
fn digest_covers_exactly_what_differs_from_the_defaults() {
    // Pinned, because a digest that changes between versions makes equal runs look different.
    assert_eq!(
        digest_of(MINIMAL),
        "blake3:48fd2fa8a7cdaa33d01c0343343a988d44a25e818f4aaab2d7adafc8d1f54232"
    );
    assert_eq!(digest_of(MINIMAL), digest_of(&with("norm", "decay = 0.999")));
    assert_eq!(digest_of(MINIMAL), digest_of(&with("schedule", "kind = 'constant'")));
    let settings = Registry::built_in().settings(MINIMAL).unwrap();
    let surroundings = Surroundings {
        device_kind: "cpu".into(),
        data: [(settings.data.identity().to_owned(), "blake3:1".to_owned())].into(),
        ..Surroundings::default()
    };
    assert_eq!(surroundings.data_digest(&settings), "blake3:1");
    let cuda = Surroundings { device_kind: "cuda".into(), ..surroundings.clone() };
    let mut other_data = surroundings.clone();
    other_data.data.values_mut().for_each(|digest| digest.push('0'));
    let mut digests = vec![
        digest_of(MINIMAL),
        digest_of(&with("norm", "decay = 0.99")),
        digest_of(&with("optimizer", "momentum = 0.8")),
        surroundings.digest(0, &settings),
        surroundings.digest(1, &settings),
        cuda.digest(0, &settings),
        other_data.digest(0, &settings),
    ];
    let count = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), count);
}

#[test]
fn differences_name_keys_and_treat_missing_ones_as_defaults() {
    let registry = Registry::built_in();
    let config = |lines: &str, device: &str| {
        let experiment = registry.parse("x", "x", lines, &Flags::default()).unwrap();
        let plan = plan::Plan::new(&experiment);
        plan.config(&plan.runs[0], &Surroundings::default(), "v", device)
    };
    let old = config(MINIMAL, "cpu");
    let mut older = old.clone();
    older.settings["norm"].as_table_mut().unwrap().remove("epsilon");
    assert_eq!(registry.differences(&older, &old), []);
    let new = config(&with("norm", "decay = 0.5").replace("0.1", "0.2"), "cuda:1");
    let told: Vec<String> =
        registry.differences(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "device is \"cuda\", was \"cpu\"",
            "norm.decay is 0.5, was 0.999",
            "optimizer.learning_rate is 0.2, was 0.1"
        ]
    );
}

#[test]
fn every_shipped_experiment_has_a_question_and_a_claim() {
    let registry = Registry::built_in();
    for shipped in registry.shipped() {
        let experiment = registry.load(shipped.name, &Flags::default());
        let experiment = experiment.unwrap_or_else(|error| panic!("{}: {error}", shipped.name));
        assert_eq!(experiment.name, shipped.name);
        assert!(experiment.question.is_some(), "{}", shipped.name);
        let claim = experiment.claim.unwrap_or_else(|| panic!("{}: no claim", shipped.name));
        assert!(claim.source.is_some(), "{}", shipped.name);
        // With n pairs of runs the smallest two-sided p is 2 / 2^n, so 6 pairs are needed for p < 0.05.
        assert!(experiment.seeds.len() >= 6, "{}", shipped.name);
    }
}
