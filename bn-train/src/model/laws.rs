//! Laws of layers and passes: each layer equals its formula, also on other devices (`BN_TEST_DEVICE`), data is not
//! differentiated, and observers change nothing.

use super::*;
use crate::device::of_tests;
use crate::random::{Purpose, Stream};
use bn_core::{BatchNormConfig, DataFormat, Moments};
use candle::DType;
use candle::Device;
use candle_nn::{ModuleT, VarBuilder};

/// A convolution that keeps the shape.
const SQUARE: ConvolutionSizes = ConvolutionSizes { inputs: 3, outputs: 3, kernel: 3, stride: 1 };

fn builder() -> VarBuilder<'static> {
    Parameters::new(7).into_builder(&Device::Cpu)
}

fn host(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

fn numbers(name: &str, dims: &[usize]) -> Tensor {
    let mut stream = Stream::new(3, Purpose::Initialize(name));
    let values: Vec<f32> = (0..dims.iter().product()).map(|_| stream.normal(0.0, 1.0)).collect();
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

/// Few distinct values, so that neighbours are often equal.
fn with_ties(dims: &[usize]) -> Tensor {
    let rounded = host(&numbers("ties", dims)).into_iter().map(|v| v.round().clamp(-1.0, 1.0));
    Tensor::from_vec(rounded.collect::<Vec<_>>(), dims, &Device::Cpu).unwrap()
}

fn norm(format: DataFormat) -> BatchNormConfig {
    BatchNormConfig { data_format: format, ..BatchNormConfig::torch() }
}

/// The gradient of some loss by y.
fn dy(y: &Tensor) -> Tensor {
    numbers("dy", y.dims()).to_device(y.device()).unwrap()
}

/// y, dx and the gradients of all parameters, by the tape.
fn on_tape(layer: &dyn Layer, x: &Tensor) -> Vec<Vec<f32>> {
    let mut tape = Tape::new();
    let x = tape.input(x.clone());
    let mut pass = Pass::train_on(tape);
    let y = layer.forward(&x, &mut pass).unwrap();
    let gradients = pass.backward(&y, &dy(y.tensor())).unwrap();
    let of_variables =
        parameters(layer).into_iter().map(|found| host(gradients.get(&found.var).unwrap()));
    let mut all = vec![host(y.tensor()), host(gradients.of_input(&x).unwrap())];
    all.extend(of_variables);
    all
}

/// Parameters in candle's graph, by the end of their path.
struct Attached(Vec<(String, Tensor)>);

impl Attached {
    fn get(&self, name: &str) -> Option<&Tensor> {
        let mut found = self.0.iter().filter(|(path, _)| path.ends_with(name));
        found.next().map(|(_, tensor)| tensor)
    }
}

impl std::ops::Index<&str> for Attached {
    type Output = Tensor;

    fn index(&self, name: &str) -> &Tensor {
        self.get(name).unwrap_or_else(|| panic!("no {name}"))
    }
}

/// What a layer computes, by candle's operations on x and the parameters.
type Formula<'a> = &'a dyn Fn(&Tensor, &Attached) -> Result<Tensor>;

/// As [`on_tape`], by candle's graph.
fn by_graph(layer: &dyn Layer, formula: Formula<'_>, x: &Tensor) -> Vec<Vec<f32>> {
    let x = Var::from_tensor(x).unwrap();
    let found = parameters(layer);
    let attached = found.iter().map(|found| (found.path.clone(), found.var.as_tensor().clone()));
    let y = formula(&x, &Attached(attached.collect())).unwrap();
    let store = (&y * dy(&y)).unwrap().sum_all().unwrap().backward().unwrap();
    let of = |var: &Var| host(store.get(var).unwrap());
    [host(&y), of(&x)].into_iter().chain(found.iter().map(|found| of(&found.var))).collect()
}

/// Compares y, dx and the gradients of parameters.
fn assert_equal(what: &str, got: &[Vec<f32>], want: &[Vec<f32>]) {
    assert_eq!(got.len(), want.len());
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        // A hundred roundings at the scale of the largest value.
        let largest = want.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        assert_eq!(got.len(), want.len(), "{what}, result {index}");
        for (got, want) in got.iter().zip(want) {
            let is_close = (got - want).abs() <= 100.0 * f32::EPSILON * largest;
            assert!(is_close, "{what}, result {index}: {got}, expected {want}");
        }
    }
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

/// `γ (x − mean) / √(variance + ε) + β` over all axes but axis 1.
fn normalized(x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<Tensor> {
    let rows = x.reshape((x.dims()[0], x.dims()[1], ()))?;
    let centred = rows.broadcast_sub(&rows.mean_keepdim(2)?.mean_keepdim(0)?)?;
    let variance = centred.sqr()?.mean_keepdim(2)?.mean_keepdim(0)?;
    let x_hat = centred.broadcast_div(&(variance + norm(DataFormat::Nchw).epsilon)?.sqrt()?)?;
    let by_channel = |t: &Tensor| t.reshape((1, (), 1));
    let y = x_hat.broadcast_mul(&by_channel(gamma)?)?.broadcast_add(&by_channel(beta)?)?;
    y.reshape(x.dims())
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

/// A user-defined module.
#[derive(Debug)]
struct Gate(Var);

impl ModuleT for Gate {
    fn forward_t(&self, x: &Tensor, _: bool) -> Result<Tensor> {
        x.broadcast_mul(self.0.as_tensor())?.sin()
    }
}

fn gate(path: &str) -> Graph<Gate> {
    let variable = Var::new(&[0.5_f32, -1.0, 2.0], &Device::Cpu).unwrap();
    Graph::new(Gate(variable.clone()), vec![(path.to_owned(), variable)])
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

/// Otherwise the second module's backward pass would walk the first one's graph again.
#[test]
fn graph_of_a_module_ends_at_its_input() {
    let mut pass = Pass::train();
    let x = Signal::new(numbers("x", &[5, 3]));
    let y = gate("first").forward(&x, &mut pass).unwrap();
    assert!(!y.tensor().track_op());
    let backward = pass.backward(&y, &numbers("dy", &[5, 3])).unwrap();
    let mut tape = Tape::new();
    let x = tape.input(numbers("x", &[5, 3]));
    let mut pass = Pass::train_on(tape);
    let y = gate("first").forward(&x, &mut pass).unwrap();
    let gradients = pass.backward(&y, &numbers("dy", &[5, 3])).unwrap();
    assert!(!gradients.of_input(&x).unwrap().track_op());
    assert!(backward.of_input(&Signal::new(numbers("x", &[5, 3]))).is_none());
}

/// A layer whose backward must not be called.
#[derive(Debug)]
struct NoBackward;

impl Layer for NoBackward {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        Ok(pass.result(x.tensor().clone(), &[x], false, || NoBackwardBackward))
    }

    fn visit<'a>(&'a self, _: &mut dyn FnMut(Named<'a>)) {}
}

#[derive(Debug)]
struct NoBackwardBackward;

impl Backward for NoBackwardBackward {
    fn backward(self: Box<Self>, _: Tensor, _: &mut GradientSink<'_>) -> Result<()> {
        candle::bail!("backward was called")
    }
}

#[test]
fn backward_stops_at_the_first_variable() {
    let mut chain = Chain::new();
    chain.push(NoBackward);
    chain.push(Dense::build(3, 2, true, &builder()).unwrap());
    let mut pass = Pass::train();
    let y = chain.forward(&Signal::new(numbers("x", &[5, 3])), &mut pass).unwrap();
    let gradients = pass.backward(&y, &numbers("dy", &[5, 2])).unwrap();
    assert!(parameters(&chain).iter().all(|found| gradients.get(&found.var).is_some()));
    // After the first variable, it is called.
    chain.push(NoBackward);
    let mut pass = Pass::train();
    let y = chain.forward(&Signal::new(numbers("x", &[5, 3])), &mut pass).unwrap();
    assert!(pass.backward(&y, &numbers("dy", &[5, 2])).is_err());
}

#[test]
fn pass_without_gradients_has_none() {
    let pass = Pass::evaluate(Mode::Moving);
    assert!(pass.backward(&Signal::new(numbers("x", &[1])), &numbers("x", &[1])).is_err());
}

fn net() -> Chain {
    let mut chain = Chain::new();
    chain.push(Dense::build(3, 4, false, &builder().pp("dense")).unwrap());
    let config =
        BatchNormConfig { activation: bn_core::Activation::Tanh, ..norm(DataFormat::Nchw) };
    chain.push(Norm::build(&config, 4, builder().pp("first")).unwrap());
    chain.push(Norm::build(&norm(DataFormat::Nchw), 4, builder().pp("second")).unwrap());
    chain
}

fn run(chain: &Chain, x: &Tensor, mut pass: Pass<'_>) -> Vec<f32> {
    host(chain.forward(&Signal::new(x.clone()), &mut pass).unwrap().tensor())
}

fn state(chain: &Chain) -> Vec<Vec<u32>> {
    let bits = |var: Var| -> Vec<u32> {
        let values = var.to_dtype(DType::F32).unwrap();
        host(&values).into_iter().map(f32::to_bits).collect()
    };
    statistics(chain).into_iter().map(|(_, var)| bits(var)).collect()
}

#[test]
fn recording_merges_the_moments_of_all_batches_and_changes_no_layer() {
    let chain = net();
    let batches = [numbers("a", &[8, 3]), numbers("b", &[5, 3])];
    let before = state(&chain);
    let mut recorded = MomentsByPath::new();
    for batch in &batches {
        let got = run(&chain, batch, Pass::record(&mut recorded));
        assert_eq!(got, run(&chain, batch, Pass::evaluate(Mode::Batch)));
    }
    assert_eq!(state(&chain), before);
    assert_eq!(recorded.keys().collect::<Vec<_>>(), ["first", "second"]);
    // The first norm's input does not depend on how the examples are split.
    let dense = Dense::build(3, 4, false, &builder().pp("dense")).unwrap();
    let x = Tensor::cat(&batches, 0).unwrap();
    let mut pass = Pass::evaluate(Mode::Moving);
    let y = dense.forward(&Signal::new(x), &mut pass).unwrap();
    let want = Moments::of(y.tensor(), DataFormat::Nchw).unwrap();
    let pairs =
        [(recorded["first"].mean(), want.mean()), (recorded["first"].variance(), want.variance())];
    for (got, want) in pairs {
        let got = got.to_vec1::<f64>().unwrap();
        for (got, want) in got.iter().zip(want.to_vec1::<f64>().unwrap()) {
            assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{got} {want}");
        }
    }
}

#[test]
fn given_moments_of_a_batch_equal_batch_statistics() {
    let chain = net();
    let x = numbers("a", &[8, 3]);
    let mut recorded = MomentsByPath::new();
    let by_batch = run(&chain, &x, Pass::record(&mut recorded));
    let before = state(&chain);
    let by_given = run(&chain, &x, Pass::evaluate(Mode::Given(&recorded)));
    for (got, want) in by_given.iter().zip(&by_batch) {
        assert!((got - want).abs() <= 1e-5, "{got} {want}");
    }
    assert_eq!(state(&chain), before);
    recorded.remove("second");
    let error =
        chain.forward(&Signal::new(x), &mut Pass::evaluate(Mode::Given(&recorded))).unwrap_err();
    assert!(error.to_string().contains("`second`"), "{error}");
}

/// A user-defined module that contains a norm layer.
#[derive(Debug)]
struct Inside(bn_core::BatchNorm);

impl ModuleT for Inside {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.0.forward_t(x, train)?.tanh()
    }
}

#[test]
fn modes_apply_to_norm_layers_inside_a_module() {
    let config = norm(DataFormat::Nchw);
    let inside = config.build(3, builder().pp("inside")).unwrap();
    let mut module = Chain::new();
    let norms = vec![("inside".to_owned(), inside.clone())];
    // Variables listed twice are visited once.
    let variables = inside.affine_variables().into_iter().chain(inside.statistics()).collect();
    module.push(Graph::new(Inside(inside), variables).with_norms(norms));
    assert_eq!(parameters(&module).len(), 2);
    let mut layers = Chain::new();
    layers.push(Norm::build(&config, 3, builder().pp("inside")).unwrap());
    layers.push(Activate::new("tanh", bn_core::Activation::Tanh));
    let x = numbers("x", &[6, 3]);
    let formula = |x: &Tensor, p: &Attached| normalized(x, &p["gamma"], &p["beta"])?.tanh();
    assert_equal("a norm inside", &on_tape(&module, &x), &by_graph(&module, &formula, &x));
    let x = numbers("x", &[6, 3]);
    // The comparison above made a training pass.
    run(&layers, &x, Pass::train());
    let same = |got: Vec<f32>, want: Vec<f32>| {
        got.iter().zip(&want).all(|(got, want)| (got - want).abs() <= 1e-6)
    };
    let before = state(&module);
    let (mut recorded, mut expected) = (MomentsByPath::new(), MomentsByPath::new());
    let other = numbers("other", &[9, 3]);
    let by_batch = run(&layers, &other, Pass::record(&mut expected));
    assert!(same(run(&module, &other, Pass::record(&mut recorded)), by_batch));
    assert_eq!(recorded, expected);
    for mode in [Mode::Moving, Mode::Batch, Mode::Given(&recorded)] {
        let want = run(&layers, &x, Pass::evaluate(mode));
        assert!(same(run(&module, &x, Pass::evaluate(mode)), want), "{mode:?}");
    }
    assert_eq!(state(&module), before);
    // The passes leave the module in moving mode.
    let moving = run(&layers, &x, Pass::evaluate(Mode::Moving));
    assert!(same(run(&module, &x, Pass::evaluate(Mode::Moving)), moving));
}

/// Records the paths of all outputs in order.
#[derive(Default)]
struct Paths(Vec<String>);

impl Observer for Paths {
    fn output(&mut self, path: &str, _: &Tensor) -> Result<()> {
        self.0.push(path.to_owned());
        Ok(())
    }
}

#[test]
fn observer_sees_every_output_in_order_and_changes_nothing() {
    let (watched, plain) = (net(), net());
    let x = numbers("a", &[8, 3]);
    let mut paths = Paths::default();
    let observed = run(&watched, &x, Pass::train().with_observer(&mut paths));
    assert_eq!(observed, run(&plain, &x, Pass::train()));
    assert_eq!(state(&watched), state(&plain));
    assert_eq!(paths.0, ["dense", "first", "activation", "second"]);
}

#[test]
fn zero_weights_exclude_examples_from_the_statistics() {
    let chain = net();
    let (kept, masked) = (numbers("a", &[6, 3]), numbers("b", &[2, 3]));
    let both = Tensor::cat(&[&kept, &masked], 0).unwrap();
    let weights = Tensor::new(&[1.0_f32, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0], &Device::Cpu).unwrap();
    let weighted = run(&chain, &both, Pass::evaluate(Mode::Batch).with_weights(&weights));
    let unmasked = run(&chain, &kept, Pass::evaluate(Mode::Batch));
    for (got, want) in weighted.iter().zip(&unmasked) {
        assert!((got - want).abs() <= 1e-5, "{got} {want}");
    }
}

#[test]
fn ranks_share_batch_statistics() {
    let x = [numbers("a", &[6, 3]), numbers("b", &[2, 3])];
    let whole = run(&net(), &Tensor::cat(&x, 0).unwrap(), Pass::train());
    let ranks = bn_core::Threads::group(2);
    let parts: Vec<Vec<f32>> = std::thread::scope(|scope| {
        let each = ranks.into_iter().zip(&x).map(|(rank, x)| {
            let rank = std::sync::Arc::new(rank);
            scope.spawn(move || run(&net(), x, Pass::train().with_collective(rank)))
        });
        let running: Vec<_> = each.collect();
        running.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    for (got, want) in parts.concat().iter().zip(&whole) {
        assert!((got - want).abs() <= 1e-5, "{got} {want}");
    }
}

#[test]
fn visit_covers_parameters_statistics_and_norms() {
    let chain = net();
    let mut paths = Vec::new();
    chain.visit(&mut |named| paths.push(named.path));
    assert_eq!(&paths[..3], ["dense.weight", "first.gamma", "first.beta"]);
    assert!(paths.contains(&"first.moving_variance".to_owned()), "{paths:?}");
    let layers: Vec<String> = norm_layers(&chain).into_iter().map(|(path, _)| path).collect();
    assert_eq!(layers, ["first", "second"]);
}
