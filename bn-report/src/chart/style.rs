//! Colours, markers, dashes and sizes of all charts, in one place.
//!
//! Charts are drawn in the colours of a light page. On a dark page a style sheet replaces each by its dark twin, so every
//! colour of a chart must be one of these. Each arm colour has a contrast of at least 3:1 against both backgrounds.

use plotters::style::RGBColor;

/// A colour on a light page and its twin on a dark one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ink {
    /// On a light page.
    pub light: RGBColor,
    /// On a dark page.
    pub dark: RGBColor,
}

const fn ink(light: (u8, u8, u8), dark: (u8, u8, u8)) -> Ink {
    Ink { light: RGBColor(light.0, light.1, light.2), dark: RGBColor(dark.0, dark.1, dark.2) }
}

/// Text and axes.
pub const TEXT: Ink = ink((0x1F, 0x24, 0x2A), (0xEC, 0xEF, 0xF3));
/// Secondary text.
pub const MUTED: Ink = ink((0x5B, 0x64, 0x6E), (0xA3, 0xAD, 0xB8));
/// Grid lines.
pub const GRID: Ink = ink((0xE3, 0xE7, 0xEB), (0x31, 0x37, 0x3F));
/// The page behind the chart.
pub const PAPER: Ink = ink((0xFF, 0xFF, 0xFF), (0x16, 0x1A, 0x1F));

/// Colours of arms: grey first, then hues after Okabe and Ito, darkened until they can be read on white.
pub const ARMS: [Ink; 9] = [
    ink((0x6B, 0x71, 0x78), (0xA6, 0xAC, 0xB4)),
    ink((0x00, 0x72, 0xB2), (0x4A, 0xA8, 0xE8)),
    ink((0xC7, 0x53, 0x00), (0xFF, 0x8A, 0x3D)),
    ink((0x00, 0x8A, 0x64), (0x2B, 0xC9, 0x98)),
    ink((0xB8, 0x40, 0x8A), (0xE5, 0x8F, 0xC0)),
    ink((0x9A, 0x67, 0x00), (0xE3, 0xB3, 0x41)),
    ink((0x5B, 0x45, 0xB0), (0xA7, 0x9B, 0xF7)),
    ink((0x5F, 0x82, 0x00), (0xA9, 0xCC, 0x4A)),
    ink((0x8C, 0x2F, 0x2F), (0xF0, 0x87, 0x7D)),
];

/// Steps of a heat map from small to large: the further from the page's colour, the larger.
pub const HEAT: [Ink; 9] = [
    ink((0xF2, 0xF6, 0xFA), (0x1B, 0x21, 0x29)),
    ink((0xD6, 0xE6, 0xF2), (0x1E, 0x30, 0x42)),
    ink((0xB4, 0xD3, 0xE8), (0x20, 0x42, 0x5F)),
    ink((0x8A, 0xBC, 0xDC), (0x24, 0x57, 0x80)),
    ink((0x5D, 0xA2, 0xCD), (0x2D, 0x70, 0xA3)),
    ink((0x36, 0x86, 0xBB), (0x42, 0x8C, 0xC4)),
    ink((0x1C, 0x69, 0xA1), (0x68, 0xA9, 0xDC)),
    ink((0x0D, 0x4C, 0x80), (0x98, 0xC8, 0xED)),
    ink((0x06, 0x30, 0x58), (0xD0, 0xE7, 0xFB)),
];

/// The shape of an arm's marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// A filled disc.
    Disc,
    /// A square on its side.
    Square,
    /// A triangle that points up.
    Up,
    /// A square on its corner.
    Diamond,
    /// A triangle that points down.
    Down,
    /// A circle, not filled.
    Ring,
    /// An upright cross.
    Plus,
    /// A square on its side, not filled.
    HollowSquare,
    /// A triangle that points up, not filled.
    HollowUp,
}

/// Lengths of dash and gap in logical pixels; empty for a line that is not dashed.
pub type Dash = &'static [f64];

/// No dashes.
pub const SOLID: Dash = &[];
/// Dashes for what is second to a line: another evaluation of the same weights.
pub const DASHED: Dash = &[6.0, 4.0];
/// Dots for reference lines: targets, zero.
pub const DOTTED: Dash = &[2.0, 3.0];

const DASHES: [Dash; 4] = [SOLID, &[8.0, 3.0], &[2.5, 2.5], &[9.0, 3.0, 2.5, 3.0]];

const MARKERS: [Marker; 9] = [
    Marker::Disc,
    Marker::Square,
    Marker::Up,
    Marker::Diamond,
    Marker::Down,
    Marker::Ring,
    Marker::Plus,
    Marker::HollowSquare,
    Marker::HollowUp,
];

/// What tells an arm from the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArmStyle {
    /// Colour.
    pub ink: Ink,
    /// Marker.
    pub marker: Marker,
    /// Dashes of its mean line.
    pub dash: Dash,
}

/// The style of an arm by its place in the experiment.
///
/// The first nine differ in colour and marker; every nine more have other dashes, and their colours other markers. So any two of 36
/// arms differ in two of the three at least.
pub const fn arm(index: usize) -> ArmStyle {
    ArmStyle {
        ink: ARMS[index % ARMS.len()],
        marker: MARKERS[(index + index / ARMS.len()) % MARKERS.len()],
        dash: DASHES[(index / ARMS.len()) % DASHES.len()],
    }
}

/// Height of text, in logical pixels.
pub const FONT: f64 = 13.0;
/// Height of secondary text.
pub const SMALL_FONT: f64 = 11.5;
/// From one line of text to the next, as a multiple of its height.
pub const LEADING: f64 = 1.2;
/// Width of a mean line.
pub const MEAN_LINE: f64 = 2.2;
/// Width of a single run's line.
pub const SEED_LINE: f64 = 1.0;
/// Opacity of a single run's line.
pub const SEED_OPACITY: f64 = 0.3;
/// Opacity of a line as logged, under its smoothed one.
pub const RAW_OPACITY: f64 = 0.45;
/// Opacity of an interval's band.
pub const BAND_OPACITY: f64 = 0.16;

/// A colour as SVG and CSS write it: `#0072B2`.
pub fn hex(color: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2)
}

/// Rules that turn each light colour of a chart into its dark twin, for use inside a media query.
pub fn dark_rules() -> String {
    use std::fmt::Write as _;
    let mut rules = String::new();
    for ink in [TEXT, MUTED, GRID, PAPER].into_iter().chain(ARMS).chain(HEAT) {
        let (light, dark) = (hex(ink.light), hex(ink.dark));
        // Writing to a String cannot fail.
        let _ = writeln!(
            rules,
            ".chart [fill=\"{light}\"]{{fill:{dark}}}.chart [stroke=\"{light}\"]{{stroke:{dark}}}"
        );
    }
    rules
}

/// The fonts of a chart: those of the reader's system.
pub const FONT_RULE: &str = ".chart text{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica Neue\",Arial,sans-serif}\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance after WCAG 2.2.
    fn luminance(color: RGBColor) -> f64 {
        let [r, g, b] = [color.0, color.1, color.2].map(|byte| {
            let share = f64::from(byte) / 255.0;
            if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    fn contrast(a: RGBColor, b: RGBColor) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn arms_contrast_with_both_backgrounds() {
        for ink in ARMS.into_iter().chain([TEXT, MUTED]) {
            for (color, paper) in [(ink.light, PAPER.light), (ink.dark, PAPER.dark)] {
                assert!(contrast(color, paper) >= 3.0, "{} on {}", hex(color), hex(paper));
            }
        }
        assert!((contrast(PAPER.light, RGBColor(0, 0, 0)) - 21.0).abs() < 1e-9);
    }

    #[test]
    fn thirty_six_arms_differ_in_two_of_colour_marker_and_dash() {
        for a in 0..36 {
            for b in 0..a {
                let (one, other) = (arm(a), arm(b));
                let differ =
                    [one.ink != other.ink, one.marker != other.marker, one.dash != other.dash];
                let count = differ.into_iter().filter(|differs| *differs).count();
                assert!(count >= 2, "arms {a} and {b} differ in {count} only");
            }
        }
    }

    #[test]
    fn every_colour_has_its_own_dark_twin() {
        let all: Vec<Ink> =
            [TEXT, MUTED, GRID, PAPER].into_iter().chain(ARMS).chain(HEAT).collect();
        for (index, ink) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| other.light != ink.light), "{ink:?}");
        }
        assert!(HEAT.windows(2).all(|pair| luminance(pair[0].light) > luminance(pair[1].light)));
        assert!(HEAT.windows(2).all(|pair| luminance(pair[0].dark) < luminance(pair[1].dark)));
    }
}
