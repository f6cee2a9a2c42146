//! Kernels against plain loops in f64, and the accuracy that the module promises.

use super::input::{Back, Input, Weights, reads_value};
use super::kernels::{backward, forward, gradient_sums, input_gradient, terms};
use super::lanes::Element;
use super::output::Output;
use super::plan::{Plan, plan};
use super::walk::Geometry;
use crate::activation::Activation;
use crate::channel::{Affine, Channel, Moment};
use crate::tensors::{Stored, room};
use std::mem::MaybeUninit;

/// Numbers that look random, the same on every machine.
fn noise(len: usize, seed: u32) -> Vec<f64> {
    let mut state = seed.wrapping_mul(2_654_435_769).wrapping_add(1);
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.5
    };
    (0..len).map(|_| uniform() + uniform() + uniform()).collect()
}

const SHAPES: [[usize; 3]; 12] = [
    [1, 1, 1],
    [7, 3, 5],
    [60, 100, 1],
    [300, 512, 1],
    [257, 17, 1],
    [5_000, 3, 1],
    [1_000, 70, 1],
    [6, 9, 49],
    [32, 20, 196],
    [9, 16, 1_024],
    [2, 2, 70_000],
    [40, 3, 1_000],
];

fn geometry([outer, channels, inner]: [usize; 3]) -> Geometry {
    Geometry { outer, channels, inner }
}

/// Mean and variance of every channel in f64.
fn plain(x: &[f64], g: Geometry, w: impl Fn(usize, usize) -> f64) -> Vec<Moment> {
    let at = |o: usize, c: usize, i: usize| x[(o * g.channels + c) * g.inner + i];
    let places = || (0..g.outer).flat_map(|o| (0..g.inner).map(move |i| (o, i)));
    let total: f64 = places().map(|(o, i)| w(o, i)).sum();
    let moment = |c: usize| {
        let mean = places().map(|(o, i)| w(o, i) * at(o, c, i)).sum::<f64>() / total;
        let square = |(o, i): (usize, usize)| w(o, i) * (at(o, c, i) - mean).powi(2);
        let variance = places().map(square).sum::<f64>() / total;
        Moment { mean, variance }
    };
    (0..g.channels).map(moment).collect()
}

fn moments<T: Element>(
    x: &[T],
    g: Geometry,
    weights: Weights<'_, T::Real>,
    total: f64,
) -> Vec<Moment> {
    let input = Input::new(x, g).with_weights(weights, total);
    let separate = super::kernels::moments(&input);
    let mut y: Vec<MaybeUninit<T>> = x.iter().map(|x| MaybeUninit::new(*x)).collect();
    let (found, _) = forward(&input, standardized, &mut y);
    let bits = |m: &[Moment]| -> Vec<_> {
        m.iter().map(|m| [m.mean.to_bits(), m.variance.to_bits()]).collect()
    };
    assert_eq!(bits(&separate), bits(&found), "by themselves as before a normalization");
    found
}

/// Slabs are disjoint boxes as large together as the geometry.
fn check_plan(g: Geometry, plan: Plan) {
    let Plan { slabs, whole_channels: whole } = plan;
    let mut elements = 0;
    for slab in &slabs {
        assert!(
            slab.outer.end <= g.outer
                && slab.channels.end <= g.channels
                && slab.inner.end <= g.inner
        );
        assert!(!whole || (slab.outer == (0..g.outer) && slab.inner == (0..g.inner)));
        elements += slab.outer.len() * slab.channels.len() * slab.inner.len();
    }
    assert_eq!(elements, g.outer * g.channels * g.inner, "{g:?}");
    let apart = |a: &std::ops::Range<usize>, b: &std::ops::Range<usize>| {
        a.end <= b.start || b.end <= a.start
    };
    for (i, a) in slabs.iter().enumerate().take(200) {
        for b in &slabs[..i] {
            let disjoint = apart(&a.outer, &b.outer)
                || apart(&a.channels, &b.channels)
                || apart(&a.inner, &b.inner);
            assert!(disjoint, "{g:?} {a:?} {b:?}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn plans_cover_every_element_once(
        outer in 1..3_000_usize, channels in 1..140_000_usize, inner in 1..200_000_usize,
        flat in proptest::bool::ANY, narrow in 1..20_usize, streams in 1..3_usize,
    ) {
        let shapes = match flat {
            true => [[outer, channels, 1], [outer, narrow, 1]],
            false => [[outer % 50 + 1, channels % 300 + 1, inner % 5_000 + 1], [outer % 9 + 1, narrow, inner]],
        };
        for shape in shapes {
            check_plan(geometry(shape), plan::<f32>(geometry(shape), streams));
            check_plan(geometry(shape), plan::<f64>(geometry(shape), streams));
        }
    }
}

#[test]
fn more_channels_than_a_part_has_elements() {
    for streams in [1, 2] {
        let g = geometry([2_049, 65_537, 1]);
        check_plan(g, plan::<f32>(g, streams));
    }
}

#[test]
fn narrower_vectors_pass_these_tests_too() {
    if std::env::var_os(super::lanes::VECTORS).is_some() {
        return;
    }
    for vectors in ["avx2", "scalar"] {
        let mut tests = std::process::Command::new(std::env::current_exe().expect("a program"));
        tests.args(["engine::cpu::", "--quiet"]).env(super::lanes::VECTORS, vectors);
        let output = tests.output().expect("a run");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains(" passed"), "{vectors}: {text}");
    }
}

#[test]
fn values_of_weight_0_lead_no_pivot_astray() {
    let g = geometry([4_000, 20, 1]);
    let mut x: Vec<f32> = noise(80_000, 13).iter().map(|v| *v as f32).collect();
    let mut weights = vec![1.0_f32; 4_000];
    for row in (0..4_000).step_by(2) {
        weights[row] = 0.0;
        x[row * 20..][..20].fill(1e12);
    }
    let wide: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
    let found = moments(&x, g, Weights::PerOuter(&weights), 2_000.0);
    for (found, want) in found.iter().zip(plain(&wide, g, |o, _| f64::from(weights[o]))) {
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-5 * want.variance;
        assert!(
            close(found.mean, want.mean) && close(found.variance, want.variance),
            "{found:?} {want:?}"
        );
    }
}

#[test]
fn moments_keep_their_digits_a_million_stddevs_from_zero() {
    for shape in SHAPES {
        let g = geometry(shape);
        for far in [0.0, 1.0, 1e3, 1e6] {
            let x: Vec<f32> = noise(g.outer * g.channels * g.inner, 7)
                .iter()
                .map(|v| (0.5 * v + 0.5 * far) as f32)
                .collect();
            let wide: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
            let n = (g.outer * g.inner) as f64;
            let found = moments(&x, g, Weights::None, n);
            for (found, want) in found.iter().zip(plain(&wide, g, |_, _| 1.0)) {
                let ulp = f64::from(f32::EPSILON) * want.mean.abs().max(want.variance.sqrt());
                assert!(
                    (found.mean - want.mean).abs() <= ulp,
                    "{shape:?} {far} {found:?} {want:?}"
                );
                assert!(
                    (found.variance - want.variance).abs() <= 1e-5 * want.variance,
                    "{shape:?} {far} {found:?} {want:?}"
                );
            }
        }
    }
}

#[test]
fn moments_of_hard_channels() {
    for g in [geometry([64, 20, 1]), geometry([4, 20, 100])] {
        let len = g.outer * g.channels * g.inner;
        let n = (g.outer * g.inner) as f64;
        let check = |x: &[f32], tolerance: f64, what: &str| {
            let wide: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
            for (found, want) in
                moments(x, g, Weights::None, n).iter().zip(plain(&wide, g, |_, _| 1.0))
            {
                let close = |a: f64, b: f64| (a - b).abs() <= tolerance * b.abs();
                assert!(close(found.variance, want.variance), "{what}: {found:?} {want:?}");
                assert!(
                    (found.mean - want.mean).abs()
                        <= 1e-6 * (want.mean.abs() + want.variance.sqrt()),
                    "{what}: {found:?} {want:?}"
                );
            }
        };
        let noise = noise(len, 3);
        let of = |f: &dyn Fn(usize, f64) -> f64| -> Vec<f32> {
            noise.iter().enumerate().map(|(i, v)| f(i, *v) as f32).collect()
        };
        check(&of(&|_, v| v * 1e30), 1e-5, "squares that overflow f32");
        check(&of(&|_, v| v * 1e-25), 1e-5, "squares that underflow f32");
        check(&of(&|i, v| if i < g.channels { 1e4 } else { v }), 1e-5, "an outlier first");
        check(&of(&|i, v| v + 1e4 * (i > len / 2) as u8 as f64), 1e-5, "a step");
        for moment in moments(&vec![0.1f32; len], g, Weights::None, n) {
            let exact = Moment { mean: f64::from(0.1f32), variance: 0.0 };
            assert_eq!(moment, exact, "a constant is exact");
        }
        let mut x = of(&|_, v| v);
        x[0] = f32::NAN;
        assert!(!moments(&x, g, Weights::None, n)[0].variance.is_finite());
        x[0] = f32::INFINITY;
        assert!(!moments(&x, g, Weights::None, n)[0].variance.is_finite());
    }
}

#[test]
fn weighted_moments_are_the_plain_ones_of_repeated_values() {
    for shape in SHAPES {
        let g = geometry(shape);
        let x = noise(g.outer * g.channels * g.inner, 11);
        let per_position: Vec<f64> = (0..g.outer * g.inner).map(|p| (p % 3) as f64 + 0.5).collect();
        let weight = |o: usize, i: usize| per_position[o * g.inner + i];
        let total = per_position.iter().sum();
        let weights = match g.inner {
            1 => Weights::PerOuter(&per_position),
            _ => Weights::PerPosition(&per_position),
        };
        for (found, want) in moments(&x, g, weights, total).iter().zip(plain(&x, g, weight)) {
            assert!((found.mean - want.mean).abs() <= 1e-13, "{shape:?}");
            assert!(
                (found.variance - want.variance).abs() <= 1e-13 * (1.0 + want.variance),
                "{shape:?}"
            );
        }
    }
}

/// A slice of NaN that starts `off` elements behind the start of a cache line.
fn output(buffer: &mut Vec<MaybeUninit<f32>>, len: usize, off: usize) -> &mut [MaybeUninit<f32>] {
    *buffer = vec![MaybeUninit::new(f32::NAN); len + 32];
    let start = buffer.as_ptr().align_offset(64) + off;
    &mut buffer[start..start + len]
}

#[test]
fn what_is_written_past_the_caches_is_the_same() {
    let shapes = [[48, 33, 1_024], [3, 4, 139_264], [50_000, 32, 1]];
    for shape in shapes {
        let g = geometry(shape);
        let len = g.outer * g.channels * g.inner;
        let real = |seed: u32| -> Vec<f32> { noise(len, seed).iter().map(|v| *v as f32).collect() };
        let (x, dy) = (real(3), real(5));
        let input = Input::new(&x, g).with_activation(Activation::Relu);
        let run = |off: usize| -> [Vec<u32>; 2] {
            let (mut y, mut dx) = (Vec::new(), Vec::new());
            let (y, dx) = (output(&mut y, len, off), output(&mut dx, len, off));
            assert_eq!(Output::new(y, g).streams(), off == 0, "{shape:?}");
            let (_, channels) = forward(&input, standardized, y);
            backward(&Back::new(input, &channels, None, &dy), dx, None);
            // SAFETY: the buffers held numbers before.
            #[allow(unsafe_code)]
            let bits = |v: &[MaybeUninit<f32>]| -> Vec<u32> {
                v.iter().map(|v| unsafe { v.assume_init() }.to_bits()).collect()
            };
            [bits(y), bits(dx)]
        };
        assert!(run(0) == run(1), "{shape:?}");
        assert!(!run(0).concat().contains(&f32::NAN.to_bits()), "{shape:?}");
    }
}

/// Each channel by its own moments, a quarter added.
fn standardized(_: usize, moments: &[Moment]) -> Vec<Channel> {
    let channel = |moment: &Moment| {
        let inv_std = (moment.variance + 1e-3).sqrt().recip();
        let affine = Affine { mean: moment.mean, scale: inv_std, offset: 0.25 };
        Channel { affine, inv_std, r: 1.0, d: 0.0, clipped: [false; 2], through: true }
    };
    moments.iter().map(channel).collect()
}

fn fill<T: Stored, R>(len: usize, work: impl FnOnce(&mut [MaybeUninit<T>]) -> R) -> (Vec<T>, R) {
    let mut places = room(len);
    let result = work(&mut places);
    // SAFETY: tests are built with debug assertions, where all of it was written before the kernel ran.
    #[allow(unsafe_code)]
    let values = unsafe { places.assume_init() };
    (values.into_vec(), result)
}

fn gradient_by_value_is_that_without<T: Element + PartialEq + std::fmt::Debug>(
    of: impl Fn(f64) -> T,
) {
    for shape in SHAPES {
        let g = geometry(shape);
        let len = g.outer * g.channels * g.inner;
        let all = |seed: u32| -> Vec<T> { noise(len, seed).iter().map(|v| of(*v)).collect() };
        let (x, dy, residual) = (all(3), all(5), all(7));
        for activation in [Activation::Sigmoid, Activation::Tanh] {
            assert!(reads_value::<T>(activation));
            let input =
                Input::new(&x, g).with_activation(activation).with_residual(Some(&residual));
            let (y, (_, channels)) = fill(len, |y| forward(&input, standardized, y));
            let gradient = |y: Option<&[T]>| {
                let back = Back::new(input, &channels, y, &dy);
                let whole = fill(len, |dx| backward(&back, dx, None));
                // The two halves, as ranks use them, come to the same bits.
                let totals = gradient_sums(&back);
                let given = terms(&channels, &totals, input.total);
                let (dx, ()) = fill(len, |dx| input_gradient(&back, &given, dx, None));
                assert!(whole == (dx, totals), "{shape:?} {activation:?}");
                whole
            };
            assert!(gradient(Some(&y)) == gradient(None), "{shape:?} {activation:?}");
        }
    }
}

#[test]
fn a_costly_activations_gradient_by_its_value_is_that_without() {
    gradient_by_value_is_that_without(|v| v as f32);
    gradient_by_value_is_that_without(|v| v);
    assert!(!reads_value::<half::bf16>(Activation::Sigmoid));
}
