//! Laws of generated images: they match the settings, do not depend on threads, and are distinguishable.

use super::super::Dataset;
use crate::experiment::Registry;
use crate::ops::parallel::on_threads;

fn load(keys: &str) -> Dataset {
    let source = Registry::built_in()
        .settings(&lines(keys))
        .unwrap_or_else(|invalid| panic!("{invalid}"))
        .data;
    let data = source.load().unwrap();
    let description = source.describe();
    assert_eq!(
        (description.shape, description.classes, description.train),
        (data.train.shape, data.classes, data.train.len())
    );
    data
}

fn lines(keys: &str) -> String {
    format!(
        "optimizer.learning_rate = 1\ntrain = {{ steps = 1, batch_size = 2 }}\n[data]\nname = 'glyphs'\n{keys}"
    )
}

fn counts(data: &[u32], classes: usize) -> Vec<usize> {
    (0..classes as u32).map(|class| data.iter().filter(|&&label| label == class).count()).collect()
}

#[test]
fn bytes_do_not_depend_on_the_number_of_threads() {
    let make = |threads| {
        on_threads(threads, || {
            load(
                "examples = 200\nvalidation = 50\ntest = 50\nchannels = 3\nshift.blur = 1.5\nskew = 5",
            )
        })
    };
    let one = make(1);
    for threads in [2, 3, 7] {
        let data = make(threads);
        for (part, same) in [
            (&data.train, &one.train),
            (&data.validation, &one.validation),
            (&data.test, &one.test),
        ] {
            assert!(part.pixels == same.pixels && part.labels == same.labels);
        }
        assert_eq!(data.digest, one.digest);
    }
}

/// Pinned, because other bytes would make results of different versions incomparable.
#[test]
fn bytes_are_stable() {
    let digest =
        |keys: &str| load(&format!("examples = 20\nvalidation = 10\ntest = 10\n{keys}")).digest;
    assert_eq!(
        [digest(""), digest("difficulty = 'hard'\nchannels = 3\nsize = 9\nseed = 1")],
        [
            "blake3:f7c7c32e8ff9992c61bc18029820afc2776608761fcdda6a0c202e17879789f9",
            "blake3:5e03ff1092b3fbcd5d2d976c8f2b6300f2a0d5aafc8cc4420f25345a8fe211dd",
        ]
    );
}

#[test]
fn sizes_match_the_settings_and_classes_are_balanced() {
    for (size, channels, classes) in [(8, 1, 2), (16, 3, 10), (33, 1, 7), (64, 3, 100)] {
        let data = load(&format!(
            "size = {size}\nchannels = {channels}\nclasses = {classes}\nexamples = 203\nvalidation = 101\ntest = 100"
        ));
        for (part, count) in [(&data.train, 203), (&data.validation, 101), (&data.test, 100)] {
            assert_eq!(part.len(), count);
            assert_eq!(part.pixels.len(), count * channels * size * size);
            assert!(part.pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
            let counts = counts(&part.labels, classes);
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 1 && *least > 0, "{counts:?}");
        }
        assert_eq!(data.selection_weights, None);
    }
}

#[test]
fn selection_weights_correct_the_skew() {
    let data = load("classes = 4\nexamples = 1000\nvalidation = 100\ntest = 100\nskew = 8");
    let counts_of_train = counts(&data.train.labels, 4);
    // 8 : 4 : 2 : 1.
    assert_eq!(counts_of_train, [533, 267, 133, 67]);
    assert_eq!(counts(&data.validation.labels, 4), [25; 4]);
    assert_eq!(counts(&data.test.labels, 4), [25; 4]);
    let weights = data.selection_weights.unwrap();
    let mut by_class = [0.0; 4];
    for (weight, label) in weights.iter().zip(&data.train.labels) {
        by_class[*label as usize] += f64::from(*weight);
    }
    assert!(by_class.iter().all(|sum| (sum - 250.0).abs() < 1e-3), "{by_class:?}");
}

#[test]
fn shift_changes_only_the_test_part() {
    let small = "examples = 50\nvalidation = 20\ntest = 20\nnoise = 0\n";
    let plain = load(small);
    for shift in ["contrast = 0.5", "brightness = 0.3", "blur = 1"] {
        let shifted = load(&format!("{small}shift.{shift}"));
        assert!(shifted.train.pixels == plain.train.pixels);
        assert!(shifted.validation.pixels == plain.validation.pixels);
        assert!(shifted.test.labels == plain.test.labels);
        assert!(shifted.test.pixels != plain.test.pixels, "{shift}");
        assert_ne!(shifted.digest, plain.digest);
    }
    let half = load(&format!("{small}shift.contrast = 0.5"));
    for (half, plain) in half.test.pixels.iter().zip(&plain.test.pixels) {
        assert!((half - (0.5 + 0.5 * (plain - 0.5))).abs() < 1e-6);
    }
}

/// A nearest-mean classifier, which has nothing to tune, classifies most easy examples and fewer of the harder ones.
#[test]
fn classes_are_distinguishable_and_harder_with_difficulty() {
    let share = |difficulty: &str| {
        let data = load(&format!("examples = 2000\nvalidation = 500\ndifficulty = '{difficulty}'"));
        let size = data.train.shape.pixels();
        let mut means = vec![vec![0.0_f32; size]; 10];
        for (image, label) in data.train.pixels.chunks(size).zip(&data.train.labels) {
            for (mean, pixel) in means[*label as usize].iter_mut().zip(image) {
                *mean += pixel / 200.0;
            }
        }
        let distance = |image: &[f32], mean: &[f32]| -> f32 {
            image.iter().zip(mean).map(|(pixel, mean)| (pixel - mean).powi(2)).sum()
        };
        let is_right = |(image, label): (&[f32], &u32)| {
            let nearest = (0..10)
                .min_by(|&a, &b| distance(image, &means[a]).total_cmp(&distance(image, &means[b])));
            nearest == Some(*label as usize)
        };
        let images = data.validation.pixels.chunks(size).zip(&data.validation.labels);
        images.filter(|example| is_right(*example)).count() as f64 / 500.0
    };
    let (easy, medium, hard) = (share("easy"), share("medium"), share("hard"));
    assert!(easy > 0.8 && easy > medium && medium > hard && hard > 0.15, "{easy} {medium} {hard}");
}

#[test]
fn key_overrides_the_difficulty() {
    let keys = "examples = 20\nvalidation = 10\ntest = 10\n";
    let hard = load(&format!("{keys}difficulty = 'hard'"));
    let spelled = "strokes = 3\njitter = 0.3\nclutter = 2\nnoise = 0.25\ncolour = 0.6";
    assert_eq!(load(&format!("{keys}{spelled}")).digest, hard.digest);
    let quiet = load(&format!("{keys}difficulty = 'hard'\nnoise = 0"));
    assert_ne!(quiet.digest, hard.digest);
}

#[test]
fn invalid_settings_are_refused_with_the_key() {
    for (keys, expected) in [
        ("classes = 1", "`data.classes` is 1; expected a whole number from 2 to 1000"),
        ("channels = 2", "`data.channels` is 2; expected 1 (grey) or 3 (colour)"),
        ("size = 65", "`data.size` is 65"),
        ("difficulty = 'hrd'", "did you mean \"hard\"?"),
        ("skew = 0.5", "`data.skew` is 0.5; expected a number, 1 <= skew <= 1000"),
        ("shift.blur = -1", "`data.shift.blur` is -1"),
        ("examples = 1000000\nsize = 64", "`data.examples` is 1000000: all images together"),
        ("colours = 1", "unknown key `data.colours`; did you mean `data.colour` (takes"),
    ] {
        let invalid = Registry::built_in().settings(&lines(keys)).unwrap_err().to_string();
        assert!(invalid.contains(expected), "{keys}: {invalid}");
    }
}
