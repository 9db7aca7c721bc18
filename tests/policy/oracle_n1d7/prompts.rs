//! Token ids of prompts.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use vla_policy::encode::prompt::PromptEncoder;
use vla_policy::family::N1D7;
use vla_trt_tests::vectors::{self, oracle, oracle_n1d7};

/// Image rows of a 256x256 view.
const VIEW: usize = 64;
const IMAGE_TOKEN: i32 = 151_655;

/// Tokenizer and prompt.json of one policy.
struct Files(tempfile::TempDir);

impl Files {
    /// The vendor's: vocabulary and merges are N1.6's.
    fn new(n1d6: &Path, n1d7: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (oracle, name) in
            [(n1d6, "vocab.json"), (n1d6, "merges.txt"), (n1d7, "added_tokens.json"), (n1d7, "tokenizer_config.json")]
        {
            fs::copy(oracle.join("tokenizer").join(name), folder.path().join(name)).expect(name);
        }
        let template = json!({
            "before": "<|im_start|>user\n",
            "image": "<|vision_start|>{context}<|vision_end|>",
            "context_token": "<|image_pad|>",
            "after": "<|im_end|>\n",
            "images": "before",
        });
        fs::write(folder.path().join("prompt.json"), template.to_string()).expect("written");
        Self(folder)
    }

    fn load(&self, normalise: bool) -> PromptEncoder {
        let rules = N1D7.text_rules(normalise);
        PromptEncoder::load(self.0.path(), &self.0.path().join("prompt.json"), rules).expect("the vendor's tokenizer")
    }
}

/// Both oracles.
fn files() -> Option<(Files, std::path::PathBuf)> {
    let (n1d6, n1d7) = (oracle()?, oracle_n1d7()?);
    Some((Files::new(&n1d6, &n1d7), n1d7))
}

fn array<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("{key}: an array"))
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("{key}: a text"))
}

fn ids(item: &Value, key: &str) -> Vec<i32> {
    array(item, key).iter().map(|id| id.as_i64().expect("an id") as i32).collect()
}

#[test]
fn every_list_of_the_vendor_has_its_ids_for_cameras_and_times_and_without_normalising() {
    let Some((files, oracle)) = files() else { return };
    let (mut formal, mut plain) = (files.load(true), files.load(false));
    let tokens = vectors::json(&oracle.join("transforms/tokens.json"));
    let mut lists = 0;
    for item in array(&tokens, "items") {
        let instruction = text(item, "instruction");
        for key in item.as_object().expect("an item").keys().filter(|key| key.starts_with("ids_")) {
            let images = match key.as_str() {
                "ids_2cam" => 2,
                "ids_3cam" => 3,
                "ids_2cam_2t" => 4,
                _ => 1,
            };
            let encoder = if key.ends_with("false") { &mut plain } else { &mut formal };
            let prompt = encoder.encode(instruction, &vec![VIEW; images]).expect("encodes");
            assert_eq!(prompt.ids, ids(item, key), "{key} of {instruction:?}");
            let images: Vec<i32> = prompt.image_positions.iter().map(|at| prompt.ids[*at as usize]).collect();
            assert_eq!(images, vec![IMAGE_TOKEN; prompt.image_positions.len()]);
            if !key.ends_with("false") {
                assert_eq!(prompt.normalised, text(item, "formalized"));
            }
            lists += 1;
        }
    }
    assert!(lists >= 30 * 5, "{lists} lists");
    for (size, expected) in tokens["sizes_2cam"].as_object().expect("sizes") {
        let number = |key: &str| expected[key].as_u64().expect("a number") as usize;
        let prompt = formal.encode("pick up the coke can", &[number("image_pad") / 2; 2]).expect("encodes");
        let apart = prompt.ids.len() - number("image_pad");
        assert_eq!(prompt.image_positions.len(), number("image_pad"), "{size}");
        assert_eq!(number("S") - number("image_pad"), apart, "{size}");
    }
    eprintln!("{lists} lists, none differs");
}

#[test]
fn every_observation_has_the_vendors_ids() {
    let Some((files, oracle)) = files() else { return };
    let mut encoder = files.load(true);
    for observation in ["obs0", "obs1", "obs2", "obs3", "obs4", "obs5"] {
        let meta = vectors::json(&oracle.join(format!("tiny/{observation}/meta.json")));
        let side = |size: &Value, at: usize| size[at].as_u64().expect("a side") as usize;
        let images: Vec<usize> =
            array(&meta, "final_hw").iter().map(|size| side(size, 0) * side(size, 1) / (32 * 32)).collect();
        let prompt = encoder.encode(text(&meta, "instruction"), &images).expect("encodes");
        let others: Vec<i32> = prompt.text_positions.iter().map(|at| prompt.ids[*at as usize]).collect();
        assert_eq!(others, ids(&meta, "non_image_ids"), "{observation}");
        assert_eq!(prompt.ids.len() as u64, meta["S"].as_u64().expect("a length"), "{observation}");
    }
}

#[test]
fn places_of_images_and_videos_are_refused_unless_normalised_and_other_tokens_are_their_ids() {
    let Some((files, _)) = files() else { return };
    let (mut formal, mut plain) = (files.load(true), files.load(false));
    for token in
        ["<|image_pad|>", "see <|image_pad|><|image_pad|>", "<|video_pad|>", "a<|vision_start|>b", "<|vision_end|>"]
    {
        let error = plain.encode(token, &[VIEW]).expect_err(token);
        assert!(matches!(error, vla_policy::encode::EncodeError::Instruction { .. }), "{token}: {error}");
        formal.encode(token, &[VIEW]).expect("only words are left");
    }
    // Numbered placeholders are N1.6's.
    plain.encode("<image-1> <video-07>", &[VIEW]).expect("ordinary text");
    let ids = plain.encode("a<|im_end|>b", &[VIEW]).expect("a special token").ids;
    assert_eq!(ids.iter().filter(|id| **id == 151_645).count(), 2);
}
