//! Each layer equals its formula, also in f64 and on other devices (`BN_TEST_DEVICE`).

use super::*;
use crate::device::of_tests;

/// A convolution that keeps the shape.
const SQUARE: ConvolutionSizes = ConvolutionSizes { inputs: 3, outputs: 3, kernel: 3, stride: 1 };

/// Few distinct values, so that neighbours are often equal.
fn with_ties(dims: &[usize]) -> Tensor {
    let rounded = host(&numbers("ties", dims)).into_iter().map(|v| v.round().clamp(-1.0, 1.0));
    Tensor::from_vec(rounded.collect::<Vec<_>>(), dims, &Device::Cpu).unwrap()
}

/// The layer on the CPU, in f64, and on the device of the tests, against its formula in candle's graph.
fn assert_formula<L: Layer>(
    what: &str,
    build: impl Fn(&VarBuilder<'_>) -> Result<L>,
    formula: Formula<'_>,
    x: &Tensor,
) {
    let layer = || build(&builder()).unwrap();
    let want = by_graph(&layer(), formula, x);
    assert_equal(what, &on_tape(&layer(), x), &want);
    assert_equal(what, &on_tape(&layer(), &x.to_dtype(DType::F64).unwrap()), &want);
    let there = build(&Parameters::new(7).into_builder(&of_tests())).unwrap();
    assert_equal(what, &on_tape(&there, &x.to_device(&of_tests()).unwrap()), &want);
}

#[test]
fn every_layer_equals_its_formula() {
    let images = numbers("x", &[5, 3, 7, 7]);
    let rows = numbers("x", &[6, 9]);
    assert_formula("flatten", |_| Ok(Flatten), &|x, _| x.flatten_from(1), &images);
    assert_formula("mean", |_| Ok(MeanOverMap), &|x, _| x.mean((2, 3)), &images);
    let group = |vb: &VarBuilder<'_>| GroupNorm::build(1, 1e-3, 3, vb);
    let formula = |x: &Tensor, p: &Attached| {
        candle_nn::GroupNorm::new(p["weight"].clone(), p["bias"].clone(), 3, 1, 1e-3)?
            .forward_t(x, true)
    };
    assert_formula("group norm", group, &formula, &images);
    for bias in [false, true] {
        let formula = |x: &Tensor, p: &Attached| plus(&x.matmul(&p["weight"].t()?)?, p.get("bias"));
        assert_formula("dense", |vb| Dense::build(9, 4, bias, vb), &formula, &rows);
        for (kernel, stride) in [(3, 1), (3, 2), (1, 1), (5, 3)] {
            let sizes = ConvolutionSizes { inputs: 3, outputs: 4, kernel, stride };
            let build = |vb: &VarBuilder<'_>| Convolution::build(sizes, bias, vb);
            let formula = |x: &Tensor, p: &Attached| {
                plus(&x.conv2d(&p["weight"], kernel / 2, stride, 1, 1)?, p.get("bias"))
            };
            assert_formula("convolution", build, &formula, &images);
        }
        let twice = |vb: &VarBuilder<'_>| Convolution::build(SQUARE, bias, vb).map(Twice);
        let formula = |x: &Tensor, p: &Attached| {
            (plus(&x.conv2d(&p["weight"], 1, 1, 1, 1)?, p.get("bias"))? + (x * 2.0)?)?.contiguous()
        };
        assert_formula("twice", twice, &formula, &images);
    }
    for function in [
        bn_core::Activation::None,
        bn_core::Activation::Relu,
        bn_core::Activation::LeakyRelu(0.1),
        bn_core::Activation::Sigmoid,
        bn_core::Activation::Tanh,
    ] {
        let activate = |_: &VarBuilder<'_>| Ok(Activate::new("a", function));
        assert_formula("activation", activate, &|x, _| function.apply(x), &rows);
        for x in [&images, &rows] {
            let config = BatchNormConfig { activation: function, ..norm(DataFormat::Nchw) };
            let channels = x.dims()[1];
            let build = |vb: &VarBuilder<'_>| Norm::build(&config, channels, vb.clone());
            let formula = |x: &Tensor, p: &Attached| {
                normalized(x, &p["gamma"], &p["beta"]).and_then(|y| function.apply(&y))
            };
            assert_formula("norm", build, &formula, x);
        }
    }
}

fn plus(y: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        Some(bias) if y.rank() == 4 => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y.clone()),
    }
}

/// Where several elements of a window are equal, the first one gets the gradient; a NaN is the largest.
#[test]
fn maximum_is_the_same_everywhere() {
    let mut with_nan = host(&with_ties(&[5, 3, 6, 7]));
    with_nan[3] = f32::NAN;
    with_nan[50] = f32::NAN;
    with_nan[51] = f32::NAN;
    let with_nan = Tensor::from_vec(with_nan, (5, 3, 6, 7), &Device::Cpu).unwrap();
    let bits = |all: Vec<Vec<f32>>| -> Vec<u32> {
        all.concat()
            .into_iter()
            .map(|v| if v.is_nan() { u32::MAX } else { (v + 0.0).to_bits() })
            .collect()
    };
    for x in [numbers("x", &[5, 3, 6, 7]), with_ties(&[5, 3, 6, 7]), with_nan] {
        let want = bits(on_tape(&MaxPool, &x));
        let there = x.to_device(&of_tests()).unwrap();
        assert_eq!(bits(on_tape(&MaxPool, &there)), want);
        assert_eq!(bits(on_tape(&MaxPool, &x.to_dtype(DType::F64).unwrap())), want);
    }
}

/// A non-contiguous view, which a user's layer may return.
#[test]
fn layers_accept_any_view() {
    let x = numbers("x", &[7, 3, 6, 5]).transpose(2, 3).unwrap();
    let x = x.narrow(0, 1, 5).unwrap();
    let sizes = ConvolutionSizes { inputs: 3, outputs: 4, kernel: 3, stride: 1 };
    let convolution = Convolution::build(sizes, true, &builder()).unwrap();
    let activate = Activate::new("a", bn_core::Activation::Relu);
    for layer in [&convolution as &dyn Layer, &MaxPool, &MeanOverMap, &Flatten, &activate] {
        let all = on_tape(layer, &x.contiguous().unwrap());
        assert_eq!(on_tape(layer, &x), all);
    }
}

/// `x` used twice, once through a convolution, so that gradients are summed.
#[derive(Debug)]
struct Twice(Convolution);

impl Layer for Twice {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let y = self.0.forward(x, pass)?;
        let sum = activation::sum(&y, x, pass)?;
        activation::sum(&sum, x, pass)
    }

    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(Named<'a>)) {
        self.0.visit(visitor);
    }
}

#[test]
fn any_candle_module_is_a_layer() {
    let mut chain = Chain::new();
    chain.push(gate("first"));
    chain.push(gate("second"));
    // Without bias, because the norm would subtract it and its gradient would be only rounding.
    chain.push(Dense::build(3, 2, false, &builder().pp("dense")).unwrap());
    chain.push(Norm::build(&norm(DataFormat::Nchw), 2, builder().pp("norm")).unwrap());
    assert_eq!(parameters(&chain).len(), 5);
    let formula = |x: &Tensor, p: &Attached| {
        let gated = x.broadcast_mul(&p["first"])?.sin()?.broadcast_mul(&p["second"])?.sin()?;
        normalized(&gated.matmul(&p["weight"].t()?)?, &p["gamma"], &p["beta"])
    };
    let x = numbers("x", &[5, 3]);
    assert_equal("modules", &on_tape(&chain, &x), &by_graph(&chain, &formula, &x));
}
