//! Prompt, state and actions against what the vendor's own code computed (`shared/oracle`).
//!
//! Skipped, aloud, where the oracle is not there.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;
use vla_policy::decode::ActionDecoder;
use vla_policy::encode::normalise_text::{is_space, is_word, normalise_text};
use vla_policy::encode::prompt::{MAX_INSTRUCTION_BYTES, Prompt, PromptEncoder};
use vla_policy::encode::state::StateEncoder;
use vla_policy::family::N1D6;
use vla_policy::processor::{Conversion, Processor, ProcessorConfig, ProcessorError, StateEncoding, Statistics};
use vla_trt_tests::vectors::{json, oracle};

/// Image rows of a 336x252 view.
const VIEW: usize = 108;
const IMAGE_TOKEN: i32 = 151_669;

fn array<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("{key}: an array"))
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("{key}: a text"))
}

fn ids(item: &Value, key: &str) -> Option<Vec<i32>> {
    Some(item.get(key)?.as_array()?.iter().map(|id| id.as_i64().expect("an id") as i32).collect())
}

/// The prompt of the vendor's chat template.
fn template() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let template = serde_json::json!({
        "before": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
        "image": "<image {k}><img>{context}</img>",
        "context_token": "<IMG_CONTEXT>",
        "after": "<|im_end|>\n",
    });
    fs::write(file.path(), template.to_string()).expect("written");
    file
}

/// Compares every list of the oracle for this tokenizer; returns how many there were.
fn compare_ids(oracle: &Path, tokenizer: &Path) -> usize {
    let template = template();
    let load = |normalise_text| {
        PromptEncoder::load(tokenizer, template.path(), N1D6.text_rules(normalise_text))
            .expect("the vendor's tokenizer")
    };
    let (mut formal, mut plain) = (load(true), load(false));
    let (mut compared, mut tokens) = (0, 0);
    for item in array(&json(&oracle.join("transforms/tokens.json")), "items") {
        let instruction = text(item, "instruction");
        let mut compare = |encoder: &mut PromptEncoder, key: &str, views: usize, normalised: &str| {
            let Some(expected) = ids(item, key) else { return };
            let prompt = encoder.encode(instruction, &vec![VIEW; views]).expect("encodes");
            assert_eq!(prompt.ids, expected, "{key} of {instruction:?}");
            assert_eq!(prompt.normalised, normalised);
            assert_partition(&prompt);
            compared += 1;
            tokens += expected.len();
        };
        for (key, views) in [("ids_1cam", 1), ("ids_2cam", 2), ("ids_3cam", 3)] {
            compare(&mut formal, key, views, text(item, "formalized"));
        }
        compare(&mut plain, "ids_1cam_formalize_language_false", 1, instruction);
    }
    eprintln!("{compared} lists, {tokens} ids, none differs");
    compared
}

/// The two lists of positions are one ascending list, cut by what stands there.
fn assert_partition(prompt: &Prompt) {
    let at = |&position: &i32| prompt.ids[position as usize];
    assert!(prompt.image_positions.iter().all(|position| at(position) == IMAGE_TOKEN));
    assert!(prompt.text_positions.iter().all(|position| at(position) != IMAGE_TOKEN));
    assert!(prompt.image_positions.is_sorted() && prompt.text_positions.is_sorted());
    assert_eq!(prompt.image_positions.len() + prompt.text_positions.len(), prompt.ids.len());
}

#[test]
fn every_prompt_has_the_vendors_ids_for_1_2_and_3_cameras_and_without_normalising() {
    let Some(oracle) = oracle() else { return };
    assert_eq!(compare_ids(&oracle, &oracle.join("tokenizer/tokenizer.json")), 15 * 3 + 14);
}

#[test]
fn a_folder_of_vocabulary_and_merges_gives_the_same_ids() {
    let Some(oracle) = oracle() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json"] {
        fs::copy(oracle.join("tokenizer").join(name), folder.path().join(name)).expect(name);
    }
    assert_eq!(compare_ids(&oracle, folder.path()), 15 * 3 + 14);
}

#[test]
fn image_placeholders_are_refused_unless_normalised_and_other_tokens_are_their_ids() {
    let Some(oracle) = oracle() else { return };
    let (tokenizer, template) = (oracle.join("tokenizer"), template());
    let mut plain =
        PromptEncoder::load(&tokenizer, template.path(), N1D6.text_rules(false)).expect("the vendor's tokenizer");
    let items = json(&oracle.join("transforms/tokens.json"));
    let hostile: Vec<&str> = array(&items, "items")
        .iter()
        .filter(|item| item.get("ids_1cam_formalize_language_false").is_none())
        .map(|item| text(item, "instruction"))
        .collect();
    assert_eq!(hostile.len(), 1);
    for instruction in hostile.into_iter().chain(["<IMG_CONTEXT>", "<image-12>", "<video-1>"]) {
        let error = plain.encode(instruction, &[VIEW]).expect_err(instruction).to_string();
        assert!(error.starts_with("instruction: ") && error.contains('<'), "{error}");
    }
    plain.encode("<image 1> <image-> <b> <tool_call>", &[VIEW]).expect("ordinary text");
    for (instruction, id) in [("a<|im_end|>b", 151_645), ("x<img>", 151_670)] {
        let count = |text: &str, plain: &mut PromptEncoder| {
            let ids = plain.encode(text, &[VIEW]).expect(text).ids;
            ids.iter().filter(|found| **found == id).count()
        };
        assert_eq!(count(instruction, &mut plain), count("ab", &mut plain) + 1, "{instruction}");
    }
}

#[test]
fn long_texts_encode_and_runs_of_white_space_are_cut_where_the_vendors_expression_cuts_them() {
    let Some(oracle) = oracle() else { return };
    let template = template();
    let tokenizer = oracle.join("tokenizer/tokenizer.json");
    let mut encoder =
        PromptEncoder::load(&tokenizer, template.path(), N1D6.text_rules(true)).expect("the vendor's tokenizer");
    let long = "transfer cube ".repeat(10_000 / 14);
    let prompt = encoder.encode(&long, &[VIEW]).expect("10,000 characters");
    assert_eq!(prompt.text_positions.len(), 16 + 7 + 2 * (10_000 / 14) + 1 - 1);
    // "\s+(?!\S)": the last space of a run belongs to the word after it, however long the run is. Where the library's
    // expressions give up, the rest of the text is one piece, without an error.
    let mut ids = |text: &str| encoder.encode(text, &[]).expect("encodes").ids;
    let (short, spaced) = (ids("a  cube it"), ids(&format!("a{}cube it", " ".repeat(MAX_INSTRUCTION_BYTES - 8))));
    assert_eq!(short[short.len() - 4..], spaced[spaced.len() - 4..], "two words with their space, then the end");
}

#[test]
fn normalised_texts_are_the_vendors() {
    let Some(oracle) = oracle() else { return };
    for item in array(&json(&oracle.join("transforms/tokens.json")), "items") {
        assert_eq!(normalise_text(text(item, "instruction")), text(item, "formalized"));
    }
}

#[test]
fn word_and_space_classes_are_pythons_but_for_letters_newer_than_its_unicode() {
    let Some(oracle) = oracle() else { return };
    let classes = json(&oracle.join("transforms/python310_regex_classes.json"));
    let holds = |class: &str, c: char| {
        array(&classes, class).iter().any(|range| {
            let [first, last] = [0, 1].map(|i| range[i].as_u64().expect("a code point"));
            (first..=last).contains(&u64::from(c))
        })
    };
    let mut newer = Vec::new();
    for c in '\0'..=char::MAX {
        let expected = holds("w", c);
        assert_eq!(holds("s", c), is_space(c), "white space: {c:?}");
        assert!(is_word(c) || !expected, "{c:?} is a word character of Python 3.10");
        if is_word(c) && !expected {
            newer.push(c);
        }
    }
    // All of them are unassigned in Unicode 13: 525 came with 14, the others with 15 and 16. None is of a script that
    // instructions are likely to be in.
    assert_eq!(unicode_general_category::UNICODE_VERSION, (16, 0, 0));
    assert_eq!(newer.len(), 9917);
    assert!(newer.iter().all(|&c| c > '\u{86f}'), "{:x?}", newer.first());
}

/// One case of `state_action.json` with its tensors.
pub(crate) struct Case<'a> {
    pub name: String,
    prefix: String,
    pub processor: Processor,
    /// Samples of the state; the last is the observation's.
    pub samples: usize,
    tensors: &'a SafeTensors<'a>,
}

impl<'a> Case<'a> {
    /// # Errors
    /// Those of the processor.
    pub(crate) fn new(case: &Value, class: &str, tensors: &'a SafeTensors<'a>) -> Result<Self, ProcessorError> {
        let mut config = serde_json::json!({
            "processor_class": class,
            "processor_kwargs": case["processor_kwargs"],
        });
        let kwargs = config["processor_kwargs"].as_object_mut().expect("kwargs");
        kwargs.insert("use_albumentations".into(), true.into());
        let path = Path::new("state_action.json");
        let config = ProcessorConfig::parse(path, &config.to_string()).expect("the vendor's schema");
        let statistics = Statistics::parse(path, &case["statistics"].to_string()).expect("the vendor's schema");
        let tag = text(case, "embodiment_tag");
        let mut processor = Processor::new(&config, &statistics, tag)?;
        // The vendor passes deltas on as they are predicted; what they are added to is this project's.
        for key in processor.action.iter_mut().filter(|key| key.delta().is_some()) {
            key.conversion = Conversion::Absolute;
        }
        let samples = processor.state_deltas.len();
        let (name, prefix) = (text(case, "name").into(), text(case, "prefix").into());
        Ok(Self { name, prefix, processor, samples, tensors })
    }

    pub(crate) fn f32s(&self, name: &str) -> Vec<f32> {
        let view = self.tensors.tensor(&format!("{}{name}", self.prefix)).expect("a tensor");
        assert_eq!(view.dtype(), safetensors::Dtype::F32);
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect()
    }

    /// The raw state of one sample, keys in model order.
    pub(crate) fn raw(&self, sample: usize) -> Vec<f32> {
        let keys = self.processor.state.iter();
        keys.flat_map(|key| self.f32s(&format!("state_raw.{}", key.name))[sample * key.width..][..key.width].to_vec())
            .collect()
    }

    pub(crate) fn encoded(&self) -> Vec<f32> {
        let mut encoder = StateEncoder::new(&self.processor).expect("an encoder");
        let mut out = vec![f32::NAN; self.processor.max_state_dim];
        (0..self.samples)
            .flat_map(|sample| {
                encoder.encode(&self.raw(sample), &mut out).expect("encodes");
                out.clone()
            })
            .collect()
    }

    /// The decoded values of each key.
    pub(crate) fn decoded(&self) -> Vec<(String, Vec<f32>)> {
        let (rows, dims) = (self.processor.rows(), self.processor.max_action_dim);
        let used = self.processor.predicted_width();
        // More rows than are used, and other values where none are used: neither may matter.
        let mut actions = vec![f32::NAN; (rows + 2) * dims];
        for (row, values) in actions.chunks_exact_mut(dims).zip(self.f32s("action_pred").chunks_exact(used)) {
            row[..used].copy_from_slice(values);
        }
        let width = self.processor.action_width();
        let mut out = vec![f32::NAN; rows * width];
        let mut decoder = ActionDecoder::new(&self.processor).expect("a decoder");
        decoder.decode(&actions, &self.raw(self.samples - 1), &mut out).expect("decodes");
        let mut start = 0;
        let keys = self.processor.action.iter().map(|key| {
            let columns = start..start + key.decoded_width();
            start = columns.end;
            (key.name.clone(), out.chunks_exact(width).flat_map(|row| row[columns.clone()].to_vec()).collect())
        });
        keys.collect()
    }
}

pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn difference(expected: &[f32], found: &[f32]) -> f32 {
    assert_eq!(expected.len(), found.len());
    assert!(found.iter().all(|value| value.is_finite()));
    expected.iter().zip(found).map(|(e, f)| (e - f).abs()).fold(0.0, f32::max)
}

/// What a kind of value amounted to over all cases.
#[derive(Default)]
pub(crate) struct Tally {
    arrays: usize,
    values: usize,
    same_bits: usize,
    largest: f32,
}

impl Tally {
    /// Counts one array; returns its largest difference.
    pub(crate) fn add(&mut self, expected: &[f32], found: &[f32]) -> f32 {
        let largest = difference(expected, found);
        self.arrays += 1;
        self.values += expected.len();
        self.same_bits +=
            bits(expected).iter().zip(bits(found)).filter(|(expected, found)| **expected == *found).count();
        self.largest = self.largest.max(largest);
        largest
    }

    pub(crate) fn print(&self, what: &str) {
        let Self { arrays, values, same_bits, largest } = self;
        eprintln!("{what}: {arrays} arrays, {values} values, {same_bits} bit-exact, largest difference {largest:.1e}");
    }
}

fn for_each_case(mut check: impl FnMut(&Case<'_>)) {
    let Some(oracle) = oracle() else { return };
    let bytes = fs::read(oracle.join("transforms/state_action.safetensors")).expect("tensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let cases = json(&oracle.join("transforms/state_action.json"));
    let cases = cases.as_array().expect("cases");
    assert_eq!(cases.len(), 24);
    cases.iter().for_each(|case| check(&Case::new(case, "Gr00tN1d6Processor", &tensors).expect("a processor")));
}

#[test]
fn states_are_the_vendors_to_the_last_bit_and_sines_within_one() {
    let (mut plain, mut with_sines) = (Tally::default(), Tally::default());
    for_each_case(|case| {
        let (expected, found) = (case.f32s("state_normalized_padded"), case.encoded());
        let sines = case.processor.state.iter().any(|key| key.encoding == StateEncoding::SinCos);
        if sines {
            // The vendor's single-precision sine is itself off by a bit now and then.
            assert!(with_sines.add(&expected, &found) <= f32::EPSILON / 2.0, "{}", case.name);
        } else {
            plain.add(&expected, &found);
            assert_eq!(bits(&expected), bits(&found), "{}", case.name);
        }
    });
    plain.print("states without sines");
    with_sines.print("states with sines");
}

#[test]
fn decoded_actions_are_the_vendors_to_the_last_bit_and_poses_to_2_4e_7() {
    let (mut plain, mut poses) = (Tally::default(), Tally::default());
    for_each_case(|case| {
        for (key, found) in case.decoded() {
            let expected = case.f32s(&format!("action_decoded.{key}"));
            let held = case.processor.action.iter().find(|held| held.name == key).expect("a key");
            if matches!(held.conversion, Conversion::ComposePose { .. }) {
                let difference = poses.add(&expected, &found);
                assert!(difference <= 2.4e-7, "{} {key}: {difference}", case.name);
            } else {
                plain.add(&expected, &found);
                assert_eq!(bits(&expected), bits(&found), "{} {key}", case.name);
            }
        }
    });
    plain.print("decoded actions without poses");
    poses.print("decoded relative poses");
}

#[test]
fn a_history_of_states_is_among_the_cases_and_is_encoded_one_row_a_time() {
    let mut histories = 0;
    for_each_case(|case| {
        assert_eq!(case.encoded().len(), case.samples * case.processor.max_state_dim, "{}", case.name);
        histories += usize::from(case.processor.state_deltas == [-1, 0]);
    });
    assert!(histories > 0 || oracle().is_none(), "the vendor's own rows of a history are compared above");
}
