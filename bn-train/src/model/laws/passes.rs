//! Data is not differentiated, modes change what they say, and observers change nothing.

use super::*;
use bn_core::Moments;

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
