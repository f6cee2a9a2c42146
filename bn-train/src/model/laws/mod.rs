//! Laws of layers (`layers.rs`) and of passes (`passes.rs`), and what they share: made-up numbers, and results of a layer by the
//! tape and by candle's graph.

mod layers;
mod passes;

use super::*;
use crate::random::{Purpose, Stream};
use bn_core::{BatchNormConfig, DataFormat};
use candle::{DType, Device};
use candle_nn::{ModuleT, VarBuilder};

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
