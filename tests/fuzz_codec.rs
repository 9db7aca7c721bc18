//! Fuzz targets: no template, tokenizer, instruction or processor values make the codecs panic, and what is accepted
//! keeps its promises.

#[path = "support/fuzz.rs"]
mod fuzz;
#[path = "support/small_tokenizer.rs"]
mod small_tokenizer;

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use vla_trt::policy::encode::prompt::PromptEncoder;

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

    fn load(&self, formalize: bool) -> Option<PromptEncoder> {
        PromptEncoder::load(&self.tokenizer, &self.template, formalize).ok()
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
        assert!(encode(&mut encoders.0, &text), "any text is words once it is formalised: {text:?}");
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
            for text in ["pick up the cube", "", "\u{301}猫  ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
                encode(&mut encoder, text);
            }
        }
    });
}
