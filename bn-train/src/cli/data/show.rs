//! `bn-train data show`: a picture of examples.

use super::super::print::print_all;
use super::Which;
use super::picture::{Picture, points, sheet};
use crate::data::Dataset;
use crate::experiment::{DataInUse, Registry};
use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `bn-train data show`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    #[command(flatten)]
    which: Which,
    /// The PNG file to write
    #[arg(short, long, value_name = "FILE.png")]
    output: PathBuf,
}

impl Show {
    /// Draws the first data set.
    pub(super) fn run(&self, registry: &Registry) -> anyhow::Result<ExitCode> {
        let all = self.which.load(registry)?;
        let [DataInUse { source, .. }, others @ ..] = all.as_slice() else {
            anyhow::bail!("{}: no arm uses a data set", self.which.name);
        };
        let data = source.load()?;
        let (picture, legend) = draw(&data)?;
        let path = self.output.display();
        picture.write(&self.output).with_context(|| format!("{path}: cannot write"))?;
        let mut text = format!("{path}: {legend}\n");
        if !others.is_empty() {
            text += &format!(
                "The experiment uses {} data sets; this one belongs to arm {:?}\n",
                all.len(),
                all[0].arms.join(", ")
            );
        }
        print_all(&text)
    }
}

/// Draws points in the plane, or images.
fn draw(data: &Dataset) -> anyhow::Result<(Picture, String)> {
    let shape = data.train.shape;
    match (shape.channels, shape.height, shape.width) {
        (2, 1, 1) => Ok(points(data)),
        (1 | 3, height, width) if height > 1 && width > 1 => Ok(sheet(data)),
        (channels, height, width) => anyhow::bail!(
            "cannot draw examples of {channels}x{height}x{width}; expected images with 1 or 3 channels, or points in the plane"
        ),
    }
}
