//! Fuzzes every parser of data files (`fuzz/targets.rs`) with mutations of the seeds in `tests/corpus`. A parser must return
//! a value or an error, never panic, and use bounded memory.
//!
//! The test suite runs a few thousand inputs each. Run more, of all targets or of some, with:
//!
//! ```sh
//! BN_TRAIN_FUZZ_INPUTS=1000000 BN_TRAIN_FUZZ_TARGETS=png,jpeg cargo test --release --test fuzz -- --nocapture
//! ```
//!
//! A failing input is written to `target/fuzz-failures/TARGET`.

mod bomb;
mod memory;
mod mutate;
#[allow(unreachable_pub)] // public for the programs of cargo-fuzz
#[path = "../../fuzz/targets.rs"]
mod targets;

use mutate::Mutator;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use targets::{TARGETS, Target};

/// A path in the folder of this package.
fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files in a folder, sorted.
fn inside(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn inputs() -> u64 {
    let wanted = std::env::var("BN_TRAIN_FUZZ_INPUTS");
    wanted.map_or(3000, |count| count.parse().expect("a number of inputs"))
}

/// Whether the target is to be run.
fn is_wanted(target: &Target) -> bool {
    let names = std::env::var("BN_TRAIN_FUZZ_TARGETS");
    names.map_or(true, |names| names.split(',').any(|name| name == target.name))
}

fn fuzz(target: &Target) {
    let Target { name, parse, fixed, factor } = target;
    let seeds = inside(&here("tests/corpus").join(name));
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!seeds.is_empty());
    let mut mutator = Mutator::new(&seeds);
    let (mut accepted, mut highest) = (0_u64, 0);
    let count = inputs();
    for number in 0..count {
        let input = mutator.input(number);
        let (result, peak) = memory::peak_of(|| catch_unwind(AssertUnwindSafe(|| parse(&input))));
        highest = highest.max(peak);
        let bound = fixed + factor * input.len();
        if result.is_err() || peak > bound {
            let folder = here("../target/fuzz-failures");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), &input).unwrap();
            panic!(
                "{name}, input {number} of {} bytes: {result:?}, {peak} bytes held, {bound} allowed",
                input.len()
            );
        }
        accepted += u64::from(matches!(result, Ok(true)));
    }
    println!("{name}: {count} inputs, {accepted} accepted, {highest} bytes held at most");
    // If fewer are accepted, the mutations do not reach past the first check.
    assert!(accepted > count / 1000, "{name}: {accepted} of {count} accepted");
}

#[test]
fn inputs_are_read_or_refused_in_bounded_memory() {
    // Memory is counted per thread.
    std::thread::scope(|scope| {
        for target in TARGETS.iter().filter(|target| is_wanted(target)) {
            scope.spawn(|| fuzz(target));
        }
    });
}

#[test]
fn every_target_has_a_program_of_cargo_fuzz() {
    let mut wanted: Vec<PathBuf> = TARGETS
        .iter()
        .map(|target| here("fuzz/fuzz_targets").join(target.name).with_extension("rs"))
        .collect();
    wanted.sort();
    assert_eq!(inside(&here("fuzz/fuzz_targets")), wanted);
    let manifest = fs::read_to_string(here("fuzz/Cargo.toml")).unwrap();
    for Target { name, .. } in TARGETS {
        let program = fs::read_to_string(here("fuzz/fuzz_targets").join(name).with_extension("rs"));
        assert!(program.unwrap().contains(&format!("bn_train_fuzz::{name}(bytes)")), "{name}");
        let entry = format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"");
        assert!(manifest.contains(&entry), "{name}");
    }
}
