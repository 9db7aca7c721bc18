//! A GR00T N1.6 checkpoint as NVIDIA's trainer writes it: sizes from `config.json` and the backbone's configuration,
//! weights from sharded safetensors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use safetensors::tensor::Metadata;
use safetensors::{SafeTensorError, SafeTensors};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Error;
use super::inventory::inventory;
use super::model::Model;
use super::weights::{Weight, Weights};
use vla_base::sys::map::map;
use vla_base::tensor::DType;

pub mod folder;
pub mod foreign;
pub mod sizes;

pub use sizes::{Backbone, Config};

/// Most weights that a message lists.
const PROBLEMS_SHOWN: usize = 8;
/// File that says which shard holds a weight.
const INDEX: &str = "model.safetensors.index.json";
/// File of a checkpoint that is not sharded.
const SINGLE: &str = "model.safetensors";
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
    /// Opens `model.safetensors.index.json` and its shards, or a single `model.safetensors`. Shards are mapped, not read.
    ///
    /// # Errors
    /// [`Error::MissingShards`] with every file that is not there, [`Error::SafeTensors`] for one that is cut short or
    /// damaged, [`Error::Io`], [`Error::Json`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let index_path = dir.join(INDEX);
        let files: Vec<String> = if index_path.exists() {
            let index: Index = read_json(&index_path)?;
            let mut files: Vec<String> = index.weight_map.into_values().collect();
            files.sort();
            files.dedup();
            files
        } else {
            vec![SINGLE.to_owned()]
        };
        let inside = |file: &String| Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
        let missing: Vec<String> =
            files.iter().filter(|file| !inside(file) || !dir.join(file).is_file()).cloned().collect();
        if !missing.is_empty() || files.is_empty() {
            return Err(Error::MissingShards { dir: dir.to_owned(), missing, total: files.len() });
        }
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
    ///
    /// # Errors
    /// As [`Config::load`] and [`Config::model`].
    pub fn model(&self, backbone: &Path) -> Result<Model, Error> {
        Config::load(&self.dir.join("config.json"))?.model(&Backbone::load(backbone)?)
    }

    /// Compares the weights with what a network of these sizes reads.
    ///
    /// # Errors
    /// [`Error::Weights`] with every weight that is missing, of another shape or no floating-point number.
    pub fn check(&self, model: &Model) -> Result<(), Error> {
        let mut problems = Vec::new();
        for (name, dims) in inventory(model) {
            if let Err(error) = self.get(&name).and_then(|weight| weight.shaped(&dims)) {
                problems.push(error.to_string());
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        let more = problems.len().saturating_sub(PROBLEMS_SHOWN);
        problems.truncate(PROBLEMS_SHOWN);
        if more > 0 {
            problems.push(format!("and {more} more"));
        }
        Err(Error::Weights { path: self.dir.clone(), problems })
    }
}

impl Shard {
    fn parse(path: &Path, bytes: Bytes) -> Result<Self, Error> {
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|source| {
            let path = path.to_path_buf();
            match described(&bytes) {
                Some(expected) if matches!(source, SafeTensorError::MetadataIncompleteBuffer) => {
                    Error::Truncated { path, expected, found: bytes.len() }
                }
                _ => Error::SafeTensors { path, source },
            }
        })?;
        let data = header.saturating_add(LENGTH_FIELD);
        Ok(Self { bytes, data, metadata })
    }
}

/// Size of a safetensors file according to its header, for a message.
fn described(bytes: &[u8]) -> Option<usize> {
    #[derive(Deserialize)]
    struct Tensor {
        data_offsets: (usize, usize),
    }
    let (length, rest) = bytes.split_first_chunk::<LENGTH_FIELD>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(rest.get(..length)?).ok()?;
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
    let ends = tensors.map(|(_, tensor)| Tensor::deserialize(tensor).map_or(0, |tensor| tensor.data_offsets.1));
    ends.max().unwrap_or_default().checked_add(length)?.checked_add(LENGTH_FIELD)
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
