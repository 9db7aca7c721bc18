//! A GR00T N1.6 checkpoint as NVIDIA's trainer writes it: sizes from `config.json` and the backbone's configuration,
//! weights from sharded safetensors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use safetensors::SafeTensors;
use safetensors::tensor::Metadata;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Error;
use super::model::{Head, Language, Model, Vision};
use super::weights::{Weight, Weights};
use crate::sys::map::map;
use crate::tensor::DType;

/// Bytes of the length field before a safetensors header.
const LENGTH_FIELD: usize = 8;

/// An opened checkpoint folder.
pub struct Checkpoint {
    dir: PathBuf,
    shards: Vec<Shard>,
    index: BTreeMap<String, usize>,
}

struct Shard {
    bytes: Bytes,
    data: usize,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens `model.safetensors.index.json` and its shards, or a single `model.safetensors`.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let index_path = dir.join("model.safetensors.index.json");
        let files: Vec<String> = if index_path.exists() {
            let index: Index = read_json(&index_path)?;
            let mut files: Vec<String> = index.weight_map.into_values().collect();
            files.sort();
            files.dedup();
            files
        } else {
            vec!["model.safetensors".to_owned()]
        };
        let mut opened = Vec::with_capacity(files.len());
        for file in files {
            let path = dir.join(file);
            let bytes = map(&path).map_err(Error::io(&path))?;
            opened.push((path, bytes));
        }
        Self::from_shards(dir, opened)
    }

    /// A checkpoint in `dir` whose safetensors files are these bytes.
    pub fn from_shards(dir: &Path, files: Vec<(PathBuf, Bytes)>) -> Result<Self, Error> {
        let mut index = BTreeMap::new();
        let mut shards = Vec::with_capacity(files.len());
        for (path, bytes) in files {
            let shard = Shard::parse(&path, bytes)?;
            index.extend(shard.metadata.tensors().into_keys().map(|name| (name, shards.len())));
            shards.push(shard);
        }
        Ok(Self { dir: dir.to_path_buf(), shards, index })
    }

    /// Names of all weights, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    /// Sizes: `config.json` of the checkpoint, `backbone` in the vendor's Eagle `config.json` keys.
    pub fn model(&self, backbone: &Path) -> Result<Model, Error> {
        let path = self.dir.join("config.json");
        let config: Config = read_json(&path)?;
        let eagle: Eagle = read_json(backbone)?;
        config.check(&path)?;
        eagle.check(backbone)?;
        Ok(Model { vision: eagle.vision(), language: eagle.language(&config), head: config.head() })
    }
}

impl Shard {
    fn parse(path: &Path, bytes: Bytes) -> Result<Self, Error> {
        let (header, metadata) = SafeTensors::read_metadata(&bytes)
            .map_err(|source| Error::SafeTensors { path: path.to_path_buf(), source })?;
        let data = header.saturating_add(LENGTH_FIELD);
        if bytes.len().checked_sub(data) != Some(metadata.data_len()) {
            let source = safetensors::SafeTensorError::MetadataIncompleteBuffer;
            return Err(Error::SafeTensors { path: path.to_path_buf(), source });
        }
        Ok(Self { bytes, data, metadata })
    }
}

impl Weights for Checkpoint {
    fn get(&self, name: &str) -> Result<Weight<'_>, Error> {
        let missing = || Error::MissingWeight { name: name.to_owned(), origin: self.dir.display().to_string() };
        let shard = self.index.get(name).and_then(|i| self.shards.get(*i)).ok_or_else(missing)?;
        let info = shard.metadata.info(name).ok_or_else(missing)?;
        let dtype = match info.dtype {
            safetensors::Dtype::F32 => DType::F32,
            safetensors::Dtype::F16 => DType::F16,
            safetensors::Dtype::BF16 => DType::BF16,
            other => return Err(Error::WeightType { name: name.to_owned(), found: format!("{other:?}") }),
        };
        let (from, to) = info.data_offsets;
        let data = shard.bytes.get(shard.data + from..shard.data + to).ok_or_else(missing)?;
        Ok(Weight { name: name.to_owned(), dtype, dims: info.shape.clone(), data: Cow::Borrowed(data) })
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json { path: path.to_path_buf(), source })
}

/// `config.json`: only what was passed to the trainer is there, the rest are its dataclass defaults.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    model_type: String,
    select_layer: usize,
    max_state_dim: usize,
    max_action_dim: usize,
    action_horizon: usize,
    hidden_size: usize,
    input_embedding_dim: usize,
    backbone_embedding_dim: usize,
    add_pos_embed: bool,
    use_vlln: bool,
    use_alternate_vl_dit: bool,
    max_seq_len: usize,
    attend_text_every_n_blocks: usize,
    num_timestep_buckets: usize,
    max_num_embodiments: usize,
    diffusion_model_cfg: Dit,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model_type: "Gr00tN1d6".to_owned(),
            select_layer: 16,
            max_state_dim: 29,
            max_action_dim: 29,
            action_horizon: 16,
            hidden_size: 1024,
            input_embedding_dim: 1536,
            backbone_embedding_dim: 2048,
            add_pos_embed: true,
            use_vlln: true,
            use_alternate_vl_dit: true,
            max_seq_len: 1024,
            attend_text_every_n_blocks: 2,
            num_timestep_buckets: 1000,
            max_num_embodiments: 32,
            diffusion_model_cfg: Dit::default(),
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct Dit {
    num_layers: usize,
    num_attention_heads: usize,
    attention_head_dim: usize,
    output_dim: usize,
    interleave_self_attention: bool,
    norm_type: String,
    positional_embeddings: Option<String>,
}

impl Default for Dit {
    fn default() -> Self {
        Self {
            num_layers: 32,
            num_attention_heads: 32,
            attention_head_dim: 48,
            output_dim: 1024,
            interleave_self_attention: true,
            norm_type: "ada_norm".to_owned(),
            positional_embeddings: None,
        }
    }
}

/// The backbone's `config.json` in the vendor's code tree.
#[derive(Deserialize)]
struct Eagle {
    vision_config: EagleVision,
    text_config: EagleText,
}

#[derive(Deserialize)]
struct EagleVision {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_patches: usize,
    patch_size: usize,
    layer_norm_eps: f32,
    #[serde(default)]
    use_rope: bool,
    #[serde(default)]
    use_windows_attn: bool,
}

#[derive(Deserialize)]
struct EagleText {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    rms_norm_eps: f32,
    rope_theta: f64,
    vocab_size: usize,
}

/// Fails with the first of `(key, expected, found)` whose values differ.
fn require(path: &Path, rules: &[(&str, String, String)]) -> Result<(), Error> {
    for (key, expected, found) in rules {
        if expected != found {
            return Err(Error::Config {
                file: path.display().to_string(),
                key: (*key).to_owned(),
                expected: expected.clone(),
                found: found.clone(),
            });
        }
    }
    Ok(())
}

impl Config {
    fn check(&self, path: &Path) -> Result<(), Error> {
        let dit = &self.diffusion_model_cfg;
        let width = dit.num_attention_heads * dit.attention_head_dim;
        require(
            path,
            &[
                ("model_type", "Gr00tN1d6".to_owned(), self.model_type.clone()),
                ("use_alternate_vl_dit", true.to_string(), self.use_alternate_vl_dit.to_string()),
                (
                    "diffusion_model_cfg.interleave_self_attention",
                    true.to_string(),
                    dit.interleave_self_attention.to_string(),
                ),
                ("diffusion_model_cfg.norm_type", "ada_norm".to_owned(), dit.norm_type.clone()),
                (
                    "diffusion_model_cfg.positional_embeddings",
                    "None".to_owned(),
                    format!("{:?}", dit.positional_embeddings),
                ),
                (
                    "input_embedding_dim (heads times head size)",
                    width.to_string(),
                    self.input_embedding_dim.to_string(),
                ),
                (
                    "attend_text_every_n_blocks above 0",
                    true.to_string(),
                    (self.attend_text_every_n_blocks > 0).to_string(),
                ),
            ],
        )
    }

    fn head(&self) -> Head {
        let dit = &self.diffusion_model_cfg;
        Head {
            width: self.input_embedding_dim,
            hidden: self.hidden_size,
            output: dit.output_dim,
            heads: dit.num_attention_heads,
            head_dim: dit.attention_head_dim,
            blocks: dit.num_layers,
            text_every: self.attend_text_every_n_blocks,
            horizon: self.action_horizon,
            state_dims: self.max_state_dim,
            action_dims: self.max_action_dim,
            embodiments: self.max_num_embodiments,
            positions: self.add_pos_embed.then_some(self.max_seq_len),
            timestep_buckets: self.num_timestep_buckets,
            vlln: self.use_vlln,
        }
    }
}

impl Eagle {
    fn check(&self, path: &Path) -> Result<(), Error> {
        let vision = &self.vision_config;
        let side = vision.num_patches.isqrt();
        require(
            path,
            &[
                ("vision_config.use_rope", false.to_string(), vision.use_rope.to_string()),
                ("vision_config.use_windows_attn", false.to_string(), vision.use_windows_attn.to_string()),
                ("vision_config.num_patches (a square)", (side * side).to_string(), vision.num_patches.to_string()),
            ],
        )
    }

    fn vision(&self) -> Vision {
        let vision = &self.vision_config;
        Vision {
            width: vision.hidden_size,
            mlp: vision.intermediate_size,
            layers: vision.num_hidden_layers,
            heads: vision.num_attention_heads,
            patch: vision.patch_size,
            table: vision.num_patches.isqrt(),
            eps: vision.layer_norm_eps,
        }
    }

    fn language(&self, config: &Config) -> Language {
        let text = &self.text_config;
        Language {
            width: text.hidden_size,
            mlp: text.intermediate_size,
            layers: config.select_layer.min(text.num_hidden_layers),
            heads: text.num_attention_heads,
            kv_heads: text.num_key_value_heads,
            head_dim: text.head_dim,
            eps: text.rms_norm_eps,
            rope_theta: text.rope_theta,
            vocab: text.vocab_size,
        }
    }
}
