//! Checks everything that can fail before training starts: output folder, devices, data, the network of every arm, and on
//! a GPU, whose memory may be too small, one training step and one evaluation of each arm, on the first of several GPUs.

use crate::device::DeviceName;
use crate::experiment::Settings;
use crate::experiment::digest::{Surroundings, device_kind};
use crate::experiment::plan::Plan;
use crate::model::Mode;
use crate::run::lock::Lock;
use crate::run::{DeviceData, Trainer};
use anyhow::Context as _;
use bn_report::schema::Split;
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

/// Opens the devices, loads the data, builds the network of every arm, and creates and locks `folder`.
///
/// # Errors
/// The first failure, with its device, path or arm.
pub fn check(plan: &Plan, folder: &Path, devices: &[DeviceName]) -> anyhow::Result<Checked> {
    let (&device_name, others) = devices.split_first().context("no device to train on")?;
    let device = device_name.open()?;
    for other in others {
        other.open()?;
    }
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
                let context = || format!("arm {arm:?} on {device_name}");
                try_step(&run.settings, run.seed, data).with_context(context)?;
            }
        }
    }
    // Lock last, so that an experiment that cannot run leaves no folder behind.
    Ok(Checked { surroundings, _lock: lock(folder)? })
}

/// One training step, one checkpoint's copy of the state and one evaluation, with all the memory that they need.
fn try_step(settings: &Settings, seed: u64, data: &DeviceData) -> anyhow::Result<()> {
    let trained = settings.train.batch_size;
    let advice = "train.batch_size, a larger train.accumulate";
    let step = || does_not_run("a training step", trained, advice);
    let mut trainer = Trainer::new(settings, seed, data).with_context(step)?;
    trainer.step().with_context(step)?;
    // Until here the device may not have begun.
    trainer.settle().with_context(step)?;
    trainer.state().context("no room for a checkpoint's copy of the state; use fewer --jobs")?;
    let evaluated = settings.probes.batch_size;
    let evaluation = || does_not_run("an evaluation", evaluated, "evaluate.batch_size");
    let examples = data.split(Split::Validation).spread(evaluated)?;
    let scores = trainer.networks().evaluate(&examples, Mode::Moving, evaluated);
    scores.map(drop).with_context(evaluation)
}

fn does_not_run(what: &str, examples: usize, advice: &str) -> String {
    format!(
        "{what} of {examples} examples fails. If memory is short, use a smaller {advice}, or fewer --jobs"
    )
}

/// How long to wait for the lock of a process that was just killed.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// Creates `folder` and locks it against other bn-train processes. The system releases the lock when this process exits.
fn lock(folder: &Path) -> anyhow::Result<Lock> {
    let context = || format!("{}: cannot write into this folder", folder.display());
    std::fs::create_dir_all(folder).with_context(context)?;
    Lock::acquire(&folder.join(".lock"), LOCK_PATIENCE).with_context(context)
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
        let message = does_not_run("an evaluation", 500, "evaluate.batch_size");
        assert!(message.starts_with("an evaluation of 500 examples fails"), "{message}");
    }
}
