//! Laws of a session: neither interruptions nor probes change a row.

use super::super::deferred::deferred;
use super::super::writer::Writer;
use super::*;
use crate::experiment::Registry;
use bn_report::schema::LayerRow;
use candle::Device;
use std::sync::{Arc, Mutex};

/// Rows in memory; their count stands in for the file length.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<Vec<Row>>>);

#[derive(Clone, Debug, PartialEq)]
enum Row {
    Metric(MetricRow),
    Layer(LayerRow),
}

impl Memory {
    fn all(&self) -> Vec<Row> {
        self.0.lock().unwrap().clone()
    }

    fn metrics(&self) -> Vec<MetricRow> {
        let metric = |row| match row {
            Row::Metric(row) => Some(row),
            Row::Layer(_) => None,
        };
        self.all().into_iter().filter_map(metric).collect()
    }

    fn truncate(&self, header: &Header) {
        self.0.lock().unwrap().truncate(header.files["memory"] as usize);
    }
}

impl Writer for Memory {
    fn rows(&mut self, rows: &[MetricRow]) -> Result<(), DirectoryError> {
        self.0.lock().unwrap().extend(rows.iter().cloned().map(Row::Metric));
        Ok(())
    }

    fn layers(&mut self, rows: &[LayerRow]) -> Result<(), DirectoryError> {
        self.0.lock().unwrap().extend(rows.iter().cloned().map(Row::Layer));
        Ok(())
    }

    fn sync(&mut self) -> Result<(String, u64), DirectoryError> {
        Ok(("memory".to_owned(), self.all().len() as u64))
    }
}

fn settings(lines: &str) -> Settings {
    let text = format!(
        "model.hidden = [8]\ntrain.steps = 12\n\
         train.batch_size = 30\ntrain.evaluate_every = 4\n{lines}"
    );
    let adam = "optimizer = { kind = 'adam', learning_rate = 0.01 }\n";
    let text = if lines.contains("optimizer") { text } else { text + "\n" + adam };
    Registry::built_in().settings(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs in `folder` until it is stopped after step `stop_at`.
fn run(
    settings: &Settings,
    folder: &std::path::Path,
    memory: &Memory,
    stop_at: Option<u64>,
) -> Status {
    let data = DeviceData::new(&settings.data.load().unwrap(), &Device::Cpu).unwrap();
    let checkpoints = Checkpoints::new(folder, 2);
    let resumed =
        checkpoints.newest("digest", &|_| Ok(()), &mut |warning| panic!("{warning}")).unwrap();
    if let Some(checkpoint) = &resumed {
        memory.truncate(&checkpoint.header);
    }
    let mut writers = Writers::default();
    writers.push(memory.clone());
    let outputs = Outputs { writers, checkpoints, run_digest: "digest".to_owned(), resumed };
    let stop = AtomicBool::new(false);
    let mut on_progress =
        |progress: Progress| stop.store(Some(progress.step) == stop_at, Ordering::Relaxed);
    train(settings, 1, &data, outputs, &stop, &mut on_progress).unwrap()
}

#[test]
fn interrupted_run_writes_the_same_rows() {
    let settings = settings(
        "checkpoint.every = 5\naverage.kind = 'ema'\npopulation.when = 'evaluations'\nlayers.every = 2\n\
         shadow = { decays = [0.9, 'cumulative'], zero_debias = 'both' }",
    );
    let folder = tempfile::tempdir().unwrap();
    let straight = Memory::default();
    assert_eq!(run(&settings, folder.path(), &straight, None), Status::Finished);
    // Four validations and one test of six passes, and three times training rows; two metrics each.
    assert_eq!(straight.metrics().len(), 2 * (4 * 6 + 3 + 6));
    let straight = straight.all();
    let of_layers = straight.iter().filter_map(|row| match row {
        Row::Layer(row) => Some(row.metric.starts_with("population_")),
        _ => None,
    });
    let (gaps, probed): (Vec<bool>, Vec<bool>) = of_layers.partition(|is_gap| *is_gap);
    // Six steps were probed. Population gaps were taken at four evaluations, two per layer.
    assert!(probed.len() > 6 && probed.len() % 6 == 0, "{}", probed.len());
    assert!(gaps.len() >= 8 && gaps.len() % 8 == 0, "{}", gaps.len());
    for first in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::default();
        assert_eq!(run(&settings, folder.path(), &memory, Some(first)), Status::Interrupted);
        let second = (first + 3).min(11);
        assert_eq!(run(&settings, folder.path(), &memory, Some(second)), Status::Interrupted);
        // Rows that a killed process wrote after its last checkpoint are discarded.
        memory.0.lock().unwrap().push(straight[0].clone());
        assert_eq!(run(&settings, folder.path(), &memory, None), Status::Finished);
        assert_eq!(memory.all(), straight, "stopped after steps {first} and {second}");
        // A complete run has nothing left to do.
        assert_eq!(run(&settings, folder.path(), &memory, None), Status::Finished);
        assert_eq!(memory.all(), straight);
    }
}

#[test]
fn checkpoints_and_averages_do_not_change_other_rows() {
    let rows = |lines: &str| {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::default();
        run(&settings(lines), folder.path(), &memory, None);
        memory.metrics()
    };
    let plain = rows("checkpoint.every = 1000");
    assert_eq!(rows("checkpoint.every = 1"), plain);
    for (kind, statistics) in [
        ("averaged", Statistics::Moving),
        ("copied", Statistics::Moving),
        ("recomputed", Statistics::Population),
    ] {
        let averaged = rows(&format!("average = {{ kind = 'ema', statistics = '{kind}' }}"));
        let (own, others): (Vec<MetricRow>, Vec<MetricRow>) =
            averaged.into_iter().partition(|row| !row.metric.starts_with("averaged_"));
        assert_eq!(own, plain, "{kind}");
        assert_eq!(others.len(), 2 * (4 + 1));
        assert!(others.iter().all(|row| row.statistics == Some(statistics)), "{kind}");
    }
}

#[test]
fn probes_do_not_change_other_rows() {
    let rows = |lines: &str| {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::default();
        assert_eq!(run(&settings(lines), folder.path(), &memory, None), Status::Finished);
        memory.metrics()
    };
    let unwatched = "population.when = 'never'\nlayers.every = 0";
    let watched = "population = { when = 'evaluations', examples = 100 }\nlayers.every = 1\n\
                   shadow.decays = [0.0, 0.5]";
    for norm in ["norm.kind = 'batch'", "norm = { zero_debias = 'both', position = 'after' }"] {
        let plain = rows(&format!("{norm}\n{unwatched}"));
        let (own, others): (Vec<MetricRow>, Vec<MetricRow>) =
            rows(&format!("{norm}\n{watched}")).into_iter().partition(|row| {
                !matches!(row.statistics, Some(Statistics::Population | Statistics::Shadow(_)))
            });
        assert_eq!(own, plain);
        assert_eq!(others.len(), 2 * 3 * (4 + 1));
        assert!(others.iter().all(|row| row.value.is_some()));
    }
}

#[test]
fn pending_steps_write_the_same_rows() {
    for (lines, ends) in [
        ("checkpoint.every = 5\nlayers.every = 4\npopulation.when = 'evaluations'", true),
        ("schedule = { kind = 'cosine', warmup_steps = 3 }\nnorm = { kind = 'renorm' }", true),
        (
            "optimizer = { kind = 'sgd', learning_rate = 1e38 }\nnorm.kind = 'none'\nmodel.activation = 'relu'",
            false,
        ),
        (
            "optimizer = { kind = 'sgd', learning_rate = 1e9 }\nnorm.kind = 'none'\nmodel.activation = 'leaky_relu'",
            false,
        ),
    ] {
        let settings = settings(lines);
        let rows = |settings: &Settings, stop_at: Option<u64>| {
            let (folder, memory) = (tempfile::tempdir().unwrap(), Memory::default());
            let mut status = run(settings, folder.path(), &memory, stop_at);
            if status == Status::Interrupted {
                status = run(settings, folder.path(), &memory, None);
            }
            (status, memory.all())
        };
        let (status, want) = rows(&settings, None);
        assert_eq!(status == Status::Finished, ends, "{lines}: {status:?}");
        for stop_at in [None, Some(1), Some(6)] {
            assert_eq!(
                rows(&deferred(&settings), stop_at),
                (status.clone(), want.clone()),
                "{lines}"
            );
        }
    }
}

#[test]
fn last_and_best_checkpoints_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings("checkpoint.every = 2");
    run(&settings, folder.path(), &Memory::default(), None);
    let checkpoints = Checkpoints::new(folder.path(), 2);
    let steps = checkpoints.steps().unwrap();
    let last = Checkpoint::read(&checkpoints.path(12)).unwrap();
    let best = last.header.best.unwrap();
    assert!([4, 8, 12].contains(&best.step), "{best:?}");
    assert!(steps.ends_with(&[10, 12]) && steps.contains(&best.step) && steps.len() <= 3);
}

#[test]
fn diverged_run_keeps_the_rows_of_its_last_step() {
    let settings = settings(
        "optimizer = { kind = 'sgd', learning_rate = 1e38 }\nnorm.kind = 'none'\nmodel.activation = 'relu'",
    );
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::default();
    let status = run(&settings, folder.path(), &memory, None);
    let Status::Diverged { step, reason } = status else { panic!("{status:?}") };
    assert!(
        reason.starts_with("training loss is ")
            && reason.ends_with("` is the first that is not finite"),
        "{reason}"
    );
    let rows = memory.metrics();
    let loss = rows.iter().rfind(|row| row.metric == "loss").unwrap();
    assert_eq!((loss.step, loss.split, loss.value), (step, Split::Train, None));
    // The losses before it are kept too.
    let before = rows.iter().rfind(|row| row.split == Split::Train && row.value.is_some()).unwrap();
    assert_eq!(before.step.max(1), step);
    let mut keys: Vec<_> =
        rows.iter().map(|row| (row.step, row.split, row.statistics, row.metric.clone())).collect();
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count, "rows are unique");
}
