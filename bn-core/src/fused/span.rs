//! Normalization groups as runs of a tensor's elements.

use super::weights::HostWeights;
use crate::batch_norm::BatchNorm;
use crate::call::{Call, Statistics};
use crate::kernel::{Element, Geometry, Input, Weights};
use crate::layout::ChannelView;
use crate::tail::Activation;

impl BatchNorm {
    /// The normalization groups, as runs of the slice.
    pub(super) fn spans(&self, view: &ChannelView, call: &Call<'_>) -> Vec<Span> {
        let examples = view.dims()[0];
        let by_batch = matches!(call.statistics, Statistics::Batch);
        let size = match self.config.normalization_batch {
            Some(size) if by_batch && size < examples => size,
            _ => {
                return vec![Span {
                    start: 0,
                    outer: 0..view.outer,
                    channels: view.channels,
                    inner: view.inner,
                }];
            }
        };
        let per_example = view.outer / examples;
        let starts = (0..examples).step_by(size);
        let span = |start: usize| {
            let outer = start * per_example..examples.min(start + size) * per_example;
            Span {
                start: outer.start * view.channels * view.inner,
                outer,
                channels: view.channels,
                inner: view.inner,
            }
        };
        starts.map(span).collect()
    }
}

/// One normalization group's run of the tensor's elements.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) outer: std::ops::Range<usize>,
    pub(super) channels: usize,
    pub(super) inner: usize,
}

impl Span {
    pub(super) fn len(&self) -> usize {
        self.outer.len() * self.channels * self.inner
    }

    pub(super) fn range(&self) -> std::ops::Range<usize> {
        self.start..self.start + self.len()
    }

    fn geometry(&self) -> Geometry {
        Geometry { outer: self.outer.len(), channels: self.channels, inner: self.inner }
    }

    /// The kernels' input for this group.
    pub(super) fn input<'a, T: Element>(
        &self,
        x: &'a [T],
        residual: Option<&'a [T]>,
        weights: Option<&'a HostWeights<T::Real>>,
        activation: Activation,
    ) -> Input<'a, T> {
        let values = (self.outer.len() * self.inner) as f64;
        Input {
            x: &x[self.range()],
            geometry: self.geometry(),
            weights: weights.map_or(Weights::None, |w| w.of(self)),
            total: weights.map_or(values, |w| w.total(self).rounded),
            residual: residual.map(|residual| &residual[self.range()]),
            activation,
        }
    }
}
