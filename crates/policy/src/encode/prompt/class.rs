//! Where `tokenizer.json` and the class that `tokenizer_config.json` names cut text differently.
//!
//! transformers 5 (read in 5.24) builds the tokenizer of a class that it knows from the vocabulary and the merges of
//! `tokenizer.json` and takes normalizer and pre-tokenizer from the class; those of the file are dropped without a word. Here the
//! file is used as it is, as transformers 4 did.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::tokenizer::{CLASSES, CONFIG, QWEN2_PIECES, WHOLE};

/// A part of `tokenizer.json` that differs from the class's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassDifference {
    /// The class that `tokenizer_config.json` names.
    pub class: String,
    /// `normalizer` or `pre_tokenizer`.
    pub part: &'static str,
}

#[derive(Deserialize)]
struct Config {
    tokenizer_class: Option<String>,
    add_prefix_space: Option<bool>,
}

#[derive(Deserialize)]
struct Whole {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
}

/// What differs for the tokenizer at `path`, a `tokenizer.json` or a folder with one. Empty where one of the two files is missing or
/// unreadable, and for a class whose parts are not known here.
pub fn class_differences(path: &Path) -> Vec<ClassDifference> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let whole = if path.is_dir() { path.join(WHOLE) } else { path.to_owned() };
    let config: Option<Config> = read(&folder.join(CONFIG));
    let Some(Config { tokenizer_class: Some(class), add_prefix_space }) = config else { return Vec::new() };
    let Some(whole) = read::<Whole>(&whole).filter(|_| CLASSES.contains(&class.as_str())) else { return Vec::new() };
    let parts = [
        ("normalizer", whole.normalizer, json!({"type": "NFC"})),
        ("pre_tokenizer", whole.pre_tokenizer, qwen2(add_prefix_space.unwrap_or_default())),
    ];
    let differing = parts.into_iter().filter(|(_, found, expected)| meaning(found) != meaning(expected));
    differing.map(|(part, ..)| ClassDifference { class: class.clone(), part }).collect()
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn qwen2(add_prefix_space: bool) -> Value {
    json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": QWEN2_PIECES}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "use_regex": false},
    ]})
}

/// Without what has no effect on ids: offsets, sequences of one, and defaults that are written out or not.
fn meaning(part: &Value) -> Value {
    let Value::Object(object) = part else { return part.clone() };
    let kind = object.get("type").and_then(Value::as_str);
    let list = object.get("pretokenizers").or_else(|| object.get("normalizers")).and_then(Value::as_array);
    match (kind, list.map(Vec::as_slice)) {
        (Some("Sequence"), Some([one])) => meaning(one),
        (Some("Sequence"), Some(list)) => list.iter().map(meaning).collect(),
        (Some("ByteLevel"), _) => {
            let flag = |key: &str| object.get(key).and_then(Value::as_bool).unwrap_or(true);
            json!({"type": "ByteLevel", "prefix": flag("add_prefix_space"), "regex": flag("use_regex")})
        }
        _ => part.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What differs for a folder with these files.
    fn differences(class: Option<&str>, whole: &Value) -> Vec<&'static str> {
        let folder = tempfile::tempdir().expect("scratch");
        fs::write(folder.path().join(WHOLE), whole.to_string()).expect("written");
        if let Some(class) = class {
            let config = json!({"tokenizer_class": class, "model_max_length": 1024});
            fs::write(folder.path().join(CONFIG), config.to_string()).expect("written");
        }
        let found = class_differences(folder.path());
        assert_eq!(class_differences(&folder.path().join(WHOLE)), found, "the file itself");
        assert!(found.iter().all(|difference| Some(difference.class.as_str()) == class));
        found.into_iter().map(|difference| difference.part).collect()
    }

    fn whole(pre_tokenizer: Value) -> Value {
        json!({"normalizer": {"type": "NFC"}, "pre_tokenizer": pre_tokenizer, "model": {}})
    }

    #[test]
    fn a_file_of_the_class_does_not_differ_however_it_is_written() {
        let mut offsets = qwen2(false);
        offsets["pretokenizers"][1]["trim_offsets"] = json!(true);
        for class in ["Qwen2Tokenizer", "Qwen2TokenizerFast"] {
            assert!(differences(Some(class), &whole(qwen2(false))).is_empty());
            assert!(differences(Some(class), &whole(offsets.clone())).is_empty());
        }
    }

    #[test]
    fn a_file_with_other_parts_differs_where_the_class_is_known() {
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true});
        let mut pattern = qwen2(false);
        pattern["pretokenizers"][0]["pattern"]["Regex"] = json!(r"\s+");
        for other in [bytes.clone(), pattern, qwen2(true), Value::Null] {
            assert_eq!(differences(Some("Qwen2TokenizerFast"), &whole(other)), ["pre_tokenizer"]);
        }
        let mut no_normalizer = whole(qwen2(false));
        no_normalizer["normalizer"] = Value::Null;
        assert_eq!(differences(Some("Qwen2Tokenizer"), &no_normalizer), ["normalizer"]);
        for class in [None, Some("PreTrainedTokenizerFast"), Some("MyTokenizer")] {
            assert!(differences(class, &whole(bytes.clone())).is_empty(), "{class:?}");
        }
    }
}
