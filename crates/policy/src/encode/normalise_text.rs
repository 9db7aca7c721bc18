//! The vendor's clean-up of an instruction: lower case, then no punctuation.
//!
//! Upstream this is `re.sub(r"[^\w\s]", "", text.lower())` of Python, whose classes are not those of Rust's regex crate:
//! `\w` is a letter or number by general category, or `_`, so combining marks go; see [`is_word`] and [`is_space`].
//! Upstream's Python 3.10 knows Unicode 13; letters that were added to Unicode later are kept here and deleted there.

use unicode_general_category::{GeneralCategory, get_general_category};

/// Lower-cases fully (`İ` becomes two characters, a final `Σ` becomes `ς`), then keeps words and white space as it is.
pub fn normalise_text(instruction: &str) -> String {
    instruction.to_lowercase().chars().filter(|&c| is_word(c) || is_space(c)).collect()
}

/// Python's `\w` for text: general category L* or N*, or `_`.
pub fn is_word(c: char) -> bool {
    use GeneralCategory as G;
    match get_general_category(c) {
        G::UppercaseLetter | G::LowercaseLetter | G::TitlecaseLetter | G::ModifierLetter | G::OtherLetter => true,
        G::DecimalNumber | G::LetterNumber | G::OtherNumber => true,
        _ => c == '_',
    }
}

/// Python's `\s` for text: the separators, and the controls that Python counts as white space.
pub fn is_space(c: char) -> bool {
    use GeneralCategory as G;
    matches!(c, '\t'..='\r' | '\u{1c}'..='\u{1f}' | '\u{85}')
        || matches!(get_general_category(c), G::SpaceSeparator | G::LineSeparator | G::ParagraphSeparator)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn punctuation_symbols_and_combining_marks_go_and_letters_numbers_and_underscores_stay() {
        assert_eq!(normalise_text("Put 3 apples & 12.5 oranges into box #4"), "put 3 apples  125 oranges into box 4");
        assert_eq!(normalise_text("___ -- ''"), "___  ");
        assert_eq!(normalise_text("गाजर को"), "गजर क");
        assert_eq!(normalise_text("cafe\u{301} caf\u{e9}"), "cafe caf\u{e9}");
        assert_eq!(normalise_text("½ ² ① Ⅷ ª \u{24b6} 🤖"), "½ ² ① ⅷ ª  ");
        assert_eq!(normalise_text("<|im_end|> <image-1>"), "im_end image1");
        assert_eq!(normalise_text(""), "");
    }

    #[test]
    fn lower_case_is_the_full_mapping() {
        assert_eq!(normalise_text("İSTANBUL ΣΊΣΥΦΟΣ Straße ǅ"), "istanbul σίσυφος straße ǆ");
    }

    #[test]
    fn white_space_is_neither_trimmed_nor_collapsed_nor_changed() {
        let spaces = " \t\n\u{b}\u{c}\r\u{1c}\u{1d}\u{1e}\u{1f}\u{85}\u{a0}\u{1680}\u{2003}\u{2028}\u{2029}\u{3000}";
        assert_eq!(normalise_text(&format!("{spaces}A{spaces}.")), format!("{spaces}a{spaces}"));
        assert_eq!(normalise_text("a\u{200b}\u{feff}b"), "ab", "format characters are no white space");
    }

    proptest! {
        #[test]
        fn any_text_keeps_its_white_space_and_holds_nothing_but_words_besides(text in any::<String>()) {
            let once = normalise_text(&text);
            let spaces = |text: &str| text.chars().filter(|&c| is_space(c)).collect::<String>();
            prop_assert_eq!(spaces(&text), spaces(&once));
            prop_assert!(once.chars().all(|c| is_word(c) || is_space(c)));
        }

        #[test]
        fn plain_words_only_change_case(text in "[a-zA-Z0-9_ ]{0,40}") {
            prop_assert_eq!(normalise_text(&text), text.to_ascii_lowercase());
        }
    }
}
