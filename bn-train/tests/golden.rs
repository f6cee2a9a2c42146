//! Compares the first rows of two runs with those of an earlier version (`golden/generate.sh`), to detect unintended
//! changes of results.
//!
//! The comparison is not bitwise, because processors with other vector widths sum in another order. After 5 steps, such
//! differences are about 1e-5.

mod common;

use common::{SHORT, folder, run, run_folder, text};
use std::fs;
use std::path::Path;

/// Relative tolerance of losses.
const LOSS: f64 = 1e-3;
/// Tolerance of accuracies: two of the 270 validation examples.
const ACCURACY: f64 = 2.5 / 270.0;

#[test]
fn first_rows_equal_those_of_earlier_versions() {
    let out = folder();
    let arguments = ["--arms", "decay 0.9,renorm 0.99", "--seeds", "0", "--no-report"];
    let output = run(out.path(), &[&SHORT[..], &arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for arm in ["decay-0.9", "renorm-0.99"] {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{arm}.csv"));
        let wanted = fs::read_to_string(golden).unwrap();
        let found = fs::read_to_string(run_folder(out.path(), arm, 0).join("metrics.csv")).unwrap();
        assert_eq!(wanted.lines().count(), 11);
        for line in wanted.lines().skip(1) {
            let (key, wanted) = line.rsplit_once(',').unwrap();
            let row = found.lines().find_map(|row| row.strip_prefix(key)?.strip_prefix(','));
            let found: f64 = row.unwrap_or_else(|| panic!("{arm}: no row {key}")).parse().unwrap();
            let wanted: f64 = wanted.parse().unwrap();
            let tolerance = if key.ends_with("loss") { LOSS * wanted.abs() } else { ACCURACY };
            assert!((found - wanted).abs() <= tolerance, "{arm}: {key}: {found}, was {wanted}");
        }
    }
}
