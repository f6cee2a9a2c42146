//! Laws: what must hold whatever the numbers are. One module per subject.

#[path = "../common/mod.rs"]
mod common;

mod averages;
mod folding;
mod layer;
mod persistence;
mod population;
mod renorm;
mod statistics;
mod transactions;

use bn_core::DataFormat;
use proptest::prelude::*;

/// Relative error of results in f64: eight roundings of sums of 300 numbers of up to 30 stddevs,
/// `8 · 300 · 30 · 2⁻⁵³`.
const F64: f64 = 1e-11;

/// A shape of rank 2 to 5 with its channel axis, and a seed for the numbers in it.
#[derive(Clone, Debug)]
struct Shape {
    dims: Vec<usize>,
    axis: usize,
    seed: u64,
}

impl Shape {
    fn format(&self) -> DataFormat {
        DataFormat::Axis(self.axis)
    }

    fn channels(&self) -> usize {
        self.dims[self.axis]
    }
}

/// Shapes whose axis 0 holds 2 to 8 examples.
fn shapes() -> impl Strategy<Value = Shape> {
    let dims = (2usize..=8, prop::collection::vec(1usize..=3, 1..=4));
    (dims, any::<usize>(), any::<u64>()).prop_map(|((examples, rest), axis, seed)| {
        let mut dims = vec![examples];
        dims.extend(rest);
        let axis = 1 + axis % (dims.len() - 1);
        Shape { dims, axis, seed }
    })
}

/// Runs a law that may fail with any error.
fn holds(law: common::Outcome) -> Result<(), TestCaseError> {
    law.map_err(|error| TestCaseError::fail(error.to_string()))
}

fn cases(n: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(n) }
}
