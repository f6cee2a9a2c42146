//! Made-up experiments, written through the schema as training would write them. No clock, no random device.
#![allow(dead_code, reason = "each test binary uses a part of this")]

pub(crate) mod markup;

use std::fs;
use std::path::Path;

use bn_report::schema::{
    self, Manifest, MetricRow, PlannedArm, PlannedRun, Provenance, RunConfig, Split, Statistics,
    Status, Target,
};

/// How a made-up arm learns.
#[derive(Debug, Clone)]
pub(crate) struct MadeUpArm {
    pub(crate) name: String,
    /// Steps until the weights are good.
    pub(crate) learns_by: f64,
    /// Steps that the moving statistics lag behind; none logs a single reading, as a net without batch norm.
    pub(crate) lag: Option<f64>,
    /// Accuracy in the end.
    pub(crate) ends_at: f64,
    /// Seeds from this one on diverge after 300 steps.
    pub(crate) diverges_from: Option<u64>,
}

impl MadeUpArm {
    pub(crate) fn new(
        name: impl Into<String>,
        learns_by: f64,
        lag: Option<f64>,
        ends_at: f64,
    ) -> Self {
        Self { name: name.into(), learns_by, lag, ends_at, diverges_from: None }
    }

    /// Accuracy by batch and, with a lag, by moving statistics. Both are what a digits net of 270 examples shows.
    fn accuracy(&self, step: u64, seed: u64, lag: f64) -> f64 {
        let noise = noise(step ^ (seed << 20) ^ ((self.name.len() as u64) << 40));
        let learned = 1.0 - (-(step as f64 / self.learns_by).powf(1.4)).exp();
        let seen = if lag > 0.0 { 1.0 - (-(step as f64 / lag).powi(2)).exp() } else { 1.0 };
        let wobble = 0.012 * noise
            + 0.1 * (noise * 0.5) * (seen * (1.0 - seen))
            + 0.02 * noise * (1.0 - learned) * learned;
        let accuracy = 0.1 + (self.ends_at - 0.1) * learned * seen + wobble;
        (accuracy.clamp(0.05, 1.0) * 270.0).round() / 270.0
    }
}

/// A number in -1..1 that depends on the place alone.
fn noise(place: u64) -> f64 {
    let mut z = place.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// The arms of the default experiment, with about its numbers.
pub(crate) fn default_arms() -> Vec<MadeUpArm> {
    vec![
        MadeUpArm::new("no normalization", 1000.0, None, 0.98),
        MadeUpArm::new("batch norm, decay 0.9", 20.0, Some(15.0), 0.97),
        MadeUpArm::new("batch norm, decay 0.99", 20.0, Some(90.0), 0.97),
        MadeUpArm::new("batch norm, decay 0.999", 20.0, Some(550.0), 0.968),
        MadeUpArm::new("decay 0.999, mean debiased", 20.0, Some(300.0), 0.966),
        MadeUpArm::new("decay 0.999, mean and variance debiased", 20.0, Some(12.0), 0.966),
        MadeUpArm::new("batch renorm", 30.0, Some(60.0), 0.972),
    ]
}

pub(crate) fn target() -> Target {
    Target {
        metric: "accuracy".into(),
        value: 0.9,
        split: Split::Validation,
        statistics: Statistics::Moving,
    }
}

/// The rows of a made-up run.
pub(crate) fn rows(arm: &MadeUpArm, seed: u64, steps: u64, every: u64) -> Vec<MetricRow> {
    let mut rows = Vec::new();
    let end =
        if arm.diverges_from.is_some_and(|from| seed >= from) { 300.min(steps) } else { steps };
    for step in (0..=end).filter(|step| step % every == 0) {
        let mut push = |split, statistics, metric: &str, value: f64| {
            let (epoch, examples) = (step * 60 / 1257, step * 60);
            let value = Some(value);
            rows.push(MetricRow {
                step,
                epoch,
                examples,
                split,
                statistics,
                metric: metric.into(),
                value,
            });
        };
        let loss = |accuracy: f64| {
            (2.31 * (1.02 - accuracy)).max(0.02) * (1.0 + 0.05 * noise(seed * 7 + step))
        };
        let batch = arm.accuracy(step, seed, 0.0);
        let reading = arm.lag.map(|_| Statistics::Batch);
        push(Split::Train, reading, "loss", loss(batch));
        push(Split::Validation, reading, "loss", loss(batch));
        push(Split::Validation, reading, "accuracy", batch);
        let mut last = batch;
        if let Some(lag) = arm.lag {
            last = arm.accuracy(step, seed, lag);
            push(Split::Validation, Some(Statistics::Moving), "loss", loss(last) * 2.0);
            push(Split::Validation, Some(Statistics::Moving), "accuracy", last);
        }
        if step == steps {
            push(
                Split::Test,
                arm.lag.map(|_| Statistics::Moving),
                "accuracy",
                last - 0.005 + 0.004 * noise(seed + 99),
            );
        }
    }
    rows
}

pub(crate) fn write_rows(path: &Path, rows: &[MetricRow]) {
    let mut writer =
        csv::WriterBuilder::new().has_headers(false).from_path(path).expect("metrics.csv");
    writer.write_record(MetricRow::HEADER).expect("header");
    for row in rows {
        writer.serialize(row).expect("row");
    }
    writer.flush().expect("flush");
}

pub(crate) fn config(arm: &MadeUpArm, seed: u64) -> RunConfig {
    let norm = match arm.lag {
        None => "kind = \"none\"".to_owned(),
        Some(lag) => format!(
            "kind = \"batch\"\ndecay = {}\nzero_debias = {}",
            1.0 - 1.0 / (lag + 2.0).round(),
            lag < 13.0
        ),
    };
    let settings = format!(
        "[data]\nname = \"digits\"\n[model]\nkind = \"mlp\"\nwidths = [100, 100, 100]\n[norm]\n{norm}\n\
         [optimizer]\nlearning_rate = 0.2\nmomentum = 0.9\n[train]\nsteps = 1500\nbatch_size = 60\n"
    );
    RunConfig {
        name: "decay-and-renorm".into(),
        arm: arm.name.clone(),
        seed,
        question: Some("How do the decay of the moving statistics and batch renorm change what evaluation sees?".into()),
        target: Some(target()),
        provenance: Some(Provenance {
            version: Some("bn-train 0.1.0".into()),
            device: Some("cpu".into()),
            data_digest: Some("5b1f0c6d9e".into()),
            validation_examples: Some(270),
            test_examples: Some(270),
            digest: Some(digest(arm, seed)),
        }),
        settings: toml::from_str(&settings).expect("settings"),
    }
}

fn digest(arm: &MadeUpArm, seed: u64) -> String {
    format!("{:016x}", noise(seed * 1000 + arm.name.len() as u64).to_bits())
}

pub(crate) fn write_run(experiment: &Path, arm: &MadeUpArm, seed: u64, steps: u64, every: u64) {
    let path = experiment.join(schema::slug(&arm.name)).join(schema::seed_dir(seed));
    fs::create_dir_all(&path).expect("run directory");
    fs::write(path.join(schema::CONFIG), config(arm, seed).to_toml().expect("TOML"))
        .expect("config.toml");
    write_rows(&path.join(schema::METRICS), &rows(arm, seed, steps, every));
    let status = match arm.diverges_from {
        Some(from) if seed >= from => {
            Status::Diverged { step: 301, reason: "the loss is not finite".into() }
        }
        _ => Status::Finished,
    };
    fs::write(path.join(schema::STATUS), status.to_json()).expect("status.json");
}

pub(crate) fn manifest(arms: &[MadeUpArm], seeds: u64) -> Manifest {
    let arm = |arm: &MadeUpArm| PlannedArm {
        name: arm.name.clone(),
        slug: schema::slug(&arm.name),
        coordinates: std::collections::BTreeMap::new(),
        runs: (0..seeds).map(|seed| PlannedRun { seed, digest: digest(arm, seed) }).collect(),
    };
    Manifest {
        schema: schema::SCHEMA_VERSION,
        baseline: None,
        claim: None,
        metrics: Vec::new(),
        axes: Vec::new(),
        name: "decay-and-renorm".into(),
        question: None,
        command: Some("bn-train run decay-and-renorm".into()),
        version: Some("bn-train 0.1.0".into()),
        target: Some(target()),
        arms: arms.iter().map(arm).collect(),
    }
}

/// A whole experiment, with its manifest.
pub(crate) fn write_experiment(
    directory: &Path,
    arms: &[MadeUpArm],
    seeds: u64,
    length: (u64, u64),
) {
    let mut order = |_: &mut Vec<(usize, u64)>| {};
    write_in_order(directory, arms, seeds, length, &mut order);
}

/// Puts (arm, seed) pairs in an order.
pub(crate) type Order<'a> = &'a mut dyn FnMut(&mut Vec<(usize, u64)>);

/// [`write_experiment`], with the run directories made in an order of one's own.
pub(crate) fn write_in_order(
    directory: &Path,
    arms: &[MadeUpArm],
    seeds: u64,
    (steps, every): (u64, u64),
    order: Order<'_>,
) {
    fs::create_dir_all(directory).expect("experiment directory");
    let manifest = manifest(arms, seeds).to_toml().expect("TOML");
    fs::write(directory.join(schema::MANIFEST), manifest).expect("manifest.toml");
    let mut runs: Vec<(usize, u64)> =
        (0..arms.len()).flat_map(|arm| (0..seeds).map(move |seed| (arm, seed))).collect();
    order(&mut runs);
    for (arm, seed) in runs {
        write_run(directory, &arms[arm], seed, steps, every);
    }
}
