//! Fuzzes every parser of data files with mutations of the seeds in `tests/corpus`. A parser must return a value or an
//! error, never panic, and use bounded memory.
//!
//! The test suite runs a few thousand inputs each. Run more with:
//!
//! ```sh
//! BN_TRAIN_FUZZ_INPUTS=1000000 cargo test --release --test fuzz -- --nocapture
//! ```
//!
//! A failing input is written to `target/fuzz-failures/PARSER`.

mod memory;
mod mutate;

use bn_train::data::formats::{archive, cifar, csv, gzip, idx, image, npy, npz, tensors};
use mutate::Mutator;
use std::fs;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Parses an input, and returns whether it was accepted.
type Parse = fn(&[u8]) -> bool;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn inputs() -> u64 {
    let wanted = std::env::var("BN_TRAIN_FUZZ_INPUTS");
    wanted.map_or(3000, |count| count.parse().expect("a number of inputs"))
}

/// Runs the inputs. A parser may hold `fixed` bytes plus `factor` times the input's length.
fn fuzz(name: &str, parse: Parse, fixed: usize, factor: usize) {
    let seeds = corpus(name);
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
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz-failures");
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
fn idx_inputs_are_read_or_refused() {
    fuzz("idx", |bytes| idx::parse(bytes).is_ok(), 4096, 1);
}

#[test]
fn cifar_inputs_are_read_or_refused() {
    const LABELS: cifar::Labels = cifar::Labels { count: 1, taken: 0, classes: 10 };
    fuzz("cifar", |bytes| cifar::Records::default().read(bytes, LABELS).is_ok(), 4096, 4);
}

#[test]
fn csv_inputs_are_read_or_refused() {
    fuzz("csv", |bytes| csv::parse(bytes, None).is_ok(), 64 << 10, 400);
}

#[test]
fn npy_inputs_are_read_or_refused() {
    fuzz("npy", |bytes| npy::parse(bytes).is_ok(), 4096, 8);
}

#[test]
fn npz_inputs_are_read_or_refused() {
    // Deflate can expand a thousandfold.
    fuzz("npz", |bytes| npz::parse(bytes, "x").is_ok(), 256 << 10, 6000);
}

#[test]
fn safetensors_inputs_are_read_or_refused() {
    fuzz("safetensors", |bytes| tensors::parse(bytes, "x").is_ok(), 64 << 10, 100);
}

#[test]
fn image_inputs_are_read_or_refused() {
    // Memory for the header's size, at most 4096x4096 pixels, is allocated before the pixels are read.
    fuzz("image", |bytes| image::parse(bytes).is_ok(), 260 << 20, 100);
}

#[test]
fn gzip_inputs_are_decompressed_to_their_limit_or_refused() {
    // For the decoder's window, and a header field with a 16-bit length.
    fuzz("gzip", |bytes| gzip::unpack(bytes, 4096).is_ok(), 256 << 10, 4);
}

/// A file in the archives of the corpus.
struct Wanted(&'static str, u64);

impl archive::Expected for Wanted {
    fn name(&self) -> &str {
        self.0
    }

    fn bytes(&self) -> u64 {
        self.1
    }
}

fn reads_archive(bytes: &[u8]) -> bool {
    let mut take =
        |_: &Wanted, content: &mut dyn Read| std::io::copy(content, &mut std::io::sink());
    archive::read_members(bytes, &[Wanted("a.bin", 100), Wanted("b.bin", 3)], &mut take).is_ok()
}

#[test]
fn archives_are_read_or_refused() {
    fuzz("tar", reads_archive, 64 << 10, 40);
}
