//! Activations and decays of the reference, one number at a time.

use bn_core::{Activation, Decay};

pub fn ema(old: f64, new: f64, decay: f64) -> f64 {
    decay * old + (1.0 - decay) * new
}

pub fn ema_one(old: &mut f64, new: f64, decay: f64) {
    *old = ema(*old, new, decay);
}

/// The decay of update `t`, counted from 0.
pub fn decay_at(decay: &Decay, t: u64) -> f64 {
    match decay {
        Decay::Constant(decay) => *decay,
        Decay::Cumulative => t as f64 / (t + 1) as f64,
        Decay::Schedule(schedule) => {
            let points = schedule.points();
            let (first, last) = (points[0], points[points.len() - 1]);
            if t <= first.0 {
                return first.1;
            }
            let pair = points.windows(2).find(|pair| pair[0].0 <= t && t < pair[1].0);
            pair.map_or(last.1, |pair| {
                let share = (t - pair[0].0) as f64 / (pair[1].0 - pair[0].0) as f64;
                pair[0].1 + share * (pair[1].1 - pair[0].1)
            })
        }
    }
}

/// The activation at `v`, on the side of its kink where `side` is.
pub fn activate(activation: Activation, v: f64, side: f64) -> f64 {
    match activation {
        Activation::None => v,
        Activation::Relu if side > 0.0 => v,
        Activation::Relu => 0.0,
        Activation::LeakyRelu(_) if side > 0.0 => v,
        Activation::LeakyRelu(slope) => slope * v,
        Activation::Sigmoid => 1.0 / (1.0 + (-v).exp()),
        Activation::Tanh => v.tanh(),
    }
}

pub fn slope(activation: Activation, v: f64) -> f64 {
    match activation {
        Activation::None => 1.0,
        Activation::Relu => f64::from(u8::from(v > 0.0)),
        Activation::LeakyRelu(slope) => {
            if v > 0.0 {
                1.0
            } else {
                slope
            }
        }
        Activation::Sigmoid => {
            let y = activate(activation, v, v);
            y * (1.0 - y)
        }
        Activation::Tanh => 1.0 - v.tanh().powi(2),
    }
}
