//! The language model's tokenizer, from a `tokenizer.json` or from the folder of files that it can be made of.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, ModelWrapper, PostProcessorWrapper, SplitDelimiterBehavior, Tokenizer};

use crate::policy::encode::EncodeError;

const WHOLE: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const ADDED: &str = "added_tokens.json";

/// The classes whose vocabulary and merges this build knows how to use.
const CLASSES: [&str; 2] = ["Qwen2Tokenizer", "Qwen2TokenizerFast"];

/// How Qwen2 and Qwen3 cut text before merging; their files do not say it, their classes do.
const QWEN2_PIECES: &str = concat!(
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
    match tokenizer.get_model() {
        ModelWrapper::BPE(bpe) if bpe.dropout.is_none_or(|rate| rate == 0.0) => Ok(tokenizer),
        ModelWrapper::BPE(_) => Err(fail("model.dropout: expected null; with it, ids would be random".into())),
        _ => Err(fail("model.type: expected BPE, found another; export the language model's own tokenizer".into())),
    }
}

fn whole(file: &Path) -> Result<Tokenizer, EncodeError> {
    let bytes = read(file)?;
    Tokenizer::from_bytes(bytes).map_err(|error| EncodeError::File {
        path: file.to_owned(),
        reason: format!("{error}; expected a tokenizer.json as the `tokenizers` library saves it"),
    })
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
    // For its message: below, the library names neither file.
    for path in [&vocab, &merges] {
        fs::metadata(path).map_err(|error| fail(path.clone(), error.to_string()))?;
    }
    let bpe = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy()).build();
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
        tokenizer.add_tokens(&[token]);
        let found = tokenizer.token_to_id(&content);
        if found != Some(id) {
            let found = found.map_or("none".to_owned(), |found| found.to_string());
            let reason = format!("added token {content}: expected id {id}, next after vocab.json is {found}");
            return Err(fail(dir.to_owned(), reason));
        }
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
