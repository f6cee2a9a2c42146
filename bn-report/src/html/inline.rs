//! The style sheet and the script that stand in a page, and the policy that lets a browser run these and nothing else.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::chart::style;

/// Markup or code that stands in a page as it is. A snapshot leaves it out: it has tests of its own.
pub(crate) struct Verbatim(pub(crate) String);

impl fmt::Display for Verbatim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Verbatim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "nothing" } else { "…" })
    }
}

/// The script of a report's page.
pub(super) const SCRIPT: &str = include_str!("../../templates/report.js");

const STYLE: &str = include_str!("../../templates/report.css");

/// The style sheet of every page: the rules of the template, and the colours of arms and charts.
pub(crate) fn style_sheet() -> String {
    let rules = |color: fn(&style::Ink) -> plotters::style::RGBColor| -> String {
        let arms = style::ARMS.iter().enumerate();
        arms.map(|(index, ink)| format!(".arm-{index}{{--arm:{}}}\n", style::hex(color(ink))))
            .collect()
    };
    let (light, dark) = (rules(|ink| ink.light), rules(|ink| ink.dark));
    let charts = style::dark_rules();
    format!("{STYLE}{light}@media screen and (prefers-color-scheme: dark) {{\n{dark}{charts}}}\n")
}

/// The content security policy of a page: its own style sheet and script, known by their hashes, and nothing from anywhere.
pub(crate) fn policy(style: &str, script: Option<&str>) -> String {
    let script = script.map_or_else(|| "'none'".to_owned(), source);
    format!(
        "default-src 'none'; style-src {}; script-src {script}; base-uri 'none'; form-action 'none'",
        source(style)
    )
}

/// A text as a source of a policy: `'sha256-…'`.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_knows_the_page_by_its_hashes() {
        // Of the empty text, as in FIPS 180-4 and RFC 6234.
        let empty = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='";
        assert_eq!(
            policy("", None),
            format!(
                "default-src 'none'; style-src {empty}; script-src 'none'; base-uri 'none'; form-action 'none'"
            )
        );
        assert!(policy("", Some("")).contains(&format!("script-src {empty}")));
        assert_ne!(policy("a", None), policy("b", None));
    }

    #[test]
    fn nothing_in_style_or_script_ends_its_element() {
        assert!(!style_sheet().contains("</") && !SCRIPT.contains("</"));
    }
}
