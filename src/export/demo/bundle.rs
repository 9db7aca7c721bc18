//! The demo policy as a folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::weights::DemoWeights;
use super::{CAMERAS, DIMS, EMBODIMENT, HORIZON, KEYS, ROWS, STEP_S, STEPS, TEXT, model, statistics, tokenizer, views};
use crate::export::policy_yaml::{Description, POLICY_YAML};
use crate::export::weights::Weights as _;
use crate::export::{Error, Options, RopeFrequencies, VisionAttention, split, tensor_file};
use crate::tensor::DType;

const EMBEDDING: (&str, &str) = ("embedding.safetensors", "embed_tokens");

/// Writes the bundle to `out`, a new or empty folder or an earlier bundle, and returns its fingerprint.
///
/// The files are made beside `out` and moved in at the end, `policy.yaml` last: a folder with a `policy.yaml` is whole.
///
/// # Errors
/// [`Error::OccupiedFolder`] when `out` holds something else, [`Error::Io`] when it cannot be written.
pub fn write(out: &Path, seed: u64) -> Result<String, Error> {
    let occupied = out.is_dir() && fs::read_dir(out).map_err(Error::io(out))?.next().is_some();
    if occupied && !out.join(POLICY_YAML).is_file() {
        return Err(Error::OccupiedFolder { path: out.to_path_buf() });
    }
    let scratch = Scratch::beside(out)?;
    let hash = make(&scratch.0, seed)?;
    fs::create_dir_all(out).map_err(Error::io(out))?;
    let mut names: Vec<_> = fs::read_dir(&scratch.0)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<Result<_, _>>())
        .map_err(Error::io(&scratch.0))?;
    names.sort_by_key(|name| (name == POLICY_YAML, name.clone()));
    let description = out.join(POLICY_YAML);
    if description.exists() {
        fs::remove_file(&description).map_err(Error::io(&description))?;
    }
    for name in names {
        let to = out.join(&name);
        fs::rename(scratch.0.join(&name), &to).map_err(Error::io(&to))?;
    }
    Ok(hash)
}

/// A folder that goes away, whatever happens.
struct Scratch(PathBuf);

impl Scratch {
    fn beside(out: &Path) -> Result<Self, Error> {
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        let path = out.with_file_name(format!(".{name}.{}.partial", std::process::id()));
        fs::create_dir_all(&path).map_err(Error::io(&path))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!("{} could not be removed: {error}", self.0.display());
        }
    }
}

fn make(dir: &Path, seed: u64) -> Result<String, Error> {
    let (tokenizer, vocab) = tokenizer::tokenizer();
    write_json(&tokenizer, &dir.join("tokenizer.json"))?;
    write_json(&template(), &dir.join("prompt.json"))?;
    write_json(&statistics::processor_config(), &dir.join("processor_config.json"))?;
    write_json(&statistics::statistics(), &dir.join("statistics.json"))?;

    let model = model(vocab);
    let weights = DemoWeights::new(seed, model.clone());
    let mut table = weights.get("backbone.model.language_model.model.embed_tokens.weight")?;
    table.name = EMBEDDING.1.to_owned();
    tensor_file::write(&[table], &dir.join(EMBEDDING.0))?;
    let options = Options {
        dtype: DType::F32,
        rope: RopeFrequencies::default(),
        attention: VisionAttention::default(),
        steps: STEPS.to_vec(),
        embodiment: EMBODIMENT.1,
        text: TEXT,
        debug_outputs: false,
    };
    let stages = split::write(&weights, &model, &options, &views(), dir)?;
    let description = Description {
        about: "The demo policy: GR00T N1.6's shape in small with seeded weights. It moves a robot nowhere useful.",
        name: "demo",
        cameras: &CAMERAS,
        state: &KEYS,
        action_keys: &KEYS,
        step_s: STEP_S,
        horizon: HORIZON,
        rows: ROWS,
        dims: DIMS,
        tokenizer: "tokenizer.json",
        template: "prompt.json",
        max_tokens: TEXT[2],
        embedding: EMBEDDING,
        config: "processor_config.json",
        statistics: "statistics.json",
        embodiment: EMBODIMENT.0,
        steps: &STEPS,
        default_steps: 4,
        precision: "fp16",
    };
    description.write(&stages, dir)
}

/// The language model's chat prompt: text first, then the images, no generation prompt.
fn template() -> Value {
    json!({
        "before": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
        "image": "<image {k}><img>{context}</img>",
        "context_token": "<IMG_CONTEXT>",
        "after": "<|im_end|>\n",
    })
}

/// Keys sorted, whatever order serde_json keeps them in in this build.
fn write_json(value: &Value, path: &Path) -> Result<(), Error> {
    let fail = |source| Error::Json { path: path.to_path_buf(), source };
    let mut text = serde_json::to_vec_pretty(&sorted(value)).map_err(fail)?;
    text.push(b'\n');
    fs::write(path, text).map_err(Error::io(path))
}

#[derive(Serialize)]
#[serde(untagged)]
enum Sorted<'a> {
    Object(BTreeMap<&'a str, Sorted<'a>>),
    Array(Vec<Sorted<'a>>),
    Other(&'a Value),
}

fn sorted(value: &Value) -> Sorted<'_> {
    match value {
        Value::Object(map) => Sorted::Object(map.iter().map(|(key, value)| (key.as_str(), sorted(value))).collect()),
        Value::Array(values) => Sorted::Array(values.iter().map(sorted).collect()),
        other => Sorted::Other(other),
    }
}
