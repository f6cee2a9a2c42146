//! Sigmoid and tanh by lanes. In f32 they are polynomials without branches, which the compiler can vectorize; both are
//! right to a few ulp. In f64 they are std's.

/// f32.
pub(super) mod f32 {
    /// `e^v − 1` in two parts: `(2ⁿ, e^r − 1)` with `v = n·ln 2 + r` and `|r| ≤ ln 2 / 2`.
    #[inline(always)]
    fn parts(v: f32) -> (f32, f32) {
        // Adding 1.5·2²³ leaves n in the low bits. Clamped so that 2ⁿ stays a normal number.
        const MAGIC: f32 = 12_582_912.0;
        let v = if v > 88.0 { 88.0 } else { v };
        let v = if v < -87.0 { -87.0 } else { v };
        let shifted = v * std::f32::consts::LOG2_E + MAGIC;
        let n = shifted - MAGIC;
        let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
        // ln 2 in two parts (Cody & Waite), so that r is exact to its last bits.
        let r = (v - n * 0.693_359_4) + n * 2.121_944_4e-4;
        let p = 1.0 / 5040.0;
        let p = p * r + 1.0 / 720.0;
        let p = p * r + 1.0 / 120.0;
        let p = p * r + 1.0 / 24.0;
        let p = p * r + 1.0 / 6.0;
        let p = p * r + 0.5;
        (power, p * r * r + r)
    }

    #[inline(always)]
    pub(in super::super) fn sigmoid(v: f32) -> f32 {
        let (power, less_one) = parts(-v);
        1.0 / (1.0 + (power * less_one + power))
    }

    /// `(e^2v − 1) / (e^2v + 1)`; the numerator keeps its digits near 0.
    #[inline(always)]
    pub(in super::super) fn tanh(v: f32) -> f32 {
        let (power, less_one) = parts(2.0 * v);
        let numerator = power * less_one + (power - 1.0);
        numerator / (numerator + 2.0)
    }
}

/// f64.
pub(super) mod f64 {
    #[inline(always)]
    pub(in super::super) fn sigmoid(v: f64) -> f64 {
        1.0 / (1.0 + (-v).exp())
    }

    #[inline(always)]
    pub(in super::super) fn tanh(v: f64) -> f64 {
        v.tanh()
    }
}

#[cfg(test)]
mod tests {
    use super::f32::{sigmoid, tanh};

    #[test]
    fn within_a_few_ulp() {
        for i in -20_000..=20_000_i32 {
            let v = i as f32 / 1_000.0;
            let (s, t) = (1.0 / (1.0 + (-f64::from(v)).exp()), f64::from(v).tanh());
            assert!((f64::from(sigmoid(v)) - s).abs() <= 4e-7 * s, "sigmoid {v}");
            assert!((f64::from(tanh(v)) - t).abs() <= 4e-7 * t.abs(), "tanh {v}");
        }
        for v in [-1e30, -100.0, f32::NEG_INFINITY] {
            assert!(sigmoid(v) < 1e-37 && tanh(v) == -1.0);
        }
        for v in [1e30, 100.0, f32::INFINITY] {
            assert!(sigmoid(v) == 1.0 && tanh(v) == 1.0);
        }
        assert!(sigmoid(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert_eq!(tanh(0.0), 0.0);
    }
}
