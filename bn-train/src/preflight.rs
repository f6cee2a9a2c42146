//! What can go wrong is tried in the first second, not found in the last hour: output folder, device, data, and the
//! network of every arm; on a GPU, whose memory may not do, one training step of it too.

use crate::device::DeviceName;
use crate::experiment::Settings;
use crate::experiment::digest::{Surroundings, device_kind};
use crate::experiment::plan::Plan;
use crate::run::lock::Lock;
use crate::run::{DeviceData, Trainer};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// What the checks have learnt.
#[derive(Debug)]
pub struct Checked {
    /// What decides the numbers of the runs beside their settings.
    pub surroundings: Surroundings,
    /// Held for as long as this lives: no other bn-train writes into the folder.
    _lock: Lock,
}

/// Makes `folder` and tries to write there, opens the device, reads the data, and builds the network of every arm.
///
/// # Errors
/// The first thing that fails, with its path or arm.
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
            if device.is_cpu() {
                data.networks(&run.settings, run.seed).with_context(|| format!("arm {arm:?}"))?;
            } else {
                try_step(&run.settings, run.seed, data).with_context(|| {
                    does_not_run(arm, run.settings.train.batch_size, device_name)
                })?;
            }
        }
    }
    // Last, so that an experiment that cannot run leaves no folder behind.
    Ok(Checked { surroundings, _lock: lock(folder)? })
}

/// One training step, with all the memory that it takes.
fn try_step(settings: &Settings, seed: u64, data: &DeviceData) -> candle::Result<()> {
    Trainer::new(settings, seed, data)?.step().map(drop)
}

fn does_not_run(arm: &str, batch_size: usize, device_name: DeviceName) -> String {
    format!(
        "arm {arm:?}: a training step of {batch_size} examples fails on {device_name}. If its memory does not do: a \
         smaller train.batch_size, more of train.accumulate, or fewer --jobs need less of it"
    )
}

/// How long a process that was killed may take to be gone, and its lock with it.
const LEAVE: Duration = Duration::from_millis(500);

/// Makes `folder`, and keeps other bn-trains out of it. The system lifts the lock however this process ends.
fn lock(folder: &Path) -> anyhow::Result<Lock> {
    let context = || format!("{}: cannot write into this folder", folder.display());
    std::fs::create_dir_all(folder).with_context(context)?;
    Lock::acquire(&folder.join(".lock"), LEAVE).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Registry;
    use candle::Device;

    #[test]
    fn a_step_is_tried_for_what_it_is() {
        let text = "optimizer.learning_rate = 0.1\ntrain.steps = 2\nmodel.hidden = [9]\n";
        let settings =
            Registry::built_in().settings(text).unwrap_or_else(|invalid| panic!("{invalid}"));
        let data = DeviceData::new(&settings.data.load().unwrap(), &Device::Cpu).unwrap();
        try_step(&settings, 0, &data).unwrap();
        assert!(does_not_run("a", 60, DeviceName::Cuda(1)).contains("60 examples fails on cuda:1"));
    }
}
