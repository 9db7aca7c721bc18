//! Sizes of a model: `config.json` of a checkpoint and the backbone's own configuration. Everything wrong with a file
//! is reported at once.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value};

use crate::Error;
use crate::model::{Head, Language, Model, Vision};
use vla_policy::processor::python_json;

/// Largest size that a configuration may name: products of a few of them stay far from overflow.
const LARGEST: usize = 1 << 20;
/// What `config.json` calls this model.
const MODEL_TYPE: &str = "Gr00tN1d6";

/// What `config.json` says about a model. It holds only what was passed to the trainer; the rest are the defaults of
/// the vendor's dataclass, which differ from the released checkpoint's values.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Decoder layers that are used.
    select_layer: usize,
    /// Channels that the head takes from the backbone.
    backbone_width: usize,
    /// The action head.
    head: Head,
    /// Denoising steps of the vendor's inference.
    pub inference_steps: usize,
}

impl Config {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`], [`Error::Io`], [`Error::Json`], [`Error::Invalid`] with every problem of its values.
    pub fn load(path: &Path) -> Result<Self, Error> {
        match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let advice = path
                    .parent()
                    .zip(path.file_name())
                    .map(|(folder, file)| super::folder::others(folder, &file.to_string_lossy()));
                Err(Error::NoCheckpoint { path: path.to_owned(), advice: advice.unwrap_or_default() })
            }
            read => Self::parse(path, &read.map_err(Error::io(path))?),
        }
    }

    /// The content of a `config.json`; `path` is for messages.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(path: &Path, json: &[u8]) -> Result<Self, Error> {
        parsed(path, json, |keys| {
            model_type(keys);
            let steps = keys.size("num_inference_timesteps", Some(4));
            let select_layer = keys.size("select_layer", Some(16));
            let backbone_width = keys.size("backbone_embedding_dim", Some(2048));
            keys.is("backbone_model_type", "eagle");
            keys.flag("use_alternate_vl_dit", true, &[true]);
            keys.flag("reproject_vision", false, &[false]);
            let head = head(keys);
            Self { select_layer, backbone_width, head, inference_steps: steps }
        })
    }

    /// The whole model with this backbone.
    ///
    /// # Errors
    /// [`Error::Config`] when the two do not fit.
    pub fn model(&self, backbone: &Backbone) -> Result<Model, Error> {
        let Backbone { vision, language, .. } = backbone.clone();
        if language.width != self.backbone_width {
            return Err(Error::Config {
                file: backbone.origin.clone(),
                key: "text_config.hidden_size".to_owned(),
                expected: format!("{} (config.json's backbone_embedding_dim)", self.backbone_width),
                found: format!("{}; name the backbone's own config.json with --backbone-config", language.width),
            });
        }
        let layers = self.select_layer.min(language.layers);
        Ok(Model { vision, language: Language { layers, ..language }, head: self.head.clone() })
    }
}

/// Vision tower and language model, whose sizes are not in a checkpoint.
#[derive(Clone, PartialEq, Debug)]
pub struct Backbone {
    /// The file's name, or a description of the built-in sizes.
    pub origin: String,
    /// Vision tower.
    pub vision: Vision,
    /// Language model, with all layers that its own release has.
    pub language: Language,
}

impl Backbone {
    /// The sizes of GR00T N1.6.
    pub fn n1d6() -> Self {
        let Model { vision, language, .. } = Model::n1d6();
        // Qwen3-1.7B has 28 layers; `select_layer` is the number of layers used.
        let language = Language { layers: 28, ..language };
        Self { origin: "GR00T N1.6's own backbone sizes".to_owned(), vision, language }
    }

    /// Reads a configuration with the keys of the vendor's Eagle `config.json`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::parse(path, &fs::read(path).map_err(Error::io(path))?)
    }

    /// The content of such a file; `path` is for messages.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, json: &[u8]) -> Result<Self, Error> {
        parsed(path, json, |keys| {
            keys.number("downsample_ratio", Some(0.5), &[0.5]);
            // Of the vision tower: its last layer.
            let last = keys.get("select_layer").is_none_or(|layer| layer.as_i64() == Some(-1));
            let found = keys.get("select_layer").map_or(String::new(), Value::to_string);
            keys.check(last, "select_layer", || format!("expected -1 (the vision tower's last layer), found {found}"));
            let vision = keys.nested("vision_config", true, vision);
            let language = keys.nested("text_config", true, language);
            Self { origin: path.display().to_string(), vision, language }
        })
    }

    /// Reads `path` when it is there and describes a backbone, which not every `config.json` does.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn find(path: &Path) -> Result<Option<Self>, Error> {
        if !path.is_file() {
            return Ok(None);
        }
        let json = fs::read(path).map_err(Error::io(path))?;
        let value: Value =
            serde_json::from_slice(&json).map_err(|source| Error::Json { path: path.to_owned(), source })?;
        let describes = value.get("vision_config").is_some() || value.get("text_config").is_some();
        describes.then(|| Self::parse(path, &json)).transpose()
    }
}

fn model_type(keys: &mut Keys<'_>) {
    let found = keys.text("model_type").unwrap_or_else(|| MODEL_TYPE.to_owned());
    if found == MODEL_TYPE {
        return;
    }
    let plain: String = found.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let release = [
        ("gr00tn15", "GR00T N1.5"),
        ("gr00tn1d5", "GR00T N1.5"),
        ("gr00tn17", "GR00T N1.7"),
        ("gr00tn1d7", "GR00T N1.7"),
        ("gr00tn1", "GR00T N1"),
    ];
    let which = release.iter().find(|(name, _)| plain == *name);
    let which = which.map_or("another model".to_owned(), |(_, name)| format!("{name}, another network"));
    keys.problem(
        "model_type",
        format!("expected {MODEL_TYPE} (GR00T N1.6), found {found}: {which}; no other is served"),
    );
}

fn head(keys: &mut Keys<'_>) -> Head {
    let width = keys.size("input_embedding_dim", Some(1536));
    let positions = keys.flag("add_pos_embed", true, &[true, false]);
    let table = keys.size("max_seq_len", Some(1024));
    let (heads, head_dim, blocks, output) = keys.nested("diffusion_model_cfg", false, dit);
    let horizon = keys.size("action_horizon", Some(16));
    keys.check(width == heads * head_dim && width.is_multiple_of(2), "input_embedding_dim", || {
        format!("expected num_attention_heads times attention_head_dim ({heads} * {head_dim}), even, found {width}")
    });
    keys.check(!positions || horizon <= table, "action_horizon", || {
        format!("expected at most max_seq_len ({table}), found {horizon}")
    });
    Head {
        width,
        hidden: keys.size("hidden_size", Some(1024)),
        output,
        heads,
        head_dim,
        blocks,
        text_every: keys.size("attend_text_every_n_blocks", Some(2)),
        horizon,
        state_dims: keys.size("max_state_dim", Some(29)),
        action_dims: keys.size("max_action_dim", Some(29)),
        embodiments: keys.size("max_num_embodiments", Some(32)),
        positions: positions.then_some(table),
        timestep_buckets: keys.size("num_timestep_buckets", Some(1000)),
        vlln: keys.flag("use_vlln", true, &[true, false]),
    }
}

/// Heads, their width, blocks and output width. Where the object is absent its default is the vendor's dataclass's; where
/// it is there, what it leaves out is the default of the vendor's network, another one.
fn dit(keys: &mut Keys<'_>) -> (usize, usize, usize, usize) {
    let given = keys.object.is_some();
    if given {
        for (key, expected, network) in
            [("interleave_self_attention", "true", "false"), ("positional_embeddings", "null", "sinusoidal")]
        {
            keys.check(keys.get(key).is_some(), key, || {
                format!("expected {expected}, found nothing, which the vendor's network takes for {network}")
            });
        }
    }
    keys.flag("interleave_self_attention", true, &[true]);
    keys.is("norm_type", "ada_norm");
    keys.is("activation_fn", "gelu-approximate");
    keys.flag("attention_bias", true, &[true]);
    keys.flag("norm_elementwise_affine", false, &[false]);
    keys.number("norm_eps", Some(1e-5), &[1e-5]);
    keys.null("positional_embeddings");
    let default = |dataclass, network| Some(if given { network } else { dataclass });
    let heads = keys.size("num_attention_heads", default(32, 8));
    let head_dim = keys.size("attention_head_dim", default(48, 64));
    (heads, head_dim, keys.size("num_layers", default(32, 12)), keys.size("output_dim", default(1024, 26)))
}

fn vision(keys: &mut Keys<'_>) -> Vision {
    keys.flag("use_rope", false, &[false]);
    keys.flag("use_windows_attn", false, &[false]);
    keys.is("hidden_act", "gelu_pytorch_tanh");
    let (width, heads) = (keys.size("hidden_size", None), keys.size("num_attention_heads", None));
    keys.check(width.is_multiple_of(heads), "hidden_size", || {
        format!("expected a multiple of num_attention_heads ({heads}), found {width}")
    });
    let patches = keys.size("num_patches", Some(256));
    let table = patches.isqrt();
    keys.check(table * table == patches, "num_patches", || format!("expected a square number, found {patches}"));
    Vision {
        width,
        mlp: keys.size("intermediate_size", None),
        layers: keys.size("num_hidden_layers", None),
        heads,
        patch: keys.size("patch_size", None),
        table,
        eps: keys.number("layer_norm_eps", Some(1e-6), &[]) as f32,
    }
}

fn language(keys: &mut Keys<'_>) -> Language {
    keys.flag("attention_bias", false, &[false]);
    keys.flag("use_sliding_window", false, &[false]);
    keys.null("rope_scaling");
    keys.is("hidden_act", "silu");
    let (heads, kv_heads) = (keys.size("num_attention_heads", None), keys.size("num_key_value_heads", None));
    keys.check(heads.is_multiple_of(kv_heads), "num_attention_heads", || {
        format!("expected a multiple of num_key_value_heads ({kv_heads}), found {heads}")
    });
    let head_dim = keys.size("head_dim", Some(128));
    keys.check(head_dim.is_multiple_of(2), "head_dim", || format!("expected an even number, found {head_dim}"));
    Language {
        width: keys.size("hidden_size", None),
        mlp: keys.size("intermediate_size", None),
        layers: keys.size("num_hidden_layers", None),
        heads,
        kv_heads,
        head_dim,
        eps: keys.number("rms_norm_eps", Some(1e-6), &[]) as f32,
        rope_theta: keys.number("rope_theta", None, &[]),
        vocab: keys.size("vocab_size", None),
    }
}

/// Runs `read` over the object in `json`, and fails with all problems that it noted.
fn parsed<T>(path: &Path, json: &[u8], read: impl FnOnce(&mut Keys<'_>) -> T) -> Result<T, Error> {
    let object = match std::str::from_utf8(json) {
        Ok(text) => serde_json::from_str(&python_json(text)),
        Err(_) => serde_json::from_slice(json),
    };
    let object: Map<String, Value> = object.map_err(|source| Error::Json { path: path.to_owned(), source })?;
    let mut problems = Vec::new();
    let value = read(&mut Keys { prefix: "", object: Some(&object), problems: &mut problems });
    if problems.is_empty() { Ok(value) } else { Err(Error::Invalid { path: path.to_owned(), problems }) }
}

/// The keys of one object, and what is wrong with them.
struct Keys<'a> {
    prefix: &'a str,
    object: Option<&'a Map<String, Value>>,
    problems: &'a mut Vec<String>,
}

impl Keys<'_> {
    fn problem(&mut self, key: &str, problem: String) {
        self.problems.push(format!("{}{key}: {problem}", self.prefix));
    }

    fn check(&mut self, holds: bool, key: &str, problem: impl FnOnce() -> String) {
        if !holds {
            self.problem(key, problem());
        }
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.object.and_then(|object| object.get(key))
    }

    /// A key that is null where it is given.
    fn null(&mut self, key: &str) {
        if let Some(found) = self.text(key) {
            self.problem(key, format!("expected null, found {found}"));
        }
    }

    /// A size of at least 1; 1 where it is missing or invalid, which is reported.
    fn size(&mut self, key: &str, default: Option<usize>) -> usize {
        let found = match (self.get(key), default) {
            (None, Some(default)) => return default,
            (None, None) => "nothing".to_owned(),
            (Some(value), _) => match value.as_u64().and_then(|size| usize::try_from(size).ok()) {
                Some(size) if (1..=LARGEST).contains(&size) => return size,
                _ => value.to_string(),
            },
        };
        self.problem(key, format!("expected an integer from 1 to {LARGEST}, found {found}"));
        1
    }

    /// A positive number, one of `served` unless that is empty.
    fn number(&mut self, key: &str, default: Option<f64>, served: &[f64]) -> f64 {
        let found = match (self.get(key), default) {
            (None, Some(default)) => return default,
            (None, None) => "nothing".to_owned(),
            (Some(value), _) => match value.as_f64() {
                Some(number)
                    if number > 0.0 && number.is_finite() && (served.is_empty() || served.contains(&number)) =>
                {
                    return number;
                }
                _ => value.to_string(),
            },
        };
        let expected = served.first().map_or("a number above 0".to_owned(), f64::to_string);
        self.problem(key, format!("expected {expected}, found {found}"));
        1.0
    }

    fn flag(&mut self, key: &str, default: bool, served: &[bool]) -> bool {
        let Some(value) = self.get(key) else { return default };
        match value.as_bool() {
            Some(flag) if served.contains(&flag) => flag,
            _ => {
                let expected: Vec<String> = served.iter().map(bool::to_string).collect();
                let found = value.to_string();
                self.problem(key, format!("expected {}, found {found}", expected.join(" or ")));
                default
            }
        }
    }

    /// A text; `None` when the key is absent or null. Another type is given as JSON.
    fn text(&self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// A text that has this value where it is given.
    fn is(&mut self, key: &str, expected: &str) {
        if let Some(found) = self.text(key).filter(|found| found != expected) {
            self.problem(key, format!("expected {expected}, found {found}"));
        }
    }

    /// An object inside this one.
    fn nested<T>(&mut self, key: &str, required: bool, read: impl FnOnce(&mut Keys<'_>) -> T) -> T {
        let value = self.object.and_then(|object| object.get(key));
        let object = value.and_then(Value::as_object);
        let wrong = value.map_or(required, |value| !value.is_object());
        if wrong {
            let found = value.map_or("nothing".to_owned(), Value::to_string);
            self.problem(key, format!("expected an object, found {found}"));
        }
        let before = self.problems.len();
        let prefix = format!("{}{key}.", self.prefix);
        let result = read(&mut Keys { prefix: &prefix, object, problems: self.problems });
        if wrong {
            // One problem for the object instead of one for each of its keys.
            self.problems.truncate(before);
        }
        result
    }
}
