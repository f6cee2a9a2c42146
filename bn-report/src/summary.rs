//! The table beside the page: `summary.csv` for programs (numbers in full, absent is empty) and `summary.md` for people.

use crate::compare::Comparison;
use crate::error::{Error, Result};
use crate::findings::Findings;
use crate::read::Experiment;
use crate::schema;

/// `summary.csv`: one line per arm.
///
/// # Errors
/// [`Error::Render`], should the CSV library refuse.
pub fn csv(comparison: &Comparison) -> Result<String> {
    let failed = |message: String| Error::Render { file: schema::SUMMARY_CSV, message };
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in records(comparison) {
        writer.write_record(&record).map_err(|error| failed(error.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

fn records(comparison: &Comparison) -> Vec<Vec<String>> {
    let number = |number: Option<f64>| number.map_or(String::new(), |number| number.to_string());
    let states =
        ["finished", "diverged", "failed", "interrupted", "running", "missing"].map(str::to_owned);
    let mut header = vec!["arm".to_owned(), "runs".to_owned()];
    header.extend(states);
    let columns = "final_split final_metric final_n final_mean final_sd target_metric target_value reached_n \
                   steps_to_target_mean steps_to_target_sd gap_step gap_moving gap_batch gap_closed_from";
    header.extend(columns.split_whitespace().map(str::to_owned));
    let mut records = vec![header];
    for row in &comparison.rows {
        let mut record = vec![row.name.clone(), row.states.total().to_string()];
        record.extend(row.states.named().map(|(_, number)| number.to_string()));
        record.extend([comparison.final_split.name().to_owned(), comparison.metric.clone()]);
        record.extend([
            row.final_value.n.to_string(),
            number(row.final_value.mean),
            number(row.final_value.sd),
        ]);
        match &comparison.target {
            Some(target) => record.extend([
                target.metric.clone(),
                target.value.to_string(),
                row.steps_to_target.n.to_string(),
                number(row.steps_to_target.mean),
                number(row.steps_to_target.sd),
            ]),
            None => record.extend([const { String::new() }; 5]),
        }
        match &row.gap {
            Some(gap) => record.extend([
                gap.step.to_string(),
                gap.moving.to_string(),
                gap.batch.to_string(),
                gap.closed_from.map_or(String::new(), |step| step.to_string()),
            ]),
            None => record.extend([const { String::new() }; 4]),
        }
        records.push(record);
    }
    records
}

/// `summary.md`: question, findings and the table.
pub fn markdown(experiment: &Experiment, comparison: &Comparison, findings: &Findings) -> String {
    let mut text = format!("# {}\n\n", experiment.name);
    if let Some(question) = &experiment.question {
        text += &format!("{question}\n\n");
    }
    text += &format!("**{}**\n\n", findings.headline.plain());
    for finding in &findings.others {
        text += &format!("- {}\n", finding.plain());
    }
    let mut header = vec!["arm".to_owned(), "runs".to_owned(), comparison.final_heading()];
    let target = comparison.target_words();
    header.extend(target.iter().map(|target| format!("steps to {target}")));
    header.extend(["widest gap".to_owned(), "diverged".to_owned()]);
    text += &format!("\n{}|{}\n", line(&header), "---|".repeat(header.len()));
    for cells in comparison.cells() {
        let mut row = vec![cells.arm, cells.runs, cells.final_value];
        row.extend(target.iter().map(|_| cells.steps_to_target.clone()));
        row.extend([cells.gap, cells.diverged]);
        text += &line(&row);
    }
    for notice in &experiment.notices {
        text += &format!("\nNote: {notice}\n");
    }
    text
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}
