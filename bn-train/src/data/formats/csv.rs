//! CSV: a line per example, with numeric features and a column for the class. The first line may have column names.

use super::super::error::{At, Flaw};
use csv::{ByteRecord, ReaderBuilder};
use std::collections::BTreeMap;

/// Maximum number of classes. A column with more values probably does not hold classes.
const MOST_CLASSES: usize = 10_000;

/// Examples of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Names of the features; `column 1` and so on if the file has no names.
    pub names: Vec<String>,
    /// `names.len()` finite numbers per example.
    pub features: Vec<f32>,
    /// Class of each example, as an index into `classes`.
    pub labels: Vec<u32>,
    /// Class names in the file, sorted numerically if all are integers.
    pub classes: Vec<String>,
}

/// Parses a table. `label` is the name of the class column; `None` means the last column.
///
/// # Errors
/// A malformed line, with its number.
pub fn parse(bytes: &[u8], label: Option<&str>) -> Result<Table, Flaw> {
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut record = ByteRecord::new();
    if !next(&mut reader, &mut record)? {
        return Err(Flaw::new(At::File, "the file is empty; expected examples"));
    }
    let mut columns = Columns::of_first_line(&record, label)?;
    let mut table = Raw::default();
    if !columns.first_line_has_names {
        table.push(&record, &columns, 1)?;
    }
    while next(&mut reader, &mut record)? {
        let line = record.position().map_or(0, csv::Position::line);
        table.push(&record, &columns, line)?;
    }
    if table.labels.is_empty() {
        return Err(Flaw::new(At::File, "no lines after the names; expected examples"));
    }
    columns.names.remove(columns.label);
    Ok(table.sorted(columns.names))
}

fn next(reader: &mut csv::Reader<&[u8]>, record: &mut ByteRecord) -> Result<bool, Flaw> {
    reader.read_byte_record(record).map_err(|error| {
        let at = error.position().map_or(At::File, |place| At::Line(place.line()));
        Flaw::new(at, error.to_string())
    })
}

/// The columns, from the first line.
struct Columns {
    names: Vec<String>,
    label: usize,
    first_line_has_names: bool,
}

impl Columns {
    fn of_first_line(first: &ByteRecord, label: Option<&str>) -> Result<Self, Flaw> {
        let cells: Vec<String> =
            first.iter().map(|cell| String::from_utf8_lossy(cell).trim().to_owned()).collect();
        if cells.len() < 2 {
            let problem = format!("{} column; expected features and a label", cells.len());
            return Err(Flaw::new(At::Line(1), problem));
        }
        let column = match label {
            None => cells.len() - 1,
            Some(label) => cells.iter().position(|cell| cell == label).ok_or_else(|| {
                let problem = format!("no column {label:?}; the columns are {}", cells.join(", "));
                Flaw::new(At::Line(1), problem)
            })?,
        };
        let is_feature = |index: &usize| *index != column;
        let has_word = (0..cells.len())
            .filter(is_feature)
            .any(|index| !cells[index].is_empty() && cells[index].parse::<f64>().is_err());
        let first_line_has_names = label.is_some() || has_word;
        let name = |index: usize| format!("column {}", index + 1);
        let names = if first_line_has_names { cells } else { (0..cells.len()).map(name).collect() };
        Ok(Self { names, label: column, first_line_has_names })
    }
}

/// A table with classes numbered in order of appearance.
#[derive(Default)]
struct Raw {
    features: Vec<f32>,
    labels: Vec<u32>,
    classes: BTreeMap<String, u32>,
}

impl Raw {
    fn push(&mut self, record: &ByteRecord, columns: &Columns, line: u64) -> Result<(), Flaw> {
        let wrong = |problem| Flaw::new(At::Line(line), problem);
        let count = columns.names.len();
        if record.len() != count {
            return Err(wrong(format!("{} cells; expected {count}", record.len())));
        }
        for (index, cell) in record.iter().enumerate() {
            let text = String::from_utf8_lossy(cell);
            let text = text.trim();
            if index != columns.label {
                let number = text.parse::<f32>().ok().filter(|number| number.is_finite());
                self.features.push(number.ok_or_else(|| {
                    wrong(format!(
                        "{:?} is {text:?}; expected a finite number",
                        columns.names[index]
                    ))
                })?);
                continue;
            }
            if text.is_empty() {
                return Err(wrong(format!(
                    "{:?} is empty; expected a class",
                    columns.names[index]
                )));
            }
            let next = self.classes.len() as u32;
            let class = match self.classes.get(text) {
                Some(class) => *class,
                None => *self.classes.entry(text.to_owned()).or_insert(next),
            };
            if class as usize >= MOST_CLASSES {
                return Err(wrong(format!(
                    "{:?} has more than {MOST_CLASSES} values; expected classes",
                    columns.names[index]
                )));
            }
            self.labels.push(class);
        }
        Ok(())
    }

    /// Sorts the classes.
    fn sorted(self, names: Vec<String>) -> Table {
        let mut classes: Vec<(String, u32)> = self.classes.into_iter().collect();
        let as_number = |class: &str| class.parse::<i64>().ok();
        if classes.iter().all(|(class, _)| as_number(class).is_some()) {
            classes.sort_by_key(|(class, _)| as_number(class));
        }
        let mut ranks = vec![0; classes.len()];
        for (rank, (_, first)) in classes.iter().enumerate() {
            ranks[*first as usize] = rank as u32;
        }
        Table {
            names,
            features: self.features,
            labels: self.labels.into_iter().map(|first| ranks[first as usize]).collect(),
            classes: classes.into_iter().map(|(class, _)| class).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_classes_are_found() {
        let table = parse(b"a,kind, b\n1,dog,2\n3,cat,4e1\n-5,dog,.5\n", Some("kind")).unwrap();
        assert_eq!(table.names, ["a", "b"]);
        assert_eq!(table.features, [1.0, 2.0, 3.0, 40.0, -5.0, 0.5]);
        assert_eq!(table.classes, ["cat", "dog"]);
        assert_eq!(table.labels, [1, 0, 1]);
        // Without a name, the last column has the classes, and numbers are sorted numerically.
        let table = parse(b"1,2,10\n3,4,9\r\n5,6,10\n", None).unwrap();
        assert_eq!(table.names, ["column 1", "column 2"]);
        assert_eq!(
            (table.classes, table.labels),
            (vec!["9".to_owned(), "10".to_owned()], vec![1, 0, 1])
        );
        let table = parse(b"x,y\n1,a\n", None).unwrap();
        assert_eq!((table.names, table.classes), (vec!["x".to_owned()], vec!["a".to_owned()]));
    }

    #[test]
    fn malformed_tables_are_refused_with_the_line() {
        for (text, label, at, problem) in [
            ("", None, At::File, "the file is empty; expected examples"),
            ("a,b\n", None, At::File, "no lines after the names"),
            ("a\n1\n", None, At::Line(1), "1 column; expected features and a label"),
            ("a,b\n1,x\n", Some("c"), At::Line(1), "no column \"c\"; the columns are a, b"),
            ("a,b\n1,x\n1,2,x\n", None, At::Line(3), "3 cells; expected 2"),
            ("a,b\n1,x\n,x\n", None, At::Line(3), "\"a\" is \"\"; expected a finite number"),
            ("a,b\nnan,x\n", None, At::Line(2), "\"a\" is \"nan\"; expected a finite number"),
            (
                "1,x\n2,x\n1e99,x\n",
                None,
                At::Line(3),
                "\"column 1\" is \"1e99\"; expected a finite",
            ),
            ("a,b\n1, \n", None, At::Line(2), "\"b\" is empty; expected a class"),
        ] {
            let flaw = parse(text.as_bytes(), label).unwrap_err();
            assert!(flaw.at == at && flaw.problem.contains(problem), "{text:?}: {flaw:?}");
        }
    }
}
