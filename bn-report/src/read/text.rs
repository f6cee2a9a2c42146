//! Small files read whole: text, TOML and JSON, with the place of what is wrong.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Place, Result};

/// A whole text file.
///
/// # Errors
/// Unreadable, or not UTF-8.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|error| Error::read(path, error))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
        Error::malformed(
            path,
            Place::of_offset(&before, valid),
            "expected UTF-8 text, found other bytes",
        )
    })
}

/// A whole TOML file.
///
/// # Errors
/// Unreadable, not TOML, or not of the wanted shape.
pub(super) fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read_text(path)?;
    toml::from_str(&text).map_err(|error| {
        let place =
            error.span().map_or_else(Place::default, |span| Place::of_offset(&text, span.start));
        Error::malformed(path, place, error.message())
    })
}

/// A whole JSON file.
///
/// # Errors
/// Unreadable, not JSON, or not of the wanted shape.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|error| {
        let place = Place { line: Some(error.line() as u64), column: Some(error.column() as u64) };
        let message = error.to_string();
        // serde_json repeats the place at the end of its message.
        let message =
            message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        Error::malformed(path, place, message)
    })
}
