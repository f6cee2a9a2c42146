//! TensorBoard event files: a scalar for each row of `metrics.csv` that has a value.
//!
//! A file is a sequence of records: length (u64), its checksum, an `Event` message, its checksum. Numbers are little-endian,
//! and checksums are masked CRC-32C. An `Event` has a step and a `Summary` of named f32 values. Wall times are left out, so
//! that equal runs write equal bytes; TensorBoard plots over steps.
//!
//! Source: `tensorflow/core/lib/io/record_writer.cc`, `tensorflow/core/util/event.proto` and
//! `tensorflow/core/framework/summary.proto`.

use super::files::DirectoryError;
use super::growing_file::GrowingFile;
use super::writer::Writer;
use bn_report::schema::MetricRow;

/// Name of the file in a run's folder. TensorBoard recognizes `tfevents` in it.
pub(super) const EVENTS: &str = "events.out.tfevents.0.bn-train";

/// Writes each row when it arrives.
#[derive(Debug)]
pub(super) struct TensorBoardWriter(GrowingFile);

impl TensorBoardWriter {
    /// Writes to `file`, which starts with the record of [`begin`].
    pub(super) fn new(file: GrowingFile) -> Self {
        Self(file)
    }
}

impl Writer for TensorBoardWriter {
    fn rows(&mut self, rows: &[MetricRow]) -> Result<(), DirectoryError> {
        self.0.append(&events(rows))
    }

    fn sync(&mut self) -> Result<(String, u64), DirectoryError> {
        self.0.sync()?;
        Ok((EVENTS.to_owned(), self.0.length()))
    }
}

/// The first record of a file.
pub(super) fn begin() -> Vec<u8> {
    let mut event = Vec::new();
    put_bytes(&mut event, 3, b"brain.Event:2");
    record(&event)
}

/// One record per step of `rows`. Absent values are left out.
fn events(rows: &[MetricRow]) -> Vec<u8> {
    let mut records = Vec::new();
    for rows in rows.chunk_by(|left, right| left.step == right.step) {
        let mut summary = Vec::new();
        for row in rows {
            if let Some(value) = row.value {
                put_bytes(&mut summary, 1, &scalar(&tag(row), value as f32));
            }
        }
        if !summary.is_empty() {
            let mut event = Vec::new();
            put_whole(&mut event, 2, rows[0].step);
            put_bytes(&mut event, 5, &summary);
            records.extend(record(&event));
        }
    }
    records
}

/// For example `accuracy/validation/moving`. TensorBoard groups the curves of one metric under one heading.
fn tag(row: &MetricRow) -> String {
    let tag = format!("{}/{}", row.metric, row.split.name());
    row.statistics.map_or(tag.clone(), |statistics| format!("{tag}/{statistics}"))
}

/// A `Summary.Value` with a tag and a value.
fn scalar(tag: &str, value: f32) -> Vec<u8> {
    let mut message = Vec::new();
    put_bytes(&mut message, 1, tag.as_bytes());
    put_key(&mut message, 2, 5);
    message.extend(value.to_le_bytes());
    message
}

fn put_key(message: &mut Vec<u8>, field: u64, wire_type: u64) {
    put_varint(message, field << 3 | wire_type);
}

fn put_whole(message: &mut Vec<u8>, field: u64, value: u64) {
    put_key(message, field, 0);
    put_varint(message, value);
}

fn put_bytes(message: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_key(message, field, 2);
    put_varint(message, bytes.len() as u64);
    message.extend(bytes);
}

/// Seven bits per byte, lowest first; the top bit says that more bytes follow.
fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked_checksum(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_checksum(data).to_le_bytes());
    record
}

/// A masked checksum, because the CRC of data that contains CRCs is weak.
fn masked_checksum(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C: Castagnoli's polynomial, bits reflected.
fn crc32c(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |crc: u32, byte: &u8| TABLE[(crc as u8 ^ byte) as usize] ^ crc >> 8;
    !data.iter().fold(u32::MAX, step)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use bn_report::schema::{Split, Statistics};

    #[test]
    fn checksum_equals_the_published_values() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn varints_equal_the_published_values() {
        // Protocol Buffers, "Encoding".
        for (value, want) in [
            (1, &[1][..]),
            (150, &[0x96, 1]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(bytes, want);
        }
    }

    /// TensorFlow's first record, without the wall time.
    #[test]
    fn file_begins_with_its_version() {
        let first = begin();
        assert_eq!(first[..8], 15_u64.to_le_bytes());
        assert_eq!(first[12..27], *b"\x1a\x0dbrain.Event:2");
        assert_eq!(first.len(), 31);
    }

    #[test]
    fn rows_of_a_step_are_one_event_without_absent_values() {
        let row = |step, statistics, value| MetricRow {
            step,
            epoch: 0,
            examples: 0,
            split: Split::Validation,
            statistics,
            metric: "loss".to_owned(),
            value,
        };
        let batch = Some(Statistics::Batch);
        let one = events(&[row(300, batch, Some(0.5)), row(300, None, Some(2.0))]);
        let mut want = b"\x10\xac\x02\x2a".to_vec();
        let values = [("loss/validation/batch", 0.5_f32), ("loss/validation", 2.0)];
        let mut summary = Vec::new();
        for (tag, value) in values {
            summary.extend([0x0a, (tag.len() + 7) as u8, 0x0a, tag.len() as u8]);
            summary.extend(tag.as_bytes());
            summary.push(0x15);
            summary.extend(value.to_le_bytes());
        }
        want.push(summary.len() as u8);
        want.extend(summary);
        assert_eq!(one[12..one.len() - 4], want);
        assert_eq!(
            one,
            events(&[row(300, batch, Some(0.5)), row(300, None, Some(2.0)), row(301, None, None)])
        );
        let two = [events(&[row(1, None, Some(1.0))]), events(&[row(2, None, Some(1.0))])].concat();
        assert_eq!(events(&[row(1, None, Some(1.0)), row(2, None, Some(1.0))]), two);
    }
}
