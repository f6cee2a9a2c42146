//! Checks everything that can fail before training starts: output folder, device, data, and the network of every arm.

use crate::device::DeviceName;
use crate::experiment::digest::{Surroundings, device_kind};
use crate::experiment::plan::Plan;
use crate::run::DeviceData;
use crate::run::lock::Lock;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The results of the checks.
#[derive(Debug)]
pub struct Checked {
    /// What affects the results of the runs besides their settings.
    pub surroundings: Surroundings,
    /// Keeps other bn-train processes out of the folder until dropped.
    _lock: Lock,
}

/// Opens the device, loads the data, builds the network of every arm, and creates and locks `folder`.
///
/// # Errors
/// The first failure, with its path or arm.
pub fn check(plan: &Plan, folder: &Path, device_name: DeviceName) -> anyhow::Result<Checked> {
    let device = device_name.open()?;
    let mut surroundings = Surroundings {
        device_kind: device_kind(&device_name.to_string()).to_owned(),
        ..Surroundings::default()
    };
    let mut loaded: BTreeMap<&str, DeviceData> = BTreeMap::new();
    for arm in &plan.arms {
        let Some(run) = plan.runs.iter().find(|run| run.arm == *arm) else {
            continue;
        };
        let source = &run.settings.data;
        if !loaded.contains_key(source.identity()) {
            let data = source.load()?;
            let on_device =
                DeviceData::new(&data, &device).context("the data does not fit on the device")?;
            loaded.insert(source.identity(), on_device);
            let examples = (data.validation.labels.len() as u64, data.test.labels.len() as u64);
            surroundings.examples.insert(source.identity().to_owned(), examples);
            surroundings.data.insert(source.identity().to_owned(), data.digest);
        }
        if let Some(data) = loaded.get(source.identity()) {
            data.networks(&run.settings, run.seed).with_context(|| format!("arm {arm:?}"))?;
        }
    }
    // Lock last, so that an experiment that cannot run leaves no folder behind.
    Ok(Checked { surroundings, _lock: lock(folder)? })
}

/// How long to wait for the lock of a process that was just killed.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// Creates `folder` and locks it against other bn-train processes. The system releases the lock when this process exits.
fn lock(folder: &Path) -> anyhow::Result<Lock> {
    let context = || format!("{}: cannot write into this folder", folder.display());
    std::fs::create_dir_all(folder).with_context(context)?;
    Lock::acquire(&folder.join(".lock"), LOCK_PATIENCE).with_context(context)
}
