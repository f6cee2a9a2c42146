//! Steps whose scores a device has not handed over yet.

use crate::task::Scores;
use candle::{Result, Tensor};

/// How many steps may be pending. Fetching their scores makes the host wait once for all of them, and bounds how late a
/// run learns that it diverged.
const MOST: usize = 64;

/// The scores of steps that are not known yet, on their device.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// For each step, `[metrics]` in f64.
    steps: Vec<Tensor>,
    /// How many metrics each network has.
    widths: Vec<usize>,
    /// The sum of all scores so far. From the first one that is not finite on, it is not.
    watch: Option<Tensor>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.steps.len() >= MOST
    }

    /// Adds a network's scores to the watched sum, and returns that.
    pub(super) fn watch(&mut self, scores: &Tensor) -> Result<Tensor> {
        let sum = scores.sum_all()?;
        let watch = match self.watch.take() {
            None => sum,
            Some(before) => (before + sum)?,
        };
        self.watch = Some(watch.clone());
        Ok(watch)
    }

    /// Adds a step, with the scores of all its networks, at least one of them on a device.
    pub(super) fn push(&mut self, networks: &[Scores]) -> Result<()> {
        let device = networks.iter().find_map(|scores| match scores {
            Scores::OnDevice(values) => Some(values.device()),
            Scores::Known(_) => None,
        });
        let Some(device) = device else { candle::bail!("a step without scores on a device") };
        let all = networks.iter().map(|scores| scores.on(device)).collect::<Result<Vec<_>>>()?;
        self.steps.push(Tensor::cat(&all, 0)?);
        self.widths = networks.iter().map(Scores::len).collect();
        Ok(())
    }

    /// Waits for the device and takes the scores of all pending steps, by network.
    pub(super) fn take(&mut self) -> Result<Vec<Vec<Vec<f64>>>> {
        let steps = std::mem::take(&mut self.steps);
        // The sum starts anew, so that it cannot overflow over a long run.
        self.watch = None;
        if steps.is_empty() {
            return Ok(Vec::new());
        }
        let by_network = |scores: Vec<f64>| {
            let mut rest = scores.into_iter();
            self.widths.iter().map(|width| rest.by_ref().take(*width).collect()).collect()
        };
        Ok(Tensor::stack(&steps, 0)?.to_vec2()?.into_iter().map(by_network).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Device;

    fn scores(values: &[f64]) -> Tensor {
        Tensor::new(values, &Device::Cpu).unwrap()
    }

    #[test]
    fn watched_sum_stays_not_finite() {
        let mut pending = Pending::default();
        let watch = |pending: &mut Pending, value| {
            pending.watch(&scores(&[value, 1.0])).unwrap().to_scalar::<f64>().unwrap()
        };
        assert_eq!(watch(&mut pending, 2.0), 3.0);
        assert_eq!(watch(&mut pending, -5.0), -1.0);
        assert_eq!(watch(&mut pending, f64::INFINITY), f64::INFINITY);
        assert!(!watch(&mut pending, f64::NEG_INFINITY).is_finite());
        assert!(!watch(&mut pending, 1.0).is_finite());
    }

    #[test]
    fn steps_are_taken_in_order() {
        let mut pending = Pending::default();
        for step in 0..3 {
            let networks =
                [Scores::OnDevice(scores(&[f64::from(step)])), Scores::Known(vec![0.5, 7.0])];
            pending.push(&networks).unwrap();
        }
        assert!(!pending.is_full() && !pending.is_empty());
        let step = |first| vec![vec![first], vec![0.5, 7.0]];
        assert_eq!(pending.take().unwrap(), [step(0.0), step(1.0), step(2.0)]);
        assert!(pending.is_empty() && pending.take().unwrap().is_empty());
        assert!(pending.push(&[Scores::Known(vec![1.0])]).is_err());
    }
}
