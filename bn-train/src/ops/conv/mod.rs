//! Two-dimensional convolution, NCHW: [`convolved`] for tensors, and [`forward`] for slices of f32, each with its gradients.
//!
//! Two algorithms on the CPU: the direct sum covers every kernel, stride and padding; Winograd's minimal filtering takes 3x3 kernels of
//! stride 1 between many channels. Both have output channels in the vector lanes. A task is a few images. The gradient by the
//! weights is summed over a fixed number of groups of images; with more threads than groups, the channels of a group are
//! divided too. Results are therefore bitwise equal for any number of threads.
//!
//! On other devices, and for other types, `cudnn.rs` or `tensors.rs` compute the convolution of tensors.

#[cfg(feature = "cudnn")]
mod cudnn;
mod direct;
mod lanes;
mod op;
mod pack;
mod shape;
mod share;
mod tensors;
#[cfg(test)]
mod tests;
mod winograd;

pub(crate) use op::{conv_shape, convolved, gradient_by_input, gradient_by_weights};
pub use shape::ConvShape;

/// `y = x ∗ w`. Shapes as in [`ConvShape`]; y is `[images, outputs, rows, columns]`.
///
/// # Panics
/// A slice does not have the length of the shape, the kernel does not fit, or a size other than `images` is 0.
pub fn forward(shape: &ConvShape, x: &[f32], weights: &[f32]) -> Vec<f32> {
    let output = checked(shape);
    shape.check_input(x);
    shape.check_weights(weights);
    if winograd::applies(shape) {
        winograd::forward(shape, output, x, weights)
    } else {
        direct::forward(shape, output, x, weights)
    }
}

/// The gradient by x.
///
/// # Panics
/// As [`forward`].
pub fn input_gradient(shape: &ConvShape, dy: &[f32], weights: &[f32]) -> Vec<f32> {
    let output = checked(shape);
    shape.check_result(dy, output);
    shape.check_weights(weights);
    if winograd::applies(shape) {
        winograd::input_gradient(shape, output, dy, weights)
    } else {
        direct::input_gradient(shape, output, dy, weights)
    }
}

/// The gradient by the weights.
///
/// # Panics
/// As [`forward`].
pub fn weight_gradient(shape: &ConvShape, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let output = checked(shape);
    shape.check_input(x);
    shape.check_result(dy, output);
    if shape.images == 0 {
        vec![0.0; shape.weights()]
    } else if winograd::applies(shape) {
        winograd::weight_gradient(shape, output, x, dy)
    } else {
        direct::weight_gradient(shape, output, x, dy)
    }
}

/// The size of an output map.
fn checked(shape: &ConvShape) -> (usize, usize) {
    let output = shape.output();
    let Some(output) = output else { panic!("the kernel does not fit: {shape:?}") };
    assert!(shape.inputs > 0 && shape.outputs > 0, "no channels: {shape:?}");
    output
}

impl ConvShape {
    fn check_input(&self, x: &[f32]) {
        assert_eq!(x.len(), self.images * self.image(), "images of {self:?}");
    }

    fn check_weights(&self, weights: &[f32]) {
        assert_eq!(weights.len(), self.weights(), "weights of {self:?}");
    }

    fn check_result(&self, dy: &[f32], output: (usize, usize)) {
        let results = self.images * self.outputs * output.0 * output.1;
        assert_eq!(dy.len(), results, "results of {self:?}");
    }
}
