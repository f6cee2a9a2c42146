//! Values by dotted key, each with its position in the source.

use super::Place;
use std::collections::BTreeMap;
use toml::Value;

/// One value and its position.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Where its key is.
    pub key_place: Place,
    /// Where the value itself is.
    pub value_place: Place,
    /// The value.
    pub value: Value,
}

/// Values by dotted key: `norm.decay`. Tables are flattened, except empty ones.
pub type Leaves = BTreeMap<String, Leaf>;

/// The values of nested tables by dotted key, as TOML: `("norm.decay", "0.99")`.
pub fn dotted(table: &toml::Table) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    flatten("", table, &mut values);
    values
}

fn flatten(prefix: &str, table: &toml::Table, values: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match value {
            Value::Table(table) if !table.is_empty() => {
                flatten(&format!("{path}."), table, values);
            }
            value => {
                values.insert(path, value.to_string());
            }
        }
    }
}
