//! Selects part of an experiment: `--arms` and `--seeds`.

use super::Flags;
use crate::keys::{Place, Problem, did_you_mean};
use bn_report::schema::slug;

/// The arms and seeds to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selection {
    /// Names of arms, in file order.
    pub arms: Vec<String>,
    /// At least one, without duplicates.
    pub seeds: Vec<u64>,
}

/// The seeds of `--seeds`, or else of the experiment.
pub(super) fn seeds(flags: &Flags, own: &[u64], problems: &mut Vec<Problem>) -> Vec<u64> {
    let Some(text) = &flags.seeds else {
        return own.to_vec();
    };
    let place = Place::Flag(format!("--seeds {text}"));
    match parse_seeds(text) {
        Ok(seeds) => seeds,
        Err(message) => {
            problems.push(Problem { place, message });
            own.to_vec()
        }
    }
}

/// A range with more seeds than this is probably a typo.
const MOST_SEEDS: u64 = 100_000;

/// `0,1,5-9`.
fn parse_seeds(text: &str) -> Result<Vec<u64>, String> {
    let mut seeds = Vec::new();
    for part in text.split(',').map(str::trim) {
        let wrong = || {
            format!(
                "{part:?} is not a seed; expected whole numbers from 0 and ranges, for example 0,1,5-9"
            )
        };
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first = parse_seed(first).ok_or_else(wrong)?;
        let last = parse_seed(last).ok_or_else(wrong)?;
        if last < first {
            return Err(format!("the range {part} is descending; write {last}-{first}"));
        }
        if last - first >= MOST_SEEDS {
            return Err(format!("the range {part} has more than {MOST_SEEDS} seeds"));
        }
        seeds.extend(first..=last);
    }
    let mut sorted = seeds.clone();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("seed {} is given twice", pair[0])),
        None => Ok(seeds),
    }
}

fn parse_seed(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|&seed| seed <= i64::MAX as u64)
}

/// The arms of `known` that `--arms` names, in the order of `known`. Without the flag, all arms.
pub(super) fn arms(flags: &Flags, known: &[String], problems: &mut Vec<Problem>) -> Vec<String> {
    if flags.arms.is_empty() {
        return known.to_vec();
    }
    let mut named = Vec::new();
    for flag in &flags.arms {
        named.extend(resolve(flag, known, problems));
    }
    known.iter().filter(|arm| named.contains(arm)).cloned().collect()
}

/// Resolves a comma-separated list of arms. Names may contain commas, so the longest match wins.
fn resolve<'a>(flag: &str, known: &'a [String], problems: &mut Vec<Problem>) -> Vec<&'a String> {
    let parts: Vec<&str> = flag.split(',').collect();
    let find = |name: &str| {
        let exact = known.iter().find(|arm| arm.as_str() == name.trim());
        exact.or_else(|| known.iter().find(|arm| slug(arm) == slug(name)))
    };
    let mut found = Vec::new();
    let mut start = 0;
    while start < parts.len() {
        let longest = (start + 1..=parts.len()).rev();
        let mut stretches = longest.map(|end| (end, parts[start..end].join(",")));
        if let Some((end, arm)) = stretches.find_map(|(end, name)| Some((end, find(&name)?))) {
            found.push(arm);
            start = end;
            continue;
        }
        let name = parts[start].trim();
        let hint = did_you_mean(name, known.iter().map(String::as_str))
            .map_or(String::new(), |meant| format!(" (did you mean {meant:?}?)"));
        let list: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
        let message = format!("no arm {name:?}{hint}; expected {}", list.join(", "));
        problems.push(Problem { place: Place::Flag(format!("--arms {flag}")), message });
        start += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(arms: &[&str], seeds: Option<&str>) -> Flags {
        Flags {
            arms: arms.iter().map(ToString::to_string).collect(),
            seeds: seeds.map(ToOwned::to_owned),
            ..Flags::default()
        }
    }

    #[test]
    fn seeds_are_numbers_and_ranges() {
        assert_eq!(parse_seeds("1-5"), Ok(vec![1, 2, 3, 4, 5]));
        assert_eq!(parse_seeds("7, 0,2 - 3"), Ok(vec![7, 0, 2, 3]));
        for (wrong, expected) in [
            ("", "expected whole numbers from 0"),
            ("-1", "expected whole numbers from 0"),
            ("1-", "\"1-\" is not a seed"),
            ("1,,2", "\"\" is not a seed"),
            ("x", "\"x\" is not a seed"),
            ("5-1", "write 1-5"),
            ("1,1", "seed 1 is given twice"),
            ("0-3,2", "seed 2 is given twice"),
            ("0-99999999999", "more than 100000 seeds"),
            ("9223372036854775808", "expected whole numbers"),
        ] {
            let message = parse_seeds(wrong).unwrap_err();
            assert!(message.contains(expected), "{wrong}: {message}");
        }
    }

    fn select(named: &[&str]) -> (Vec<String>, Vec<String>) {
        let known: Vec<String> = ["a", "b", "a, b", "A c", "d,e,f"].map(ToOwned::to_owned).into();
        let mut problems = Vec::new();
        let arms = arms(&flags(named, None), &known, &mut problems);
        (arms, problems.into_iter().map(|problem| problem.message).collect())
    }

    #[test]
    fn arms_resolve_in_any_order_and_with_commas_in_names() {
        for (named, expected) in [
            (&["b,a"][..], &["a", "b"][..]),
            (&["a, b"], &["a, b"]),
            (&["d,e,f,a-c"], &["A c", "d,e,f"]),
            (&["b", "a"], &["a", "b"]),
            (&[], &["a", "b", "a, b", "A c", "d,e,f"]),
        ] {
            assert_eq!(select(named), (expected.iter().map(ToString::to_string).collect(), vec![]));
        }
    }

    #[test]
    fn every_unknown_arm_is_reported() {
        let (_, problems) = select(&["zzz,A d", "yyy"]);
        assert_eq!(problems.len(), 3);
        assert!(problems[0].starts_with("no arm \"zzz\"; expected \"a\""), "{problems:?}");
        assert!(problems[1].contains("did you mean \"A c\"?"), "{problems:?}");
    }
}
