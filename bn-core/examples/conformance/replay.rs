//! Finds case files, replays each by its `op`, and counts.

use std::path::{Path, PathBuf};

use bn_core::{MovingAverage, batch_normalization, moments, weighted_moments};
use candle::{Device, Tensor, Var};

use crate::case::{Case, Failure, Outcome};
use crate::layer;

/// What a directory of cases came to.
pub(crate) struct Replay {
    pub(crate) passed: usize,
    /// One line for each failing case.
    pub(crate) failures: Vec<String>,
}

impl Replay {
    /// At least one case, and none failed.
    pub(crate) fn is_success(&self) -> bool {
        self.passed > 0 && self.failures.is_empty()
    }
}

/// Replays every case under a directory, in path order.
pub(crate) fn replay(directory: &Path, device: &Device) -> Result<Replay, String> {
    let mut outcome = Replay { passed: 0, failures: Vec::new() };
    for path in files(directory)? {
        match replay_file(&path, device) {
            Ok(()) => outcome.passed += 1,
            Err(Failure(why)) => outcome.failures.push(format!("{}: {why}", path.display())),
        }
    }
    Ok(outcome)
}

fn files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "safetensors") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn replay_file(path: &Path, device: &Device) -> Outcome<()> {
    let case = Case::load(path, device)?;
    match case.get::<String>("op")?.as_str() {
        "moments" => replay_moments(&case)?,
        "weighted_moments" => replay_weighted_moments(&case)?,
        "batch_normalization" => replay_batch_normalization(&case)?,
        "moving_average" => replay_moving_average(&case)?,
        "batch_norm" => layer::tensorflow(&case)?,
        "composed" => layer::composed(&case)?,
        "torch_batch_norm" | "sync_batch_norm" => layer::torch(&case)?,
        op => return Err(Failure(format!("unknown op `{op}`"))),
    }
    case.require_all_used()
}

fn replay_moments(case: &Case) -> Outcome<()> {
    let x = Var::from_tensor(&case.tensor("x")?)?;
    let axes: Vec<usize> = case.get("axes")?;
    let (mean, variance) = moments(&x, &axes, case.get("keep_dims")?)?;
    compare_moments(case, &mean, &variance, &[("dx", &x)])
}

fn replay_weighted_moments(case: &Case) -> Outcome<()> {
    let x = Var::from_tensor(&case.tensor("x")?)?;
    let weights = Var::from_tensor(&case.tensor("weights")?)?;
    let axes: Vec<usize> = case.get("axes")?;
    let (mean, variance) = weighted_moments(&x, &axes, &weights, case.get("keep_dims")?)?;
    compare_moments(case, &mean, &variance, &[("dx", &x), ("dweights", &weights)])
}

fn compare_moments(
    case: &Case,
    mean: &Tensor,
    variance: &Tensor,
    wrt: &[(&str, &Var)],
) -> Outcome<()> {
    case.compare("mean", mean)?;
    case.compare("variance", variance)?;
    let seeds = [(mean, case.tensor("dmean")?), (variance, case.tensor("dvariance")?)];
    compare_gradients(case, &seeds, wrt)
}

fn replay_batch_normalization(case: &Case) -> Outcome<()> {
    let var = |name: &str| Ok::<Var, Failure>(Var::from_tensor(&case.tensor(name)?)?);
    let maybe = |name: &str| case.optional(name).map(|t| Var::from_tensor(&t)).transpose();
    let (x, mean, variance) = (var("x")?, var("mean")?, var("variance")?);
    let (offset, scale) = (maybe("offset")?, maybe("scale")?);
    let tensor = |v: &'_ Option<Var>| v.as_ref().map(|v| v.as_tensor().clone());
    let epsilon = case.get("epsilon")?;
    let y = batch_normalization(
        &x,
        &mean,
        &variance,
        tensor(&offset).as_ref(),
        tensor(&scale).as_ref(),
        epsilon,
    )?;
    case.compare("y", &y)?;
    let mut wrt = vec![("dx", &x), ("dmean", &mean), ("dvariance", &variance)];
    wrt.extend(offset.as_ref().map(|v| ("doffset", v)));
    wrt.extend(scale.as_ref().map(|v| ("dscale", v)));
    compare_gradients(case, &[(&y, case.tensor("dy")?)], &wrt)
}

fn replay_moving_average(case: &Case) -> Outcome<()> {
    let decay: f64 = case.get("decay")?;
    let average = MovingAverage::new(&case.tensor("initial")?, decay, case.get("zero_debias")?)?;
    let values = case.tensor("values")?;
    let mut after = Vec::new();
    for step in 0..values.dim(0)? {
        average.update(&values.get(step)?)?;
        after.push(average.value()?);
    }
    case.compare("after", &Tensor::stack(&after, 0)?)
}

/// Backward from every seeded output at once, then each gradient against its tensor.
pub(crate) fn compare_gradients(
    case: &Case,
    seeds: &[(&Tensor, Tensor)],
    wrt: &[(&str, &Var)],
) -> Outcome<()> {
    let gradients = seeded(seeds)?.backward()?;
    for (name, var) in wrt {
        let gradient = gradients.get(var).ok_or_else(|| format!("{name}: no gradient"))?;
        case.compare(name, gradient)?;
    }
    Ok(())
}

/// The scalar whose gradient with respect to each output is its seed.
pub(crate) fn seeded(seeds: &[(&Tensor, Tensor)]) -> candle::Result<Tensor> {
    let mut parts = seeds.iter().map(|(output, seed)| (*output * seed)?.sum_all());
    let first = parts.next().unwrap_or_else(|| Tensor::new(0f64, &Device::Cpu))?;
    parts.try_fold(first, |sum, part| sum + part?)
}
