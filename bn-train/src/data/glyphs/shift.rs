//! Distribution shift of test images, as from a different camera.

/// Blur, then contrast, then brightness.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shift {
    /// Contrast factor around middle grey.
    pub(super) contrast: f32,
    /// Added to each pixel.
    pub(super) brightness: f32,
    /// Standard deviation of a Gaussian, in pixels.
    pub(super) blur: f32,
}

/// No shift.
impl Default for Shift {
    fn default() -> Self {
        Self { contrast: 1.0, brightness: 0.0, blur: 0.0 }
    }
}

impl Shift {
    /// Applies the shift to a plane of `size` rows and columns, clamped to `0..=1`.
    pub(super) fn apply(self, plane: &mut [f32], size: usize) {
        if self == Self::default() {
            return;
        }
        if self.blur > 0.0 {
            let kernel = gaussian(self.blur);
            blur(plane, size, 1, &kernel);
            blur(plane, 1, size, &kernel);
        }
        for pixel in plane {
            *pixel = (0.5 + self.contrast * (*pixel - 0.5) + self.brightness).clamp(0.0, 1.0);
        }
    }
}

/// Half of a symmetric Gaussian kernel, from its centre. The full kernel sums to 1.
fn gaussian(deviation: f32) -> Vec<f32> {
    let reach = (3.0 * deviation).ceil() as usize;
    let weight = |away: usize| (-0.5 * (away as f32 / deviation).powi(2)).exp();
    let weights: Vec<f32> = (0..=reach).map(weight).collect();
    let sum = 2.0 * weights.iter().sum::<f32>() - weights[0];
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// Blurs lines of pixels with stride `step`; lines are `line_step` apart. Border pixels are repeated outside.
fn blur(plane: &mut [f32], line_step: usize, step: usize, kernel: &[f32]) {
    let count = line_step.max(step);
    let mut line = vec![0.0; count];
    for first in (0..count).map(|line| line * line_step) {
        for (at, value) in line.iter_mut().enumerate() {
            *value = plane[first + at * step];
        }
        for at in 0..count {
            let both_sides =
                |away: usize| line[at.saturating_sub(away)] + line[(at + away).min(count - 1)];
            let others = kernel.iter().enumerate().skip(1);
            let sum: f32 = others.map(|(away, weight)| weight * both_sides(away)).sum();
            plane[first + at * step] = kernel[0] * line[at] + sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shifted(shift: Shift, plane: &[f32], size: usize) -> Vec<f32> {
        let mut plane = plane.to_vec();
        shift.apply(&mut plane, size);
        plane
    }

    #[test]
    fn blur_keeps_a_constant_plane() {
        for deviation in [0.3, 1.0, 8.0] {
            let blur = Shift { blur: deviation, ..Shift::default() };
            for pixel in shifted(blur, &[0.25; 81], 9) {
                assert!((pixel - 0.25).abs() < 1e-6, "{pixel}");
            }
        }
    }

    #[test]
    fn blur_of_a_point_is_a_gaussian_with_sum_1() {
        let mut plane = vec![0.0; 21 * 21];
        plane[10 * 21 + 10] = 1.0;
        let blurred = shifted(Shift { blur: 2.0, ..Shift::default() }, &plane, 21);
        let at = |row: usize, column: usize| blurred[row * 21 + column];
        assert!((blurred.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        for away in 1..6 {
            let all = [at(10 - away, 10), at(10 + away, 10), at(10, 10 - away), at(10, 10 + away)];
            assert!(all.iter().all(|pixel| *pixel == all[0]), "{all:?}");
            let want = at(10, 10) * (-0.5 * (away as f32 / 2.0).powi(2)).exp();
            assert!((all[0] - want).abs() < 1e-6, "{away}: {} {want}", all[0]);
        }
    }

    #[test]
    fn contrast_is_around_grey_and_clamped() {
        let pixels = [0.0, 0.25, 0.5, 1.0];
        let contrast = |contrast| Shift { contrast, ..Shift::default() };
        assert_eq!(shifted(contrast(0.5), &pixels, 2), [0.25, 0.375, 0.5, 0.75]);
        assert_eq!(shifted(contrast(2.0), &pixels, 2), [0.0, 0.0, 0.5, 1.0]);
        let bright = Shift { brightness: 0.25, ..Shift::default() };
        assert_eq!(shifted(bright, &pixels, 2), [0.25, 0.5, 0.75, 1.0]);
        assert_eq!(shifted(Shift::default(), &pixels, 2), pixels);
    }
}
