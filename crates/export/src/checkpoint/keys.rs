//! The keys of a JSON configuration, read with their defaults; everything wrong with a file is reported at once.

use std::path::Path;

use serde_json::{Map, Value};

use crate::Error;
use vla_policy::processor::python_json;

/// Largest size that a configuration may name: products of a few of them stay far from overflow.
const LARGEST: usize = 1 << 20;
/// Most layers that a configuration may name: each has weights of its own, which are listed before they are looked for.
const MOST_LAYERS: usize = 1024;

/// Runs `read` over the object in `json`, and fails with all problems that it noted.
pub(crate) fn parsed<T>(path: &Path, json: &[u8], read: impl FnOnce(&mut Keys<'_>) -> T) -> Result<T, Error> {
    let object = match std::str::from_utf8(json) {
        Ok(text) => serde_json::from_str(&python_json(text)),
        Err(_) => serde_json::from_slice(json),
    };
    let object: Map<String, Value> = object.map_err(|source| Error::Json { path: path.to_owned(), source })?;
    let mut problems = Vec::new();
    let value = read(&mut Keys { prefix: "", object: Some(&object), problems: &mut problems });
    if problems.is_empty() { Ok(value) } else { Err(Error::Invalid { path: path.to_owned(), problems }) }
}

/// The keys of one object, and what is wrong with them.
pub(crate) struct Keys<'a> {
    prefix: &'a str,
    object: Option<&'a Map<String, Value>>,
    problems: &'a mut Vec<String>,
}

impl Keys<'_> {
    pub(crate) fn problem(&mut self, key: &str, problem: String) {
        self.problems.push(format!("{}{key}: {problem}", self.prefix));
    }

    /// Runs `read` and reports this problem alone.
    pub(crate) fn alone<T>(&mut self, key: &str, problem: String, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.problems.len();
        let result = read(self);
        self.problems.truncate(before);
        self.problem(key, problem);
        result
    }

    pub(crate) fn check(&mut self, holds: bool, key: &str, problem: impl FnOnce() -> String) {
        if !holds {
            self.problem(key, problem());
        }
    }

    /// Whether the object is there.
    pub(crate) fn given(&self) -> bool {
        self.object.is_some()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.object.and_then(|object| object.get(key))
    }

    /// A key that is null where it is given.
    pub(crate) fn null(&mut self, key: &str) {
        if let Some(found) = self.text(key) {
            self.problem(key, format!("expected null, found {found}"));
        }
    }

    /// A size of at least 1; 1 where it is missing or invalid, which is reported.
    pub(crate) fn size(&mut self, key: &str, default: Option<usize>) -> usize {
        self.bounded(key, default, LARGEST)
    }

    /// A number of layers, as [`Self::size`].
    pub(crate) fn layers(&mut self, key: &str, default: Option<usize>) -> usize {
        self.bounded(key, default, MOST_LAYERS)
    }

    fn bounded(&mut self, key: &str, default: Option<usize>, most: usize) -> usize {
        let found = match (self.get(key), default) {
            (None, Some(default)) => return default,
            (None, None) => "nothing".to_owned(),
            (Some(value), _) => match value.as_u64().and_then(|size| usize::try_from(size).ok()) {
                Some(size) if (1..=most).contains(&size) => return size,
                _ => value.to_string(),
            },
        };
        self.problem(key, format!("expected an integer from 1 to {most}, found {found}"));
        1
    }

    /// A size that is a multiple of another key's.
    pub(crate) fn multiple(&mut self, key: &str, (of, divisor): (&str, usize)) -> usize {
        let size = self.size(key, None);
        self.check(size.is_multiple_of(divisor), key, || {
            format!("expected a multiple of {of} ({divisor}), found {size}")
        });
        size
    }

    /// The side of a square number.
    pub(crate) fn square(&mut self, key: &str, default: usize) -> usize {
        let size = self.size(key, Some(default));
        let side = size.isqrt();
        self.check(side * side == size, key, || format!("expected a square number, found {size}"));
        side
    }

    /// A positive number, one of `served` unless that is empty.
    pub(crate) fn number(&mut self, key: &str, default: Option<f64>, served: &[f64]) -> f64 {
        let found = match (self.get(key), default) {
            (None, Some(default)) => return default,
            (None, None) => "nothing".to_owned(),
            (Some(value), _) => match value.as_f64() {
                Some(number)
                    if number > 0.0 && number.is_finite() && (served.is_empty() || served.contains(&number)) =>
                {
                    return number;
                }
                _ => value.to_string(),
            },
        };
        let expected = served.first().map_or("a number above 0".to_owned(), f64::to_string);
        self.problem(key, format!("expected {expected}, found {found}"));
        1.0
    }

    pub(crate) fn flag(&mut self, key: &str, default: bool, served: &[bool]) -> bool {
        let Some(value) = self.get(key) else { return default };
        match value.as_bool() {
            Some(flag) if served.contains(&flag) => flag,
            _ => {
                let expected: Vec<String> = served.iter().map(bool::to_string).collect();
                let found = value.to_string();
                self.problem(key, format!("expected {}, found {found}", expected.join(" or ")));
                default
            }
        }
    }

    /// A text; `None` when the key is absent or null. Another type is given as JSON.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// A text that has this value where it is given.
    pub(crate) fn is(&mut self, key: &str, expected: &str) {
        if let Some(found) = self.text(key).filter(|found| found != expected) {
            self.problem(key, format!("expected {expected}, found {found}"));
        }
    }

    /// An object inside this one.
    pub(crate) fn nested<T>(&mut self, key: &str, required: bool, read: impl FnOnce(&mut Keys<'_>) -> T) -> T {
        let value = self.object.and_then(|object| object.get(key));
        let object = value.and_then(Value::as_object);
        let wrong = value.map_or(required, |value| !value.is_object());
        if wrong {
            let found = value.map_or("nothing".to_owned(), Value::to_string);
            self.problem(key, format!("expected an object, found {found}"));
        }
        let before = self.problems.len();
        let prefix = format!("{}{key}.", self.prefix);
        let result = read(&mut Keys { prefix: &prefix, object, problems: self.problems });
        if wrong {
            // One problem for the object instead of one for each of its keys.
            self.problems.truncate(before);
        }
        result
    }
}
