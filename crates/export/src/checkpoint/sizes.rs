//! Sizes of a model: `config.json` of a checkpoint and the backbone's own configuration. Everything wrong with a file
//! is reported at once.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Value, json};

use super::head::head;
use super::keys::{Keys, parsed};
use crate::Error;
use crate::family::{FAMILIES, Family, N1D6};
use crate::model::{Head, Language, Model, Vision};

/// What `config.json` says about a model. It holds only what was passed to the trainer; the rest are the defaults of
/// the vendor's dataclass, which differ from the released checkpoint's values.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The release.
    pub family: &'static Family,
    /// Decoder layers that are used.
    select_layer: usize,
    /// Channels that the head takes from the backbone.
    backbone_width: usize,
    /// The action head.
    head: Head,
    /// Denoising steps of the vendor's inference.
    pub inference_steps: usize,
    /// The transformers release that saved the file, where it says so.
    pub transformers: Option<String>,
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
            let family = match family(keys) {
                Ok(family) => family,
                // What the keys of another model would have to be says nothing.
                Err(problem) => return keys.alone("model_type", problem, |keys| Self::read(&N1D6, keys)),
            };
            Self::read(family, keys)
        })
    }

    fn read(family: &'static Family, keys: &mut Keys<'_>) -> Self {
        let steps = keys.size("num_inference_timesteps", Some(4));
        keys.flag("use_tactile", false, &[false]);
        let select_layer = keys.size("select_layer", Some(family.config.select_layer));
        let backbone_width = keys.size("backbone_embedding_dim", Some(2048));
        keys.is("backbone_model_type", family.config.backbone_type);
        keys.flag("reproject_vision", false, &[false]);
        let head = head(keys, family, backbone_width);
        let transformers = keys.text("transformers_version");
        Self { family, select_layer, backbone_width, head, inference_steps: steps, transformers }
    }

    /// The whole model with this backbone.
    ///
    /// # Errors
    /// [`Error::Config`] when the two do not fit.
    pub fn model(&self, backbone: &Backbone) -> Result<Model, Error> {
        let Backbone { family, vision, language, .. } = backbone.clone();
        if family != self.family {
            return Err(Error::Config {
                file: backbone.origin.clone(),
                key: "model_type".to_owned(),
                expected: format!("the backbone of {} ({})", self.family.title(), self.family.backbone.title),
                found: format!(
                    "that of {} ({}); name the right one with --backbone-config",
                    family.title(),
                    family.backbone.title
                ),
            });
        }
        if language.width != self.backbone_width {
            return Err(Error::Config {
                file: backbone.origin.clone(),
                key: "text_config.hidden_size".to_owned(),
                expected: format!("{} (config.json's backbone_embedding_dim)", self.backbone_width),
                found: format!("{}; name the backbone's own config.json with --backbone-config", language.width),
            });
        }
        let layers = self.select_layer.min(language.layers);
        Ok(Model { family, vision, language: Language { layers, ..language }, head: self.head.clone() })
    }
}

/// Vision tower and language model, whose sizes are not in a checkpoint.
#[derive(Clone, PartialEq, Debug)]
pub struct Backbone {
    /// The release that it belongs to.
    pub family: &'static Family,
    /// The file's name, or a description of the built-in sizes.
    pub origin: String,
    /// Vision tower.
    pub vision: Vision,
    /// Language model, with all layers that its own release has.
    pub language: Language,
}

impl Backbone {
    /// The sizes of a release.
    pub fn released(family: &'static Family) -> Self {
        let Model { vision, language, .. } = (family.released)();
        // `select_layer` is the number of layers used.
        let language = Language { layers: family.backbone.layers, ..language };
        Self { family, origin: format!("{}'s own backbone sizes", family.title()), vision, language }
    }

    /// Reads the backbone's `config.json` of a family.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(family: &'static Family, path: &Path) -> Result<Self, Error> {
        Self::parse(family, path, &fs::read(path).map_err(Error::io(path))?)
    }

    /// The content of such a file; `path` is for messages. A file that says that it is the backbone of another family is read as
    /// that one's, which [`Config::model`] refuses.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(family: &'static Family, path: &Path, json: &[u8]) -> Result<Self, Error> {
        parsed(path, json, |keys| {
            let vision = keys.nested("vision_config", false, |keys| keys.text("model_type"));
            let found: Vec<String> = keys.text("model_type").into_iter().chain(vision).collect();
            let says = |family: &&Family| found.iter().any(|kind| family.backbone.model_types.contains(&kind.as_str()));
            let family = FAMILIES.into_iter().find(says).unwrap_or(family);
            let (vision, language) = (family.backbone.read)(keys);
            Self { family, origin: path.display().to_string(), vision, language }
        })
    }

    /// Reads `path` when it is there and describes a backbone, which not every `config.json` does.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn find(family: &'static Family, path: &Path) -> Result<Option<Self>, Error> {
        if !path.is_file() {
            return Ok(None);
        }
        let json = fs::read(path).map_err(Error::io(path))?;
        let value: Value =
            serde_json::from_slice(&json).map_err(|source| Error::Json { path: path.to_owned(), source })?;
        let describes = value.get("vision_config").is_some() || value.get("text_config").is_some();
        describes.then(|| Self::parse(family, path, &json)).transpose()
    }
}

/// The family that `model_type` names, else the one of `backbone_model_type`, else N1.6, whose files may have neither.
fn family(keys: &Keys<'_>) -> Result<&'static Family, String> {
    let Some(found) = keys.text("model_type") else {
        let backbone = keys.text("backbone_model_type").unwrap_or_default();
        return Ok(FAMILIES.into_iter().find(|family| family.config.backbone_type == backbone).unwrap_or(&N1D6));
    };
    if let Some(family) = Family::of_model_type(&found) {
        return Ok(family);
    }
    let plain: String = found.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let release =
        [("gr00tn15", "GR00T N1.5"), ("gr00tn1d5", "GR00T N1.5"), ("gr00tn1", "GR00T N1"), ("gr00tn2", "GR00T N2")];
    let which = release.iter().find(|(name, _)| plain == *name);
    let which = which.map_or("another model".to_owned(), |(_, name)| format!("{name}, another network"));
    let served: Vec<String> =
        FAMILIES.iter().map(|family| format!("{} ({})", family.config.model_type, family.title())).collect();
    Err(format!("expected {}, found {found}: {which}; no other is served", served.join(" or ")))
}

/// The keys of a Qwen3 decoder.
pub(crate) fn qwen3(keys: &mut Keys<'_>) -> Language {
    keys.flag("attention_bias", false, &[false]);
    keys.flag("use_sliding_window", false, &[false]);
    keys.is("hidden_act", "silu");
    let (heads, kv_heads) = (keys.size("num_attention_heads", None), keys.size("num_key_value_heads", None));
    keys.check(heads.is_multiple_of(kv_heads), "num_attention_heads", || {
        format!("expected a multiple of num_key_value_heads ({kv_heads}), found {heads}")
    });
    let head_dim = keys.size("head_dim", Some(128));
    // Where transformers 5 writes it.
    let theta = keys.nested("rope_parameters", false, |keys| {
        keys.get("rope_theta").is_some().then(|| keys.number("rope_theta", None, &[]))
    });
    let plain = keys.get("rope_theta").and_then(Value::as_f64);
    keys.check(theta.is_none() || plain.is_none() || plain == theta, "rope_theta", || {
        format!("expected {} as in rope_parameters, found {}", theta.unwrap_or_default(), plain.unwrap_or_default())
    });
    keys.check(head_dim.is_multiple_of(2), "head_dim", || format!("expected an even number, found {head_dim}"));
    Language {
        width: keys.size("hidden_size", None),
        mlp: keys.size("intermediate_size", None),
        layers: keys.layers("num_hidden_layers", None),
        heads,
        kv_heads,
        head_dim,
        eps: keys.number("rms_norm_eps", Some(1e-6), &[]) as f32,
        rope_theta: keys.number("rope_theta", theta, &[]),
        rope_section: None,
        vocab: keys.size("vocab_size", None),
        final_norm: true,
    }
}

/// What [`qwen3`] reads, with this `model_type`.
pub(crate) fn qwen3_json(language: &Language, model_type: &str) -> Value {
    json!({
        "model_type": model_type,
        "hidden_size": language.width,
        "intermediate_size": language.mlp,
        "num_hidden_layers": language.layers,
        "num_attention_heads": language.heads,
        "num_key_value_heads": language.kv_heads,
        "head_dim": language.head_dim,
        "hidden_act": "silu",
        "attention_bias": false,
        "rms_norm_eps": shortest(language.eps),
        "rope_theta": language.rope_theta,
        "vocab_size": language.vocab,
    })
}

/// The double that has the shortest decimal digits of a single: in double precision, 1e-6 as single precision would read
/// 9.999999974752427e-7.
pub(crate) fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}
