//! Finds where a network's numbers stop being finite.

use crate::model::{Mode, Observer, Pass};
use crate::task::Networks;
use candle::{DType, Result, Tensor};

/// Path of the first parameter, of any network, that is not finite. If all are, path of the first layer of the evaluated
/// network whose output is not finite in a forward pass over `images` (or as much noise) with batch statistics. `None` if
/// everything is finite.
///
/// # Errors
/// Errors of candle or the norm layers.
pub(super) fn first_not_finite(networks: &Networks, images: &Tensor) -> Result<Option<String>> {
    for parameter in networks.parameters() {
        if !is_finite(&parameter.var)? {
            return Ok(Some(parameter.path));
        }
    }
    let mut first = First(None);
    let inputs = networks.task().inputs(images)?;
    let mut pass = Pass::evaluate(Mode::Batch).with_observer(&mut first);
    networks.evaluated().forward(&inputs, &mut pass)?;
    drop(pass);
    Ok(first.0)
}

/// Records the first layer whose output is not finite.
struct First(Option<String>);

impl Observer for First {
    fn output(&mut self, path: &str, y: &Tensor) -> Result<()> {
        if self.0.is_none() && !is_finite(y)? {
            self.0 = Some(path.to_owned());
        }
        Ok(())
    }
}

fn is_finite(tensor: &Tensor) -> Result<bool> {
    // 0·v is 0 for finite v and NaN otherwise, and a sum of zeros cannot overflow.
    let zeros = (tensor.flatten_all()?.to_dtype(DType::F32)? * 0.0)?;
    Ok(zeros.sum_all()?.to_scalar::<f32>()? == 0.0)
}
