//! JSON that is read only where it is used, and numbers that JSON does not have.
//!
//! A checkpoint's files hold more than one embodiment and more statistics than one policy reads. What the exported
//! embodiment does not use may be of another version or hold no numbers; it must not keep the rest from being used.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, Unexpected, Visitor};
use serde_json::value::RawValue;

/// A JSON value whose syntax is checked with the file and whose content when it is [read](Self::read).
#[derive(Debug)]
pub(super) struct OnUse<T> {
    text: Box<RawValue>,
    read_as: PhantomData<fn() -> T>,
}

impl<T> Clone for OnUse<T> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), read_as: PhantomData }
    }
}

impl<'de, T> Deserialize<'de> for OnUse<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { text: Deserialize::deserialize(deserializer)?, read_as: PhantomData })
    }
}

impl<T: DeserializeOwned> OnUse<T> {
    /// # Errors
    /// The parser's words; line and column are counted from where the value begins.
    pub(crate) fn read(&self) -> Result<T, String> {
        self.read_as()
    }

    /// As [`Self::read`], where the key decides the type.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_as<U: DeserializeOwned>(&self) -> Result<U, String> {
        serde_json::from_str(self.text.get()).map_err(|error| error.to_string())
    }

    /// The start of its text, for a message.
    pub(crate) fn excerpt(&self) -> String {
        const LONGEST: usize = 60;
        let text = self.text.get();
        let start: String = text.chars().take(LONGEST).collect();
        if start.len() < text.len() { format!("{start}...") } else { start }
    }
}

/// A number of a file that Python wrote: it may be NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number(pub f64);

/// Python's `json` writes these without quotes. JSON has no such values: [`python_json`] makes strings of them, of the same
/// length so that a parser's line and column stay right.
const NOT_FINITE: [(&str, &str, f64); 3] = [
    ("NaN", r#""N""#, f64::NAN),
    ("-Infinity", r#""-Infini""#, f64::NEG_INFINITY),
    ("Infinity", r#""Infini""#, f64::INFINITY),
];

/// The text of a file that Python wrote, as JSON: NaN and infinities become strings.
pub fn python_json(text: &str) -> Cow<'_, str> {
    if !NOT_FINITE.iter().any(|(name, ..)| text.contains(name)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut inside) = (text, false);
    while let Some(first) = rest.chars().next() {
        let literal = NOT_FINITE.iter().find(|(name, ..)| !inside && rest.starts_with(name));
        let (take, put) = match literal {
            Some((name, quoted, _)) => (name.len(), *quoted),
            // An escaped character ends no string.
            None if inside && first == '\\' => {
                let taken = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                (taken, &rest[..taken])
            }
            None => (first.len_utf8(), &rest[..first.len_utf8()]),
        };
        inside ^= first == '"';
        out.push_str(put);
        rest = &rest[take..];
    }
    Cow::Owned(out)
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyNumber;
        impl Visitor<'_> for AnyNumber {
            type Value = Number;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number")
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Number, E> {
                Ok(Number(value))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                let found = NOT_FINITE.iter().find(|(_, quoted, _)| quoted.trim_matches('"') == text);
                found.map(|(.., value)| Number(*value)).ok_or_else(|| E::invalid_type(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(AnyNumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_does_not_have_are_read_where_they_stand_outside_of_strings() {
        let text = r#"{"a NaN \" Infinity": [NaN, 1.5, -Infinity, Infinity, -2], "\\": "NaN"}"#;
        let json = python_json(text);
        assert_eq!(json.len(), text.len());
        let read: std::collections::BTreeMap<String, serde_json::Value> = serde_json::from_str(&json).expect("JSON");
        assert_eq!(read["\\"], "NaN");
        let numbers: Vec<Number> = serde_json::from_value(read["a NaN \" Infinity"].clone()).expect("numbers");
        assert!(numbers[0].0.is_nan());
        assert_eq!(
            numbers[1..].iter().map(|number| number.0).collect::<Vec<_>>(),
            [1.5, -f64::INFINITY, f64::INFINITY, -2.0]
        );
        assert!(matches!(python_json("[1.0]"), Cow::Borrowed(_)));
        assert!(
            serde_json::from_str::<Number>(r#""1.5""#).expect_err("a string").to_string().contains("expected a number")
        );
    }

    #[test]
    fn a_value_that_is_not_used_may_be_anything_that_is_json() {
        let held: Vec<OnUse<Vec<f64>>> = serde_json::from_str(r#"[[1.5], {"of": "another kind"}]"#).expect("JSON");
        assert_eq!(held[0].read(), Ok(vec![1.5]));
        assert!(held[1].read().expect_err("no list").contains("invalid type: map"));
    }
}
