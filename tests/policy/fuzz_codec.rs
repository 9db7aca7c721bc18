//! Fuzz targets: no template, tokenizer, instruction or processor values make the codecs panic, and what is accepted
//! keeps its promises.

use vla_trt_tests::fuzz;
use vla_trt_tests::small_tokenizer;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use vla_policy::encode::prompt::PromptEncoder;
use vla_policy::family::N1D6;

struct Files {
    _dir: tempfile::TempDir,
    tokenizer: PathBuf,
    template: PathBuf,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let [tokenizer, template] = ["tokenizer.json", "prompt.json"].map(|name| dir.path().join(name));
        fs::write(&tokenizer, small_tokenizer::tokenizer().to_string()).expect("written");
        fs::write(&template, small_tokenizer::template().to_string()).expect("written");
        Self { _dir: dir, tokenizer, template }
    }

    fn load(&self, normalise_text: bool) -> Option<PromptEncoder> {
        PromptEncoder::load(&self.tokenizer, &self.template, N1D6.text_rules(normalise_text)).ok()
    }
}

/// An instruction either gives exactly the image rows that were asked for, or an error.
fn encode(encoder: &mut PromptEncoder, instruction: &str) -> bool {
    let rows = [2, 0, 1];
    let Ok(prompt) = encoder.encode(instruction, &rows) else { return false };
    assert_eq!(prompt.image_positions.len(), 3);
    let mut positions = [prompt.text_positions, prompt.image_positions].concat();
    positions.sort_unstable();
    assert!(positions.into_iter().eq(0..prompt.ids.len() as i32));
    true
}

#[test]
fn no_instruction_breaks_the_prompt_encoder() {
    let files = Files::new();
    let (formal, plain) = (files.load(true).expect("loads"), files.load(false).expect("loads"));
    let encoders = std::sync::Mutex::new((formal, plain));
    let seeds =
        ["pick up the cube", "İ Σ \u{301} ½", "<image-1> <|im_end|>", "a<IMG_CONTEXT>b", "\n\t  \u{2028}", "猫🤖"];
    let seeds = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    fuzz::check!(4_000, seeds).for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let mut encoders = encoders.lock().expect("no panic before");
        assert!(encode(&mut encoders.0, &text), "any text is words once it is normalised: {text:?}");
        encode(&mut encoders.1, &text);
    });
}

#[test]
fn no_template_breaks_the_prompt_encoder() {
    let files = Files::new();
    let template = small_tokenizer::template();
    let changed = |key: &str, text: &str| {
        let mut template = template.clone();
        template[key] = json!(text);
        template
    };
    let seeds = [
        template.clone(),
        changed("image", "{context}"),
        changed("image", "{k}{k}<img>{context}{k}</img>"),
        changed("context_token", "<img>"),
        changed("context_token", "a"),
        changed("before", "<|im_start|><"),
        changed("after", ""),
        json!({"before": "", "image": "{context}", "context_token": "<IMG_CONTEXT>", "after": ""}),
    ];
    let seeds = seeds.iter().map(|seed| seed.to_string().into_bytes()).collect();
    fuzz::check!(800, seeds).for_each(|bytes: &[u8]| {
        fs::write(&files.template, bytes).expect("written");
        if let Some(mut encoder) = files.load(true) {
            encode(&mut encoder, "pick up the cube");
        }
    });
}

/// Tokenizers that are as good as ours but for one place.
fn tokenizers() -> Vec<Value> {
    let base = small_tokenizer::tokenizer();
    let changed = |path: &str, value: Value| {
        let mut tokenizer = base.clone();
        *tokenizer.pointer_mut(path).expect(path) = value;
        tokenizer
    };
    let long = "猫".repeat(9);
    vec![
        base.clone(),
        changed("/model/continuing_subword_prefix", json!("##")),
        changed("/model/continuing_subword_prefix", json!(long)),
        changed("/model/end_of_word_suffix", json!(long)),
        changed("/model/dropout", json!(2.0)),
        changed("/model/dropout", json!(0.5)),
        changed("/model/unk_token", json!("nothing of this name")),
        changed("/model/byte_fallback", json!(true)),
        changed("/model/vocab", json!({})),
        changed("/model/vocab", json!({"a": u32::MAX, "b": u32::MAX})),
        changed("/model/vocab/a", json!(u32::MAX)),
        changed("/model/vocab/a", json!(0)),
        changed("/model/merges", json!([["a", "never"]])),
        changed("/model/merges", json!(["a b c", ""])),
        changed("/added_tokens/0/id", json!(u32::MAX)),
        changed("/added_tokens/0/content", json!("")),
        changed("/added_tokens/0/content", json!("\u{301}")),
        changed("/added_tokens/2/normalized", json!(true)),
        changed("/added_tokens/2/single_word", json!(true)),
        changed("/added_tokens/2/lstrip", json!(true)),
        changed("/added_tokens/2/rstrip", json!(true)),
        changed("/truncation", json!({"direction": "Right", "max_length": 0, "strategy": "OnlySecond", "stride": 9})),
        changed(
            "/padding",
            json!({"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": 0,
                                   "pad_id": 0, "pad_type_id": 0, "pad_token": ""}),
        ),
        changed("/normalizer", json!({"type": "Replace", "pattern": {"Regex": "(?=a)"}, "content": "b"})),
        changed("/normalizer", json!({"type": "Prepend", "prepend": "▁"})),
        changed("/pre_tokenizer", json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true})),
        changed(
            "/pre_tokenizer",
            json!({"type": "Split", "pattern": {"Regex": "(a*)*b\\1"}, "behavior": "Removed",
                                         "invert": true}),
        ),
        changed("/pre_tokenizer", Value::Null),
        changed("/model", json!({"type": "Unigram", "unk_id": 7, "vocab": [["a", -1.0]]})),
        changed(
            "/model",
            json!({"type": "WordPiece", "unk_token": "x", "continuing_subword_prefix": "#",
                                 "max_input_chars_per_word": 0, "vocab": {}}),
        ),
    ]
}

#[test]
fn no_tokenizer_breaks_the_prompt_encoder() {
    let files = Files::new();
    let seeds = tokenizers().iter().map(|seed| seed.to_string().into_bytes()).collect();
    fuzz::check!(600, seeds).for_each(|bytes: &[u8]| {
        fs::write(&files.tokenizer, bytes).expect("written");
        if let Some(mut encoder) = files.load(true) {
            TEXTS.iter().for_each(|text| _ = encode(&mut encoder, text));
        }
    });
}

/// The same tokenizer as a folder without `tokenizer.json`.
struct Folder {
    dir: tempfile::TempDir,
    template: PathBuf,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let template = dir.path().join("prompt.json");
        fs::write(&template, small_tokenizer::template().to_string()).expect("written");
        let folder = Self { dir, template };
        [VOCAB, MERGES, CONFIG, ADDED].into_iter().for_each(|name| folder.write(name, &Self::valid(name)));
        folder
    }

    fn valid(name: &str) -> Vec<u8> {
        let (vocab, merges) = small_tokenizer::vocabulary();
        let added = || (vocab.len()..).zip(small_tokenizer::SPECIAL);
        let text = match name {
            VOCAB => json!(vocab).to_string(),
            MERGES => merges.iter().fold("#version: 0.2\n".to_owned(), |text, [a, b]| format!("{text}{a} {b}\n")),
            ADDED => json!(added().map(|(id, token)| (token, id)).collect::<BTreeMap<_, _>>()).to_string(),
            _ => {
                let token = |(id, content): (usize, &str)| {
                    let token = json!({"content": content, "single_word": false, "lstrip": false, "rstrip": false,
                                       "normalized": false, "special": true});
                    (id.to_string(), token)
                };
                let tokens: BTreeMap<_, _> = added().map(token).collect();
                json!({"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": tokens}).to_string()
            }
        };
        text.into_bytes()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.dir.path().join(name), bytes).expect("written");
    }

    fn load(&self) -> Option<PromptEncoder> {
        PromptEncoder::load(self.dir.path(), &self.template, N1D6.text_rules(true)).ok()
    }

    /// Whether the folder is accepted with these bytes in one of its files.
    fn with(&self, name: &str, bytes: &[u8]) -> bool {
        self.write(name, bytes);
        let Some(mut encoder) = self.load() else { return false };
        TEXTS.iter().for_each(|text| _ = encode(&mut encoder, text));
        true
    }
}

const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const CONFIG: &str = "tokenizer_config.json";
const ADDED: &str = "added_tokens.json";
const TEXTS: [&str; 4] = ["pick up the cube", "", "\u{301}猫  ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"];

/// `name` as it is, and with one text of it replaced by each of others.
fn seeds(name: &str, from: &str, to: &[&str]) -> Vec<Vec<u8>> {
    let valid = Folder::valid(name);
    let text = String::from_utf8_lossy(&valid).into_owned();
    assert!(text.contains(from), "{name} holds {from}");
    let changed = to.iter().map(|to| text.replacen(from, to, 1).into_bytes());
    std::iter::once(valid).chain(changed).chain([b"{}".to_vec(), b"[]".to_vec(), Vec::new()]).collect()
}

#[test]
fn a_folder_of_parts_is_the_tokenizer_that_its_whole_file_is() {
    let (mut whole, mut parts) = (Files::new().load(true).expect("loads"), Folder::new().load().expect("loads"));
    let ids = |encoder: &mut PromptEncoder| encoder.encode("pick up the cube", &[2, 1]).expect("encodes").ids;
    assert_eq!(ids(&mut whole), ids(&mut parts));
}

#[test]
fn no_vocabulary_breaks_the_prompt_encoder_and_none_has_ids_that_do_not_fit() {
    let folder = Folder::new();
    let ids = ["\"p\":0", "\"p\":2147483648", "\"p\":4294967408", "\"p\":-1", "\"p\":null", "\"p\":1e9"];
    fuzz::check!(400, seeds(VOCAB, "\"p\":112", &ids)).for_each(|bytes: &[u8]| {
        if folder.with(VOCAB, bytes) {
            let vocab: BTreeMap<String, i32> = serde_json::from_slice(bytes).expect("texts and ids of 31 bits");
            assert!(vocab.values().all(|id| *id >= 0));
        }
    });
}

#[test]
fn no_merges_break_the_prompt_encoder() {
    let folder = Folder::new();
    let lines = ["p  i", "p", "p i c", " ", "never seen", "#version: 9", "\u{120}", "p i\np i"];
    fuzz::check!(400, seeds(MERGES, "p i", &lines)).for_each(|bytes: &[u8]| _ = folder.with(MERGES, bytes));
}

#[test]
fn no_tokenizer_configuration_breaks_the_prompt_encoder() {
    let folder = Folder::new();
    let tokens = ["\"\"", "\"\u{301}\"", "\"a\"", "\"<img>\"", "0"];
    fuzz::check!(400, seeds(CONFIG, "\"<|im_end|>\"", &tokens)).for_each(|bytes: &[u8]| _ = folder.with(CONFIG, bytes));
}

#[test]
fn no_added_tokens_break_the_prompt_encoder() {
    let folder = Folder::new();
    let tokens = ["\"\"", "\"\u{301}\"", "\"a\"", "\"<img>\"", "\"far\":4294967295,\"<|im_end|>\""];
    fuzz::check!(400, seeds(ADDED, "\"<|im_end|>\"", &tokens)).for_each(|bytes: &[u8]| _ = folder.with(ADDED, bytes));
}
