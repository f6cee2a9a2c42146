//! The two ways to read rows agree on every text: on what it means, and on what is wrong with it.

use std::path::Path;

use proptest::prelude::*;

use super::super::log::Key;
use super::super::metrics::{Layers, Metrics};
use super::*;
use crate::schema::{Split, Statistics};

const HEADER: &str = "step,epoch,examples,split,statistics,metric,value\n";

fn read<R: Rows>(text: &str) -> std::result::Result<Log<R::Key>, String> {
    parse::<R>(Path::new("x.csv"), text).map_err(|error| error.to_string())
}

/// Through the CSV library alone.
fn read_carefully<R: Rows>(text: &str) -> std::result::Result<Log<R::Key>, String> {
    let path = Path::new("x.csv");
    let groups = parse_carefully::<R>(path, text).map_err(|error| error.to_string())?;
    groups.finish().ok_or_else(|| second_value::<R>(path, text).to_string())
}

fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(vec!["0", "1", "25", "50", "007", "1e3", "-1", "+5", "", " ", "0.5", "nan", "inf", "-1.25e-3",
            "99999999999999999999", "18446744073709551615"]).prop_map(str::to_owned),
        4 => prop::sample::select(vec!["train", "test", "validation", "moving", "batch", "shadow:0.9", "loss", "accuracy", "é"])
            .prop_map(str::to_owned),
        1 => "[ -~]{0,4}",
    ]
}

fn line() -> impl Strategy<Value = String> {
    let row = (
        0u64..40,
        prop::sample::select(vec!["train", "test"]),
        prop::sample::select(vec!["", "moving"]),
        any::<f64>(),
    );
    prop_oneof![
        8 => row.prop_map(|(step, split, statistics, value)| format!("{step},0,{step},{split},{statistics},loss,{value}")),
        2 => prop::collection::vec(cell(), 0..9).prop_map(|cells| cells.join(",")).prop_filter("blank", |line| !line.is_empty()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_to_read_agree(lines in prop::collection::vec(line(), 0..30), header in any::<bool>()) {
        let header = if header { HEADER } else { "" };
        let text = format!("{header}{}\n", lines.join("\n"));
        prop_assert_eq!(read::<Metrics>(&text), read_carefully::<Metrics>(&text));
        prop_assert_eq!(read::<Layers>(&text), read_carefully::<Layers>(&text));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), running in any::<bool>()) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let with_header = [HEADER.as_bytes(), &bytes].concat();
        for bytes in [&bytes, &with_header] {
            std::fs::write(file.path(), bytes).expect("written");
            let _ = read_rows::<Metrics>(file.path(), running);
            let _ = read_rows::<Layers>(file.path(), running);
            let _ = super::super::metrics::read_timing(file.path());
        }
    }

    #[test]
    fn what_is_written_is_read(rows in prop::collection::btree_map((0usize..4, 0u64..50), any::<f64>(), 0..60)) {
        let metrics = ["loss", "accuracy", "a b", "ü"];
        let mut text = HEADER.to_owned();
        for ((metric, step), value) in &rows {
            text += &format!("{step},0,0,validation,batch,{},{value}\n", metrics[*metric]);
        }
        let log = read::<Metrics>(&text).expect("rows");
        prop_assert_eq!(log.rows(), rows.len());
        for ((metric, step), value) in rows {
            let key = Key::new(Split::Validation, Some(Statistics::Batch), metrics[metric]);
            let read = log.get(&key).expect("a series").at(step);
            prop_assert_eq!(read.map(f64::to_bits), value.is_finite().then_some(value.to_bits()));
        }
    }
}

#[test]
fn quotes_hold_commas_and_lines() {
    let text = format!("{HEADER}0,0,0,test,,\"a,\n\"\"b\",0.5\n1,0,0,test,,\"a,\n\"\"b\",0.25\n");
    let log = read::<Metrics>(&text).expect("rows");
    let names: Vec<&str> = log.iter().map(|(key, _)| key.metric.as_str()).collect();
    assert_eq!(names, ["a,␊\"b"]);
    assert_eq!(log.rows(), 2);
}

#[test]
fn steps_in_any_order_are_put_in_order() {
    let row = |step: u64| format!("{step},0,0,test,,loss,{step}\n");
    let log = read::<Metrics>(&format!("{HEADER}{}{}{}", row(5), row(1), row(3))).expect("rows");
    let (_, series) = log.iter().next().expect("a series");
    assert_eq!(series.steps(), [1, 3, 5]);
    let error = read::<Metrics>(&format!("{HEADER}{}{}{}", row(5), row(1), row(5))).unwrap_err();
    assert_eq!(error, "x.csv:4: a second value of test loss at step 5; the first is on line 2");
}

#[test]
fn blank_lines_are_passed_over_and_counted() {
    let text = format!("\n{HEADER}\n1,0,0,test,,loss,0.5\n\n2,0,0,test,,loss,0.5\nx\n");
    assert_eq!(read::<Metrics>(&text).unwrap_err(), "x.csv:7: expected 7 columns, found 1");
    assert_eq!(read::<Metrics>(text.strip_suffix("x\n").expect("x")).expect("rows").rows(), 2);
}

#[test]
fn windows_line_ends_are_read() {
    let text = format!("{HEADER}1,0,0,test,,loss,0.5\n").replace('\n', "\r\n");
    assert_eq!(read::<Metrics>(&text).expect("rows").rows(), 1);
}
