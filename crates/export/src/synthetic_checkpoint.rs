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
use super::family::Family;
use super::inventory::inventory;
use super::model::{Fusion, Head, Language, Model};
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

/// Which checkpoint of a family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// Small, arranged so that actions follow images, text and state (see [`demo`]).
    Demo,
    /// The released widths with few blocks and a small vocabulary, in bf16: what tries engines at real shapes in minutes.
    Mid,
    /// The released sizes, in bf16.
    Full,
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
    fn design(self, family: &'static Family, vocab: usize) -> Design {
        let (model, dtype, shortest_edge) = match self {
            Self::Demo => (demo::model_of(family, vocab), DType::F32, family.demo.shortest_edge),
            Self::Mid => (mid(family, vocab), DType::BF16, SHORTEST_EDGE),
            Self::Full => ((family.released)(), DType::BF16, SHORTEST_EDGE),
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
    for (name, dims) in inventory(model).into_iter().chain((model.family.weights.unread)(model)) {
        let bytes = dims.iter().fold(dtype.size() as u64, |bytes, dim| bytes.saturating_mul(*dim as u64));
        if filled > 0 && bytes > most.saturating_sub(filled) {
            shards.push(Vec::new());
            filled = 0;
        }
        filled = filled.saturating_add(bytes);
        if let Some(shard) = shards.last_mut() {
            shard.push(Entry { name, dims, bytes });
        }
    }
    shards
}

/// Writes a checkpoint to `out`, a new or empty folder or one that was made here; returns the bytes of its weights.
///
/// # Errors
/// [`Error::OccupiedFolder`], [`Error::Io`].
pub fn write(
    family: &'static Family,
    size: Size,
    seed: u64,
    out: &Path,
    report: &mut dyn FnMut(Progress),
) -> Result<u64, Error> {
    let staging = Staging::beside(out, "a checkpoint made by this command", MARK)?;
    let bytes = fill_folder(family, size, seed, staging.dir(), SHARD, report)?;
    staging.finish()?;
    Ok(bytes)
}

/// Writes a small checkpoint of a family for a robot of this shape, as [`write()`] does.
///
/// # Errors
/// [`Error::Shape`]; as [`write()`].
pub fn write_shape(
    family: &'static Family,
    shape: &RobotShape,
    seed: u64,
    out: &Path,
    report: &mut dyn FnMut(Progress),
) -> Result<u64, Error> {
    shape.check(family)?;
    let staging = Staging::beside(out, "a checkpoint made by this command", MARK)?;
    let (tokenizer, vocab) = tokenizer::tokenizer(family);
    let bytes = fill_with(shape.design(family, vocab), &tokenizer, seed, staging.dir(), SHARD, report)?;
    staging.finish()?;
    Ok(bytes)
}

/// As [`write()`], straight into the folder `dir`, with shards of at most `most` bytes.
///
/// # Errors
/// [`Error::Io`].
pub fn fill_folder(
    family: &'static Family,
    size: Size,
    seed: u64,
    dir: &Path,
    most: u64,
    report: &mut dyn FnMut(Progress),
) -> Result<u64, Error> {
    let (tokenizer, vocab) = tokenizer::tokenizer(family);
    fill_with(size.design(family, vocab), &tokenizer, seed, dir, most, report)
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
    write_json(&(model.family.backbone.write)(&model), &folder.join("config.json"))?;
    write_json(&config(&model), &dir.join("config.json"))?;
    write_json(&files.processor_config(model.family, shortest_edge), &dir.join("processor_config.json"))?;
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

/// A family's released widths, few blocks.
fn mid(family: &Family, vocab: usize) -> Model {
    let Model { family, vision, language, head } = (family.demo.mid)();
    let language = Language { vocab, ..language };
    Model { family, vision, language, head: Head { embodiments: demo::EMBODIMENT.1 + 1, ..head } }
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
    let names = &model.family.config;
    let mut config = json!({
        "architectures": [names.model_type],
        "model_type": names.model_type,
        "backbone_model_type": names.backbone_type,
        "model_name": names.model_name,
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
    });
    if let Some(Fusion { layers, heads, head_dim, .. }) = model.head.fusion {
        config["vl_self_attention_cfg"] = json!({
            "attention_head_dim": head_dim,
            "num_attention_heads": heads,
            "num_layers": layers,
            "positional_embeddings": null,
        });
    }
    config
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

    #[test]
    fn n1d7_has_the_released_checkpoints_tensors_to_the_last() {
        let shards = shards(&Model::n1d7(), DType::BF16, SHARD);
        let entries: Vec<&Entry> = shards.iter().flatten().collect();
        let values: u64 = entries.iter().map(|entry| entry.bytes / 2).sum();
        // nvidia/GR00T-N1.7-3B: 6.91 GB in bf16.
        assert_eq!((entries.len(), values), (1031, 3_455_180_928));
    }
}
