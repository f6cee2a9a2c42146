//! Text from files, made safe to show. Pure.

/// A character that a terminal, a page or an editor shows as itself: control characters as their pictures (`␊`), and those that
/// turn the direction of text as the replacement character.
pub fn visible(character: char) -> char {
    match character {
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + character as u32).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' => '\u{fffd}',
        '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        _ => character,
    }
}

/// Text of which every character is [`visible`].
pub fn printable(text: &str) -> String {
    text.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_shown_text_controls_a_terminal(text in any::<String>()) {
            let shown = printable(&text);
            prop_assert!(shown.chars().all(|c| !c.is_control()));
            prop_assert_eq!(shown.chars().count(), text.chars().count());
            prop_assert_eq!(printable(&shown), shown);
        }
    }

    #[test]
    fn control_characters_become_pictures_and_letters_stay() {
        assert_eq!(printable("a\n\u{1b}[31mé\u{202e}"), "a␊␛[31mé\u{fffd}");
    }
}
