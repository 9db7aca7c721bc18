//! The token that clients present.

use std::fmt;
use std::path::Path;

use crate::Error;

/// A shared secret. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token; `origin` is where it was given, for the error.
    ///
    /// # Errors
    /// [`Error::Token`] when it is empty or has spaces or control characters.
    pub fn new(origin: &str, text: &str) -> Result<Self, Error> {
        let text = text.trim_end_matches(['\r', '\n']);
        let fail = |found: &str| Err(Error::Token { origin: origin.to_owned(), found: found.to_owned() });
        if text.is_empty() {
            fail("nothing")
        } else if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            fail("spaces or further lines")
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// The token that a file holds.
    ///
    /// # Errors
    /// [`Error::Token`] when the file cannot be read, and as [`Self::new`].
    pub fn read(file: &Path) -> Result<Self, Error> {
        let origin = file.display().to_string();
        match std::fs::read_to_string(file) {
            Ok(text) => Self::new(&origin, &text),
            Err(error) => Err(Error::Token { origin, found: error.to_string() }),
        }
    }

    /// Whether `given` is this token, in a time that does not depend on where they differ.
    pub(crate) fn is(&self, given: &str) -> bool {
        let (own, given) = (self.0.as_bytes(), given.as_bytes());
        let differing = own.iter().zip(given).fold(0, |differing, (a, b)| differing | (a ^ b));
        own.len() == given.len() && std::hint::black_box(differing) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(...)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_and_only_it_matches() {
        let token = Token::new("file", "secret\n").expect("a word");
        assert!(token.is("secret"));
        for other in ["", "secre", "secret ", "Secret", "secrets"] {
            assert!(!token.is(other), "{other}");
        }
        for refused in ["", "\n", "two words", "two\nlines"] {
            assert!(matches!(Token::new("file", refused), Err(Error::Token { .. })), "{refused:?}");
        }
        assert_eq!(format!("{token:?}"), "Token(...)");
    }
}
