//! The sizes of a convolution.

/// Sizes of a two-dimensional convolution of `[images, inputs, height, width]` with weights
/// `[outputs, inputs, kernel.0, kernel.1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Images in the batch.
    pub images: usize,
    /// Input channels.
    pub inputs: usize,
    /// Image height.
    pub height: usize,
    /// Image width.
    pub width: usize,
    /// Output channels.
    pub outputs: usize,
    /// Height and width of the kernel.
    pub kernel: (usize, usize),
    /// Stride in both directions, at least 1.
    pub stride: usize,
    /// Zero padding on all sides.
    pub padding: usize,
}

impl ConvShape {
    /// Height and width of the output; `None` if the kernel does not fit into the padded image.
    pub fn output(&self) -> Option<(usize, usize)> {
        let size = |image: usize, kernel: usize| {
            let room = (image + 2 * self.padding).checked_sub(kernel)?;
            (kernel > 0).then(|| room / self.stride + 1)
        };
        Some((size(self.height, self.kernel.0)?, size(self.width, self.kernel.1)?))
    }

    /// Dimensions of the output.
    pub(crate) fn output_dims(&self) -> (usize, usize, usize, usize) {
        let (rows, columns) = self.output().unwrap_or_default();
        (self.images, self.outputs, rows, columns)
    }

    /// Elements of one image.
    pub(super) fn image(&self) -> usize {
        self.inputs * self.height * self.width
    }

    /// Number of weights.
    pub(super) fn weights(&self) -> usize {
        self.outputs * self.inputs * self.taps()
    }

    /// Weights per pair of channels.
    pub(super) fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }
}
