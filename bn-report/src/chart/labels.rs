//! Text without a font library: wrapping by a guessed width, and placing labels so that none covers another. Pure.

use super::style;

/// Wraps words into lines of at most `width` characters and at most `most` lines. A word longer than a line is cut.
///
/// What does not fit is left out before the last line, which then is `..` and the end of the text: names of arms that begin
/// alike tend to differ at the end.
pub fn wrap(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let last = lines.last_mut().expect("never empty");
            let space = usize::from(!last.is_empty());
            if last.chars().count() + space + word.len() <= width {
                if space == 1 {
                    last.push(' ');
                }
                last.extend(&word);
                break;
            }
            if last.is_empty() {
                last.extend(word.drain(..width));
            }
            lines.push(String::new());
        }
    }
    if lines.len() > most {
        lines.truncate(most - 1);
        let text: Vec<char> = text.trim_end().chars().collect();
        let end = &text[text.len().saturating_sub(width - 2)..];
        lines.push("..".chars().chain(end.iter().copied()).collect());
    }
    lines
}

/// How wide the longest line is, in logical pixels, by a generous guess.
pub fn width_of(lines: &[String], size: f64) -> f64 {
    lines.iter().map(|line| line.chars().count()).max().unwrap_or(0) as f64
        * size
        * style::CHARACTER
}

/// Places blocks of given heights as near to their wanted centres as can be: none overlaps another, all lie between
/// `top` and `bottom` (where they fit), and their order is that of the wanted centres. Returns the centres.
pub fn spread(wanted: &[f64], heights: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    struct Cluster {
        members: Vec<usize>,
        start: f64,
        height: f64,
    }
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]).then(a.cmp(&b)));
    let mut clusters: Vec<Cluster> = Vec::new();
    for index in order {
        let mut cluster = Cluster { members: vec![index], start: 0.0, height: heights[index] };
        loop {
            // The start that brings the members as near to their wanted places as can be, on average.
            let mut above = 0.0;
            let mut sum = 0.0;
            for &member in &cluster.members {
                sum += wanted[member] - above - heights[member] / 2.0;
                above += heights[member];
            }
            let start = sum / cluster.members.len() as f64;
            cluster.start = start.min(bottom - cluster.height).max(top);
            match clusters.last() {
                Some(before) if before.start + before.height > cluster.start => {
                    let mut before = clusters.pop().expect("just seen");
                    before.members.append(&mut cluster.members);
                    cluster = Cluster { height: before.height + cluster.height, ..before };
                }
                _ => break,
            }
        }
        clusters.push(cluster);
    }
    let mut centres = vec![0.0; wanted.len()];
    for cluster in clusters {
        let mut y = cluster.start;
        for member in cluster.members {
            centres[member] = y + heights[member] / 2.0;
            y += heights[member];
        }
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_names_wrap_and_what_is_cut_shows_it() {
        assert_eq!(wrap("Batch norm, decay 0.99", 12, 3), ["Batch norm,", "decay 0.99"]);
        assert_eq!(wrap("abcdefghijkl mn", 5, 3), ["abcde", "fghij", "kl mn"]);
        assert_eq!(wrap("one two three four", 9, 1), ["..ee four"]);
        assert_eq!(wrap("one two three four", 9, 2), ["one two", "..ee four"]);
        assert_eq!(wrap("", 9, 1), [""]);
    }

    proptest! {
        #[test]
        fn no_label_covers_another(blocks in prop::collection::vec((0.0..300.0f64, 10.0..40.0f64), 0..7)) {
            let (wanted, heights): (Vec<f64>, Vec<f64>) = blocks.into_iter().unzip();
            let centres = spread(&wanted, &heights, 0.0, 300.0);
            let mut order: Vec<usize> = (0..wanted.len()).collect();
            order.sort_by(|&a, &b| centres[a].total_cmp(&centres[b]));
            for pair in order.windows(2) {
                let (a, b) = (pair[0], pair[1]);
                prop_assert!(centres[a] + heights[a] / 2.0 <= centres[b] - heights[b] / 2.0 + 1e-9);
                prop_assert!(wanted[a] <= wanted[b]);
            }
            for (centre, height) in centres.iter().zip(&heights) {
                prop_assert!(centre - height / 2.0 >= -1e-9 && centre + height / 2.0 <= 300.0 + 1e-9);
            }
        }

        #[test]
        fn wrapped_lines_are_short_and_lose_nothing(text in "[a-z]{0,30}( [a-z]{1,9}){0,8}", width in 3usize..30) {
            let lines = wrap(&text, width, usize::MAX);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= width));
            prop_assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
            prop_assert!(wrap(&text, width, 2).len() <= 2);
        }
    }
}
