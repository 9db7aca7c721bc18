//! A checkpoint in the vendor's layout with random weights from a seed, for tests and measurements.
//!
//! Weights are computed and written a piece at a time, so 6.6 GB of them need no more memory than a few.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use half::bf16;
use serde_json::{Value, json};

use super::Error;
use super::bundle::write_json;
use super::demo::statistics::ProcessorFiles;
use super::demo::weights::DemoWeights;
use super::demo::{self, tokenizer};
use super::inventory::inventory;
use super::model::{Head, Language, Model, Vision};
use super::progress::Progress;
use super::random_weights::{Numbers, fill};
use super::staging::{Staging, require_room};
use super::weights::Weights as _;
use vla_base::tensor::DType;

mod shape;

pub use shape::{KeyWidth, RobotShape};

/// Folder of the tokenizer and of the backbone's configuration inside the checkpoint's. The vendor keeps both in its
/// code tree.
pub const TOKENIZER: &str = "tokenizer";
/// File that marks a folder as made by this command: it may be replaced.
pub(crate) const MARK: &str = "made_by_vla_trt.txt";
/// Bytes of weights in a shard at most, as the vendor's trainer splits them.
const SHARD: u64 = 5_000_000_000;
/// Shortest image edge of the released checkpoints, pixels.
const SHORTEST_EDGE: usize = 256;
/// Values computed at a time.
const CHUNK: usize = 1 << 16;

/// Which checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// Small, arranged so that actions follow images, text and state (see [`demo`]).
    Demo,
    /// The real widths of GR00T N1.6 with few blocks (2 vision, 2 language, 4 DiT) and a small vocabulary, in bf16: what
    /// tries engines at real shapes in minutes.
    Mid,
    /// The real dimensions of GR00T N1.6, in bf16.
    N1d6,
}

/// What a checkpoint is made of, besides its seed.
struct Design {
    model: Model,
    dtype: DType,
    /// Shortest image edge, pixels.
    shortest_edge: usize,
    /// Used action columns of weights that are arranged as the demo's; `None`: plain seeded weights.
    arranged_columns: Option<usize>,
    files: ProcessorFiles,
}

impl Size {
    fn design(self, vocab: usize) -> Design {
        let (model, dtype, shortest_edge) = match self {
            Self::Demo => (demo::model(vocab), DType::F32, demo::SHORTEST_EDGE),
            Self::Mid => (mid(vocab), DType::BF16, SHORTEST_EDGE),
            Self::N1d6 => (Model::n1d6(), DType::BF16, SHORTEST_EDGE),
        };
        let arranged_columns = (self == Self::Demo).then(demo::used_columns);
        Design { model, dtype, shortest_edge, arranged_columns, files: ProcessorFiles::demo() }
    }
}

/// One weight to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Name in the checkpoint.
    pub name: String,
    /// Dimensions, outermost first.
    pub dims: Vec<usize>,
    /// Bytes.
    pub bytes: u64,
}

/// All weights, inference's and those that the vendor stores beside them, in shards of at most `most` bytes.
pub fn shards(model: &Model, dtype: DType, most: u64) -> Vec<Vec<Entry>> {
    let mut shards: Vec<Vec<Entry>> = vec![Vec::new()];
    let mut filled = 0;
    for (name, dims) in inventory(model).into_iter().chain(unread(model)) {
        let bytes = dims.iter().product::<usize>() as u64 * dtype.size() as u64;
        if filled > 0 && filled + bytes > most {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        if let Some(shard) = shards.last_mut() {
            shard.push(Entry { name, dims, bytes });
        }
    }
    shards
}

/// Weights of a checkpoint that inference never reads: the vision tower's pooling head and the language model's output.
fn unread(model: &Model) -> Vec<(String, Vec<usize>)> {
    let (Vision { width, mlp, .. }, language) = (model.vision.clone(), &model.language);
    let head = |name: &str| format!("backbone.model.vision_model.vision_model.head.{name}");
    vec![
        (head("probe"), vec![1, 1, width]),
        (head("attention.in_proj_weight"), vec![3 * width, width]),
        (head("attention.in_proj_bias"), vec![3 * width]),
        (head("attention.out_proj.weight"), vec![width, width]),
        (head("attention.out_proj.bias"), vec![width]),
        (head("layernorm.weight"), vec![width]),
        (head("layernorm.bias"), vec![width]),
        (head("mlp.fc1.weight"), vec![mlp, width]),
        (head("mlp.fc1.bias"), vec![mlp]),
        (head("mlp.fc2.weight"), vec![width, mlp]),
        (head("mlp.fc2.bias"), vec![width]),
        ("backbone.model.language_model.lm_head.weight".to_owned(), vec![language.vocab, language.width]),
    ]
}

/// Writes a checkpoint to `out`, a new or empty folder or one that was made here; returns the bytes of its weights.
///
/// # Errors
/// [`Error::OccupiedFolder`], [`Error::Io`].
pub fn write(size: Size, seed: u64, out: &Path, report: &mut dyn FnMut(Progress)) -> Result<u64, Error> {
    let staging = Staging::beside(out, "a checkpoint made by this command", MARK)?;
    let bytes = fill_folder(size, seed, staging.dir(), SHARD, report)?;
    staging.finish()?;
    Ok(bytes)
}

/// Writes a small checkpoint for a robot of this shape, as [`write()`] does.
///
/// # Errors
/// [`Error::Shape`]; as [`write()`].
pub fn write_shape(shape: &RobotShape, seed: u64, out: &Path, report: &mut dyn FnMut(Progress)) -> Result<u64, Error> {
    shape.check()?;
    let staging = Staging::beside(out, "a checkpoint made by this command", MARK)?;
    let (tokenizer, vocab) = tokenizer::tokenizer();
    let bytes = fill_with(shape.design(vocab), &tokenizer, seed, staging.dir(), SHARD, report)?;
    staging.finish()?;
    Ok(bytes)
}

/// As [`write()`], straight into the folder `dir`, with shards of at most `most` bytes.
///
/// # Errors
/// [`Error::Io`].
pub fn fill_folder(
    size: Size,
    seed: u64,
    dir: &Path,
    most: u64,
    report: &mut dyn FnMut(Progress),
) -> Result<u64, Error> {
    let (tokenizer, vocab) = tokenizer::tokenizer();
    fill_with(size.design(vocab), &tokenizer, seed, dir, most, report)
}

fn fill_with(
    design: Design,
    tokenizer: &Value,
    seed: u64,
    dir: &Path,
    most: u64,
    report: &mut dyn FnMut(Progress),
) -> Result<u64, Error> {
    let Design { model, dtype, shortest_edge, arranged_columns, files } = design;
    let folder = dir.join(TOKENIZER);
    fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    write_json(tokenizer, &folder.join("tokenizer.json"))?;
    write_json(&backbone(&model), &folder.join("config.json"))?;
    write_json(&config(&model), &dir.join("config.json"))?;
    write_json(&files.processor_config(shortest_edge), &dir.join("processor_config.json"))?;
    write_json(&files.statistics(), &dir.join("statistics.json"))?;
    write_json(&json!({demo::EMBODIMENT.0: demo::EMBODIMENT.1}), &dir.join("embodiment_id.json"))?;
    let mark = dir.join(MARK);
    let text = format!("Random weights, seed {seed}, written by vla_trt {}. Not trained.\n", env!("CARGO_PKG_VERSION"));
    fs::write(&mark, text).map_err(Error::io(&mark))?;

    let shards = shards(&model, dtype, most);
    let arranged = arranged_columns.map(|columns| DemoWeights::with_columns(seed, model, columns));
    let total = shards.iter().flatten().map(|entry| entry.bytes).sum();
    require_room(dir, total)?;
    let mut writer = Writer { seed, dtype, arranged, done: 0, total, report };
    let mut index = BTreeMap::new();
    for (at, shard) in (1..).zip(&shards) {
        let name = match shards.len() {
            1 => "model.safetensors".to_owned(),
            count => format!("model-{at:05}-of-{count:05}.safetensors"),
        };
        writer.shard(shard, &dir.join(&name))?;
        index.extend(shard.iter().map(|entry| (entry.name.clone(), name.clone())));
    }
    if shards.len() > 1 {
        let index = json!({"metadata": {"total_size": total}, "weight_map": index});
        write_json(&index, &dir.join("model.safetensors.index.json"))?;
    }
    Ok(total)
}

/// GR00T N1.6's widths, few blocks.
fn mid(vocab: usize) -> Model {
    let Model { vision, language, head } = Model::n1d6();
    Model {
        vision: Vision { layers: 2, ..vision },
        language: Language { layers: 2, vocab, ..language },
        head: Head { blocks: 4, embodiments: demo::EMBODIMENT.1 + 1, ..head },
    }
}

struct Writer<'a> {
    seed: u64,
    dtype: DType,
    /// The demo's own weights, where the seeded ones are arranged.
    arranged: Option<DemoWeights>,
    done: u64,
    total: u64,
    report: &'a mut dyn FnMut(Progress),
}

impl Writer<'_> {
    fn shard(&mut self, entries: &[Entry], path: &Path) -> Result<(), Error> {
        let mut offset = 0;
        let mut header = BTreeMap::from([("__metadata__", json!({"format": "pt"}))]);
        let dtype = if self.dtype == DType::BF16 { "BF16" } else { "F32" };
        for entry in entries {
            let end = offset + entry.bytes;
            header.insert(&entry.name, json!({"dtype": dtype, "shape": entry.dims, "data_offsets": [offset, end]}));
            offset = end;
        }
        let mut header = serde_json::to_vec(&header).map_err(|source| Error::Json { path: path.to_owned(), source })?;
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut file = BufWriter::with_capacity(1 << 18, File::create(path).map_err(Error::io(path))?);
        file.write_all(&(header.len() as u64).to_le_bytes()).map_err(Error::io(path))?;
        file.write_all(&header).map_err(Error::io(path))?;
        for entry in entries {
            self.weight(entry, path, &mut file)?;
        }
        let file = file.into_inner().map_err(|error| Error::io(path)(error.into_error()))?;
        file.sync_all().map_err(Error::io(path))
    }

    fn weight(&mut self, entry: &Entry, path: &Path, out: &mut dyn Write) -> Result<(), Error> {
        if let Some(demo) = &self.arranged
            && let Ok(weight) = demo.get(&entry.name)
        {
            weight.write_as(self.dtype, out).map_err(Error::io(path))?;
            self.advance(entry.bytes);
            return Ok(());
        }
        let mut numbers = Numbers::new(self.seed, &entry.name, fill(&entry.name, &entry.dims, 1.0));
        let mut left: usize = entry.dims.iter().product();
        let mut bytes = Vec::with_capacity(CHUNK * self.dtype.size());
        while left > 0 {
            let count = left.min(CHUNK);
            bytes.clear();
            for _ in 0..count {
                let value = numbers.next();
                match self.dtype {
                    DType::BF16 => bytes.extend(bf16::from_f32(value).to_le_bytes()),
                    _ => bytes.extend(value.to_le_bytes()),
                }
            }
            out.write_all(&bytes).map_err(Error::io(path))?;
            self.advance(bytes.len() as u64);
            left -= count;
        }
        Ok(())
    }

    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        (self.report)(Progress::Weights { done: self.done, total: self.total });
    }
}

/// `config.json` with the vendor's keys.
fn config(model: &Model) -> Value {
    let Head { width, hidden, output, heads, head_dim, blocks, text_every, horizon, .. } = model.head;
    json!({
        "architectures": ["Gr00tN1d6"],
        "model_type": "Gr00tN1d6",
        "backbone_model_type": "eagle",
        "model_name": "nvidia/Eagle-Block2A-2B-v2",
        "select_layer": model.language.layers,
        "backbone_embedding_dim": model.language.width,
        "reproject_vision": false,
        "hidden_size": hidden,
        "input_embedding_dim": width,
        "action_horizon": horizon,
        "max_state_dim": model.head.state_dims,
        "max_action_dim": model.head.action_dims,
        "max_num_embodiments": model.head.embodiments,
        "max_seq_len": model.head.positions.unwrap_or(1024),
        "add_pos_embed": model.head.positions.is_some(),
        "use_vlln": model.head.vlln,
        "use_alternate_vl_dit": true,
        "attend_text_every_n_blocks": text_every,
        "num_inference_timesteps": 4,
        "num_timestep_buckets": model.head.timestep_buckets,
        "diffusion_model_cfg": {
            "attention_head_dim": head_dim,
            "interleave_self_attention": true,
            "norm_type": "ada_norm",
            "num_attention_heads": heads,
            "num_layers": blocks,
            "output_dim": output,
            "positional_embeddings": null,
        },
    })
}

/// The backbone's `config.json` with the keys of the vendor's Eagle.
fn backbone(model: &Model) -> Value {
    let (vision, language) = (&model.vision, &model.language);
    json!({
        "downsample_ratio": 0.5,
        "vision_config": {
            "model_type": "siglip2_vision_model",
            "hidden_size": vision.width,
            "intermediate_size": vision.mlp,
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.heads,
            "num_patches": vision.table * vision.table,
            "patch_size": vision.patch,
            "hidden_act": "gelu_pytorch_tanh",
            // In double precision, 1e-6 as single precision would read 9.999999974752427e-7.
            "layer_norm_eps": shortest(vision.eps),
            "use_rope": false,
            "use_windows_attn": false,
        },
        "text_config": {
            "model_type": "qwen3",
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
        },
    })
}

/// The double that has the shortest decimal digits of a single.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_dimensions_are_the_released_checkpoints() {
        let shards = shards(&Model::n1d6(), DType::BF16, SHARD);
        let bytes: Vec<u64> = shards.iter().map(|shard| shard.iter().map(|entry| entry.bytes).sum()).collect();
        // 3.2866 billion parameters, 6.573 GB in two files.
        let parameters = bytes.iter().sum::<u64>() / 2;
        assert_eq!((parameters + 50_000) / 100_000, 32_866, "{parameters}");
        assert_eq!(bytes.len(), 2, "{bytes:?}");
        assert!(bytes.iter().all(|bytes| *bytes <= SHARD), "{bytes:?}");
    }
}
