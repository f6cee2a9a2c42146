//! Replays the cases of the layer: TensorFlow's, PyTorch's (one rank or several) and the composed ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use bn_core::{
    Activation, BatchNorm, BatchNormConfig, Call, Clipping, Collective, DataFormat, Decay,
    Initializer, Regularizer, RenormConfig, RenormVariant, StoredVariance, Threads, Updates,
    ZeroDebias, decay_from_momentum,
};
use candle::{DType, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};

use crate::case::{Case, Failure, Outcome};
use crate::replay::seeded;

/// `tf.contrib.layers.batch_norm` and `tf.layers.batch_normalization`.
pub(crate) fn tensorflow(case: &Case) -> Outcome<()> {
    let renorm = match case.get::<bool>("renorm")? {
        true => Some(RenormVariant::Keras),
        false => None,
    };
    let l2: Option<f64> = case.get("l2")?;
    let (center, scale): (bool, bool) = (case.get("center")?, case.get("scale")?);
    let config = BatchNormConfig {
        center,
        scale,
        activation: case
            .one_of("activation", &[("null", Activation::None), ("relu", Activation::Relu)])?,
        beta_regularizer: l2.filter(|_| center).map(Regularizer::L2),
        gamma_regularizer: l2.filter(|_| scale).map(Regularizer::L2),
        zero_debias: match case.get("zero_debias_moving_mean")? {
            true => ZeroDebias::Mean,
            false => ZeroDebias::None,
        },
        ..common(case, renorm)?
    };
    let config = if case.get("fused")? { config.fused() } else { config };
    let bn = build(case, config)?;
    let updates =
        case.one_of("updates", &[("forced", None), ("deferred", Some(Updates::new()))])?;
    let bn = match &updates {
        Some(updates) => bn.with_updates(updates),
        None => bn,
    };
    if l2.is_some() {
        let loss = bn.regularization_loss()?.ok_or_else(|| "no regularization loss".to_owned())?;
        let want = case.tensor("regularization_loss")?;
        case.compare("regularization_loss", &loss.reshape(want.dims())?)?;
    }
    let weighted: bool = case.get("batch_weights")?;
    steps(case, &bn, updates.as_ref(), weighted.then_some("batch_weights"))
}

/// The combinations that no other system has.
pub(crate) fn composed(case: &Case) -> Outcome<()> {
    let renorm = case.one_of(
        "renorm",
        &[
            ("null", None),
            ("tf1", Some(RenormVariant::Tf1)),
            ("keras", Some(RenormVariant::Keras)),
            ("paper", Some(RenormVariant::Paper)),
        ],
    )?;
    let debias = [
        ("none", ZeroDebias::None),
        ("mean", ZeroDebias::Mean),
        ("variance", ZeroDebias::Variance),
        ("both", ZeroDebias::Both),
    ];
    let stored = [("biased", StoredVariance::Biased), ("unbiased", StoredVariance::Unbiased)];
    let config = BatchNormConfig {
        center: true,
        scale: true,
        zero_debias: case.one_of("zero_debias", &debias)?,
        stored_variance: case.one_of("stored_variance", &stored)?,
        ..common(case, renorm)?
    };
    let weighted = case.one_of(
        "weights",
        &[("none", None), ("batch", Some("weights")), ("full", Some("weights"))],
    )?;
    steps(case, &build(case, config)?, None, weighted)
}

/// What the two families of cases say in the same words.
fn common(case: &Case, renorm: Option<RenormVariant>) -> Outcome<BatchNormConfig> {
    let formats = [("NHWC", DataFormat::Nhwc), ("NCHW", DataFormat::Nchw)];
    let clip: BTreeMap<String, f64> = case.get("renorm_clipping")?;
    if let Some(unknown) = clip.keys().find(|key| !["rmin", "rmax", "dmax"].contains(&key.as_str()))
    {
        return Err(Failure(format!("unknown key `{unknown}` in `renorm_clipping`")));
    }
    let bound = |name: &str| clip.get(name).copied();
    let renorm_decay = case.get("renorm_decay")?;
    Ok(BatchNormConfig {
        data_format: case.one_of("data_format", &formats)?,
        decay: Decay::Constant(case.get("decay")?),
        epsilon: case.get("epsilon")?,
        beta_initializer: Initializer::Values(case.values("beta_initial")?),
        gamma_initializer: Initializer::Values(case.values("gamma_initial")?),
        moving_mean_initializer: Initializer::Values(case.values("moving_mean_initial")?),
        moving_variance_initializer: Initializer::Values(case.values("moving_variance_initial")?),
        renorm: renorm.map(|variant| RenormConfig {
            variant,
            decay: renorm_decay,
            clipping: Clipping::constant(bound("rmin"), bound("rmax"), bound("dmax")),
        }),
        ..BatchNormConfig::tf_layers()
    })
}

/// The layer with variables of its own; what they start with is compared where the case says it.
fn build(case: &Case, config: BatchNormConfig) -> Outcome<BatchNorm> {
    let dtype = case.tensor("moving_mean_initial")?.dtype();
    let channels = case.tensor("moving_mean_initial")?.elem_count();
    let variables = VarMap::new();
    let bn = config.build(channels, VarBuilder::from_varmap(&variables, dtype, case.device()))?;
    for (name, var) in bn.statistics() {
        case.compare_if_there(&format!("{name}_initial"), &var)?;
    }
    Ok(bn)
}

/// All training steps, then evaluation.
fn steps(
    case: &Case,
    bn: &BatchNorm,
    updates: Option<&Updates>,
    weights: Option<&str>,
) -> Outcome<()> {
    for i in 0..case.get::<usize>("steps")? {
        let at = |name: &str| format!("step{i}.{name}");
        let x = Var::from_tensor(&case.tensor(&at("x"))?)?;
        let weights = weights.map(|name| case.tensor(&at(name))).transpose()?;
        let call = Call { weights: weights.as_ref(), ..Call::train() };
        let y = bn.forward_with(&x, &call)?;
        case.compare(&at("y"), &y)?;
        if let Some(updates) = updates {
            updates.commit()?;
        }
        let gradients = seeded(&[(&y, case.tensor(&at("dy"))?)])?.backward()?;
        for (name, var) in [("dx", Some(&x)), ("dgamma", bn.gamma()), ("dbeta", bn.beta())] {
            let Some(var) = var else { continue };
            let gradient =
                gradients.get(var).ok_or_else(|| format!("{}: no gradient", at(name)))?;
            case.compare(&at(name), gradient)?;
        }
        for (name, var) in bn.statistics() {
            case.compare_if_there(&at(&name), &var)?;
        }
        compare_correction(case, bn, i)?;
    }
    case.compare("eval.y", &bn.forward_eval(&case.tensor("eval.x")?)?)
}

/// r and d, which are 1 and 0 where the layer has no renorm.
fn compare_correction(case: &Case, bn: &BatchNorm, step: usize) -> Outcome<()> {
    let (r, d) = match bn.last_correction() {
        Some(correction) => (correction.r().get(0)?, correction.d().get(0)?),
        None => {
            let zeros = Tensor::zeros(bn.channels(), DType::F64, case.device())?;
            (zeros.ones_like()?, zeros)
        }
    };
    case.compare_if_there(&format!("step{step}.r"), &r)?;
    case.compare_if_there(&format!("step{step}.d"), &d)
}

/// `torch.nn.BatchNorm`; with a split, ranks that hold so many items each see the batch together.
pub(crate) fn torch(case: &Case) -> Outcome<()> {
    let examples = case.tensor("step0.x")?.dim(0)?;
    let split = case.get::<Option<Vec<usize>>>("split")?.unwrap_or_else(|| vec![examples]);
    let affine: bool = case.get("affine")?;
    let values = |name: &str| case.values(name).map(Initializer::Values);
    let config = BatchNormConfig {
        decay: match case.get::<Option<f64>>("momentum")? {
            Some(momentum) => Decay::Constant(decay_from_momentum(momentum)),
            None => Decay::Cumulative,
        },
        epsilon: case.get("eps")?,
        center: affine,
        scale: affine,
        gamma_initializer: if affine { values("weight")? } else { Initializer::ONES },
        beta_initializer: if affine { values("bias")? } else { Initializer::ZEROS },
        ..BatchNormConfig::torch()
    };
    let steps: usize = case.get("steps")?;
    let ranks = Threads::group(split.len());
    let results: Vec<Outcome<Vec<Step>>> = std::thread::scope(|scope| {
        let work = ranks.into_iter().enumerate().map(|(rank, group)| {
            let start: usize = split[..rank].iter().sum();
            let mine = Share { start, len: split[rank] };
            let inputs = (0..steps).map(|i| mine.inputs(case, i)).collect::<Outcome<Vec<_>>>();
            let eval = mine.of(case, "eval.x");
            let config = config.clone();
            scope.spawn(move || rank_steps(config, inputs?, eval?, Arc::new(group)))
        });
        let threads: Vec<_> = work.collect();
        threads.into_iter().map(join).collect()
    });
    let errors: Vec<String> =
        results.iter().filter_map(|r| Some(r.as_ref().err()?.0.clone())).collect();
    let ranks =
        results.into_iter().collect::<Outcome<Vec<_>>>().map_err(|_| Failure(errors.join("; ")))?;
    for i in 0..=steps {
        let name = |name: &str| {
            if i < steps { format!("step{i}.{name}") } else { format!("eval.{name}") }
        };
        let of_ranks: Vec<&Step> = ranks.iter().map(|steps| &steps[i]).collect();
        compare_step(case, name, &of_ranks)?;
    }
    Ok(())
}

/// The examples that a rank holds.
struct Share {
    start: usize,
    len: usize,
}

impl Share {
    fn of(&self, case: &Case, name: &str) -> Outcome<Tensor> {
        Ok(case.tensor(name)?.narrow(0, self.start, self.len)?.copy()?)
    }

    fn inputs(&self, case: &Case, step: usize) -> Outcome<(Tensor, Tensor)> {
        Ok((self.of(case, &format!("step{step}.x"))?, self.of(case, &format!("step{step}.dy"))?))
    }
}

/// What one rank computes in one step.
struct Step {
    y: Tensor,
    gradients: Vec<(&'static str, Tensor)>,
    statistics: Vec<(&'static str, Tensor)>,
}

fn rank_steps(
    config: BatchNormConfig,
    inputs: Vec<(Tensor, Tensor)>,
    eval: Tensor,
    group: Arc<dyn Collective>,
) -> Outcome<Vec<Step>> {
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, eval.dtype(), eval.device());
    let bn = config.build(eval.dim(1)?, vb)?.with_collective(group);
    let mut steps = Vec::new();
    for (x, dy) in inputs {
        let x = Var::from_tensor(&x)?;
        let y = bn.forward_train(&x)?;
        let gradients = seeded(&[(&y, dy)])?.backward()?;
        let wrt = [("dx", Some(&x)), ("dweight", bn.gamma()), ("dbias", bn.beta())];
        let gradient = |(name, var): (&'static str, Option<&Var>)| {
            let var = var?;
            Some(
                gradients
                    .get(var)
                    .cloned()
                    .ok_or_else(|| Failure(format!("{name}: no gradient")))
                    .map(|g| (name, g)),
            )
        };
        steps.push(Step {
            gradients: wrt.into_iter().filter_map(gradient).collect::<Outcome<_>>()?,
            statistics: vec![
                ("running_mean", bn.moving_mean()?.copy()?),
                ("running_var", bn.moving_variance()?.copy()?),
            ],
            y,
        });
    }
    let y = bn.forward_eval(&eval)?;
    steps.push(Step { y, gradients: Vec::new(), statistics: Vec::new() });
    Ok(steps)
}

/// Ranks' y and dx one after the other, their gradients of weight and bias added up, every rank's statistics.
fn compare_step(case: &Case, name: impl Fn(&str) -> String, ranks: &[&Step]) -> Outcome<()> {
    let joined = |parts: Vec<&Tensor>| Tensor::cat(&parts, 0);
    case.compare(&name("y"), &joined(ranks.iter().map(|rank| &rank.y).collect())?)?;
    for (g, (what, first)) in ranks[0].gradients.iter().enumerate() {
        let of_ranks = ranks.iter().map(|rank| &rank.gradients[g].1);
        let whole = match *what {
            "dx" => joined(of_ranks.collect())?,
            _ => of_ranks.skip(1).try_fold(first.clone(), |sum, part| sum + part)?,
        };
        case.compare(&name(what), &whole)?;
    }
    for rank in ranks {
        for (what, value) in &rank.statistics {
            case.compare(&name(what), value)?;
        }
    }
    Ok(())
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, Outcome<T>>) -> Outcome<T> {
    thread.join().unwrap_or_else(|_| Err(Failure("a rank panicked".to_owned())))
}
