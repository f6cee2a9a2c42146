//! The building blocks of networks.
//!
//! Primitive layers compute by the operations of `ops`, which know the device, and record a backward operation on the pass's
//! tape. Composite layers only call others.

use super::pass::Pass;
use super::signal::Signal;
use bn_core::BatchNorm;
use candle::{Result, Var};
use std::fmt::Debug;

/// A layer of a network.
pub trait Layer: Debug {
    /// Computes y from x. In a pass with a tape, records the layer's backward operation.
    ///
    /// # Errors
    /// Errors of candle or the norm layers, for example for an x of the wrong shape.
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal>;

    /// Calls `visitor` with every parameter, statistic and norm layer, in a fixed order.
    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(Named<'a>));
}

/// An item of a layer, with its path.
#[derive(Clone, Debug)]
pub struct Named<'a> {
    /// For example `group1.block2.conv1.norm`.
    pub path: String,
    /// The item.
    pub item: Item<'a>,
}

/// An item of a layer.
#[derive(Clone, Debug)]
pub enum Item<'a> {
    /// A variable that an optimizer may change.
    Parameter {
        /// The variable's role in its layer.
        role: Role,
        /// The variable.
        var: &'a Var,
        /// False if the layer excludes it from training.
        is_trained: bool,
    },
    /// A variable that training passes update themselves, such as a moving statistic.
    Statistic(Var),
    /// A norm layer. Its parameters and statistics are visited separately too.
    Norm(&'a BatchNorm),
}

/// The role of a parameter in its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Weight of a dense layer or a convolution.
    Weight,
    /// Bias of a dense layer or a convolution.
    Bias,
    /// Scale of a norm layer.
    Gamma,
    /// Offset of a norm layer.
    Beta,
}

/// A parameter of a network.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// For example `hidden1.weight`.
    pub path: String,
    /// Its role in its layer.
    pub role: Role,
    /// The variable.
    pub var: Var,
    /// Whether an optimizer may change it.
    pub is_trained: bool,
}

/// All parameters of `layer`, sorted by path.
pub fn parameters(layer: &dyn Layer) -> Vec<Parameter> {
    let mut found = Vec::new();
    layer.visit(&mut |Named { path, item }| {
        if let Item::Parameter { role, var, is_trained } = item {
            found.push(Parameter { path, role, var: var.clone(), is_trained });
        }
    });
    found.sort_by(|left, right| left.path.cmp(&right.path));
    found
}

/// All norm layers of `layer` with their paths, in network order.
pub fn norm_layers(layer: &dyn Layer) -> Vec<(String, &BatchNorm)> {
    let mut found = Vec::new();
    layer.visit(&mut |Named { path, item }| {
        if let Item::Norm(norm) = item {
            found.push((path, norm));
        }
    });
    found
}

/// All statistics of `layer`, sorted by path.
pub fn statistics(layer: &dyn Layer) -> Vec<(String, Var)> {
    let mut found = Vec::new();
    layer.visit(&mut |Named { path, item }| {
        if let Item::Statistic(var) = item {
            found.push((path, var));
        }
    });
    found.sort_by(|(left, _), (right, _)| left.cmp(right));
    found
}

/// Layers in sequence.
#[derive(Debug, Default)]
pub struct Chain(Vec<Box<dyn Layer>>);

impl Chain {
    /// An empty sequence: the identity.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `layer`.
    pub fn push(&mut self, layer: impl Layer + 'static) {
        self.push_boxed(Box::new(layer));
    }

    /// Appends a boxed layer.
    pub fn push_boxed(&mut self, layer: Box<dyn Layer>) {
        self.0.push(layer);
    }
}

impl Layer for Chain {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        self.0.iter().try_fold(x.clone(), |x, layer| layer.forward(&x, pass))
    }

    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(Named<'a>)) {
        for layer in &self.0 {
            layer.visit(visitor);
        }
    }
}
