//! What can go wrong is tried in the first second, not found in the last hour: output folder, device, data, and the
//! network of every arm.

use crate::data::Source;
use crate::device::DeviceName;
use crate::experiment::plan::{Plan, Run};
use crate::run::DeviceData;
use anyhow::Context as _;
use std::path::Path;

/// What the checks have learnt.
#[derive(Debug, Default)]
pub struct Checked {
    /// The data sets of the plan, each with its digest.
    digests: Vec<(Source, String)>,
}

impl Checked {
    /// Digest of the data that `run` trains on.
    pub fn digest(&self, run: &Run) -> &str {
        let known = self.digests.iter().find(|(source, _)| *source == run.settings.data);
        known.map_or("", |(_, digest)| digest)
    }
}

/// Makes `folder` and tries to write there, opens the device, reads the data, and builds the network of every arm.
///
/// # Errors
/// The first thing that fails, with its path or arm.
pub fn check(plan: &Plan, folder: &Path, device: DeviceName) -> anyhow::Result<Checked> {
    let device = device.open()?;
    let mut checked = Checked::default();
    let mut loaded: Vec<(Source, DeviceData)> = Vec::new();
    for arm in &plan.arms {
        let Some(run) = plan.runs.iter().find(|run| run.arm == *arm) else { continue };
        let source = run.settings.data;
        if !loaded.iter().any(|(held, _)| *held == source) {
            let data = source.load()?;
            loaded.push((source, DeviceData::new(&data, &device).context("the data does not fit on the device")?));
            checked.digests.push((source, data.digest));
        }
        for (_, data) in loaded.iter().filter(|(held, _)| *held == source) {
            data.model(&run.settings, run.seed).with_context(|| format!("arm {arm:?}"))?;
        }
    }
    // Last, so that an experiment that cannot run leaves no folder behind.
    make_writable(folder)?;
    Ok(checked)
}

fn make_writable(folder: &Path) -> anyhow::Result<()> {
    let context = || format!("{}: cannot write into this folder", folder.display());
    std::fs::create_dir_all(folder).with_context(context)?;
    let probe = folder.join(".writable");
    std::fs::write(&probe, "").with_context(context)?;
    std::fs::remove_file(&probe).with_context(context)
}
