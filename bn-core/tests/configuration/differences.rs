//! The gradients against finite differences.

use crate::common::reference::{Batch, Pass, Reference};
use crate::common::{Numbers, assert_within};
use crate::v_scale;

/// Central differences of the loss with r, d and weights held constant. With a step of 1e-4 stddevs the
/// truncation is 1e-8 of the third derivative in stddevs, to which the activation adds (gamma·r)².
pub(crate) fn check_finite_differences(
    reference: &Reference,
    batch: &Batch<'_>,
    dy: &[f64],
    pass: &Pass,
    dx: &[f64],
    numbers: &mut Numbers,
) {
    let want = reference.backward(batch, dy, pass);
    let stddevs = pass.groups.iter().flat_map(|g| &g.variance).map(|v| (v + 1e-3).sqrt());
    let smallest = stddevs.fold(f64::INFINITY, f64::min);
    let h = 1e-4 * smallest;
    let loss = |x: &[f64], gamma: &[f64], beta: &[f64]| {
        reference.loss(&Batch { x, gamma, beta, ..batch.clone() }, dy, pass)
    };
    let size: f64 = (0..dy.len()).map(|i| dy[i].abs() * v_scale(batch, pass, i)).sum();
    let steep = (0..dy.len()).map(|i| v_scale(batch, pass, i)).fold(1.0, f64::max);
    let noise = 8.0 * dy.len() as f64 * f64::EPSILON * size / h;
    for _ in 0..12 {
        let i = numbers.below(dx.len());
        let moved = |by: f64| {
            let mut x = batch.x.to_vec();
            x[i] += by;
            loss(&x, batch.gamma, batch.beta)
        };
        let slope = (moved(h) - moved(-h)) / (2.0 * h);
        let bound =
            noise + 1e-7 * steep * steep * want.dx_scale[i].max(size / smallest / dy.len() as f64);
        assert_within("finite difference of x", &[dx[i]], &[slope], |_| bound);
    }
    let reach = pass.z.iter().fold(1.0f64, |m, z| m.max(z.abs()));
    for (name, analytic, which) in [("gamma", &want.dgamma, 0), ("beta", &want.dbeta, 1)] {
        let i = numbers.below(analytic.len());
        let moved = |by: f64| {
            let mut parameters = [batch.gamma.to_vec(), batch.beta.to_vec()];
            parameters[which][i] += by;
            loss(batch.x, &parameters[0], &parameters[1])
        };
        let slope = (moved(1e-4) - moved(-1e-4)) / 2e-4;
        let noise = 8.0 * dy.len() as f64 * f64::EPSILON * size / 1e-4;
        // A parameter acts through the activation alone, whose third derivative is below 2: h²/6 · 2 · z³.
        let bound = noise + 1e-8 * reach.powi(3) * dy.iter().map(|dy| dy.abs()).sum::<f64>();
        assert_within(name, &[analytic[i]], &[slope], |_| bound);
    }
}
