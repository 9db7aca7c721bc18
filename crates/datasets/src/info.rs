//! `meta/info.json`: version, rate, features and path patterns.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::Error;
use crate::dataset::Version;

/// How a feature is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Storage {
    /// A column of numbers.
    Numbers,
    /// Images inside the parquet files.
    Images,
    /// A video file.
    Video,
    /// Text and other types, which are not read.
    Other,
}

/// One feature of a data set.
#[derive(Clone, PartialEq, Debug)]
pub struct Feature {
    /// How it is stored.
    pub storage: Storage,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Names of its elements, where the data set has as many as elements.
    pub names: Vec<String>,
}

impl Feature {
    /// Number of elements of one row.
    pub fn width(&self) -> usize {
        self.shape.iter().copied().fold(1, usize::saturating_mul)
    }
}

/// The file's content, checked.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    pub(crate) version: Version,
    pub(crate) fps: f64,
    pub(crate) chunk_size: usize,
    pub(crate) data_path: String,
    /// Empty without videos.
    pub(crate) video_path: String,
    pub(crate) features: BTreeMap<String, Feature>,
}

#[derive(Deserialize)]
struct Raw {
    codebase_version: String,
    fps: f64,
    #[serde(default)]
    chunks_size: Option<usize>,
    data_path: String,
    #[serde(default)]
    video_path: Option<String>,
    features: BTreeMap<String, RawFeature>,
}

#[derive(Deserialize)]
struct RawFeature {
    dtype: String,
    #[serde(default)]
    shape: Vec<usize>,
    #[serde(default)]
    names: Value,
}

impl Info {
    /// Parses the text of the file; `path` names it in messages.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let raw: Raw = serde_json::from_str(text).map_err(|error| Error::metadata(path, error.to_string()))?;
        let version = Version::of(&raw.codebase_version)
            .ok_or_else(|| Error::Version { path: path.to_owned(), found: raw.codebase_version.clone() })?;
        if !(raw.fps.is_finite() && raw.fps > 0.0) {
            return Err(Error::metadata(path, format!("fps: expected a rate above 0, found {}", raw.fps)));
        }
        let chunk_size = raw.chunks_size.unwrap_or(DEFAULT_CHUNK);
        if chunk_size == 0 {
            return Err(Error::metadata(path, "chunks_size: expected 1 or more, found 0"));
        }
        let features = raw.features.into_iter().map(|(name, feature)| (name, feature.checked())).collect();
        Ok(Self {
            version,
            fps: raw.fps,
            chunk_size,
            data_path: raw.data_path,
            video_path: raw.video_path.unwrap_or_default(),
            features,
        })
    }
}

/// LeRobot's number of episodes (v2.1) or files (v3.0) in a folder.
const DEFAULT_CHUNK: usize = 1000;

impl RawFeature {
    fn checked(self) -> Feature {
        let storage = match self.dtype.as_str() {
            "video" => Storage::Video,
            "image" => Storage::Images,
            "string" | "language" | "audio" => Storage::Other,
            _ => Storage::Numbers,
        };
        let names = names(&self.names);
        let feature = Feature { storage, shape: self.shape, names: Vec::new() };
        let fits = names.len() == feature.width();
        Feature { names: if fits { names } else { Vec::new() }, ..feature }
    }
}

/// The names of elements: a list, or a list in an object (`{"motors": [...]}`), or an object of name and index.
fn names(value: &Value) -> Vec<String> {
    match value {
        Value::Array(names) => names.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect(),
        Value::Object(entries) => {
            let indexed = entries.iter().filter_map(|(name, index)| Some((index.as_u64()?, name.clone())));
            let mut indexed: Vec<_> = indexed.collect();
            if indexed.is_empty() {
                return entries.values().flat_map(names).collect();
            }
            indexed.sort_unstable();
            indexed.into_iter().map(|(_, name)| name).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_elements_come_in_three_forms() {
        let named = |text: &str| names(&serde_json::from_str(text).expect("JSON"));
        let expected = vec!["b".to_owned(), "a".to_owned()];
        assert_eq!(named(r#"["b", "a"]"#), expected);
        assert_eq!(named(r#"{"motors": ["b", "a"]}"#), expected);
        assert_eq!(named(r#"{"a": 1, "b": 0}"#), expected);
        assert_eq!(named("null"), Vec::<String>::new());
    }

    #[test]
    fn wrong_values_are_named() {
        let parse = |text: &str| Info::parse(Path::new("info.json"), text);
        let rest = r#""data_path": "d", "features": {}"#;
        for text in [
            format!(r#"{{"codebase_version": "v3.0", "fps": 0, {rest}}}"#),
            format!(r#"{{"codebase_version": "v3.0", "fps": 10, "chunks_size": 0, {rest}}}"#),
            format!(r#"{{"fps": 10, {rest}}}"#),
        ] {
            assert!(matches!(parse(&text), Err(Error::Metadata { .. })), "{text}");
        }
        let old = format!(r#"{{"codebase_version": "v1.6", "fps": 10, {rest}}}"#);
        assert!(matches!(parse(&old), Err(Error::Version { found, .. }) if found == "v1.6"));
    }
}
