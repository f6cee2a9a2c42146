//! Serializes a state as a safetensors file.
//!
//! Other programs can read the tensors; the other values are in the metadata, with a digest of all bytes that detects
//! single-bit damage.

use super::{State, StateError, Value};
use candle::{Device, Tensor};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// The only key of the file's metadata, because several keys would be written in random order.
const METADATA_KEY: &str = "bn-train";
/// Placeholder of the same length while the digest is computed.
const NO_DIGEST: &str = "blake3:0000000000000000000000000000000000000000000000000000000000000000";

/// The metadata. The digest must come first; see [`digest_position`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    /// BLAKE3 of the file with [`NO_DIGEST`] in place of the digest.
    digest: String,
    values: BTreeMap<String, Plain>,
}

/// A value other than a tensor, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Plain {
    Whole(u64),
    /// The bits, in hexadecimal.
    Number(String),
    Text(String),
}

impl State {
    /// Serializes the state as a safetensors file. Equal states give equal bytes.
    ///
    /// # Errors
    /// [`StateError`] if safetensors does not support a tensor's type, or it cannot be copied to the host.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StateError> {
        let mut tensors: Vec<(&str, &Tensor)> = Vec::new();
        let mut values = BTreeMap::new();
        for (name, value) in &self.values {
            let plain = match value {
                Value::Tensor(tensor) => {
                    tensors.push((name, tensor));
                    continue;
                }
                Value::Whole(value) => Plain::Whole(*value),
                Value::Number(value) => Plain::Number(format!("{:016x}", value.to_bits())),
                Value::Text(text) => Plain::Text(text.clone()),
            };
            values.insert(name.clone(), plain);
        }
        let metadata = Metadata { digest: NO_DIGEST.to_owned(), values };
        let metadata = serde_json::to_string(&metadata).map_err(damaged)?;
        let metadata = HashMap::from([(METADATA_KEY.to_owned(), metadata)]);
        let mut bytes = safetensors::serialize(tensors, Some(metadata)).map_err(damaged)?;
        let digest = digest(&bytes);
        let start = digest_position(&bytes, NO_DIGEST)
            .ok_or_else(|| StateError::Damaged("no position for the digest".to_owned()))?;
        bytes[start..start + digest.len()].copy_from_slice(digest.as_bytes());
        Ok(bytes)
    }

    /// Parses the result of [`State::to_bytes`], with tensors on the CPU.
    ///
    /// # Errors
    /// [`StateError::Damaged`] if any bit has changed, or the bytes are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
        let text = text.ok_or_else(|| {
            StateError::Damaged(format!("the metadata has no key {METADATA_KEY:?}"))
        })?;
        let metadata: Metadata = serde_json::from_str(text).map_err(damaged)?;
        check_digest(bytes, &metadata.digest)?;
        let mut values = BTreeMap::new();
        for (name, plain) in metadata.values {
            values.insert(name, plain.into_value()?);
        }
        for (name, tensor) in candle::safetensors::load_buffer(bytes, &Device::Cpu)? {
            values.insert(name, Value::Tensor(tensor));
        }
        Ok(Self { path: String::new(), values })
    }
}

impl Plain {
    fn into_value(self) -> Result<Value, StateError> {
        Ok(match self {
            Self::Whole(value) => Value::Whole(value),
            Self::Number(bits) => {
                Value::Number(f64::from_bits(u64::from_str_radix(&bits, 16).map_err(damaged)?))
            }
            Self::Text(text) => Value::Text(text),
        })
    }
}

fn damaged(reason: impl fmt::Display) -> StateError {
    StateError::Damaged(reason.to_string())
}

fn digest(bytes: &[u8]) -> String {
    format!("blake3:{}", blake3::hash(bytes).to_hex())
}

/// Position of `digest` in a file. The metadata is written first and starts with the digest, so the first occurrence
/// cannot be text of the state.
fn digest_position(bytes: &[u8], digest: &str) -> Option<usize> {
    bytes.windows(digest.len()).position(|window| window == digest.as_bytes())
}

fn check_digest(bytes: &[u8], expected: &str) -> Result<(), StateError> {
    let start = digest_position(bytes, expected).filter(|_| expected.len() == NO_DIGEST.len());
    let start = start.ok_or_else(|| StateError::Damaged("it has no digest".to_owned()))?;
    let mut without = bytes.to_vec();
    without[start..start + NO_DIGEST.len()].copy_from_slice(NO_DIGEST.as_bytes());
    let found = digest(&without);
    if found == expected {
        return Ok(());
    }
    Err(StateError::Damaged(format!("its digest is {found}; expected {expected}")))
}
