//! The texts of this engine's kernels.

use candle::{DType, Result, bail};

use crate::cuda::Program;

/// A file of kernels.
#[derive(Clone, Copy, Debug)]
pub(super) enum File {
    Moments,
    Normalize,
    Gradient,
    /// Formulas on per-channel values, which are f64 whatever the tensors are.
    Formulas,
    /// A forward pass in one launch, and a backward pass.
    Persistent,
}

impl File {
    /// Its program for tensors of a type.
    pub(super) fn program(self, dtype: DType) -> Result<Program> {
        let (name, texts): (_, &[&str]) = match self {
            File::Moments => {
                ("bn-core-moments", &[include_str!("common.cu"), include_str!("moments.cu")])
            }
            File::Normalize => {
                ("bn-core-normalize", &[include_str!("common.cu"), include_str!("normalize.cu")])
            }
            File::Gradient => {
                ("bn-core-gradient", &[include_str!("common.cu"), include_str!("gradient.cu")])
            }
            File::Formulas => (
                "bn-core-formulas",
                &[
                    include_str!("common.cu"),
                    include_str!("formulas.cu"),
                    include_str!("commit.cu"),
                ],
            ),
            File::Persistent => (
                "bn-core-persistent",
                &[
                    include_str!("common.cu"),
                    include_str!("moments.cu"),
                    include_str!("normalize.cu"),
                    include_str!("gradient.cu"),
                    include_str!("formulas.cu"),
                    include_str!("persistent.cu"),
                ],
            ),
        };
        Ok(Program { name, texts, element: element(dtype)? })
    }
}

/// As common.cu numbers them.
fn element(dtype: DType) -> Result<usize> {
    Ok(match dtype {
        DType::F32 => 1,
        DType::F64 => 2,
        DType::F16 => 3,
        DType::BF16 => 4,
        other => bail!("batch norm: no kernels for {other:?}"),
    })
}
