//! The fuzz targets: every parser of a data file, as a function of bytes that returns whether they were accepted.
//!
//! cargo-fuzz runs them by `fuzz_targets/NAME.rs` on a nightly compiler, and `tests/fuzz` on a stable one. The seeds of a
//! target are in `tests/corpus/NAME`.

use bn_train::data::convert_safetensors;
use bn_train::data::formats::{archive, cifar, csv, gzip, idx, image, mnist, npy, npz, tensors};
use std::io::{self, Read};

/// A target.
pub struct Target {
    /// The name of its function and of the folder of its seeds.
    pub name: &'static str,
    /// Parses bytes.
    pub parse: fn(&[u8]) -> bool,
    /// Bytes that it may hold for any input.
    pub fixed: usize,
    /// Bytes that it may hold in addition for each byte of the input.
    pub factor: usize,
}

/// All targets.
pub const TARGETS: [Target; 14] = [
    Target { name: "idx", parse: idx, fixed: 4096, factor: 1 },
    Target { name: "mnist", parse: mnist, fixed: 4096, factor: 1 },
    Target { name: "cifar_10", parse: cifar_10, fixed: 4096, factor: 4 },
    Target { name: "cifar_100", parse: cifar_100, fixed: 4096, factor: 4 },
    Target { name: "csv", parse: csv, fixed: 64 << 10, factor: 400 },
    Target { name: "csv_label", parse: csv_label, fixed: 64 << 10, factor: 400 },
    Target { name: "npy", parse: npy, fixed: 4096, factor: 8 },
    // Deflate can expand a thousandfold.
    Target { name: "npz", parse: npz, fixed: 256 << 10, factor: 6000 },
    Target { name: "safetensors", parse: safetensors, fixed: 64 << 10, factor: 100 },
    // A list of examples for each class, of which a label can make ten thousand.
    Target { name: "arrays", parse: arrays, fixed: 2 << 20, factor: 200 },
    // Memory for the header's size, at most 4096x4096 pixels, is allocated before the pixels are read.
    Target { name: "png", parse: png, fixed: 260 << 20, factor: 100 },
    Target { name: "jpeg", parse: jpeg, fixed: 260 << 20, factor: 100 },
    // For the decoder's window, and a header field with a 16-bit length.
    Target { name: "gzip", parse: gzip, fixed: 256 << 10, factor: 4 },
    Target { name: "tar", parse: tar, fixed: 64 << 10, factor: 40 },
];

/// IDX.
pub fn idx(bytes: &[u8]) -> bool {
    idx::parse(bytes).is_ok()
}

/// A pair of IDX files of three images and labels. The first two bytes are the length of the images' file.
pub fn mnist(bytes: &[u8]) -> bool {
    let Some(([high, low], files)) = bytes.split_first_chunk() else { return false };
    let length = usize::from(u16::from_be_bytes([*high, *low])).min(files.len());
    let (images, labels) = files.split_at(length);
    let (images, labels) = (mnist::images(images, 3), mnist::labels(labels, 3));
    images.is_ok() && labels.is_ok()
}

/// Records of CIFAR-10.
pub fn cifar_10(bytes: &[u8]) -> bool {
    let labels = cifar::Labels { count: 1, taken: 0, classes: 10 };
    cifar::Records::default().read(bytes, labels).is_ok()
}

/// Records of CIFAR-100, with fine labels.
pub fn cifar_100(bytes: &[u8]) -> bool {
    let labels = cifar::Labels { count: 2, taken: 1, classes: 100 };
    cifar::Records::default().read(bytes, labels).is_ok()
}

/// CSV with the label in the last column.
pub fn csv(bytes: &[u8]) -> bool {
    csv::parse(bytes, None).is_ok()
}

/// CSV with the label in the column `kind`.
pub fn csv_label(bytes: &[u8]) -> bool {
    csv::parse(bytes, Some("kind")).is_ok()
}

/// NPY.
pub fn npy(bytes: &[u8]) -> bool {
    npy::parse(bytes).is_ok()
}

/// An array of an NPZ file.
pub fn npz(bytes: &[u8]) -> bool {
    npz::parse(bytes, "x").is_ok()
}

/// An array of a safetensors file.
pub fn safetensors(bytes: &[u8]) -> bool {
    tensors::parse(bytes, "x").is_ok()
}

/// Conversion of arrays to a data set, in either layout, with and without arrays for testing.
pub fn arrays(bytes: &[u8]) -> bool {
    let ways = [(false, false), (false, true), (true, false), (true, true)];
    // Run all of them before the results are combined.
    let accepted = ways.map(|(last, test)| convert_safetensors(bytes, last, test).is_ok());
    accepted.contains(&true)
}

/// A PNG image.
pub fn png(bytes: &[u8]) -> bool {
    image::png(bytes).is_ok()
}

/// A JPEG image.
pub fn jpeg(bytes: &[u8]) -> bool {
    image::jpeg(bytes).is_ok()
}

/// A gzip stream of at most 4096 bytes.
pub fn gzip(bytes: &[u8]) -> bool {
    gzip::unpack(bytes, 4096).is_ok()
}

/// A tar archive of two expected files.
pub fn tar(bytes: &[u8]) -> bool {
    let mut take = |_: &Wanted, content: &mut dyn Read| io::copy(content, &mut io::sink());
    archive::read_members(bytes, &[Wanted("a.bin", 100), Wanted("b.bin", 3)], &mut take).is_ok()
}

/// A file in an archive.
struct Wanted(&'static str, u64);

impl archive::Expected for Wanted {
    fn name(&self) -> &str {
        self.0
    }

    fn bytes(&self) -> u64 {
        self.1
    }
}
