//! Activations, and their gradients from their outputs: by kernels over slices for f32 on the CPU, and by tensor operations
//! elsewhere.

use std::mem::MaybeUninit;

use super::buffer::{Numbers, Slot, filled, is_plain, tensor};
use super::parallel;
use bn_core::Activation;
use candle::{Result, Tensor};

/// Elements per task.
const CHUNK: usize = 1 << 15;
/// The same for functions that cost ten times as much.
const SLOW_CHUNK: usize = 1 << 12;

/// `f(x)` for a contiguous x.
pub(crate) fn apply(activation: Activation, x: &Tensor) -> Result<Tensor> {
    if !is_plain(x) {
        return activation.apply(x);
    }
    match activation {
        Activation::None => Ok(x.clone()),
        Activation::Relu => map(x, CHUNK, |x| if x <= 0.0 { 0.0 } else { x }),
        Activation::LeakyRelu(slope) => {
            let slope = slope as f32;
            map(x, CHUNK, move |x| if x <= 0.0 { slope * x } else { x })
        }
        Activation::Sigmoid => map(x, SLOW_CHUNK, |x| ((-x).exp() + 1.0).recip()),
        Activation::Tanh => map(x, SLOW_CHUNK, f32::tanh),
    }
}

fn map(x: &Tensor, chunk: usize, f: impl Fn(f32) -> f32 + Sync) -> Result<Tensor> {
    let values = Numbers::of(x)?;
    let values: &[f32] = &values;
    let fill = |y: &mut [MaybeUninit<f32>]| {
        parallel::chunks(y, chunk, |index, y| {
            for (slot, x) in y.iter_mut().zip(&values[index * chunk..]) {
                slot.put(f(*x));
            }
        });
    };
    // SAFETY: the chunks cover y, and x has the same length.
    #[allow(unsafe_code)] // see `filled`
    let y = unsafe { filled(values.len(), fill) };
    tensor(y, x.dims())
}

/// `dy · f′(x)` where `y = f(x)`, for contiguous y and dy. For each of these functions, y determines the slope.
pub(crate) fn gradient(activation: Activation, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    if !is_plain(y) {
        return gradient_of_tensors(activation, y, dy);
    }
    match activation {
        Activation::None => Ok(dy.clone()),
        Activation::Relu => each(y, dy, |y, dy| if y <= 0.0 { 0.0 } else { dy }),
        Activation::LeakyRelu(slope) => {
            let slope = slope as f32;
            each(y, dy, move |y, dy| if y <= 0.0 { slope * dy } else { dy })
        }
        Activation::Sigmoid => each(y, dy, |y, dy| dy * y * (1.0 - y)),
        Activation::Tanh => each(y, dy, |y, dy| dy * (1.0 - y * y)),
    }
}

fn gradient_of_tensors(activation: Activation, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let below = |otherwise: Tensor| y.le(&y.zeros_like()?)?.where_cond(&otherwise, dy);
    match activation {
        Activation::None => Ok(dy.clone()),
        Activation::Relu => below(dy.zeros_like()?),
        Activation::LeakyRelu(slope) => below((dy * slope)?),
        Activation::Sigmoid => dy * (y * y.affine(-1.0, 1.0)?)?,
        Activation::Tanh => dy * y.sqr()?.affine(-1.0, 1.0)?,
    }
}

fn each(y: &Tensor, dy: &Tensor, f: impl Fn(f32, f32) -> f32 + Sync) -> Result<Tensor> {
    let (values, gradients) = (Numbers::of(y)?, Numbers::of(dy)?);
    let (values, gradients): (&[f32], &[f32]) = (&values, &gradients);
    assert_eq!(values.len(), gradients.len(), "y and dy");
    let fill = |dx: &mut [MaybeUninit<f32>]| {
        parallel::chunks(dx, CHUNK, |index, dx| {
            let (values, gradients) = (&values[index * CHUNK..], &gradients[index * CHUNK..]);
            for (slot, (y, dy)) in dx.iter_mut().zip(values.iter().zip(gradients)) {
                slot.put(f(*y, *dy));
            }
        });
    };
    // SAFETY: the chunks cover dx, and y and dy have the same length.
    #[allow(unsafe_code)] // see `filled`
    let dx = unsafe { filled(values.len(), fill) };
    tensor(dx, y.dims())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::{Device, Var};

    #[test]
    fn value_and_gradient_equal_those_of_the_graph() {
        let x = Tensor::new(&[-2.5_f32, -1.0, -0.0, 0.0, 1e-3, 0.5, 3.0], &Device::Cpu).unwrap();
        let x = Var::from_tensor(&x).unwrap();
        let dy = Tensor::new(&[1.0_f32, -2.0, 3.0, 4.0, -5.0, 6.0, 7.0], &Device::Cpu).unwrap();
        for activation in [
            Activation::None,
            Activation::Relu,
            Activation::LeakyRelu(0.01),
            Activation::Sigmoid,
            Activation::Tanh,
        ] {
            let y = activation.apply(&x).unwrap();
            let own = apply(activation, &x).unwrap().to_vec1::<f32>().unwrap();
            assert_eq!(own, y.to_vec1::<f32>().unwrap(), "{activation:?}");
            let want = (&y * &dy).unwrap().sum_all().unwrap().backward().unwrap();
            let want: Vec<f32> = want.get(&x).unwrap().to_vec1().unwrap();
            let got = gradient(activation, &y.detach(), &dy).unwrap();
            let by_tensors = gradient_of_tensors(activation, &y.detach(), &dy).unwrap();
            for got in [got, by_tensors] {
                for (got, want) in got.to_vec1::<f32>().unwrap().iter().zip(&want) {
                    let is_close = (got - want).abs() <= 1e-6 * want.abs();
                    assert!(is_close, "{activation:?}: {got} {want}");
                }
            }
        }
    }
}
