//! Half floats to and from f32 by integer arithmetic without branches, which compiles to vectors on any machine. (The
//! `half` crate checks the machine's instructions for every number.)
//!
//! Round to nearest, ties to even; NaN stays NaN (quiet), infinities and subnormals are exact.

/// f16 to f32, exact.
#[inline(always)]
pub(super) fn f16_to_f32(h: u16) -> f32 {
    let h = u32::from(h);
    let magnitude = (h & 0x7fff) << 13;
    // 2¹¹² moves the exponent's bias from 15 to 127, subnormals included.
    let scaled = (f32::from_bits(magnitude) * f32::from_bits(0x7780_0000)).to_bits();
    let special = if h & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled | special | ((h & 0x8000) << 16))
}

/// f32 to f16.
#[inline(always)]
pub(super) fn f32_to_f16(v: f32) -> u16 {
    let bits = v.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    // Normal: rebias, round to even on the 13 bits that go. May carry into the exponent, up to infinity.
    let odd = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + odd) >> 13;
    // Subnormal: adding 0.5 leaves the rounded multiple of 2⁻²⁴ in the low bits.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let finite = if magnitude < 0x3880_0000 { subnormal } else { normal };
    let overflow = if magnitude > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
    let result = if magnitude >= 0x4780_0000 { overflow } else { finite };
    (sign | result) as u16
}

/// bf16 to f32, exact.
#[inline(always)]
pub(super) fn bf16_to_f32(b: u16) -> f32 {
    f32::from_bits(u32::from(b) << 16)
}

/// f32 to bf16.
#[inline(always)]
pub(super) fn f32_to_bf16(v: f32) -> u16 {
    let bits = v.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet = (bits >> 16) | 0x40;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { quiet } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_widens_and_comes_back() {
        for bits in 0..=u16::MAX {
            let (h, b) = (half::f16::from_bits(bits), half::bf16::from_bits(bits));
            if h.is_nan() {
                assert!(f16_to_f32(bits).is_nan());
                assert!(half::f16::from_bits(f32_to_f16(f16_to_f32(bits))).is_nan());
            } else {
                assert_eq!(f16_to_f32(bits).to_bits(), h.to_f32().to_bits(), "{bits:#x}");
                assert_eq!(f32_to_f16(h.to_f32()), bits);
            }
            if b.is_nan() {
                assert!(half::bf16::from_bits(f32_to_bf16(bf16_to_f32(bits))).is_nan());
            } else {
                assert_eq!(bf16_to_f32(bits).to_bits(), b.to_f32().to_bits());
                assert_eq!(f32_to_bf16(b.to_f32()), bits);
            }
        }
    }

    #[test]
    fn rounding_is_that_of_the_half_crate() {
        // Every exponent and sign, with mantissas around the ties.
        for high in 0..=0x1ff_u32 {
            for low in (0..0x80_0000_u32)
                .step_by(0x3ff)
                .chain([0xfff, 0x1000, 0x1001, 0x3000, 0x7fff, 0x8000, 0x8001, 0x1_8000, 0x7f_ffff])
            {
                let v = f32::from_bits((high << 23) | low);
                if v.is_nan() {
                    continue;
                }
                assert_eq!(f32_to_f16(v), half::f16::from_f32(v).to_bits(), "{v:e}");
                assert_eq!(f32_to_bf16(v), half::bf16::from_f32(v).to_bits(), "{v:e}");
            }
        }
    }
}
