//! The demo's tokenizer: byte-level BPE in the language model's file format, merges learned from a few sentences.
//!
//! Every byte is a token, so any text encodes; the learned merges keep common instructions short.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::Family;

/// How text is cut before merging: words with their space, single digits, punctuation, white space.
const PIECES: &str = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+";

const MERGES: usize = 240;

const SENTENCES: &str = "system
You are a helpful assistant.
user
<image 1><image 2><image 3>
transfer the red cube to the left arm
transfer the red cube to the right arm
pick up the cube with the left arm and hand it over to the right arm
pick up the red block and place it in the blue bin
put the green bottle on the table next to the plate
open the top drawer and put the spoon inside
close the drawer with the right gripper
insert the peg into the socket
fold the towel and move it to the left
stack the yellow cup on top of the white box
wipe the table with the sponge
pour the water into the bowl
hand the screwdriver to the person in front of the robot
move both arms back to the start position and wait
";

/// `tokenizer.json` of a family's demo, and the number of its tokens.
pub fn tokenizer(family: &Family) -> (Value, usize) {
    // Tokens that are never split, as the language model's own tokenizer has them.
    let special = family.demo.special;
    let merges = learn(SENTENCES, MERGES);
    let mut vocab = Map::new();
    for byte in 0..=255_u8 {
        vocab.insert(visible(byte).to_string(), json!(byte));
    }
    for (left, right) in &merges {
        let id = vocab.len();
        // Two pairs can make one token.
        vocab.entry(format!("{left}{right}")).or_insert(json!(id));
    }
    let first_special = vocab.len();
    let added: Vec<Value> = special
        .iter()
        .enumerate()
        .map(|(i, content)| {
            json!({"id": first_special + i, "content": content, "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let merges: Vec<Value> = merges.iter().map(|(left, right)| json!([left, right])).collect();
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PIECES}, "behavior": "Isolated", "invert": false},
            byte_level,
        ]},
        "post_processor": null,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocab, "merges": merges},
    });
    (tokenizer, first_special + special.len())
}

/// The character of a byte in byte-level BPE: itself when it prints, else one from U+0100 on.
fn visible(byte: u8) -> char {
    let prints = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if prints(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|b| !prints(*b)).count() as u32;
    char::from_u32(0x100 + rank).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The `count` most frequent merges, the earlier pair in order of characters when two are equally frequent.
fn learn(text: &str, count: usize) -> Vec<(String, String)> {
    let mut words: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for word in words_of(text) {
        *words.entry(word.bytes().map(|b| visible(b).to_string()).collect()).or_default() += 1;
    }
    let mut merges = Vec::with_capacity(count);
    while merges.len() < count {
        let mut pairs: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for (symbols, n) in &words {
            for pair in symbols.windows(2) {
                *pairs.entry((&pair[0], &pair[1])).or_default() += n;
            }
        }
        let best = pairs.into_iter().max_by(|(a, n), (b, m)| n.cmp(m).then(b.cmp(a)));
        let Some(((left, right), _)) = best else { break };
        let (left, right) = (left.to_owned(), right.to_owned());
        words = words.into_iter().map(|(symbols, n)| (merge(&symbols, &left, &right), n)).collect();
        merges.push((left, right));
    }
    merges
}

/// Words with the space before them, and what is not a letter by itself: close to [`PIECES`] for plain sentences.
fn words_of(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut before = ' ';
    for (at, character) in text.char_indices() {
        let continues = character.is_alphabetic() && (before.is_alphabetic() || before == ' ');
        if !continues && at > start {
            words.push(&text[start..at]);
            start = at;
        }
        before = character;
    }
    words.push(&text[start..]);
    words
}

fn merge(symbols: &[String], left: &str, right: &str) -> Vec<String> {
    let mut merged: Vec<String> = Vec::with_capacity(symbols.len());
    let mut rest = symbols.iter();
    while let Some(symbol) = rest.next() {
        if symbol == left && rest.as_slice().first().is_some_and(|next| next == right) {
            merged.push(format!("{left}{right}"));
            rest.next();
        } else {
            merged.push(symbol.clone());
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> tokenizers::Tokenizer {
        serde_json::to_vec(&tokenizer(&crate::family::N1D6).0)
            .map(|bytes| tokenizers::Tokenizer::from_bytes(bytes).expect("loads"))
            .expect("json")
    }

    #[test]
    fn any_text_survives_the_round_trip() {
        let tokenizer = load();
        for text in ["transfer the red cube", "Überholen? 12 \u{1F916}\n\tネコ", " \r\n ", "a\u{0}b", ""] {
            let ids = tokenizer.encode(text, false).expect("encodes");
            assert_eq!(tokenizer.decode(ids.get_ids(), false).expect("decodes"), text);
        }
    }

    #[test]
    fn special_tokens_are_one_id_each_even_inside_words() {
        let tokenizer = load();
        let ids = tokenizer.encode("a<img><IMG_CONTEXT></img>b", false).expect("encodes");
        let tokens: Vec<&str> = ids.get_tokens().iter().map(String::as_str).collect();
        assert_eq!(tokens, ["a", "<img>", "<IMG_CONTEXT>", "</img>", "b"]);
    }

    #[test]
    fn known_instructions_are_short_and_other_languages_only_longer() {
        let tokenizer = load();
        let count = |text| tokenizer.encode(text, false).expect("encodes").len();
        assert!(count("transfer the red cube to the left arm") <= 10);
        assert_eq!(count("猫"), 3, "bytes that no sentence holds");
    }
}
