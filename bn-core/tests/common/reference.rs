//! Batch normalization in plain loops over `f64`: what the layer is compared with.
//!
//! A port of the published formulas, not of the crate's code: whole sums instead of merged parts, the
//! closed form of the gradient instead of a graph. A `BatchNormConfig` is read as data only.

use super::functions::{activate, decay_at, ema, ema_one, slope};
use bn_core::{BatchNormConfig, DataFormat, RenormVariant, StoredVariance, WeightKind, ZeroDebias};

/// One training batch; everything per element is in the order of a contiguous tensor.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    pub dims: &'a [usize],
    pub x: &'a [f64],
    /// Per element of x.
    pub weights: &'a [f64],
    /// `[C]` or `[N, C]`.
    pub gamma: &'a [f64],
    pub beta: &'a [f64],
    pub residual: Option<&'a [f64]>,
}

/// Moments of one group: by channel, and its total weight.
#[derive(Clone, Debug)]
pub struct Moments {
    pub weight: f64,
    pub squared_weight: f64,
    pub mean: Vec<f64>,
    pub variance: Vec<f64>,
}

/// A forward pass and what its gradient needs.
#[derive(Clone, Debug)]
pub struct Pass {
    pub groups: Vec<Moments>,
    /// By group, then channel; `[1, 0]` without renorm.
    pub r: Vec<Vec<f64>>,
    pub d: Vec<Vec<f64>>,
    pub unclipped: Vec<(f64, f64)>,
    pub x_hat: Vec<f64>,
    /// `x̂ · r + d`.
    pub z: Vec<f64>,
    /// Before the activation.
    pub v: Vec<f64>,
    pub y: Vec<f64>,
}

#[derive(Clone, Debug, Default)]
pub struct Gradients {
    pub dx: Vec<f64>,
    pub dgamma: Vec<f64>,
    pub dbeta: Vec<f64>,
    pub dresidual: Vec<f64>,
    /// Sum of the absolute values of what was added up to each dx: its rounding is in proportion.
    pub dx_scale: Vec<f64>,
    pub dgamma_scale: Vec<f64>,
}

/// A zero-started sum and the weight it has gathered.
#[derive(Clone, Debug)]
pub struct Debias {
    pub biased: Vec<f64>,
    pub weight: f64,
}

/// The layer's statistics.
#[derive(Clone, Debug)]
pub struct Reference {
    config: BatchNormConfig,
    channels: usize,
    pub mean: Vec<f64>,
    pub variance: Vec<f64>,
    pub debias_mean: Debias,
    pub debias_variance: Debias,
    pub renorm_mean: Vec<f64>,
    pub renorm_stddev: Vec<f64>,
    pub renorm_mean_weight: f64,
    pub renorm_stddev_weight: f64,
    pub moving_stddev: Vec<f64>,
    pub committed: u64,
}

/// Which element belongs where.
#[derive(Clone, Copy)]
struct Place {
    inner: usize,
    channels: usize,
    per_example: usize,
    group: usize,
}

impl Place {
    fn channel(&self, i: usize) -> usize {
        i / self.inner % self.channels
    }

    fn example(&self, i: usize) -> usize {
        i / self.per_example
    }

    fn group(&self, i: usize) -> usize {
        self.example(i) / self.group
    }

    /// Index into `[C]` or `[N, C]`.
    fn parameter(&self, i: usize, len: usize) -> usize {
        match len == self.channels {
            true => self.channel(i),
            false => self.example(i) * self.channels + self.channel(i),
        }
    }
}

impl Reference {
    pub fn new(config: &BatchNormConfig, mean: &[f64], variance: &[f64]) -> Self {
        let zeros = vec![0.0; mean.len()];
        let stddev: Vec<f64> = variance.iter().map(|v| v.sqrt()).collect();
        let zero_started = Debias { biased: zeros.clone(), weight: 0.0 };
        let tf1 = config.renorm.as_ref().is_some_and(|r| r.variant == RenormVariant::Tf1);
        Self {
            channels: mean.len(),
            mean: mean.to_vec(),
            variance: variance.to_vec(),
            debias_mean: zero_started.clone(),
            debias_variance: zero_started,
            renorm_mean: if tf1 { zeros.clone() } else { mean.to_vec() },
            renorm_stddev: if tf1 { zeros } else { stddev.clone() },
            renorm_mean_weight: 0.0,
            renorm_stddev_weight: 0.0,
            moving_stddev: stddev,
            committed: 0,
            config: config.clone(),
        }
    }

    fn place(&self, dims: &[usize]) -> Place {
        let axis = match self.config.data_format {
            DataFormat::Nchw => 1,
            DataFormat::Nhwc => dims.len() - 1,
            DataFormat::Axis(axis) => axis,
        };
        Place {
            inner: dims[axis + 1..].iter().product(),
            channels: self.channels,
            per_example: dims[1..].iter().product(),
            group: self.config.normalization_batch.unwrap_or(dims[0]),
        }
    }

    fn moments(&self, batch: &Batch<'_>, member: impl Fn(usize) -> bool) -> Moments {
        let place = self.place(batch.dims);
        let (mut weight, mut squares) = (vec![0.0; self.channels], vec![0.0; self.channels]);
        let (mut mean, mut variance) = (vec![0.0; self.channels], vec![0.0; self.channels]);
        let members = || (0..batch.x.len()).filter(|&i| member(i));
        for i in members() {
            let c = place.channel(i);
            weight[c] += batch.weights[i];
            squares[c] += batch.weights[i] * batch.weights[i];
            mean[c] += batch.weights[i] * batch.x[i];
        }
        for c in 0..self.channels {
            mean[c] /= weight[c];
        }
        for i in members() {
            let c = place.channel(i);
            variance[c] += batch.weights[i] * (batch.x[i] - mean[c]).powi(2);
        }
        for c in 0..self.channels {
            variance[c] /= weight[c];
        }
        Moments { weight: weight[0], squared_weight: squares[0], mean, variance }
    }

    /// `(r, d)` without and with the bounds.
    fn correction(&self, mean: f64, stddev: f64, c: usize) -> ((f64, f64), (f64, f64)) {
        let Some(renorm) = &self.config.renorm else {
            return ((1.0, 0.0), (1.0, 0.0));
        };
        let (old_mean, old_stddev) = match renorm.variant {
            RenormVariant::Tf1 => (
                self.renorm_mean[c] + (1.0 - self.renorm_mean_weight) * mean,
                self.renorm_stddev[c] + (1.0 - self.renorm_stddev_weight) * stddev,
            ),
            RenormVariant::Keras => {
                (self.renorm_mean[c], self.renorm_stddev[c].max(self.config.epsilon.sqrt()))
            }
            RenormVariant::Paper => (self.renorm_mean[c], self.renorm_stddev[c]),
        };
        let (r, d) = (stddev / old_stddev, (mean - old_mean) / old_stddev);
        let bounds = renorm.clipping.at(self.committed);
        let mut clipped = (r, d);
        if let Some(low) = bounds.r_min {
            clipped.0 = clipped.0.max(low);
        }
        if let Some(high) = bounds.r_max {
            clipped.0 = clipped.0.min(high);
        }
        if let Some(bound) = bounds.d_max {
            clipped.1 = clipped.1.min(bound).max(-bound);
        }
        ((r, d), clipped)
    }

    /// A training forward, of which nothing here changes; see [`Reference::update`].
    pub fn forward(&self, batch: &Batch<'_>) -> Pass {
        let place = self.place(batch.dims);
        let count = batch.dims[0].div_ceil(place.group);
        let groups: Vec<Moments> =
            (0..count).map(|g| self.moments(batch, |i| place.group(i) == g)).collect();
        let (mut r, mut d, mut unclipped) = (Vec::new(), Vec::new(), Vec::new());
        for group in &groups {
            let each = (0..self.channels).map(|c| {
                let stddev = (group.variance[c] + self.config.epsilon).sqrt();
                self.correction(group.mean[c], stddev, c)
            });
            let each: Vec<_> = each.collect();
            unclipped.extend(each.iter().map(|e| e.0));
            r.push(each.iter().map(|e| e.1.0).collect());
            d.push(each.iter().map(|e| e.1.1).collect());
        }
        let mut pass = self.normalize(batch, groups, r, d);
        pass.unclipped = unclipped;
        pass.y = pass.v.iter().map(|&v| activate(self.config.activation, v, v)).collect();
        pass
    }

    fn normalize(
        &self,
        batch: &Batch<'_>,
        groups: Vec<Moments>,
        r: Vec<Vec<f64>>,
        d: Vec<Vec<f64>>,
    ) -> Pass {
        let place = self.place(batch.dims);
        let (mut x_hat, mut z, mut v) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..batch.x.len() {
            let (g, c) = (place.group(i), place.channel(i));
            let stddev = (groups[g].variance[c] + self.config.epsilon).sqrt();
            x_hat.push((batch.x[i] - groups[g].mean[c]) / stddev);
            z.push(x_hat[i] * r[g][c] + d[g][c]);
            let gamma = batch.gamma[place.parameter(i, batch.gamma.len())];
            let beta = batch.beta[place.parameter(i, batch.beta.len())];
            v.push(z[i] * gamma + beta + batch.residual.map_or(0.0, |residual| residual[i]));
        }
        Pass { groups, r, d, unclipped: Vec::new(), x_hat, z, v, y: Vec::new() }
    }

    /// `Σ dy · y` as a function of the batch, with r, d and the side of the activation's kink held as in
    /// `pass`: what the gradients are the derivatives of.
    pub fn loss(&self, batch: &Batch<'_>, dy: &[f64], pass: &Pass) -> f64 {
        let place = self.place(batch.dims);
        let groups =
            (0..pass.groups.len()).map(|g| self.moments(batch, |i| place.group(i) == g)).collect();
        let moved = self.normalize(batch, groups, pass.r.clone(), pass.d.clone());
        let y = |i: usize| activate(self.config.activation, moved.v[i], pass.v[i]);
        (0..dy.len()).map(|i| dy[i] * y(i)).sum()
    }

    /// The closed form, with r, d and the weights held constant.
    pub fn backward(&self, batch: &Batch<'_>, dy: &[f64], pass: &Pass) -> Gradients {
        let place = self.place(batch.dims);
        let mut grads = Gradients {
            dgamma: vec![0.0; batch.gamma.len()],
            dbeta: vec![0.0; batch.beta.len()],
            dgamma_scale: vec![0.0; batch.gamma.len()],
            ..Gradients::default()
        };
        let sums = vec![vec![0.0; self.channels]; pass.groups.len()];
        let (mut sum_g, mut sum_gx, mut scale) = (sums.clone(), sums.clone(), sums);
        let (mut g, mut g_size) = (Vec::new(), Vec::new());
        for i in 0..dy.len() {
            let dv = dy[i] * slope(self.config.activation, pass.v[i]);
            let (of_gamma, of_beta) =
                (place.parameter(i, batch.gamma.len()), place.parameter(i, batch.beta.len()));
            grads.dresidual.push(dv);
            grads.dbeta[of_beta] += dv;
            grads.dgamma[of_gamma] += dv * pass.z[i];
            // The slope is within [-size, size]; where it is small it is the rest of a subtraction.
            let size = dy[i].abs() * slope(self.config.activation, 0.0).abs().max(1.0);
            grads.dgamma_scale[of_gamma] += size * (1.0 + pass.z[i].abs());
            let (at, c) = (place.group(i), place.channel(i));
            g.push(dv * batch.gamma[of_gamma] * pass.r[at][c]);
            sum_g[at][c] += g[i];
            sum_gx[at][c] += g[i] * pass.x_hat[i];
            g_size.push(size * (batch.gamma[of_gamma] * pass.r[at][c]).abs());
            scale[at][c] += g_size[i] * (1.0 + pass.x_hat[i].abs());
        }
        for i in 0..dy.len() {
            let (at, c) = (place.group(i), place.channel(i));
            let group = &pass.groups[at];
            let stddev = (group.variance[c] + self.config.epsilon).sqrt();
            let share = batch.weights[i] / group.weight;
            let through = share * (sum_g[at][c] + pass.x_hat[i] * sum_gx[at][c]);
            grads.dx.push((g[i] - through) / stddev);
            let size = g_size[i] + share * (1.0 + pass.x_hat[i].abs()) * scale[at][c];
            grads.dx_scale.push(size / stddev);
        }
        grads
    }

    /// Moves the statistics by a batch, as one whole.
    pub fn update(&mut self, batch: &Batch<'_>) {
        let whole = self.moments(batch, |_| true);
        self.update_by(&whole);
    }

    pub fn update_by(&mut self, whole: &Moments) {
        let (w, squares) = (whole.weight, whole.squared_weight);
        let divisor = match self.config.weight_kind {
            WeightKind::Frequency => w - 1.0,
            WeightKind::Reliability => w - squares / w,
        };
        let unbiased = self.config.stored_variance == StoredVariance::Unbiased;
        // One value's worth of weight: the default policy leaves the variance as it is.
        let frozen_variance = w * w <= squares * (1.0 + 1e-12) || (unbiased && divisor <= 0.0);
        let beta = decay_at(&self.config.decay, self.committed);
        for c in 0..self.channels {
            let (mean, variance) = (whole.mean[c], whole.variance[c]);
            let stddev = (variance + self.config.epsilon).sqrt();
            self.update_channel(c, mean, variance, stddev, frozen_variance, beta, w / divisor);
        }
        if let Some(renorm) = &self.config.renorm {
            ema_one(&mut self.renorm_mean_weight, 1.0, renorm.decay);
            if !frozen_variance {
                ema_one(&mut self.renorm_stddev_weight, 1.0, renorm.decay);
            }
        }
        ema_one(&mut self.debias_mean.weight, 1.0, beta);
        if !frozen_variance {
            ema_one(&mut self.debias_variance.weight, 1.0, beta);
        }
        self.committed += 1;
    }

    #[allow(clippy::too_many_arguments)] // one channel of `update_by`, whose names these are
    fn update_channel(
        &mut self,
        c: usize,
        mean: f64,
        variance: f64,
        stddev: f64,
        frozen: bool,
        beta: f64,
        correction: f64,
    ) {
        let epsilon = self.config.epsilon;
        let (mut mean, mut variance) = (mean, variance);
        if self.config.stored_variance == StoredVariance::Unbiased {
            variance *= correction;
        }
        if let Some(renorm) = &self.config.renorm {
            let a = renorm.decay;
            ema_one(&mut self.renorm_mean[c], mean, a);
            if !frozen {
                ema_one(&mut self.renorm_stddev[c], stddev, a);
            }
            match renorm.variant {
                RenormVariant::Paper => {
                    self.mean[c] = self.renorm_mean[c];
                    if !frozen {
                        self.variance[c] = self.renorm_stddev[c].powi(2) - epsilon;
                    }
                    return;
                }
                RenormVariant::Keras => {
                    ema_one(&mut self.mean[c], mean, beta);
                    if !frozen {
                        ema_one(&mut self.moving_stddev[c], stddev, beta);
                        self.variance[c] = (self.moving_stddev[c].powi(2) - epsilon).max(0.0);
                    }
                    return;
                }
                RenormVariant::Tf1 => {
                    mean = self.renorm_mean[c] / ema(self.renorm_mean_weight, 1.0, a);
                    let stddev = self.renorm_stddev[c] / ema(self.renorm_stddev_weight, 1.0, a);
                    variance = stddev.powi(2) - epsilon;
                }
            }
        }
        let debias = self.config.zero_debias;
        ema_one(&mut self.debias_mean.biased[c], mean, beta);
        self.mean[c] = match debias {
            ZeroDebias::Mean | ZeroDebias::Both => {
                self.debias_mean.biased[c] / ema(self.debias_mean.weight, 1.0, beta)
            }
            _ => ema(self.mean[c], mean, beta),
        };
        if frozen {
            return;
        }
        ema_one(&mut self.debias_variance.biased[c], variance, beta);
        self.variance[c] = match debias {
            ZeroDebias::Variance | ZeroDebias::Both => {
                self.debias_variance.biased[c] / ema(self.debias_variance.weight, 1.0, beta)
            }
            _ => ema(self.variance[c], variance, beta),
        };
    }

    /// The value of a statistic by the name that the layer gives it.
    pub fn named(&self, name: &str) -> Vec<f64> {
        let each = |v: f64| vec![v; self.channels];
        match name {
            "moving_mean" => self.mean.clone(),
            "moving_variance" => self.variance.clone(),
            "moving_mean_biased" => self.debias_mean.biased.clone(),
            "moving_mean_weight" => each(self.debias_mean.weight),
            "moving_variance_biased" => self.debias_variance.biased.clone(),
            "moving_variance_weight" => each(self.debias_variance.weight),
            "renorm_mean" => self.renorm_mean.clone(),
            "renorm_stddev" => self.renorm_stddev.clone(),
            "renorm_mean_weight" => each(self.renorm_mean_weight),
            "renorm_stddev_weight" => each(self.renorm_stddev_weight),
            "moving_stddev" => self.moving_stddev.clone(),
            "updates" => vec![self.committed as f64],
            other => panic!("no reference for the statistic `{other}`"),
        }
    }

    /// Evaluation by the moving statistics.
    pub fn evaluate(&self, batch: &Batch<'_>) -> Vec<f64> {
        let place = self.place(batch.dims);
        let y = |i: usize| {
            let c = place.channel(i);
            let x_hat =
                (batch.x[i] - self.mean[c]) / (self.variance[c] + self.config.epsilon).sqrt();
            let gamma = batch.gamma[place.parameter(i, batch.gamma.len())];
            let beta = batch.beta[place.parameter(i, batch.beta.len())];
            let v = x_hat * gamma + beta + batch.residual.map_or(0.0, |residual| residual[i]);
            activate(self.config.activation, v, v)
        };
        (0..batch.x.len()).map(y).collect()
    }
}
