//! `meta/modality.json`, with which GR00T names parts of the columns.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::{Error, Piece};

/// Columns of the policy's keys.
#[derive(Clone, Default, Debug)]
pub(crate) struct Modality {
    pub(crate) state: BTreeMap<String, Piece>,
    pub(crate) action: BTreeMap<String, Piece>,
    /// Features of the cameras.
    pub(crate) video: BTreeMap<String, String>,
    /// Columns with the number of the task.
    pub(crate) annotation: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    state: BTreeMap<String, RawPiece>,
    action: BTreeMap<String, RawPiece>,
    video: BTreeMap<String, RawName>,
    annotation: BTreeMap<String, Option<RawName>>,
}

#[derive(Deserialize)]
struct RawPiece {
    start: usize,
    end: usize,
    #[serde(default)]
    original_key: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawName {
    original_key: Option<String>,
}

impl Modality {
    /// Parses the text of the file; `path` names it in messages.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let raw: Raw = serde_json::from_str(text).map_err(|error| Error::metadata(path, error.to_string()))?;
        let pieces = |section: &str, raw: BTreeMap<String, RawPiece>, column: &str| {
            let checked = raw.into_iter().map(|(key, RawPiece { start, end, original_key })| {
                if start >= end {
                    let reason = format!("{section}.{key}: expected start < end, found {start} and {end}");
                    return Err(Error::metadata(path, reason));
                }
                let piece = Piece::of(original_key.unwrap_or_else(|| column.to_owned()), start..end);
                Ok((key, piece))
            });
            checked.collect::<Result<BTreeMap<_, _>, _>>()
        };
        let video = raw.video.into_iter().map(|(key, name)| {
            let feature = name.original_key.unwrap_or_else(|| format!("observation.images.{key}"));
            (key, feature)
        });
        let annotation = raw.annotation.into_iter().map(|(key, name)| {
            let column = name.and_then(|name| name.original_key).unwrap_or_else(|| format!("annotation.{key}"));
            (key, column)
        });
        Ok(Self {
            state: pieces("state", raw.state, "observation.state")?,
            action: pieces("action", raw.action, "action")?,
            video: video.collect(),
            annotation: annotation.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_without_an_original_key_are_of_the_usual_columns() {
        let text = r#"{
            "state": {"arm": {"start": 0, "end": 6}, "hand": {"start": 1, "end": 2, "original_key": "observation.hand"}},
            "action": {"arm": {"start": 0, "end": 6, "absolute": false}},
            "video": {"top": {"original_key": "observation.images.cam_high"}, "wrist": {}},
            "annotation": {"human.task_description": {"original_key": "task_index"}, "human.validity": {}}
        }"#;
        let modality = Modality::parse(Path::new("modality.json"), text).expect("GR00T's form");
        assert_eq!(modality.state["arm"], Piece::of("observation.state", 0..6));
        assert_eq!(modality.state["hand"], Piece::of("observation.hand", 1..2));
        assert_eq!(modality.action["arm"], Piece::of("action", 0..6));
        assert_eq!(modality.video["top"], "observation.images.cam_high");
        assert_eq!(modality.video["wrist"], "observation.images.wrist");
        assert_eq!(modality.annotation["human.task_description"], "task_index");
        assert_eq!(modality.annotation["human.validity"], "annotation.human.validity");
        let empty = r#"{"state": {"arm": {"start": 6, "end": 6}}}"#;
        assert!(
            matches!(Modality::parse(Path::new("m"), empty), Err(Error::Metadata { reason, .. }) if reason.contains("arm"))
        );
    }
}
