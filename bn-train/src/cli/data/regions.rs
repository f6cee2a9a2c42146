//! `bn-train data regions`: a trained network's class regions in the plane, under moving and under batch statistics.

use super::super::checkpoint::Saved;
use super::super::print::print_all;
use super::picture::{PLOT, Plots};
use crate::data::Dataset;
use crate::device::DeviceName;
use crate::experiment::Registry;
use crate::model::{Mode, Model};
use anyhow::Context as _;
use candle::{Device, Result, Tensor};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `bn-train data regions`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Regions {
    /// A checkpoint of a run on points in the plane, for example spirals
    checkpoint: PathBuf,
    /// The PNG file to write
    #[arg(short, long, value_name = "FILE.png")]
    output: PathBuf,
    /// The run's settings [default: config.toml in its folder]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Pixels per forward pass: one row of a plot.
const ROW: usize = PLOT;

impl Regions {
    /// Draws the plane under moving statistics (left) and under those of one training batch (right).
    pub(in crate::cli) fn run(&self, registry: &Registry) -> anyhow::Result<ExitCode> {
        let config = self.config.as_deref();
        let saved = Saved::load(registry, &self.checkpoint, config, DeviceName::Cpu)?;
        let data = saved.settings.data.load()?;
        let shape = data.train.shape;
        anyhow::ensure!(
            (shape.channels, shape.height, shape.width) == (2, 1, 1),
            "{}: the network takes {}x{}x{} inputs; expected points in the plane (2x1x1), for example spirals",
            self.checkpoint.display(),
            shape.channels,
            shape.height,
            shape.width
        );
        let model = saved.networks.evaluated();
        let first: Vec<usize> = (0..saved.settings.train.batch_size).collect();
        let batch = data.train.select(&first).to_batch(&Device::Cpu)?;
        let moments = saved.networks.population(&batch.images, batch.len())?;
        let plots = draw(model, &data, [Mode::Moving, Mode::Given(&moments)])?;
        let path = self.output.display();
        plots.picture().write(&self.output).with_context(|| format!("{path}: cannot write"))?;
        print_all(&format!(
            "{path}: step {}; classes under moving statistics on the left, under those of {} training examples on the right; {}\n",
            saved.step,
            batch.len(),
            plots.legend()
        ))
    }
}

/// Draws the classes that `model` predicts in each mode, with the training points on top.
fn draw(model: &Model, data: &Dataset, modes: [Mode<'_>; 2]) -> Result<Plots> {
    let mut plots = Plots::around([&data.train, &data.train]);
    for (side, mode) in modes.into_iter().enumerate() {
        for y in 0..PLOT {
            let points: Vec<f32> = (0..ROW).flat_map(|x| plots.point(x, y)).collect();
            let points = Tensor::from_vec(points, (ROW, 2, 1, 1), &Device::Cpu)?;
            let scores = model.evaluate(&points, mode)?;
            for (x, class) in scores.argmax(1)?.to_vec1::<u32>()?.into_iter().enumerate() {
                plots.shade(side, x, y, class);
            }
        }
        plots.draw(side, &data.train);
    }
    Ok(plots)
}
