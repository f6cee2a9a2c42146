//! The values a key takes: how they are read, written back and described in messages.

use toml::Value;

/// Converts a TOML value; `None` if it is not accepted.
type Read<T> = dyn Fn(&Value) -> Option<T>;

/// How values of type `T` are read from and written to TOML.
pub struct Takes<T> {
    pub(super) accepts: Box<dyn Fn(&str) -> String>,
    pub(super) read: Box<Read<T>>,
    pub(super) write: Box<dyn Fn(&T) -> Value>,
    pub(super) words: Vec<(String, String)>,
}

impl<T> Takes<T> {
    /// Values that `read` accepts and `write` writes back. Messages describe them as `accepts`.
    pub fn new(
        accepts: impl Into<String>,
        read: impl Fn(&Value) -> Option<T> + 'static,
        write: impl Fn(&T) -> Value + 'static,
    ) -> Self {
        let accepts = accepts.into();
        Self {
            accepts: Box::new(move |_| accepts.clone()),
            read: Box::new(read),
            write: Box::new(write),
            words: Vec::new(),
        }
    }
}

/// `true` or `false`.
pub fn flag() -> Takes<bool> {
    Takes::new("true or false", Value::as_bool, |&flag| Value::Boolean(flag))
}

/// Non-empty text.
pub fn text() -> Takes<String> {
    let read = |value: &Value| {
        value.as_str().filter(|text| !text.trim().is_empty()).map(ToOwned::to_owned)
    };
    Takes::new("a text", read, |text| Value::String(text.clone()))
}

/// A list; `what` names its items: "widths".
pub fn list<T: 'static>(what: &str, item: impl Into<Takes<T>>) -> Takes<Vec<T>> {
    let Takes { accepts, read, write, .. } = item.into();
    Takes::new(
        format!("a list of {what}, each {}", accepts("it")),
        move |value| value.as_array()?.iter().map(&read).collect(),
        move |items: &Vec<T>| Value::Array(items.iter().map(&write).collect()),
    )
}

/// A word that a key takes: its spelling, its value, and its meaning for the template (may be empty).
pub type Word<T> = (&'static str, T, &'static str);

/// One of `words`.
pub fn words<T: Clone + PartialEq + 'static>(words: &[Word<T>]) -> Takes<T> {
    let meanings =
        words.iter().map(|(word, _, about)| ((*word).to_owned(), (*about).to_owned())).collect();
    let pairs: Vec<(&'static str, T)> =
        words.iter().map(|(word, stands_for, _)| (*word, stands_for.clone())).collect();
    let written = pairs.clone();
    let read = move |value: &Value| {
        let word = value.as_str()?;
        pairs.iter().find(|(known, _)| *known == word).map(|(_, stands_for)| stands_for.clone())
    };
    let write = move |value: &T| {
        let word = written.iter().find(|(_, stands_for)| stands_for == value);
        Value::String(word.map_or("", |(word, _)| *word).to_owned())
    };
    let spelled: Vec<&str> = words.iter().map(|(word, ..)| *word).collect();
    Takes { words: meanings, ..Takes::new(one_of(&spelled), read, write) }
}

/// `"a", "b" or "c"`.
pub(crate) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::whole;
    use super::*;

    /// Reads a value and writes it back; `None` if it is refused.
    pub(in super::super) fn rewritten<T>(takes: &Takes<T>, value: &str) -> Option<String> {
        let value: toml::Table = format!("v = {value}").parse().unwrap();
        (takes.read)(&value["v"]).map(|read| (takes.write)(&read).to_string())
    }

    #[test]
    fn written_lists_and_words_read_back_equal() {
        let widths = list("widths", whole(1..=9));
        assert_eq!(rewritten(&widths, "[1, 2]").as_deref(), Some("[1, 2]"));
        assert_eq!(rewritten(&widths, "[]").as_deref(), Some("[]"));
        assert_eq!(rewritten(&widths, "[0]"), None);
        let words = words(&[("a", 1, ""), ("b", 2, "two")]);
        assert_eq!((words.accepts)("w"), "\"a\" or \"b\"");
        assert_eq!(rewritten(&words, "'b'").as_deref(), Some("\"b\""));
        assert_eq!(rewritten(&words, "'c'"), None);
    }
}
