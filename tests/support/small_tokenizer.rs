//! A tokenizer in the language model's file format that is small enough to read: every byte, some words, some tokens.

use serde_json::{Map, Value, json};

pub const SPECIAL: [&str; 5] = ["<|im_start|>", "<|im_end|>", "<IMG_CONTEXT>", "<img>", "</img>"];

/// Each word's letters are merged from the left.
const WORDS: [&str; 4] = ["pick", "up", "the", "cube"];

/// What a space before it is merged with.
const SPACED: [&str; 2] = ["cube", "<"];

/// How text is cut before merging; on plain words the same as the language model's own expression.
const PIECES: &str = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

pub fn tokenizer() -> Value {
    let (vocab, merges) = vocabulary();
    let added: Vec<Value> = (vocab.len()..)
        .zip(SPECIAL)
        .map(|(id, content)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PIECES}, "behavior": "Isolated", "invert": false}, byte_level,
        ]},
        "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab,
                  "merges": merges},
    })
}

/// Entries with their ids, and merges.
pub fn vocabulary() -> (Map<String, Value>, Vec<[String; 2]>) {
    let mut vocab: Map<String, Value> = (0..=255_u8).map(|byte| (visible(byte).to_string(), json!(byte))).collect();
    let mut merges = Vec::new();
    for word in WORDS {
        let mut letters = word.chars();
        let mut left = letters.next().map(String::from).unwrap_or_default();
        for letter in letters {
            let merge = [left.clone(), letter.to_string()];
            left.push(letter);
            if !vocab.contains_key(&left) {
                vocab.insert(left.clone(), json!(vocab.len()));
                merges.push(merge);
            }
        }
    }
    for word in SPACED {
        vocab.insert(format!("Ġ{word}"), json!(vocab.len()));
        merges.push(["Ġ", word].map(str::to_owned));
    }
    (vocab, merges)
}

/// The character that stands for a byte in byte-level BPE.
fn visible(byte: u8) -> char {
    let prints = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if prints(byte) {
        return char::from(byte);
    }
    char::from_u32(0x100 + (0..byte).filter(|&b| !prints(b)).count() as u32).expect("a letter")
}

/// The vendor's prompt.
pub fn template() -> Value {
    json!({
        "before": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
        "image": "<image {k}><img>{context}</img>",
        "context_token": "<IMG_CONTEXT>",
        "after": "<|im_end|>\n",
    })
}
