//! Text without a font library: wrapping by an estimated width, and placing labels so that none covers
//! another. Pure.

use unicode_width::UnicodeWidthChar as _;

use crate::text::printable;

/// How wide text is at most, in logical pixels: generous, as no font is measured and readers have different ones.
pub fn width(text: &str, size: f64) -> f64 {
    text.chars().map(character_width).sum::<f64>() * size
}

/// Width of the widest line.
pub fn width_of(lines: &[String], size: f64) -> f64 {
    lines.iter().map(|line| width(line, size)).fold(0.0, f64::max)
}

/// A character's width in em: that of the wider of the usual fonts.
fn character_width(character: char) -> f64 {
    match character {
        'i' | 'j' | 'l' | '|' | '.' | ',' | ':' | ';' | '\'' | '!' | ' ' => 0.36,
        'f' | 't' | 'r' | 'I' | '(' | ')' | '[' | ']' | '/' | '-' | '"' => 0.44,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 1.0,
        'A'..='Z' | '&' | '+' | '=' | '<' | '>' | '~' | '^' | '#' | '_' => 0.84,
        ' '..='~' => 0.64,
        _ => match character.width() {
            Some(0) => 0.0,
            Some(1) => 0.84,
            _ => 1.1,
        },
    }
}

/// Wraps words into lines of at most `room` logical pixels and at most `most` lines. A word longer than a line is cut.
///
/// What does not fit is left out before the last line, which then is `..` and the end of the text: names of arms that begin
/// alike tend to differ at the end.
pub fn wrap(text: &str, size: f64, room: f64, most: usize) -> Vec<String> {
    let text = printable(text);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        append(&mut lines, word, size, room);
    }
    if lines.len() > most {
        lines.truncate(most - 1);
        lines.push(ending(&text, size, room));
    }
    lines
}

/// Puts a word on the last line, or where it does not fit, on lines of its own.
fn append(lines: &mut Vec<String>, word: &str, size: f64, room: f64) {
    let last = lines.len() - 1;
    let joined =
        if lines[last].is_empty() { word.to_owned() } else { format!("{} {word}", lines[last]) };
    if width(&joined, size) <= room {
        lines[last] = joined;
        return;
    }
    if !lines[last].is_empty() {
        lines.push(String::new());
    }
    for character in word.chars() {
        let last = lines.len() - 1;
        let full = width(&lines[last], size) + character_width(character) * size > room;
        if full && !lines[last].is_empty() {
            lines.push(character.to_string());
        } else {
            lines[last].push(character);
        }
    }
}

/// `..` and as much of the end of the text as there is room for.
fn ending(text: &str, size: f64, room: f64) -> String {
    let mut left = room - width("..", size);
    let mut kept: Vec<char> = Vec::new();
    for character in text.trim_end().chars().rev() {
        left -= character_width(character) * size;
        if left < 0.0 {
            break;
        }
        kept.push(character);
    }
    format!("..{}", kept.iter().rev().collect::<String>())
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
        // 10 pixels high: a digit is 6.4 wide, a space 3.6, a dot 3.6.
        assert_eq!(wrap("012 345 678", 10.0, 45.0, 3), ["012 345", "678"]);
        assert_eq!(wrap("01234567 89", 10.0, 33.0, 3), ["01234", "567", "89"]);
        assert_eq!(wrap("012 345 678", 10.0, 30.0, 1), ["..678"]);
        assert_eq!(wrap("", 10.0, 30.0, 1), [""]);
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
        fn wrapped_lines_fit_and_lose_nothing(text in "\\PC{0,30}( [a-zA-Z漢]{1,9}){0,8}", room in 24.0..300.0f64) {
            let lines = wrap(&text, 13.0, room, usize::MAX);
            prop_assert!(lines.iter().all(|line| width(line, 13.0) <= room || line.chars().count() == 1), "{lines:?}");
            let letters = |text: &str| printable(text).split_whitespace().collect::<String>();
            prop_assert_eq!(letters(&lines.concat()), letters(&text));
            let cut = wrap(&text, 13.0, room, 2);
            prop_assert!(cut.len() <= 2 && cut.iter().all(|line| width(line, 13.0) <= room || line.chars().count() == 1));
        }
    }
}
