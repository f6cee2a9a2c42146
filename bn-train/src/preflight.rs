//! What can go wrong is tried in the first second, not found in the last hour: output folder, device, data, and the
//! network of every arm.

use crate::data::Source;
use crate::device::DeviceName;
use crate::experiment::plan::{Plan, Run};
use crate::run::DeviceData;
use anyhow::{Context as _, bail};
use std::fs::{File, TryLockError};
use std::path::Path;

/// What the checks have learnt.
#[derive(Debug)]
pub struct Checked {
    /// The data sets of the plan, each with its digest.
    digests: Vec<(Source, String)>,
    /// Held for as long as this lives: no other bn-train writes into the folder.
    _lock: File,
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
    let mut digests = Vec::new();
    let mut loaded: Vec<(Source, DeviceData)> = Vec::new();
    for arm in &plan.arms {
        let Some(run) = plan.runs.iter().find(|run| run.arm == *arm) else {
            continue;
        };
        let source = run.settings.data;
        if !loaded.iter().any(|(held, _)| *held == source) {
            let data = source.load()?;
            loaded.push((
                source,
                DeviceData::new(&data, &device).context("the data does not fit on the device")?,
            ));
            digests.push((source, data.digest));
        }
        for (_, data) in loaded.iter().filter(|(held, _)| *held == source) {
            data.model(&run.settings, run.seed).with_context(|| format!("arm {arm:?}"))?;
        }
    }
    // Last, so that an experiment that cannot run leaves no folder behind.
    Ok(Checked { digests, _lock: lock(folder)? })
}

/// Makes `folder`, and keeps other bn-trains out of it. The system lifts the lock however this process ends.
fn lock(folder: &Path) -> anyhow::Result<File> {
    let context = || format!("{}: cannot write into this folder", folder.display());
    std::fs::create_dir_all(folder).with_context(context)?;
    let lock = File::create(folder.join(".lock")).with_context(context)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            bail!("{}: another bn-train is writing into this folder", folder.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(context),
    }
}
