//! Where a network's numbers stop being finite.

use crate::model::{Mode, Observer, Pass};
use crate::task::Networks;
use candle::{DType, Result, Tensor};

/// The first layer of the evaluated network, in the order of a pass over `images` (or as much noise) by batch statistics,
/// whose result has a number that is not finite; or the path of a parameter of any network that has one, which comes first.
/// None where all of them are finite.
///
/// # Errors
/// What candle or the norm layers report.
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

/// Remembers the first result that is not finite.
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
    // Zero times a number is zero unless the number is not finite; a sum of zeros cannot overflow.
    let zeros = (tensor.flatten_all()?.to_dtype(DType::F32)? * 0.0)?;
    Ok(zeros.sum_all()?.to_scalar::<f32>()? == 0.0)
}
