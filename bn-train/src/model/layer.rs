//! What a network is made of.
//!
//! A layer is written once. Primitive layers decide for each pass how they compute: by the kernels of this crate, with a
//! way back on the pass's tape, or in candle's graph. Layers that consist of others never do.

use super::pass::Pass;
use super::signal::Signal;
use bn_core::BatchNorm;
use candle::{Result, Var};
use std::fmt::Debug;

/// A layer of a network.
pub trait Layer: Debug {
    /// y of x. In a pass with a tape, pushes the layer's way back onto it.
    ///
    /// # Errors
    /// What candle or the norm layers report, for instance for an x of another shape.
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal>;

    /// Shows everything that the layer holds, by path, in a fixed order.
    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(Named<'a>));
}

/// Something that a layer holds.
#[derive(Clone, Debug)]
pub struct Named<'a> {
    /// For instance `group1.block2.conv1.norm`.
    pub path: String,
    /// What is there.
    pub item: Item<'a>,
}

/// What a layer holds at a path.
#[derive(Clone, Debug)]
pub enum Item<'a> {
    /// A variable that an optimizer may change.
    Parameter {
        /// What the variable is to its layer.
        role: Role,
        /// The variable.
        var: &'a Var,
        /// False for one that its layer keeps from the optimizer.
        is_trained: bool,
    },
    /// A variable that training passes move by themselves: moving statistics and their like.
    Statistic(Var),
    /// A norm layer; its parameters and statistics are shown by themselves too.
    Norm(&'a BatchNorm),
}

/// What a parameter is to its layer.
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
    /// For instance `hidden1.weight`.
    pub path: String,
    /// What it is to its layer.
    pub role: Role,
    /// The variable.
    pub var: Var,
    /// Whether an optimizer may change it.
    pub is_trained: bool,
}

/// All parameters of `layer`, in the order of their paths.
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

/// All norm layers of `layer` by path, in the order of the network.
pub fn norm_layers(layer: &dyn Layer) -> Vec<(String, &BatchNorm)> {
    let mut found = Vec::new();
    layer.visit(&mut |Named { path, item }| {
        if let Item::Norm(norm) = item {
            found.push((path, norm));
        }
    });
    found
}

/// All statistics of `layer`, in the order of their paths.
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

/// Layers one after the other.
#[derive(Debug, Default)]
pub struct Chain(Vec<Box<dyn Layer>>);

impl Chain {
    /// No layers: y is x.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `layer` behind the others.
    pub fn push(&mut self, layer: impl Layer + 'static) {
        self.push_boxed(Box::new(layer));
    }

    /// Puts `layer` behind the others.
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
