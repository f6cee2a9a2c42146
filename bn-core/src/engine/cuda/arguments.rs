//! What kernels are called with, as the `.cu` files declare it. Addresses are 0 for nothing. Every field has 8 bytes, so
//! both languages lay the structs out alike.

use candle::cuda_backend::cudarc::driver::DeviceRepr;

use crate::activation::Activation;
use crate::channel::RenormVariant;
use crate::engine::plan::{Geometry, Plan};

macro_rules! arguments {
    ($($(#[$of:meta])* $name:ident { $($field:ident: $t:ty),* $(,)? })*) => {$(
        $(#[$of])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub(super) struct $name {
            $(pub(super) $field: $t,)*
        }

        const _: () = {
            $(assert!(size_of::<$t>().is_multiple_of(8));)*
        };

        // SAFETY: numbers of 8 bytes and structs of them, which a kernel takes by value.
        #[allow(unsafe_code)] // the trait is unsafe
        unsafe impl DeviceRepr for $name {}
    )*};
}

arguments! {
    Shape { outer: i64, channels: i64, inner: i64, group: i64, splits: i64, width: i64 }

    Tail { kind: i64, slope: f64 }

    Back { x: u64, residual: u64, dy: u64, channels: u64 }

    Renorm {
        mean: u64,
        stddev: u64,
        mean_weight: u64,
        stddev_weight: u64,
        variant: i64,
        is_wide: i64,
        r_min: f64,
        r_max: f64,
        d_max: f64,
    }

    ByBatch {
        parts: u64,
        fields: u64,
        batch: u64,
        gamma: u64,
        beta: u64,
        gamma_is_wide: i64,
        beta_is_wide: i64,
        groups: i64,
        channels: i64,
        splits: i64,
        epsilon: f64,
        renorm: Renorm,
    }

    ByMoving {
        mean: u64,
        variance: u64,
        gamma: u64,
        beta: u64,
        is_wide: i64,
        gamma_is_wide: i64,
        beta_is_wide: i64,
        channels: i64,
        epsilon: f64,
        fields: u64,
    }

    Terms {
        sums: u64,
        fields: u64,
        terms: u64,
        totals: u64,
        dgamma: u64,
        dbeta: u64,
        gamma_is_wide: i64,
        beta_is_wide: i64,
        shape: Shape,
    }

    Commit {
        averages: [u64; 11],
        batch: u64,
        before: u64,
        updates: u64,
        counts: u64,
        channels: i64,
        is_wide: i64,
        updates_are_i64: i64,
        variant: i64,
        is_cumulative: i64,
        moves_variance: i64,
        skips_constant: i64,
        is_unbiased: i64,
        rate: f64,
        renorm_decay: f64,
        epsilon: f64,
        weight: f64,
        freedom: f64,
        values: f64,
    }
}

impl Shape {
    pub(super) fn new(of: Geometry, plan: &Plan) -> Self {
        Self {
            outer: of.outer as i64,
            channels: of.channels as i64,
            inner: of.inner as i64,
            group: of.group as i64,
            splits: plan.splits as i64,
            width: plan.width as i64,
        }
    }
}

impl Terms {
    /// For memory at these addresses, and gradients of gamma and beta that are f64 or f32.
    pub(super) fn new(
        [sums, fields, terms, totals, dgamma, dbeta]: [u64; 6],
        [gamma_is_wide, beta_is_wide]: [bool; 2],
        shape: Shape,
    ) -> Self {
        let [gamma_is_wide, beta_is_wide] = [gamma_is_wide, beta_is_wide].map(i64::from);
        Self { sums, fields, terms, totals, dgamma, dbeta, gamma_is_wide, beta_is_wide, shape }
    }
}

impl Tail {
    pub(super) fn new(activation: Activation) -> Self {
        let (kind, slope) = match activation {
            Activation::None => (0, 0.0),
            Activation::Relu => (1, 0.0),
            Activation::Sigmoid => (2, 0.0),
            Activation::Tanh => (3, 0.0),
            Activation::LeakyRelu(slope) => (4, slope),
        };
        Self { kind, slope }
    }

    /// The part of a kernel's name.
    pub(super) fn name(self) -> &'static str {
        match self.kind {
            0 => "none",
            1 => "relu",
            _ => "any",
        }
    }
}

/// A variant as the kernels number it; 0 without renorm.
pub(super) fn variant(variant: Option<RenormVariant>) -> i64 {
    match variant {
        None => 0,
        Some(RenormVariant::Tf1) => 1,
        Some(RenormVariant::Keras) => 2,
        Some(RenormVariant::Paper) => 3,
    }
}
