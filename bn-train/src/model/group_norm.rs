//! Group and layer normalization for comparison with batch normalization, by candle's layer and graph.

use super::graph::Graph;
use super::layer::{Item, Layer, Named, Role};
use super::pass::Pass;
use super::signal::Signal;
use candle::{Module, Result, Tensor};
use candle_nn::VarBuilder;

/// `γ (x - mean) / √(variance + ε) + β`, with moments per example and group of channels (Wu & He 2018).
///
/// A single group gives layer normalization (Ba et al. 2016) over channels and positions.
#[derive(Debug)]
pub struct GroupNorm {
    graph: Graph<Grouped>,
    path: String,
}

#[derive(Debug)]
struct Grouped(candle_nn::GroupNorm);

impl Module for Grouped {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if x.rank() > 2 {
            return self.0.forward(x);
        }
        // Candle's layer expects spatial dimensions, so add one of size 1.
        self.0.forward(&x.unsqueeze(2)?)?.squeeze(2)
    }
}

impl GroupNorm {
    /// A layer with `weight` and `bias`, `[channels]`, under `builder`'s prefix.
    ///
    /// # Errors
    /// `groups` does not divide `channels`; errors of the builder.
    pub fn build(
        groups: usize,
        epsilon: f64,
        channels: usize,
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        let path = builder.prefix();
        if groups == 0 || !channels.is_multiple_of(groups) {
            candle::bail!("{path}: {groups} groups do not divide {channels} channels");
        }
        let graph = Graph::build(builder, |vb| {
            candle_nn::group_norm(groups, channels, epsilon, vb).map(Grouped)
        })?;
        Ok(Self { graph, path })
    }
}

impl Layer for GroupNorm {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let y = self.graph.forward(x, pass)?;
        pass.observe(&self.path, y.tensor())?;
        Ok(y)
    }

    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(Named<'a>)) {
        self.graph.visit(&mut |Named { path, item }| {
            let item = match item {
                Item::Parameter { role: Role::Weight, var, is_trained } => {
                    Item::Parameter { role: Role::Gamma, var, is_trained }
                }
                Item::Parameter { role: Role::Bias, var, is_trained } => {
                    Item::Parameter { role: Role::Beta, var, is_trained }
                }
                other => other,
            };
            visitor(Named { path, item });
        });
    }
}
