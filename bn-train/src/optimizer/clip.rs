//! Gradient clipping by global norm.

use crate::model::{Gradients, Parameter};
use crate::ops::buffer::{Numbers, is_plain};
use candle::{DType, Result, Tensor};
use rayon::prelude::*;

/// Elements per task. Chunk sums are added in order, so the result does not depend on the number of threads.
const CHUNK: usize = 1 << 14;

/// `sqrt(Σ g²)` over the gradients of `parameters`, summed in f64 in the given order.
///
/// # Errors
/// Errors of candle.
pub fn gradient_norm(parameters: &[Parameter], gradients: &Gradients) -> Result<f64> {
    let found = parameters.iter().filter_map(|parameter| gradients.get(&parameter.var));
    let mut sum = 0.0;
    for gradient in found {
        sum += squares(gradient)?;
    }
    Ok(sum.sqrt())
}

/// The factor that reduces gradients of this norm to at most `bound`, as in `PyTorch`.
pub(super) fn scale(norm: f64, bound: f64) -> f64 {
    (bound / (norm + 1e-6)).min(1.0)
}

fn squares(tensor: &Tensor) -> Result<f64> {
    if !is_plain(tensor) {
        return tensor.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>();
    }
    let tensor = tensor.contiguous()?;
    let numbers = Numbers::of(&tensor)?;
    if numbers.len() <= CHUNK {
        return Ok(squares_of_chunk(&numbers));
    }
    let sums: Vec<f64> = numbers.par_chunks(CHUNK).map(squares_of_chunk).collect();
    Ok(sums.iter().sum())
}

/// Sums in eight lanes, so that the compiler can vectorize.
fn squares_of_chunk(numbers: &[f32]) -> f64 {
    let mut lanes = [0.0_f64; 8];
    for group in numbers.chunks(lanes.len()) {
        for (lane, &number) in lanes.iter_mut().zip(group) {
            *lane += f64::from(number) * f64::from(number);
        }
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;
    use candle::{Device, Var};

    /// Parameters with these gradients.
    fn with_gradients(values: &[Vec<f32>]) -> (Vec<Parameter>, Gradients) {
        let mut gradients = Gradients::new();
        let parameters = values.iter().enumerate().map(|(index, values)| {
            let gradient = Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap();
            let variable = Var::from_tensor(&gradient.zeros_like().unwrap()).unwrap();
            gradients.add(&variable, gradient).unwrap();
            Parameter {
                path: index.to_string(),
                role: Role::Weight,
                var: variable,
                is_trained: true,
            }
        });
        (parameters.collect(), gradients)
    }

    #[test]
    fn norm_covers_all_gradients_as_one_vector() {
        let (parameters, gradients) = with_gradients(&[vec![3.0, 0.0], vec![], vec![-4.0, 12.0]]);
        assert_eq!(gradient_norm(&parameters, &gradients).unwrap(), 13.0);
        let long: Vec<f32> = (0..3 * CHUNK + 5).map(|i| (i as f32).sin()).collect();
        let want = long.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
        let (parameters, gradients) = with_gradients(&[long]);
        let got = gradient_norm(&parameters, &gradients).unwrap();
        assert!((got - want).abs() < 1e-12 * want, "{got} {want}");
    }

    #[test]
    fn norm_is_bitwise_equal_for_any_thread_count() {
        let long: Vec<f32> = (0..5 * CHUNK + 77).map(|i| (i as f32 * 0.7).sin()).collect();
        let (parameters, gradients) = with_gradients(&[long.clone(), long]);
        let norm = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| gradient_norm(&parameters, &gradients).unwrap().to_bits())
        };
        assert_eq!(norm(1), norm(2));
        assert_eq!(norm(1), norm(7));
    }

    #[test]
    fn scale_only_shortens_gradients_above_the_bound() {
        assert_eq!(scale(0.5, 1.0), 1.0);
        assert_eq!(scale(0.0, 1.0), 1.0);
        for norm in [1.5, 10.0, 1e6] {
            assert!((scale(norm, 1.0) * norm - 1.0).abs() < 1e-5);
        }
    }
}
