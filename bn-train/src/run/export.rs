//! Exports a trained network under another framework's parameter names.
//!
//! | names | dense weight | convolution weight | norm layers |
//! |---|---|---|---|
//! | PyTorch, candle | `p.weight` `[out, in]` | `p.weight` `[out, in, height, width]` | `p.weight`, `p.bias`, `p.running_mean`, `p.running_var` |
//! | Keras | `p/kernel` `[in, out]` | `p/kernel` `[height, width, in, out]` | `p/gamma`, `p/beta`, `p/moving_mean`, `p/moving_variance` |
//!
//! Images and maps are flattened channel by channel, as in `PyTorch`. Moving variances are exported as stored, biased or
//! unbiased, because that is what evaluation reads.

use crate::model::{Parameter, Role, norm_layers};
use crate::task::Networks;
use bn_core::Names;
use bn_core::interchange::{self, Named};
use candle::Tensor;
use std::str::FromStr;

/// Naming scheme of an exported file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportNames {
    /// `candle_nn`'s.
    Candle,
    /// `torch.nn`'s.
    PyTorch,
    /// Names and layouts of Keras 3.
    Keras,
}

impl FromStr for ExportNames {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "candle" => Ok(Self::Candle),
            "pytorch" => Ok(Self::PyTorch),
            "keras" => Ok(Self::Keras),
            _ => Err("expected candle, pytorch or keras".to_owned()),
        }
    }
}

/// The parameters and moving statistics of `networks` by name.
///
/// # Errors
/// Errors of bn-core.
pub fn export(networks: &Networks, names: ExportNames) -> bn_core::Result<Named> {
    let mut named = Named::new();
    let norms = networks.models().iter().flat_map(|model| norm_layers(model.layers()));
    let norms: Vec<_> = norms.collect();
    let is_of_batch_norm = |parameter: &Parameter| {
        norms.iter().any(|(path, _)| {
            parameter.path.rsplit_once('.').is_some_and(|(layer, _)| layer == path)
        })
    };
    for parameter in networks.parameters().filter(|parameter| !is_of_batch_norm(parameter)) {
        let (name, tensor) = renamed(&parameter, names)?;
        named.insert(name, tensor);
    }
    for (path, norm) in norms {
        let (system, prefix) = match names {
            ExportNames::Candle => (Names::Candle, path),
            ExportNames::PyTorch => (Names::Torch, path),
            ExportNames::Keras => (Names::Keras, path.replace('.', "/")),
        };
        named.extend(interchange::export(norm, system, &prefix, None)?);
    }
    Ok(named)
}

/// Renames a parameter outside batch-norm layers. Parameters are stored in `PyTorch`'s layout.
fn renamed(parameter: &Parameter, names: ExportNames) -> candle::Result<(String, Tensor)> {
    let tensor = parameter.var.as_detached_tensor().copy()?;
    if names != ExportNames::Keras {
        return Ok((parameter.path.clone(), tensor));
    }
    let name = parameter.path.replace('.', "/");
    let module = name.rsplit_once('/').map_or("", |(module, _)| module);
    match parameter.role {
        Role::Weight => {}
        Role::Bias => return Ok((name, tensor)),
        Role::Gamma => return Ok((format!("{module}/gamma"), tensor)),
        Role::Beta => return Ok((format!("{module}/beta"), tensor)),
    }
    let tensor = match tensor.rank() {
        4 => tensor.permute((2, 3, 1, 0))?,
        _ => tensor.t()?,
    };
    Ok((format!("{module}/kernel"), tensor.contiguous()?))
}

#[cfg(test)]
mod tests;
