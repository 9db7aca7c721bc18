//! JSON files of a bundle.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::Error;

/// Indented JSON with sorted keys, independent of the order that serde_json's features select.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn write_json(value: &Value, path: &Path) -> Result<(), Error> {
    let fail = |source| Error::Json { path: path.to_path_buf(), source };
    let mut text = serde_json::to_vec_pretty(&sorted(value)).map_err(fail)?;
    text.push(b'\n');
    fs::write(path, text).map_err(Error::io(path))
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum Sorted<'a> {
    Object(BTreeMap<&'a str, Sorted<'a>>),
    Array(Vec<Sorted<'a>>),
    Other(&'a Value),
}

fn sorted(value: &Value) -> Sorted<'_> {
    match value {
        Value::Object(map) => Sorted::Object(map.iter().map(|(key, value)| (key.as_str(), sorted(value))).collect()),
        Value::Array(values) => Sorted::Array(values.iter().map(sorted).collect()),
        other => Sorted::Other(other),
    }
}
