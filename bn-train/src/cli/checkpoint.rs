//! `bn-train evaluate` measures a checkpoint; `bn-train export` writes it under another system's names.

use super::print::print_all;
use crate::device::DeviceName;
use crate::experiment::{Flags, Registry, Settings};
use crate::run::{Checkpoint, DeviceData, ExportNames, Measured, export, measure};
use crate::task::Networks;
use anyhow::Context as _;
use bn_report::schema::CONFIG;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measure a checkpoint under each kind of statistics
#[derive(Debug, Args)]
pub(super) struct Evaluate {
    /// A file in a run's checkpoints folder
    checkpoint: PathBuf,
    /// The run's settings [default: config.toml in its folder]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// cpu, cuda:N, or cuda, the first GPU
    #[arg(long, default_value_t)]
    device: DeviceName,
}

/// Write a checkpoint's weights and statistics under the names of another system, as safetensors
#[derive(Debug, Args)]
pub(super) struct Export {
    /// A file in a run's checkpoints folder
    checkpoint: PathBuf,
    /// candle, pytorch or keras
    #[arg(long, value_name = "SYSTEM")]
    names: ExportNames,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The run's settings [default: config.toml in its folder]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Evaluate {
    pub(super) fn run(&self, registry: &Registry) -> anyhow::Result<ExitCode> {
        let saved = Saved::load(registry, &self.checkpoint, self.config.as_deref(), self.device)?;
        let measured = measure(&saved.networks, &saved.data, &saved.settings)?;
        print_all(&table(saved.step, &saved.networks.metrics(), &measured))
    }
}

impl Export {
    pub(super) fn run(&self, registry: &Registry) -> anyhow::Result<ExitCode> {
        let saved =
            Saved::load(registry, &self.checkpoint, self.config.as_deref(), DeviceName::Cpu)?;
        let named = export(&saved.networks, self.names)?;
        let bytes = bn_core::interchange::to_bytes(&named)?;
        std::fs::write(&self.output, bytes)
            .with_context(|| format!("{}: cannot write this file", self.output.display()))?;
        print_all(&format!(
            "{}: {} tensors of step {}\n",
            self.output.display(),
            named.len(),
            saved.step
        ))
    }
}

/// A checkpoint with its run's settings, networks and data.
pub(super) struct Saved {
    pub(super) settings: Settings,
    pub(super) networks: Networks,
    data: DeviceData,
    /// Updates done.
    pub(super) step: u64,
}

impl Saved {
    pub(super) fn load(
        registry: &Registry,
        path: &Path,
        config: Option<&Path>,
        device: DeviceName,
    ) -> anyhow::Result<Self> {
        let config = match config {
            Some(config) => config.to_owned(),
            None => config_of(path),
        };
        let text = std::fs::read_to_string(&config).with_context(|| {
            format!(
                "{}: cannot read the run's settings; pass their path with --config",
                config.display()
            )
        })?;
        let experiment =
            registry.parse(&config.display().to_string(), "run", &text, &Flags::default())?;
        let (arm, seed) = (experiment.arms.into_iter().next(), experiment.seeds.first().copied());
        let (arm, seed) = arm
            .zip(seed)
            .with_context(|| format!("{}: expected the settings of one run", config.display()))?;
        let settings = arm.settings;
        let data = DeviceData::new(&settings.data.load()?, &device.open()?)?;
        let networks = data.networks(&settings, seed)?;
        let mut checkpoint = Checkpoint::read(path)?;
        networks
            .load(&mut checkpoint.state)
            .with_context(|| format!("{} does not fit {}", path.display(), config.display()))?;
        Ok(Self { settings, networks, data, step: checkpoint.header.step })
    }
}

/// Path of `config.toml` in the run's folder, the parent of the checkpoints folder.
fn config_of(checkpoint: &Path) -> PathBuf {
    let run = checkpoint.parent().and_then(Path::parent);
    match run {
        Some(run) => run.join(CONFIG),
        // A bare file name: the working directory is the checkpoints folder.
        None => Path::new("..").join(CONFIG),
    }
}

fn table(step: u64, metrics: &[String], measured: &[Measured]) -> String {
    let cells = |cells: Vec<String>| -> String {
        let widths = metrics.iter().map(|name| name.len().max(10));
        let columns = cells.iter().zip(widths).map(|(cell, width)| format!(" {cell:>width$}"));
        columns.collect()
    };
    let mut text = format!("step {step}\n{:<12} {:<12}", "split", "statistics");
    text += &format!("{}\n", cells(metrics.to_vec()));
    for Measured { split, statistics, scores } in measured {
        let statistics = statistics.map_or_else(String::new, |statistics| statistics.to_string());
        let scores = cells(scores.iter().map(|score| format!("{score:.6}")).collect());
        text += &format!("{:<12} {statistics:<12}{scores}\n", split.name());
    }
    text
}
