//! Colours and sizes of all charts, in one place.
//!
//! Charts are drawn in the colours of a light page. For a dark page a style sheet replaces each by its dark twin, which is why
//! every colour of a chart must be one of these. Arm colours are Okabe and Ito's (safe for colour blindness, yellow left
//! out: it vanishes on white), grey first, and three more; arms that share a hue differ in their marker.

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
/// The page behind, for what must cover lines.
pub const PAPER: Ink = ink((0xFF, 0xFF, 0xFF), (0x16, 0x1A, 0x1F));

/// Arm colours, by the arm's place in the experiment.
pub const ARMS: [Ink; 10] = [
    ink((0x7A, 0x7F, 0x85), (0xA6, 0xAC, 0xB3)),
    ink((0x00, 0x72, 0xB2), (0x4A, 0xA8, 0xE8)),
    ink((0xD5, 0x5E, 0x00), (0xFF, 0x8A, 0x3D)),
    ink((0x00, 0x9E, 0x73), (0x2B, 0xC9, 0x98)),
    ink((0xB8, 0x4D, 0x8C), (0xE5, 0x8F, 0xC0)),
    ink((0xD1, 0x8F, 0x00), (0xF0, 0xB4, 0x29)),
    ink((0x2B, 0x9F, 0xDB), (0x7C, 0xCB, 0xF5)),
    ink((0x4B, 0x3F, 0xA6), (0x9C, 0x92, 0xF2)),
    ink((0x7D, 0x7A, 0x12), (0xC4, 0xC0, 0x52)),
    ink((0x8C, 0x2F, 0x4B), (0xE0, 0x7A, 0x98)),
];

/// The colour of an arm; from the eleventh arm on they come round again.
pub const fn arm(index: usize) -> Ink {
    ARMS[index % ARMS.len()]
}

/// Height of text, in logical pixels.
pub const FONT: f64 = 13.0;
/// Height of secondary text.
pub const SMALL_FONT: f64 = 11.5;
/// From one line of text to the next, as a multiple of its height.
pub const LEADING: f64 = 1.2;
/// Width of a character as a multiple of its height; generous, as no font is measured.
pub const CHARACTER: f64 = 0.58;
/// Width of a mean line.
pub const MEAN_LINE: f64 = 2.2;
/// Width of a single run's line.
pub const SEED_LINE: f64 = 1.0;
/// Opacity of a single run's line.
pub const SEED_OPACITY: f64 = 0.28;
/// Opacity of a band of one standard deviation.
pub const BAND_OPACITY: f64 = 0.15;
/// Opacity of the shade between two readings.
pub const GAP_OPACITY: f64 = 0.22;

/// A colour as plotters writes it into SVG: `#0072B2`.
pub fn hex(color: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2)
}

/// Rules that turn each light colour of a chart into its dark twin, for use inside a media query.
pub fn dark_rules() -> String {
    let all = [TEXT, MUTED, GRID, PAPER].into_iter().chain(ARMS);
    let rule = |ink: Ink| {
        let (light, dark) = (hex(ink.light), hex(ink.dark));
        format!(
            ".chart [fill=\"{light}\"]{{fill:{dark}}}.chart [stroke=\"{light}\"]{{stroke:{dark}}}\n"
        )
    };
    all.map(rule).collect()
}

/// The fonts of a chart: those of the reader's system.
pub const FONT_RULE: &str = ".chart text{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica Neue\",Arial,sans-serif}\n";
