//! The prompt encoder with a tokenizer that is small enough to check by hand.

use vla_trt_tests::small_tokenizer;

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};
use small_tokenizer::{SPECIAL, template, tokenizer, vocabulary};
use vla_policy::encode::EncodeError;
use vla_policy::encode::prompt::{MAX_INSTRUCTION_BYTES, Prompt, PromptEncoder};
use vla_policy::family::{N1D6, N1D7};

/// A folder with both files.
struct Files(tempfile::TempDir);

impl Files {
    fn new(tokenizer: &Value, template: &Value) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).expect("written");
        fs::write(dir.path().join("prompt.json"), template.to_string()).expect("written");
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, normalise_text: bool) -> PromptEncoder {
        PromptEncoder::load(&self.path("tokenizer.json"), &self.path("prompt.json"), N1D6.text_rules(normalise_text))
            .expect("loads")
    }

    fn refusal(&self) -> String {
        let loaded =
            PromptEncoder::load(&self.path("tokenizer.json"), &self.path("prompt.json"), N1D6.text_rules(true));
        loaded.err().expect("must be refused").to_string()
    }
}

fn encoder(normalise_text: bool) -> PromptEncoder {
    Files::new(&tokenizer(), &template()).load(normalise_text)
}

/// Id of an entry or of a special token.
fn id(token: &str) -> i32 {
    let (vocab, _) = vocabulary();
    let special = || Some(vocab.len() + SPECIAL.iter().position(|&special| special == token)?);
    let id = vocab.get(token).and_then(Value::as_u64).map(|id| id as usize).or_else(special);
    id.unwrap_or_else(|| panic!("no token {token}")) as i32
}

/// What follows the template's `before`: its last tokens are the start of a turn and the five letters of "user\n".
fn tokens(prompt: &Prompt) -> Vec<i32> {
    let start = prompt.ids.iter().rposition(|&found| found == id("<|im_start|>")).expect("a user turn");
    prompt.ids[start + 1 + "user\n".len()..].to_vec()
}

#[test]
fn the_instruction_stands_between_template_and_views_and_merges_across_its_ends() {
    let prompt = encoder(true).encode("Pick up the cube!", &[2]).expect("encodes");
    let expected = ["pick", "Ġ", "up", "Ġ", "the", "Ġcube", "<", "i", "m", "a", "g", "e", "Ġ", "1", ">", "<img>"];
    let image = ["<IMG_CONTEXT>", "<IMG_CONTEXT>", "</img>", "<|im_end|>", "Ċ"];
    assert_eq!(tokens(&prompt), expected.into_iter().chain(image).map(id).collect::<Vec<_>>());
    assert_eq!(prompt.normalised, "pick up the cube");
    // A space at the end joins the bracket after it: one piece " <" instead of "<".
    let spaced = encoder(true).encode("cube ", &[0]).expect("encodes");
    assert_eq!(tokens(&spaced)[..2], ["cube", "Ġ<"].map(id));
}

#[test]
fn image_positions_are_those_of_the_context_token_view_after_view() {
    let prompt = encoder(true).encode("", &[3, 0, 2]).expect("encodes");
    let expected: Vec<i32> =
        (0..).zip(&prompt.ids).filter(|(_, found)| **found == id(SPECIAL[2])).map(|(at, _)| at).collect();
    assert_eq!(prompt.image_positions, expected);
    assert_eq!(expected.len(), 5);
    let mut all = [prompt.text_positions, prompt.image_positions].concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..prompt.ids.len() as i32));
}

#[test]
fn without_normalising_the_text_is_as_given_and_no_image_may_stand_in_it() {
    let mut plain = encoder(false);
    assert_eq!(plain.encode("Pick up!", &[]).expect("plain text").normalised, "Pick up!");
    for hostile in ["<IMG_CONTEXT>", "a<IMG_CONTEXT>b", "<image-1>", "x <video-07> y"] {
        let error = plain.encode(hostile, &[1]).expect_err(hostile).to_string();
        assert!(error.starts_with("instruction: expected text without images, found <"), "{error}");
    }
    for harmless in ["<image 1>", "<image-one>", "<image-", "<image-1", "a < b > c"] {
        plain.encode(harmless, &[1]).expect(harmless);
    }
    let mut formal = encoder(true);
    assert_eq!(formal.encode("<IMG_CONTEXT> <image-1>", &[1]).expect("only words are left").image_positions.len(), 1);
}

#[test]
fn images_come_before_the_instruction_where_the_template_says_so_and_the_family_says_what_stands_for_one() {
    let mut first = template();
    first["images"] = json!("before");
    let files = Files::new(&tokenizer(), &first);
    let load =
        |rules| PromptEncoder::load(&files.path("tokenizer.json"), &files.path("prompt.json"), rules).expect("loads");
    let mut encoder = load(N1D7.text_rules(false));
    let prompt = encoder.encode("cube", &[2, 1]).expect("encodes");
    assert_eq!(prompt.ids[prompt.ids.len() - 3..], ["cube", "<|im_end|>", "Ċ"].map(id));
    assert_eq!(prompt.image_positions.len(), 3);
    assert!(prompt.image_positions.iter().all(|at| (*at as usize) < prompt.ids.len() - 3));
    for place in ["a <|image_pad|>", "<|video_pad|>b", "<|vision_start|>", "<|vision_end|>", "<IMG_CONTEXT>"] {
        let error = encoder.encode(place, &[1]).expect_err(place);
        assert!(matches!(error, EncodeError::Instruction { .. }), "{place}: {error}");
        load(N1D7.text_rules(true)).encode(place, &[1]).expect("only words are left");
    }
    encoder.encode("<image-1>", &[1]).expect("a placeholder of N1.6 only");
    load(N1D6.text_rules(false)).encode("<|video_pad|>", &[1]).expect("a token of N1.7 only");
    let mut neither = template();
    neither["images"] = json!("beside");
    assert!(Files::new(&tokenizer(), &neither).refusal().contains("prompt.json"));
}

#[test]
fn without_normalising_special_tokens_in_the_text_become_their_ids_and_leave_the_image_rows_alone() {
    let mut plain = encoder(false);
    let without = plain.encode("", &[2]).expect("plain text");
    for token in ["<|im_end|>", "<|im_start|>", "<img>", "</img>"] {
        let prompt = plain.encode(token, &[2]).expect(token);
        let count = |prompt: &Prompt| prompt.ids.iter().filter(|&&found| found == id(token)).count();
        assert_eq!(count(&prompt), count(&without) + 1, "{token}");
        assert_eq!((prompt.ids.len(), prompt.image_positions.len()), (without.ids.len() + 1, 2), "{token}");
    }
}

#[test]
fn ten_thousand_characters_and_none_encode_and_more_than_the_limit_is_refused() {
    let mut encoder = encoder(true);
    encoder.encode("", &[]).expect("no text and no view");
    let long = encoder.encode(&"猫".repeat(10_000), &[4]).expect("10,000 characters");
    assert!(long.text_positions.len() > 30_000);
    encoder.encode(&" ".repeat(MAX_INSTRUCTION_BYTES), &[]).expect("the limit");
    let error = encoder.encode(&"a".repeat(MAX_INSTRUCTION_BYTES + 1), &[]).expect_err("too long").to_string();
    assert!(error.contains("65536") && error.contains("65537"), "{error}");
    for views in [&[usize::MAX][..], &[usize::MAX, usize::MAX], &[1 << 40]] {
        let error = encoder.encode("", views).expect_err("no machine has that many").to_string();
        assert!(error.contains("image rows"), "{error}");
    }
}

#[test]
fn a_token_that_the_template_names_and_the_tokenizer_lacks_is_refused_with_both_files() {
    for missing in SPECIAL {
        let mut tokenizer = tokenizer();
        let added = tokenizer["added_tokens"].as_array_mut().expect("added tokens");
        let first = added[0]["id"].as_u64().expect("an id");
        added.retain(|token| token["content"] != missing);
        (first..).zip(added).for_each(|(id, token)| token["id"] = json!(id));
        let error = Files::new(&tokenizer, &template()).refusal();
        let parts = [missing, "tokenizer.json", "prompt.json", "it is not there"];
        assert!(parts.into_iter().all(|part| error.contains(part)), "{error}");
    }
    let mut template = template();
    template["context_token"] = json!("cube");
    let error = Files::new(&tokenizer(), &template).refusal();
    assert!(error.contains("'cube'") && error.contains("ordinary entry"), "{error}");
}

#[test]
fn a_template_with_other_keys_or_none_is_refused_by_name() {
    let refusal = |change: &dyn Fn(&mut Value)| {
        let mut template = template();
        change(&mut template);
        let error = Files::new(&tokenizer(), &template).refusal();
        assert!(error.contains("prompt.json"), "{error}");
        error
    };
    assert!(refusal(&|t| t["system"] = json!("You are")).contains("unknown field `system`"));
    assert!(refusal(&|t| drop(t.as_object_mut().and_then(|t| t.remove("after")))).contains("missing field `after`"));
    assert!(refusal(&|t| t["image"] = json!(7)).contains("invalid type"));
    assert!(refusal(&|t| t["image"] = json!("<img></img>")).contains("image: expected {context} exactly once"));
    assert!(refusal(&|t| t["context_token"] = json!("")).contains("context_token: expected"));
    assert!(refusal(&|t| t["before"] = json!("a<IMG_CONTEXT>")).contains("before: holds the context token"));
    assert!(refusal(&|t| t["after"] = json!("<|eot|>")).contains("expected '<|eot|>'"));
}

#[test]
fn files_that_are_no_tokenizer_are_refused_with_their_path() {
    for (text, part) in [("", "EOF"), ("{}", "tokenizer.json"), ("[1]", "tokenizer.json")] {
        let files = Files::new(&tokenizer(), &template());
        fs::write(files.path("tokenizer.json"), text).expect("written");
        let error = files.refusal();
        assert!(error.contains("tokenizer.json") && error.contains(part), "{error}");
    }
    let files = Files::new(&tokenizer(), &template());
    fs::remove_file(files.path("tokenizer.json")).expect("removed");
    assert!(files.refusal().contains("tokenizer.json"));
}

#[test]
fn a_tokenizer_that_draws_its_ids_by_chance_or_is_no_bpe_is_refused() {
    let mut chance = tokenizer();
    chance["model"]["dropout"] = json!(0.5);
    let error = Files::new(&chance, &template()).refusal();
    assert!(error.contains("model.dropout: expected null"), "{error}");
    let mut words = tokenizer();
    words["model"] = json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"});
    let error = Files::new(&words, &template()).refusal();
    assert!(error.contains("model.type: expected BPE"), "{error}");
}

#[test]
fn an_added_token_that_would_get_another_id_than_the_file_says_is_refused() {
    let mut shifted = tokenizer();
    shifted["added_tokens"][2]["id"] = json!(5000);
    let error = Files::new(&shifted, &template()).refusal();
    assert!(error.contains("'<IMG_CONTEXT>': expected id 5000"), "{error}");
    let mut alone = tokenizer();
    alone["added_tokens"][2]["single_word"] = json!(true);
    let error = Files::new(&alone, &template()).refusal();
    assert!(error.contains("'<IMG_CONTEXT>'") && error.contains("not recognised beside other text"), "{error}");
}

#[test]
fn what_a_tokenizer_file_cuts_pads_and_adds_leaves_the_prompt_alone() {
    let expected = encoder(true).encode("pick up the cube", &[4]).expect("encodes");
    let mut changed = tokenizer();
    changed["truncation"] = json!({"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0});
    changed["post_processor"] = json!({"type": "TemplateProcessing", "pair": [], "special_tokens": {
        "<img>": {"id": "<img>", "ids": [id("<img>")], "tokens": ["<img>"]}}, "single": [
        {"SpecialToken": {"id": "<img>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]});
    changed["padding"] = json!({"strategy": {"Fixed": 512}, "direction": "Left", "pad_to_multiple_of": null,
                                "pad_id": 0, "pad_type_id": 0, "pad_token": "!"});
    let found = Files::new(&changed, &template()).load(true).encode("pick up the cube", &[4]).expect("encodes");
    assert_eq!(found, expected);
}

/// The folder that the vendor ships: vocabulary, merges and configuration apart.
fn folder(change: impl FnOnce(&mut Value)) -> Files {
    let (vocab, merges) = vocabulary();
    let added = tokenizer()["added_tokens"].as_array().expect("added tokens").clone();
    let decoder: serde_json::Map<String, Value> = added
        .into_iter()
        .map(|mut token| {
            let id = token.as_object_mut().and_then(|token| token.remove("id")).expect("an id");
            (id.to_string(), token)
        })
        .collect();
    let mut config = json!({"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": decoder, "bos_token": null});
    change(&mut config);
    let files = Files::new(&Value::Null, &template());
    fs::remove_file(files.path("tokenizer.json")).expect("removed");
    let merges: String = merges.iter().map(|[left, right]| format!("{left} {right}\n")).collect();
    fs::write(files.path("vocab.json"), Value::from(vocab).to_string()).expect("written");
    fs::write(files.path("merges.txt"), format!("#version: 0.2\n{merges}")).expect("written");
    fs::write(files.path("tokenizer_config.json"), config.to_string()).expect("written");
    files
}

fn added_token(content: &str) -> Value {
    let tokenizer = tokenizer();
    let mut added = tokenizer["added_tokens"].as_array().expect("added tokens").iter();
    added.find(|token| token["content"] == content).expect("a token").clone()
}

fn load_folder(files: &Files) -> Result<PromptEncoder, String> {
    PromptEncoder::load(files.0.path(), &files.path("prompt.json"), N1D6.text_rules(true))
        .map_err(|error| error.to_string())
}

#[test]
fn a_folder_gives_the_ids_of_the_single_file() {
    let expected = encoder(true).encode("pick up the cube", &[2, 1]).expect("encodes");
    let mut apart = load_folder(&folder(|_| {})).expect("vocabulary and merges");
    assert_eq!(apart.encode("pick up the cube", &[2, 1]).expect("encodes"), expected);
    let whole = Files::new(&tokenizer(), &template());
    assert_eq!(
        load_folder(&whole).expect("tokenizer.json").encode("pick up the cube", &[2, 1]).expect("encodes"),
        expected
    );
    // Without a list in the configuration, that of added_tokens.json.
    let files = folder(|config| config["added_tokens_decoder"] = json!({}));
    let first = vocabulary().0.len();
    let added: serde_json::Map<String, Value> =
        (first..).zip(SPECIAL).map(|(id, token)| (token.to_owned(), json!(id))).collect();
    fs::write(files.path("added_tokens.json"), Value::from(added).to_string()).expect("written");
    let found = load_folder(&files).expect("added_tokens.json").encode("pick up the cube", &[2, 1]);
    assert_eq!(found.expect("encodes"), expected);
}

#[test]
fn a_folder_that_is_incomplete_or_of_another_class_or_with_other_ids_is_refused_by_file() {
    for name in ["vocab.json", "merges.txt", "tokenizer_config.json"] {
        let files = folder(|_| {});
        fs::remove_file(files.path(name)).expect("removed");
        let error = load_folder(&files).err().expect("incomplete");
        assert!(error.contains(name), "{error}");
    }
    let error = load_folder(&folder(|config| config["tokenizer_class"] = json!("LlamaTokenizer"))).err();
    let error = error.expect("another class");
    assert!(error.contains("found LlamaTokenizer") && error.contains("tokenizer_config.json"), "{error}");
    let shifted = folder(|config| config["added_tokens_decoder"] = json!({"9999": added_token("<img>")}));
    let error = load_folder(&shifted).err().expect("ids with a gap");
    assert!(error.contains("added token '<img>': expected id 9999"), "{error}");
    let files = folder(|_| {});
    fs::write(files.path("added_tokens.json"), json!({"<other>": vocabulary().0.len()}).to_string()).expect("written");
    let error = load_folder(&files).err().expect("two tokens with one id");
    assert!(error.contains("expected <|im_start|>") && error.contains("found <other>"), "{error}");
}

#[test]
fn a_missing_folder_is_named() {
    let files = Files::new(&tokenizer(), &template());
    let error = PromptEncoder::load(Path::new("/nowhere/at/all"), &files.path("prompt.json"), N1D6.text_rules(true));
    assert!(error.err().expect("not there").to_string().starts_with("/nowhere/at/all: "));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_gives_as_many_image_positions_as_asked(text in any::<String>(), rows in prop::collection::vec(0..9_usize, 0..4)) {
        let mut encoder = SHARED.with(|encoder| encoder.borrow_mut().take()).unwrap_or_else(|| encoder(true));
        let prompt = encoder.encode(&text, &rows).expect("any text encodes");
        prop_assert_eq!(prompt.image_positions.len(), rows.iter().sum::<usize>());
        prop_assert_eq!(prompt.text_positions.len() + prompt.image_positions.len(), prompt.ids.len());
        SHARED.with(|shared| shared.replace(Some(encoder)));
    }
}

thread_local! {
    /// Loaded once.
    static SHARED: std::cell::RefCell<Option<PromptEncoder>> = const { std::cell::RefCell::new(None) };
}
