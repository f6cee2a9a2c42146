//! Laws of the convolution: it equals candle's, its gradients equal finite differences, threads change nothing, and other
//! devices (`BN_TEST_DEVICE`) agree.

use super::share::{Place, Share};
use super::*;
use crate::device::of_tests;
use crate::random::{Purpose, Stream};
use candle::{DType, Device, Tensor, Var};
use half::bf16;
use proptest::prelude::*;

fn numbers(name: &str, len: usize) -> Vec<f32> {
    let mut stream = Stream::new(len as u64, Purpose::Initialize(name));
    (0..len).map(|_| stream.uniform(-1.0, 1.0)).collect()
}

struct Case {
    shape: ConvShape,
    x: Vec<f32>,
    weights: Vec<f32>,
    dy: Vec<f32>,
}

impl Case {
    fn new(shape: ConvShape) -> Self {
        let (rows, columns) = shape.output().unwrap();
        Self {
            shape,
            x: numbers("x", shape.images * shape.image()),
            weights: numbers("weights", shape.weights()),
            dy: numbers("dy", shape.images * shape.outputs * rows * columns),
        }
    }

    /// The same with numbers that bfloat16 has.
    fn in_bf16(self) -> Self {
        let rounded = |numbers: Vec<f32>| numbers.into_iter().map(|v| bf16::from_f32(v).to_f32());
        let [x, weights, dy] = [self.x, self.weights, self.dy].map(|v| rounded(v).collect());
        Self { x, weights, dy, ..self }
    }

    /// y, dx and dw.
    fn ours(&self) -> [Vec<f32>; 3] {
        [
            forward(&self.shape, &self.x, &self.weights),
            input_gradient(&self.shape, &self.dy, &self.weights),
            weight_gradient(&self.shape, &self.x, &self.dy),
        ]
    }

    /// How many products each number of y, dx and dw sums, at most.
    fn terms(&self) -> [usize; 3] {
        let shape = self.shape;
        let (rows, columns) = shape.output().unwrap();
        [shape.inputs * shape.taps(), shape.outputs * shape.taps(), shape.images * rows * columns]
    }

    /// x, weights and dy.
    fn tensors(&self, device: &Device, dtype: DType) -> [Tensor; 3] {
        let ConvShape { images, inputs, height, width, outputs, kernel, .. } = self.shape;
        let make = |numbers: &[f32], shape: (usize, usize, usize, usize)| {
            Tensor::from_slice(numbers, shape, device).unwrap().to_dtype(dtype).unwrap()
        };
        [
            make(&self.x, (images, inputs, height, width)),
            make(&self.weights, (outputs, inputs, kernel.0, kernel.1)),
            make(&self.dy, self.shape.output_dims()),
        ]
    }

    /// y, dx and dw for tensors of a type on a device.
    fn of_tensors(&self, device: &Device, dtype: DType) -> [Vec<f32>; 3] {
        let [x, weights, dy] = self.tensors(device, dtype);
        [
            convolved(&self.shape, &x, &weights, None),
            gradient_by_input(&self.shape, &dy, &weights),
            gradient_by_weights(&self.shape, &x, &dy),
        ]
        .map(|t| host(&t.unwrap()))
    }

    /// y, dx and dw by candle's own graph.
    fn by_candle(&self) -> [Vec<f32>; 3] {
        let [x, weights, dy] = self.tensors(&Device::Cpu, DType::F32);
        let [x, weights] = [x, weights].map(|t| Var::from_tensor(&t).unwrap());
        let y = x.conv2d(&weights, self.shape.padding, self.shape.stride, 1, 1).unwrap();
        let gradients = (&y * dy).unwrap().sum_all().unwrap().backward().unwrap();
        [&y, gradients.get(&x).unwrap(), gradients.get(&weights).unwrap()].map(host)
    }

    /// Compares y, dx and dw with the kernels'. Each number may be off by `rounding` of itself besides.
    fn assert_equal(&self, theirs: &[Vec<f32>; 3], rounding: f32) {
        let expected = self.ours().into_iter().zip(self.terms()).zip(["y", "dx", "dw"]);
        for (got, ((want, terms), name)) in theirs.iter().zip(expected) {
            assert_close_to(got, &want, terms, rounding, name);
        }
    }
}

fn host(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

fn assert_close(got: &[f32], want: &[f32], terms: usize, what: &str) {
    assert_close_to(got, want, terms, 0.0, what);
}

/// Compares sums of `terms` rounded products of numbers up to 1. Each side may be off by half an ulp per term, and `got` by
/// `rounding` of itself besides.
fn assert_close_to(got: &[f32], want: &[f32], terms: usize, rounding: f32, what: &str) {
    let tolerance = (terms as f32 * f32::EPSILON * (terms as f32).sqrt()).max(1e-6);
    assert_eq!(got.len(), want.len(), "{what}");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            (got - want).abs() <= tolerance + rounding * want.abs(),
            "{what}[{index}]: {got}, expected {want}"
        );
    }
}

/// 3x3 kernels of stride 1 between many channels.
fn deep_shapes() -> impl Strategy<Value = ConvShape> {
    let sizes = (1..6_usize, 16..40_usize, 16..70_usize, 1..20_usize, 1..20_usize);
    (sizes, 0..4_usize)
        .prop_map(|((images, inputs, outputs, height, width), padding)| ConvShape {
            images,
            inputs,
            height,
            width,
            outputs,
            kernel: (3, 3),
            stride: 1,
            padding,
        })
        .prop_filter("the kernel must fit", |shape| shape.output().is_some())
}

fn shapes() -> impl Strategy<Value = ConvShape> {
    let sizes = (1..4_usize, 1..20_usize, 1..40_usize, 1..20_usize, 1..20_usize);
    let kernels = prop_oneof![Just((3, 3)), Just((1, 1)), Just((5, 5)), (1..6_usize, 1..8_usize),];
    (sizes, kernels, 1..4_usize, 0..4_usize)
        .prop_map(|((images, inputs, outputs, height, width), kernel, stride, padding)| ConvShape {
            images,
            inputs,
            height,
            width,
            outputs,
            kernel,
            stride,
            padding,
        })
        .prop_filter("the kernel must fit", |shape| shape.output().is_some())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn equals_candle(shape in prop_oneof![shapes(), deep_shapes()]) {
        let case = Case::new(shape);
        let (rows, columns) = shape.output().unwrap();
        let terms = case.terms();
        let ours = case.ours();
        // Candle computes the remainder of the stride only from the height, so its gradient fails if the width has another
        // remainder. It also fails if the image is smaller than its padding.
        let rest = |length: usize, kernel: usize| (length + 2 * shape.padding - kernel) % shape.stride;
        let (rest_of_height, rest_of_width) = (rest(shape.height, shape.kernel.0), rest(shape.width, shape.kernel.1));
        let reach = |points: usize, kernel: usize| (points - 1) * shape.stride + kernel;
        let reaches = reach(rows, shape.kernel.0).min(reach(columns, shape.kernel.1)) >= 2 * shape.padding;
        if rest_of_height != rest_of_width || !reaches {
            let [x, weights, _] = case.tensors(&Device::Cpu, DType::F32);
            let y = x.conv2d(&weights, shape.padding, shape.stride, 1, 1).unwrap();
            assert_close(&ours[0], &host(&y), terms[0], "y");
        } else {
            case.assert_equal(&case.by_candle(), 0.0);
        }
        assert_eq!(case.of_tensors(&Device::Cpu, DType::F32), ours, "tensors must equal the kernels");
    }

    /// Twice, so that it must repeat to the bit.
    #[test]
    fn other_devices_equal_the_kernels(shape in prop_oneof![shapes(), deep_shapes()]) {
        let case = Case::new(shape);
        let theirs = case.of_tensors(&of_tests(), DType::F32);
        case.assert_equal(&theirs, 0.0);
        assert_eq!(case.of_tensors(&of_tests(), DType::F32), theirs);
    }

    /// Products of bfloat16 are summed in f32, and each result is rounded by at most 1 part in 256.
    #[test]
    fn bfloat16_equals_the_kernels(shape in prop_oneof![shapes(), deep_shapes()]) {
        let case = Case::new(shape).in_bf16();
        case.assert_equal(&case.of_tensors(&of_tests(), DType::BF16), 1.0 / 256.0);
    }

    /// In f64 tensor operations compute everything, as on a GPU without cuDNN. Candle's own gradient fails for some of these
    /// shapes.
    #[test]
    fn tensor_operations_equal_the_kernels(shape in shapes()) {
        let case = Case::new(shape);
        case.assert_equal(&case.of_tensors(&Device::Cpu, DType::F64), 0.0);
    }

    /// The loss is linear in x and in w, so a difference quotient is exact up to rounding.
    #[test]
    fn gradients_equal_finite_differences(shape in prop_oneof![shapes(), deep_shapes()], at in any::<prop::sample::Index>()) {
        let case = Case::new(shape);
        let loss = |x: &[f32], weights: &[f32]| -> f64 {
            let y = forward(&shape, x, weights);
            y.iter().zip(&case.dy).map(|(y, dy)| f64::from(*y) * f64::from(*dy)).sum()
        };
        let [_, dx, dw] = case.ours();
        let (mut x, mut weights) = (case.x.clone(), case.weights.clone());
        let before = loss(&x, &weights);
        let (i, j) = (at.index(x.len()), at.index(weights.len()));
        x[i] += 4.0;
        let of_x = (loss(&x, &weights) - before) / 4.0;
        x[i] = case.x[i];
        weights[j] += 4.0;
        let of_w = (loss(&x, &weights) - before) / 4.0;
        // Each term of the loss is rounded at the scale of the sum of its products.
        let products = (shape.inputs * shape.taps()) as f64;
        let tolerance = f64::from(f32::EPSILON) * products * case.dy.len() as f64 + 1e-5;
        prop_assert!((of_x - f64::from(dx[i])).abs() < tolerance, "dx {} {}", of_x, dx[i]);
        prop_assert!((of_w - f64::from(dw[j])).abs() < tolerance, "dw {} {}", of_w, dw[j]);
    }
}

/// Shapes that cover every path: blocks of half a vector, one and several vectors, strides, partial tiles, several groups.
const SHAPES: [(usize, usize, usize, usize, usize, usize); 9] = [
    (17, 16, 16, 32, 3, 1),
    (9, 32, 64, 16, 3, 2),
    (20, 64, 64, 8, 3, 1),
    (7, 17, 40, 13, 3, 1),
    (66, 24, 16, 4, 3, 1),
    (3, 3, 10, 13, 5, 3),
    (4, 8, 5, 14, 5, 1),
    (5, 16, 32, 9, 1, 2),
    (1, 1, 1, 1, 1, 1),
];

fn case(
    (images, inputs, outputs, size, kernel, stride): (usize, usize, usize, usize, usize, usize),
) -> Case {
    Case::new(ConvShape {
        images,
        inputs,
        height: size,
        width: size,
        outputs,
        kernel: (kernel, kernel),
        stride,
        padding: kernel / 2,
    })
}

#[test]
fn results_are_bitwise_equal_for_any_thread_count() {
    for shape in SHAPES {
        let case = case(shape);
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| case.ours())
        };
        let one = on(1);
        // With more threads than groups of images, the channels of a group are divided.
        for threads in [2, 5, 16, 64] {
            assert_eq!(one, on(threads), "{shape:?}, {threads} threads");
        }
    }
}

#[test]
fn tasks_of_the_weight_gradient_cover_it_exactly_once() {
    for (threads, groups, blocks, inputs) in
        [(1, 8, 4, 64), (8, 8, 1, 16), (9, 8, 1, 16), (64, 8, 2, 64), (32, 8, 1, 3), (100, 1, 3, 7)]
    {
        let share = Share::new(threads, groups, blocks, inputs);
        let tasks = groups * blocks / share.blocks * (inputs / share.inputs);
        assert!(tasks >= threads.min(groups * blocks * inputs), "{share:?}");
        // Each pair of block and input of each group must occur once.
        let mut seen = vec![0; groups * blocks * inputs];
        for task in 0..tasks {
            let Place { group, first_block, first_input } = share.place(task, blocks, inputs);
            for block in first_block..first_block + share.blocks {
                for input in first_input..first_input + share.inputs {
                    seen[(group * blocks + block) * inputs + input] += 1;
                }
            }
        }
        assert!(seen.iter().all(|&times| times == 1), "{share:?}");
    }
}

/// Results begin as NaN in tests.
#[test]
fn every_output_element_is_written() {
    for shape in SHAPES {
        let is_written = |numbers: &Vec<f32>| numbers.iter().all(|number| !number.is_nan());
        assert!(case(shape).ours().iter().all(is_written), "{shape:?}");
    }
}

/// Against sums in f64: rounding errors stay within what the transforms allow. Entries of Bᵀ d B are sums of 4 inputs, those of
/// A dy Aᵀ too, and an output is a sum of 9 places: at most 36 and 16 times the direct sum's bound for one term, and on average a
/// few times its error.
#[test]
fn winograd_is_about_as_exact_as_the_direct_sum() {
    let case = case((6, 64, 64, 8, 3, 1));
    let ConvShape { images, inputs, outputs, .. } = case.shape;
    let exact = |n: usize, k: usize, row: usize, column: usize| -> f64 {
        let mut sum = 0.0;
        for c in 0..inputs {
            for tap in 0..9 {
                let (y, x) = ((row + tap / 3).wrapping_sub(1), (column + tap % 3).wrapping_sub(1));
                if y < 8 && x < 8 {
                    let x = case.x[((n * inputs + c) * 8 + y) * 8 + x];
                    sum += f64::from(x) * f64::from(case.weights[(k * inputs + c) * 9 + tap]);
                }
            }
        }
        sum
    };
    let error = |y: &[f32]| {
        let mut squares = 0.0;
        for (index, y) in y.iter().enumerate() {
            let (n, k, row, column) =
                (index / 64 / outputs, index / 64 % outputs, index / 8 % 8, index % 8);
            squares += (f64::from(*y) - exact(n, k, row, column)).powi(2);
        }
        (squares / y.len() as f64).sqrt()
    };
    assert!(winograd::applies(&case.shape) && images > 0);
    let ours = error(&forward(&case.shape, &case.x, &case.weights));
    let direct = error(&direct::forward(&case.shape, (8, 8), &case.x, &case.weights));
    assert!(direct > 0.0 && ours < 4.0 * direct, "{ours:e} {direct:e}");
}

#[test]
fn empty_batch_gives_no_outputs_and_zero_gradients() {
    let [y, dx, dw] = case((0, 3, 4, 5, 3, 1)).ours();
    assert!(y.is_empty() && dx.is_empty());
    assert_eq!(dw, vec![0.0; 4 * 3 * 9]);
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    for (weights, stride) in [((1, 3, 3, 3), 1), ((1, 2, 5, 5), 1), ((1, 2, 3, 3), 0)] {
        let error = conv_shape((1, 2, 4, 4), weights, 0, stride).unwrap_err().to_string();
        assert!(error.contains("do not fit together"), "{error}");
    }
}
