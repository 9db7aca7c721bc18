//! The language model's tokenizer, from a `tokenizer.json` or from the folder of files that it can be made of.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, Encoding, PostProcessorWrapper, SplitDelimiterBehavior, Tokenizer};

use crate::encode::EncodeError;

pub(super) const WHOLE: &str = "tokenizer.json";
pub(super) const CONFIG: &str = "tokenizer_config.json";
const ADDED: &str = "added_tokens.json";

/// Ids are i32 in the model's tensors.
const LARGEST_ID: u64 = i32::MAX as u64;

/// The classes whose vocabulary and merges this build knows how to use.
pub(super) const CLASSES: [&str; 2] = ["Qwen2Tokenizer", "Qwen2TokenizerFast"];

/// How Qwen2 and Qwen3 cut text before merging; their files do not say it, their classes do.
pub(super) const QWEN2_PIECES: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// Reads a tokenizer: `path` is a `tokenizer.json`, or a folder with one, or a folder with `vocab.json`, `merges.txt`
/// and `tokenizer_config.json` of a Qwen2 tokenizer.
///
/// Truncation, padding and added sentence marks of the file are dropped: a prompt is exactly its text.
pub(super) fn load(path: &Path) -> Result<Tokenizer, EncodeError> {
    let mut tokenizer = match path.is_dir().then(|| path.join(WHOLE)) {
        None => whole(path)?,
        Some(file) if file.is_file() => whole(&file)?,
        Some(_) => parts(path)?,
    };
    let fail = |reason: String| EncodeError::File { path: path.to_owned(), reason };
    tokenizer.with_truncation(None).map_err(|error| fail(error.to_string()))?;
    tokenizer.with_padding(None).with_post_processor(None::<PostProcessorWrapper>);
    Ok(tokenizer)
}

fn whole(file: &Path) -> Result<Tokenizer, EncodeError> {
    let fail = |reason: String| EncodeError::File { path: file.to_owned(), reason };
    let bytes = read(file)?;
    let unlike = |error: &dyn Display| {
        fail(format!("{error}; expected a byte-level BPE tokenizer.json as the `tokenizers` library saves it"))
    };
    let head: Head = serde_json::from_slice(&bytes).map_err(|error| unlike(&error))?;
    head.check().map_err(fail)?;
    let tokenizer = contained(|| Tokenizer::from_bytes(bytes)).map_err(|error| unlike(&error))?;
    for Added { id, content } in &head.added_tokens {
        agree(&tokenizer, content, *id).map_err(fail)?;
    }
    Ok(tokenizer)
}

/// Token ids of `text`.
pub(super) fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Encoding, String> {
    contained(|| tokenizer.encode_fast(text, false))
}

/// The library indexes without looking where a file holds a normalizer or pattern that it did not foresee: such a
/// panic becomes words.
fn contained<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the tokenizers library breaks on this tokenizer's normalizer or patterns".to_owned()),
    }
}

/// The library numbers added tokens itself, whatever the files say.
fn agree(tokenizer: &Tokenizer, content: &str, id: u32) -> Result<(), String> {
    match tokenizer.token_to_id(content) {
        Some(found) if found == id => Ok(()),
        found => {
            let found = found.map_or("none".to_owned(), |found| found.to_string());
            Err(format!("added token '{content}': expected id {id}, the next after the vocabulary is {found}"))
        }
    }
}

/// What of a `tokenizer.json` is checked before the library reads it: it takes these on trust, and some of them end it.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    added_tokens: Vec<Added>,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: String,
    dropout: Option<f64>,
    continuing_subword_prefix: Option<String>,
    vocab: LargestId,
}

impl Head {
    fn check(&self) -> Result<(), String> {
        let Self { added_tokens, model } = self;
        if model.kind != "BPE" {
            return Err(format!("model.type: expected BPE, found {}; other models are not read here", model.kind));
        }
        if let Some(rate) = model.dropout.filter(|&rate| rate != 0.0) {
            return Err(format!("model.dropout: expected null, found {rate}; it would draw ids by chance"));
        }
        if let Some(prefix) = model.continuing_subword_prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
            return Err(format!("model.continuing_subword_prefix: expected none, found '{prefix}'"));
        }
        let largest = added_tokens.iter().map(|token| u64::from(token.id)).fold(model.vocab.0, u64::max);
        fits(largest)
    }
}

fn fits(largest: u64) -> Result<(), String> {
    if largest > LARGEST_ID {
        return Err(format!("expected ids up to {LARGEST_ID}, found {largest}"));
    }
    Ok(())
}

/// The largest id of a vocabulary, which is not kept; 0 for one that has no ids.
struct LargestId(u64);

impl<'de> Deserialize<'de> for LargestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = LargestId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts and ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LargestId, A::Error> {
                let mut largest = 0;
                while let Some((_, id)) = map.next_entry::<IgnoredAny, u64>()? {
                    largest = largest.max(id);
                }
                Ok(LargestId(largest))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<LargestId, A::Error> {
                while entries.next_element::<IgnoredAny>()?.is_some() {}
                Ok(LargestId(0))
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

#[derive(Deserialize)]
struct Config {
    tokenizer_class: String,
    #[serde(default)]
    added_tokens_decoder: BTreeMap<u32, AddedToken>,
}

fn parts(dir: &Path) -> Result<Tokenizer, EncodeError> {
    let file = |name: &str| dir.join(name);
    let fail = |path: PathBuf, reason: String| EncodeError::File { path, reason };
    let config: Config = json(&file(CONFIG))?;
    if !CLASSES.contains(&config.tokenizer_class.as_str()) {
        let reason = format!(
            "tokenizer_class: expected {}, found {}; save the tokenizer as {WHOLE} instead",
            CLASSES.join(" or "),
            config.tokenizer_class
        );
        return Err(fail(file(CONFIG), reason));
    }
    let (vocab, merges) = (file("vocab.json"), file("merges.txt"));
    // The library cuts larger ids to 32 bits and passes over what is no number.
    let LargestId(largest) = json(&vocab)?;
    fits(largest).map_err(|reason| fail(vocab.clone(), reason))?;
    // For its message: below, the library does not name the file.
    fs::metadata(&merges).map_err(|error| fail(merges.clone(), error.to_string()))?;
    let bpe = contained(|| BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy()).build());
    let bpe = bpe.map_err(|error| fail(dir.to_owned(), format!("vocab.json and merges.txt: {error}")))?;
    let mut tokenizer = Tokenizer::new(bpe);
    let split = Split::new(SplitPattern::Regex(QWEN2_PIECES.into()), SplitDelimiterBehavior::Isolated, false);
    let split = split.map_err(|error| fail(dir.to_owned(), error.to_string()))?;
    let bytes = ByteLevel::new(false, true, false);
    tokenizer.with_normalizer(Some(NFC)).with_pre_tokenizer(Some(Sequence::new(vec![
        PreTokenizerWrapper::Split(split),
        PreTokenizerWrapper::ByteLevel(bytes),
    ])));
    for (id, token) in added(&file(ADDED), config.added_tokens_decoder)? {
        let content = token.content.clone();
        contained(|| Ok(tokenizer.add_tokens(&[token]))).map_err(|reason| fail(dir.to_owned(), reason))?;
        agree(&tokenizer, &content, id).map_err(|reason| fail(dir.to_owned(), reason))?;
    }
    Ok(tokenizer)
}

/// Added tokens in order of id: those of the configuration, and those that stand in `added_tokens.json` alone.
fn added(file: &Path, mut tokens: BTreeMap<u32, AddedToken>) -> Result<BTreeMap<u32, AddedToken>, EncodeError> {
    if !file.is_file() {
        return Ok(tokens);
    }
    for (content, id) in json::<HashMap<String, u32>>(file)? {
        let token = tokens.entry(id).or_insert_with(|| AddedToken::from(content.clone(), true));
        if token.content != content {
            let reason = format!("id {id}: expected {} as in {CONFIG}, found {content}", token.content);
            return Err(EncodeError::File { path: file.to_owned(), reason });
        }
    }
    Ok(tokens)
}

fn json<T: DeserializeOwned>(file: &Path) -> Result<T, EncodeError> {
    serde_json::from_slice(&read(file)?)
        .map_err(|error| EncodeError::File { path: file.to_owned(), reason: error.to_string() })
}

fn read(file: &Path) -> Result<Vec<u8>, EncodeError> {
    fs::read(file).map_err(|error| EncodeError::File { path: file.to_owned(), reason: error.to_string() })
}
