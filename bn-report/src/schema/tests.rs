//! What stands in the files: column order, first lines, and that everything reads back.

use super::*;
use proptest::prelude::*;

fn row(value: Option<f64>) -> MetricRow {
    MetricRow {
        step: 50,
        epoch: 2,
        examples: 3000,
        split: Split::Validation,
        statistics: Some(Statistics::Moving),
        metric: "accuracy".to_owned(),
        value,
    }
}

fn write(rows: &[MetricRow]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).expect("rows serialize");
    }
    String::from_utf8(writer.into_inner().expect("a Vec takes all")).expect("CSV is text")
}

#[test]
fn columns_stand_in_the_documented_order() {
    assert_eq!(
        write(&[row(Some(0.1)), MetricRow { statistics: None, ..row(Some(f64::NAN)) }]),
        "step,epoch,examples,split,statistics,metric,value\n\
         50,2,3000,validation,moving,accuracy,0.1\n\
         50,2,3000,validation,,accuracy,\n"
    );
    assert_eq!(MetricRow::HEADER.join(","), "step,epoch,examples,split,statistics,metric,value");
    let mut writer = csv::Writer::from_writer(Vec::new());
    let row =
        TimingRow { step: 1, seconds: Some(0.5), examples_per_second: None, loading_share: None };
    writer.serialize(row).expect("rows serialize");
    let text =
        String::from_utf8(writer.into_inner().expect("a Vec takes all")).expect("CSV is text");
    assert_eq!(text, format!("{}\n1,0.5,,\n", TimingRow::HEADER.join(",")));
    let mut writer = csv::Writer::from_writer(Vec::new());
    let name = ScheduleRow::RENORM_R_MAX.to_owned();
    writer
        .serialize(ScheduleRow { step: 1, name, value: Some(f64::INFINITY) })
        .expect("rows serialize");
    let text =
        String::from_utf8(writer.into_inner().expect("a Vec takes all")).expect("CSV is text");
    assert_eq!(text, format!("{}\n1,renorm_r_max,\n", ScheduleRow::HEADER.join(",")));
}

proptest! {
    #[test]
    fn any_value_reads_back_to_the_same_bits(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        let text = write(&[row(Some(value))]);
        let read: MetricRow = csv::Reader::from_reader(text.as_bytes()).deserialize().next().expect("one row")?;
        prop_assert_eq!(read.value.map(f64::to_bits), value.is_finite().then_some(bits));
    }

    #[test]
    fn a_slug_is_a_plain_file_name(name in any::<String>()) {
        let slug = slug(&name);
        prop_assert!(!slug.is_empty() && !slug.starts_with('.') && !slug.starts_with('-'));
        prop_assert!(slug.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c)));
    }
}

#[test]
fn status_reads_back() {
    let diverged = Status::Diverged { step: 7, reason: "loss is NaN".to_owned() };
    assert_eq!(
        diverged.to_json(),
        "{\"state\":\"diverged\",\"step\":7,\"reason\":\"loss is NaN\"}\n"
    );
    for status in [
        Status::Running,
        Status::Finished,
        diverged,
        Status::Failed { error: "x".into() },
        Status::Interrupted,
    ] {
        assert_eq!(serde_json::from_str::<Status>(&status.to_json()).expect("JSON"), status);
    }
}

#[test]
fn config_starts_with_name_arm_seed_and_keeps_every_setting() {
    let text = "name = \"e\"\narm = \"A\"\nseed = 3\njobs = 2\n\n[target]\nmetric = \"accuracy\"\nvalue = 0.9\n\n\
                [norm]\nkind = \"batch\"\n[norm.renorm]\nr_max = 3.0\n";
    let config: RunConfig = toml::from_str(text).expect("config");
    let target = config.target.clone().expect("target");
    assert_eq!((target.split, target.statistics), (Split::Validation, Statistics::Moving));
    let settings = [("jobs", "2"), ("norm.kind", "\"batch\""), ("norm.renorm.r_max", "3.0")];
    assert_eq!(
        config.dotted_settings(),
        settings.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
    let written = config.to_toml().expect("TOML");
    assert!(written.starts_with("name = \"e\"\narm = \"A\"\nseed = 3\n"), "{written}");
    assert_eq!(toml::from_str::<RunConfig>(&written).expect("config"), config);
}
