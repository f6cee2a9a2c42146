//! A small experiment with something of everything, for tests inside the crate: written as training would write it.

use std::fs;
use std::path::Path;

use crate::schema;

const MANIFEST: &str = r#"schema = 3
name = "small <i> & \"q\""
question = "Which of <b>three</b> arms?"
command = "bn-train run small --seeds 0-1"
version = "bn-train 0.1.0"
baseline = "plain"
[target]
metric = "accuracy"
value = 0.8
[claim]
text = "Norm beats plain"
source = "Someone 2015, figure 1"
number = "2 times sooner"
arm = "norm <0.9>"
expected = "higher"
measure = "final"
metric = "accuracy"
[[metric]]
name = "accuracy"
better = "higher"
unit = "share"
[[axis]]
key = "norm.decay"
values = ["0.9", "0.99"]
[[arm]]
name = "plain"
slug = "plain"
[[arm.run]]
seed = 0
digest = "blake3:0123456789abcdef"
[[arm.run]]
seed = 1
digest = "blake3:1123456789abcdef"
[[arm]]
name = "norm <0.9>"
slug = "norm-0.9"
coordinates = { "norm.decay" = "0.9" }
[[arm.run]]
seed = 0
digest = "blake3:2123456789abcdef"
[[arm.run]]
seed = 1
digest = "blake3:3123456789abcdef"
[[arm]]
name = "norm 0.99"
slug = "norm-0.99"
coordinates = { "norm.decay" = "0.99" }
[[arm.run]]
seed = 0
digest = "blake3:4123456789abcdef"
[[arm.run]]
seed = 1
digest = "blake3:5123456789abcdef"
"#;

/// Writes the experiment: `plain` diverges with seed 1, seed 1 of the last arm is missing, the others finish.
pub(crate) fn write(directory: &Path) {
    fs::create_dir_all(directory).expect("made");
    fs::write(directory.join(schema::MANIFEST), MANIFEST).expect("written");
    let arms = [
        ("plain", "plain", None),
        ("norm-0.9", "norm <0.9>", Some(0.9)),
        ("norm-0.99", "norm 0.99", Some(0.99)),
    ];
    for (place, (slug, name, decay)) in arms.into_iter().enumerate() {
        for seed in 0..2 {
            if (place, seed) != (2, 1) {
                let run = directory.join(slug).join(schema::seed_dir(seed));
                write_run(&run, place, name, decay, seed);
            }
        }
    }
}

fn write_run(run: &Path, place: usize, name: &str, decay: Option<f64>, seed: u64) {
    fs::create_dir_all(run).expect("made");
    let file = |name: &str, text: String| fs::write(run.join(name), text).expect("written");
    let norm = decay
        .map_or("kind = \"none\"".to_owned(), |decay| format!("kind = \"batch\"\ndecay = {decay}"));
    file(
        schema::CONFIG,
        format!(
            "name = \"small\"\narm = {name:?}\nseed = {seed}\n[norm]\n{norm}\n[train]\nsteps = 20\n\
             [provenance]\nversion = \"bn-train 0.1.0\"\ndevice = \"cpu\"\ndata_digest = \"abc\"\n\
             validation_examples = 100\ntest_examples = 100\n"
        ),
    );
    let diverges = (place, seed) == (0, 1);
    let status = if diverges {
        "{\"state\":\"diverged\",\"step\":11,\"reason\":\"the loss is <not> finite\"}\n"
    } else {
        "{\"state\":\"finished\"}\n"
    };
    file(schema::STATUS, status.to_owned());
    let (batch, moving) = if decay.is_some() { ("batch", "moving") } else { ("", "") };
    let mut rows = schema::MetricRow::HEADER.join(",") + "\n";
    let end = if diverges { 10 } else { 20 };
    for step in (0..=end).step_by(5) {
        let accuracy = 0.1 + 0.04 * (step * (place as u64 + 1)).min(20) as f64 + 0.01 * seed as f64;
        let at = format!("{step},0,{}", step * 10);
        rows += &format!("{at},train,{batch},loss,{}\n", 2.5 - accuracy);
        rows += &format!("{at},validation,{moving},accuracy,{accuracy}\n");
        if decay.is_some() {
            rows += &format!("{at},validation,batch,accuracy,{}\n", accuracy + 0.05);
        }
        if step == 20 {
            rows += &format!("{at},test,{moving},accuracy,{}\n", accuracy - 0.02);
        }
    }
    file(schema::METRICS, rows);
    file(
        schema::TIMING,
        format!("step,seconds,examples_per_second,loading_share\n{end},0.5,400,0.1\n"),
    );
    file(
        schema::SCHEDULES,
        format!(
            "step,name,value\n1,learning_rate,0.2\n11,learning_rate,0.02\n{end},learning_rate,0.02\n"
        ),
    );
    if let Some(decay) = decay {
        let mut rows = schema::LayerRow::HEADER.join(",") + "\n";
        for (step, p50) in [(10, decay), (20, 1.0)] {
            for (metric, value) in [
                ("p15", p50 - 1.0),
                ("p50", p50),
                ("p85", p50 + 1.0),
                ("mean_gap", 1.0 - decay),
                ("gradient_norm", 0.5),
            ] {
                rows += &format!("{step},hidden1.norm,{metric},{value}\n");
            }
        }
        file(schema::LAYERS, rows);
    }
}

/// Compares a text with a file in `tests/golden/`; with `UPDATE_GOLDEN=1` in the environment it is written there instead.
pub(crate) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).expect("written");
    }
    let wanted = fs::read_to_string(&path).expect("a golden file");
    let mut lines = wanted.lines().zip(text.lines()).enumerate();
    let differing = lines.find(|(_, (wanted, found))| wanted != found);
    assert!(
        wanted == text,
        "{name} differs, first at {differing:?}: look at it, then run this with UPDATE_GOLDEN=1"
    );
}
