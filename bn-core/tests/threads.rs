//! Neither the number of threads nor whose they are changes a bit: the same work in processes of one, two
//! and three threads, from a thread of rayon's pool and from another.

mod common;

use std::process::Command;

use bn_core::{
    BatchNormConfig, Call, Convolution, DataFormat, Moments, Operator, PopulationOptions,
    RenormConfig, RenormVariant, ZeroDebias, fold, moments, population_statistics,
    weighted_moments,
};
use candle::{DType, Tensor, Var};
use common::{Numbers, Outcome, bits, gradients, layer, state_bits};

/// Set for the processes that work, to whose pool they work in; the one without it compares.
const WORK: &str = "BN_CORE_THREADS_TEST_WORKS";
/// Before the one line that matters among what the test harness prints.
const MARK: &str = "digest of all results:";

/// FNV-1a over the bits of every result, a word at a time.
struct Digest(u64);

impl Digest {
    fn add(&mut self, t: &Tensor) {
        for word in bits(t) {
            self.0 = (self.0 ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Forward, backward, state, moments, population and folding, on shapes large enough to be shared out.
fn work() -> Outcome<u64> {
    let mut digest = Digest(0xcbf2_9ce4_8422_2325);
    let mut numbers = Numbers(2015);
    let base = BatchNormConfig { zero_debias: ZeroDebias::Both, ..BatchNormConfig::keras() };
    let renorm =
        BatchNormConfig { renorm: Some(RenormConfig::new(RenormVariant::Tf1)), ..base.clone() };
    let ghosts = BatchNormConfig { normalization_batch: Some(5), ..renorm.clone() };
    let shapes: [(&[usize], DataFormat); 4] = [
        (&[12_000, 3], DataFormat::Nhwc),
        (&[31, 9, 12, 13], DataFormat::Nchw),
        (&[31, 12, 13, 8], DataFormat::Nhwc),
        (&[150, 257], DataFormat::Nhwc),
    ];
    for (dims, data_format) in shapes {
        let channels = if data_format == DataFormat::Nchw { dims[1] } else { dims[dims.len() - 1] };
        for dtype in [DType::F32, DType::F64, DType::BF16] {
            let x = numbers.tensor(dims).to_dtype(dtype)?;
            let dy = numbers.tensor(dims).to_dtype(dtype)?;
            let w = numbers.tensor(&dims[..1]).abs()?;
            for config in [&base, &renorm, &ghosts] {
                let config = BatchNormConfig { data_format, ..config.clone() };
                let bn = layer(&config, channels, dtype)?;
                for weights in [None, Some(&w)] {
                    let x = Var::from_tensor(&x)?;
                    let y = bn.forward_with(&x, &Call { weights, ..Call::train() })?;
                    let grads = gradients(&y, &dy)?;
                    digest.add(&y);
                    for var in [Some(&x), bn.gamma(), bn.beta()].into_iter().flatten() {
                        digest.add(grads.get(var).ok_or("no gradient")?);
                    }
                }
                digest.add(&bn.forward_eval(&x)?);
                for (_, words) in state_bits(&bn) {
                    words.iter().for_each(|word| {
                        digest.0 = (digest.0 ^ word).wrapping_mul(0x0100_0000_01b3)
                    });
                }
            }
            for axes in [&[0][..], &[0, dims.len() - 1]] {
                let (mean, variance) = moments(&x, axes, false)?;
                digest.add(&mean);
                digest.add(&variance);
            }
            let mut column = vec![1; dims.len()];
            column[0] = dims[0];
            digest.add(&weighted_moments(&x, &[0], &w.reshape(column)?, false)?.1);
            digest.add(&Moments::of(&x, data_format)?.variance());
        }
    }
    let bn = layer(&BatchNormConfig::torch(), 16, DType::F32)?;
    let batches = (0..5).map(|_| numbers.tensor(&[8, 16, 10, 10]).to_dtype(DType::F32));
    population_statistics(&[&bn], batches, &PopulationOptions::default(), |x| {
        bn.forward_eval(&x?).map(drop)
    })?;
    let (weight, probe) = (numbers.tensor(&[16, 8, 3, 3]), numbers.tensor(&[4, 8, 20, 20]));
    let operator = Operator::Conv2d(Convolution::default());
    let folded =
        fold(operator, &weight.to_dtype(DType::F32)?, None, &bn, &probe.to_dtype(DType::F32)?)?;
    digest.add(&folded.weight);
    digest.add(&folded.bias);
    Ok(digest.0)
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Outcome {
    if let Some(pool) = std::env::var_os(WORK) {
        let digest = match pool == "rayon" {
            true => {
                let pool = rayon::ThreadPoolBuilder::new().build()?;
                pool.install(|| work().map_err(|error| error.to_string()))?
            }
            false => work()?,
        };
        println!("{MARK} {digest:016x}");
        return Ok(());
    }
    let mut digests = Vec::new();
    let runs = ["candle", "rayon"].map(|pool| ["1", "2", "3"].map(|threads| (pool, threads)));
    for (pool, threads) in runs.into_iter().flatten() {
        let output = Command::new(std::env::current_exe()?)
            .args(["results_do_not_depend_on_the_number_of_threads", "--exact", "--nocapture"])
            .env(WORK, pool)
            .env("RAYON_NUM_THREADS", threads)
            .env("CANDLE_NUM_THREADS", threads)
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let digest = text.split(MARK).nth(1).and_then(|rest| rest.split_whitespace().next());
        let digest =
            digest.ok_or_else(|| format!("{pool}, {threads} threads: no digest in `{text}`"))?;
        digests.push(digest.to_owned());
    }
    assert!(
        digests.iter().all(|digest| *digest == digests[0]),
        "1, 2 and 3 threads of candle's and of rayon's: {digests:?}"
    );
    Ok(())
}
