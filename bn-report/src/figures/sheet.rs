//! Charts from curves and other figures: every form of them, with their numbers.

use rayon::prelude::*;

use crate::chart::curves::{ArmLines, Curves, Extent};
use crate::chart::dots::Dots;
use crate::chart::heat::Heat;
use crate::chart::scene::Scene;
use crate::chart::{Chart, Data, DataLine, Look, View};
use crate::format;

/// Single runs that are drawn in every form of a chart; with more, only its first two forms have them.
const RUNS_EVERYWHERE: usize = 150;
/// Steps of a chart's data, at most about this many.
const DATA_STEPS: usize = 500;

/// What stands around a chart.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// The name of its file.
    pub(super) file: String,
    /// What it shows.
    pub(super) title: String,
    /// How to read it.
    pub(super) caption: String,
}

impl Frame {
    pub(super) fn new(
        file: impl Into<String>,
        title: impl Into<String>,
        caption: impl Into<String>,
    ) -> Self {
        Self { file: file.into(), title: title.into(), caption: caption.into() }
    }
}

/// A chart of curves; none where they have no value.
pub(super) fn curves(frame: Frame, curves: Curves) -> Option<Chart> {
    if curves.is_empty() {
        return None;
    }
    let mut curves = Curves { lines: merge_identical(curves.lines), ..curves };
    curves.cut_bands();
    let steps = data_steps(&curves.mean_steps());
    let extent = curves.extent();
    let views = looks(&curves, &extent);
    let runs: usize = curves.lines.iter().map(|line| line.runs.len()).sum();
    let bare = (runs > RUNS_EVERYWHERE).then(|| without_runs(&curves));
    let view = |(place, look): (usize, Look)| {
        let drawn = bare.as_ref().filter(|_| place >= 2).unwrap_or(&curves);
        View {
            look,
            scene: drawn.draw(&extent, look),
            places: curves.places(&extent, look, &steps),
        }
    };
    Some(Chart {
        file: frame.file,
        title: frame.title,
        description: describe(&curves.lines),
        caption: frame.caption,
        // In parallel, in the order of the forms.
        views: views.into_par_iter().enumerate().map(view).collect(),
        data: data(&curves.lines, steps),
    })
}

/// Every form of curves: the default first, then its narrow form, then those with other axes.
fn looks(curves: &Curves, extent: &Extent) -> Vec<Look> {
    let default = extent.default_look();
    if curves.panel.is_some() {
        return vec![default];
    }
    let mut looks = Vec::new();
    for log_y in [default.log_y, !default.log_y] {
        for log_x in [default.log_x, !default.log_x] {
            let possible = (log_y == default.log_y || extent.allows_log_y())
                && (log_x == default.log_x || extent.allows_log_x());
            if possible {
                looks.extend([false, true].map(|narrow| Look { narrow, log_x, log_y }));
            }
        }
    }
    looks
}

fn without_runs(curves: &Curves) -> Curves {
    let mut bare = curves.clone();
    for line in &mut bare.lines {
        // A run that diverged leaves its mark, so its last value stays.
        line.runs.retain(|(_, diverged)| *diverged);
        for (run, _) in &mut line.runs {
            let last = run.iter().rev().find(|(_, value)| value.is_some()).copied();
            *run = last.into_iter().collect();
        }
    }
    bare
}

/// Lines of the same values become one, named after all of them.
fn merge_identical(lines: Vec<ArmLines>) -> Vec<ArmLines> {
    let mut merged: Vec<(ArmLines, Vec<String>)> = Vec::new();
    for line in lines {
        let same = |(other, _): &&mut (ArmLines, Vec<String>)| {
            other.mean == line.mean && other.runs == line.runs && other.style == line.style
        };
        match merged.iter_mut().find(same) {
            Some((other, names)) => {
                other.arms.extend(&line.arms);
                names.push(line.name);
            }
            None => merged.push((line.clone(), vec![line.name])),
        }
    }
    let named =
        |(line, names): (ArmLines, Vec<String>)| ArmLines { name: together(&names), ..line };
    merged.into_iter().map(named).collect()
}

/// One name for several arms that are identical in a chart.
pub(super) fn together(names: &[String]) -> String {
    match names {
        [name] => name.clone(),
        names => format!("{} arms, identical", names.len()),
    }
}

/// The steps of a chart's data: all, or about [`DATA_STEPS`] of them, evenly spread, the first and the last among them.
fn data_steps(steps: &[u64]) -> Vec<u64> {
    let every = steps.len().div_ceil(DATA_STEPS).max(1);
    let mut kept: Vec<u64> = steps.iter().copied().step_by(every).collect();
    kept.extend(steps.last().filter(|last| Some(*last) != kept.last()).copied().as_slice());
    kept
}

fn data(lines: &[ArmLines], steps: Vec<u64>) -> Data {
    let line = |line: &ArmLines| {
        let mut data = DataLine {
            arms: line.arms.clone(),
            name: line.name.clone(),
            mean: Vec::new(),
            interval: Vec::new(),
            n: Vec::new(),
        };
        let last = line.mean.last().map(|(step, _, _)| *step);
        for step in &steps {
            let mean = match line.mean.binary_search_by_key(step, |(step, _, _)| *step) {
                Ok(place) => Some(place),
                // The value before holds here.
                Err(place) if line.stepped && Some(*step) < last => place.checked_sub(1),
                Err(_) => None,
            };
            let band = line.band.binary_search_by_key(step, |(step, _)| *step).ok();
            data.mean.push(mean.and_then(|place| line.mean[place].1));
            data.n.push(mean.map_or(0, |place| line.mean[place].2));
            data.interval.push(band.and_then(|place| line.band[place].1));
        }
        data
    };
    let lines = lines.iter().map(line).collect();
    Data::Steps { steps, lines }
}

fn describe(lines: &[ArmLines]) -> String {
    let describe = |line: &ArmLines| {
        let mut values = line.mean.iter().filter_map(|&(step, value, _)| Some((step, value?)));
        let Some((from, first)) = values.next() else {
            return format!("{}: no value.", line.name);
        };
        let (to, last) = values.next_back().unwrap_or((from, first));
        let [first, last] = [first, last].map(format::value);
        format!("{}: {first} at step {from}, {last} at step {to}.", line.name)
    };
    lines.iter().map(describe).collect::<Vec<_>>().join(" ")
}

/// A chart of dots; none where no run has a number.
pub(super) fn dots(frame: Frame, dots: Dots) -> Option<Chart> {
    let (low, high) = dots.range()?;
    let number = |value: f64| if dots.steps { format::steps(value) } else { format::value(value) };
    let rows = dots.rows.iter().map(|row| format!("{}: {}.", row.name, row.text));
    let rows: Vec<String> = rows.collect();
    let description = format!("Axis from {} to {}. {}", number(low), number(high), rows.join(" "));
    let columns = ["arm", "seed", "value"].map(str::to_owned).to_vec();
    let mut cells = Vec::new();
    for row in &dots.rows {
        for (seed, value) in &row.values {
            cells.push(vec![row.name.clone(), seed.to_string(), cell(*value)]);
        }
    }
    let table = Data::Table { columns, rows: cells };
    Some(in_two_widths(frame, description, table, dots.default_look(), |look| dots.draw(look)))
}

/// A heat map; none where no cell has a number.
pub(super) fn heat(frame: Frame, heat: &Heat) -> Option<Chart> {
    if heat.is_empty() {
        return None;
    }
    let description = format!(
        "{} rows of {}, {} columns of {}.",
        heat.rows.len(),
        heat.y_title,
        heat.columns.len(),
        heat.x_title
    );
    let mut columns = vec![heat.y_title.clone()];
    columns.extend(heat.columns.iter().cloned());
    let row = |(name, cells): (&String, &Vec<Option<f64>>)| {
        std::iter::once(name.clone()).chain(cells.iter().map(|value| cell(*value))).collect()
    };
    let rows = heat.rows.iter().zip(&heat.cells).map(row).collect();
    let table = Data::Table { columns, rows };
    Some(in_two_widths(frame, description, table, Look::default(), |look| heat.draw(look)))
}

fn cell(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

/// A chart in its wide and its narrow form.
fn in_two_widths(
    frame: Frame,
    description: String,
    data: Data,
    look: Look,
    draw: impl Fn(Look) -> Scene,
) -> Chart {
    let views = [false, true].map(|narrow| {
        let look = Look { narrow, ..look };
        View { look, scene: draw(look), places: Vec::new() }
    });
    let Frame { file, title, caption } = frame;
    Chart { file, title, description, caption, views: views.to_vec(), data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::range::Values;

    fn line(arm: usize, values: &[f64]) -> ArmLines {
        ArmLines {
            arms: vec![arm],
            name: format!("arm {arm}"),
            style: None,
            mean: (0..).zip(values).map(|(step, &value)| (step, Some(value), 1)).collect(),
            band: Vec::new(),
            runs: Vec::new(),
            stepped: false,
        }
    }

    #[test]
    fn identical_lines_are_drawn_once() {
        let lines = vec![line(0, &[1.0, 2.0]), line(1, &[1.0, 3.0]), line(2, &[1.0, 2.0])];
        let merged = merge_identical(lines);
        let names: Vec<&str> = merged.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["2 arms, identical", "arm 1"]);
        assert_eq!(merged[0].arms, [0, 2]);
    }

    #[test]
    fn the_data_of_a_stepped_line_has_what_holds_at_each_step() {
        let stepped = ArmLines { stepped: true, ..line(0, &[1.0, 5.0]) };
        let mut late = stepped.clone();
        late.mean = vec![(2, Some(7.0), 1), (6, Some(8.0), 1)];
        let Data::Steps { lines, .. } = data(&[stepped, late], vec![0, 1, 2, 4, 6]) else {
            panic!("lines over steps");
        };
        assert_eq!(lines[0].mean, [Some(1.0), Some(5.0), None, None, None]);
        assert_eq!(lines[1].mean, [None, None, Some(7.0), Some(7.0), Some(8.0)]);
    }

    #[test]
    fn a_long_curve_has_few_data_steps_and_its_ends() {
        let steps: Vec<u64> = (0..50_001).collect();
        let kept = data_steps(&steps);
        assert!(kept.len() <= DATA_STEPS + 2 && kept[0] == 0 && kept.last() == Some(&50_000));
        assert_eq!(data_steps(&[3, 5, 9]), [3, 5, 9]);
    }

    #[test]
    fn other_axes_are_drawn_where_they_can_be() {
        let curves = |values: &[f64]| Curves {
            title: String::new(),
            lines: vec![line(0, values)],
            target: None,
            rule: None,
            values: Values::Positive,
            smooth: 1,
            measured_bands: false,
            panel: None,
        };
        let count = |values: &[f64]| {
            let curves = curves(values);
            looks(&curves, &curves.extent()).len()
        };
        assert_eq!(count(&[1.0, 2.0, 3.0]), 8);
        assert_eq!(count(&[0.0, 2.0, 3.0]), 4);
        assert_eq!(count(&[0.0]), 2);
    }
}
