//! An NPZ file whose array has more bytes than its archive, its header or our limit allows is refused early.

use super::memory;
use bn_train::data::formats::npz;
use std::io::Write as _;

/// An NPY file of `zeros` bytes after a header of version 1, padded to 128 bytes.
fn npy(shape: &str, zeros: usize) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{header:118}").as_bytes());
    bytes.resize(bytes.len() + zeros, 0);
    bytes
}

/// A zip archive of one deflated file, `x.npy`, which it says to have `size` bytes.
fn archive(content: &[u8], size: u64) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    let packed = encoder.finish().unwrap();
    let mut checksum = flate2::Crc::new();
    checksum.update(content);
    // Version 4.5, no flags, deflated, 1980-01-01, and lengths in a ZIP64 field, which holds 16 GB.
    let mut entry = vec![45, 0, 0, 0, 8, 0, 0, 0, 0x21, 0];
    entry.extend(checksum.sum().to_le_bytes());
    entry.extend([0xff; 8]);
    entry.extend([5, 0, 20, 0]);
    let mut lengths = vec![1, 0, 16, 0];
    lengths.extend(size.to_le_bytes());
    lengths.extend((packed.len() as u64).to_le_bytes());

    let mut bytes = b"PK\x03\x04".to_vec();
    bytes.extend(&entry);
    bytes.extend(b"x.npy");
    bytes.extend(&lengths);
    bytes.extend(&packed);
    let directory = bytes.len() as u32;
    bytes.extend(b"PK\x01\x02\x2d\x00");
    bytes.extend(&entry);
    bytes.extend([0; 14]);
    bytes.extend(b"x.npy");
    bytes.extend(&lengths);
    let end = bytes.len() as u32;
    bytes.extend(b"PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00");
    bytes.extend((end - directory).to_le_bytes());
    bytes.extend(directory.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

#[test]
fn npz_bomb_is_refused_before_it_is_decompressed() {
    const ZEROS: usize = 64 << 20;
    let whole = 128 + ZEROS as u64;
    for (shape, size, problem) in [
        (
            "(2000000000, 2)",
            16_000_000_128,
            "[2000000000, 2] numbers of 4 bytes each, byte 128; expected at most 2147483648 bytes",
        ),
        ("(9999999999, 9999999999)", whole, "expected at most 2147483648 bytes"),
        ("(20000000, 2)", whole, "67108992 bytes as declared in the archive; expected 160000128"),
        ("(3, 2)", whole, "67108992 bytes as declared in the archive; expected 152 by the header"),
        ("(3, 2)", 152, "more bytes after decompression; expected 152 by the header"),
    ] {
        let bytes = archive(&npy(shape, ZEROS), size);
        let (parsed, peak) = memory::peak_of(|| npz::parse(&bytes, "x"));
        let flaw = parsed.unwrap_err();
        assert!(flaw.problem.contains(problem), "{shape}: {flaw:?}");
        assert!(peak < 256 << 10, "{shape}: {peak} bytes held");
    }
    // The same archive is read if it is right.
    let array = npz::parse(&archive(&npy("(3, 2)", 24), 152), "x").unwrap();
    assert_eq!((array.sizes, array.numbers), (vec![3, 2], vec![0.0; 6]));
    let flaw = npz::parse(&archive(&npy("(3, 2)", 20), 152), "x").unwrap_err();
    assert_eq!(flaw.problem, "148 bytes after decompression; expected 152 by the header");
}
