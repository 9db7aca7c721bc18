//! msgpack: values that borrow from a message, and a writer.

use std::fmt;

mod read;
mod write;

pub(crate) use read::parse;
pub(crate) use write::Writer;

/// A value of a message.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value<'a> {
    Nil,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Array(Vec<Value<'a>>),
    Map(Vec<(Value<'a>, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// The value of a key; keys are text, or bytes as in openpi's arrays.
    pub(crate) fn get(&self, key: &str) -> Option<&Value<'a>> {
        let Self::Map(entries) = self else { return None };
        let is_key = |held: &Value<'_>| match held {
            Value::Text(text) => *text == key,
            Value::Bytes(bytes) => *bytes == key.as_bytes(),
            _ => false,
        };
        // As a Python dictionary: the last one counts.
        entries.iter().rev().find(|(held, _)| is_key(held)).map(|(_, value)| value)
    }

    /// As [`Self::get`], without `nil`.
    pub(crate) fn given(&self, key: &str) -> Option<&Value<'a>> {
        self.get(key).filter(|value| **value != Value::Nil)
    }

    pub(crate) fn text(&self) -> Option<&'a str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Keys of a map that are text.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> {
        let entries = if let Self::Map(entries) = self { entries.as_slice() } else { &[] };
        entries.iter().filter_map(|(key, _)| key.text())
    }
}

/// What kind of value it is, for a message to the client.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("None"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(_) => f.write_str("a string"),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Array(values) => write!(f, "a list of {}", values.len()),
            Self::Map(entries) => write!(f, "a dictionary of {}", entries.len()),
        }
    }
}
