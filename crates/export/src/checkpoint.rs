//! A GR00T checkpoint as NVIDIA's trainer writes it: sizes from `config.json` and the backbone's configuration,
//! weights from sharded safetensors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Error;
use super::family::Family;
use super::inventory::inventory;
use super::model::Model;
use super::weights::{Weight, Weights};
use vla_base::sys::map::map;

mod download;
pub mod folder;
pub mod foreign;
mod head;
pub(crate) mod keys;
mod shard;
pub mod sizes;

pub(crate) use shard::Shard;
pub use sizes::{Backbone, Config};

/// Most weights that a message lists.
const PROBLEMS_SHOWN: usize = 8;
/// File that says which shard holds a weight.
const INDEX: &str = "model.safetensors.index.json";
/// File of a checkpoint that is not sharded.
const SINGLE: &str = "model.safetensors";
/// Part of the names of weights that PEFT has wrapped and not merged.
const WRAPPED: &str = ".lora_A.";

/// An opened checkpoint folder.
pub struct Checkpoint {
    dir: PathBuf,
    shards: Vec<Shard>,
    /// The shard that holds a weight.
    index: BTreeMap<String, usize>,
    /// The file that `model.safetensors.index.json` names for a weight that it does not hold.
    misplaced: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens `model.safetensors.index.json` and its shards, or a single `model.safetensors`. Shards are mapped, not read.
    ///
    /// # Errors
    /// [`Error::MissingShards`] with every file that is not there, [`Error::Unfinished`] when a download of them was cut
    /// off, [`Error::SafeTensors`] for one that is damaged, [`Error::Truncated`] for one that is cut short, [`Error::Io`],
    /// [`Error::Json`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let index_path = dir.join(INDEX);
        let places = if index_path.exists() {
            read_json::<Index>(&index_path)?.weight_map
        } else {
            BTreeMap::from([(String::new(), SINGLE.to_owned())])
        };
        let mut files: Vec<&String> = places.values().collect();
        files.sort();
        files.dedup();
        let inside = |file: &str| Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
        let missing: Vec<String> = files
            .iter()
            .filter(|file| !inside(file) || !dir.join(file).is_file())
            .map(|file| (*file).clone())
            .collect();
        if !missing.is_empty() || files.is_empty() {
            return Err(download::missing(dir, missing, files.len()));
        }
        let mut opened = Vec::with_capacity(files.len());
        for file in files {
            let path = dir.join(file);
            let bytes = map(&path).map_err(Error::io(&path))?;
            opened.push((path, bytes));
        }
        let mut checkpoint = Self::from_shards(dir, opened)?;
        checkpoint.follow(places);
        Ok(checkpoint)
    }

    /// Whether a folder has the weights of a whole model.
    pub(crate) fn has_weights(dir: &Path) -> bool {
        [INDEX, SINGLE].iter().any(|file| dir.join(file).exists())
    }

    /// A checkpoint in `dir` whose safetensors files are these bytes.
    ///
    /// # Errors
    /// [`Error::SafeTensors`], [`Error::Truncated`].
    pub fn from_shards(dir: &Path, files: Vec<(PathBuf, Bytes)>) -> Result<Self, Error> {
        let mut index = BTreeMap::new();
        let mut shards = Vec::with_capacity(files.len());
        for (path, bytes) in files {
            let shard = Shard::parse(&path, bytes)?;
            index.extend(shard.names().into_iter().map(|name| (name, shards.len())));
            shards.push(shard);
        }
        Ok(Self { dir: dir.to_path_buf(), shards, index, misplaced: BTreeMap::new() })
    }

    /// Takes each weight from the file that the index names, and notes those that are not in it.
    fn follow(&mut self, places: BTreeMap<String, String>) {
        for (name, file) in places.into_iter().filter(|(name, _)| !name.is_empty()) {
            let path = self.dir.join(&file);
            match self.shards.iter().position(|shard| shard.path() == path && shard.holds(&name)) {
                Some(shard) => drop(self.index.insert(name, shard)),
                None => drop(self.misplaced.insert(name, file)),
            }
        }
    }

    /// Names of all weights, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    /// Its safetensors files with their content.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.shards.iter().map(|shard| (shard.path(), shard.bytes()))
    }

    /// Sizes: `config.json` of the checkpoint, and the backbone's own in the file `backbone`.
    ///
    /// # Errors
    /// As [`Config::load`] and [`Config::model`].
    pub fn model(&self, backbone: &Path) -> Result<Model, Error> {
        let config = Config::load(&self.dir.join("config.json"))?;
        config.model(&Backbone::load(config.family, backbone)?)
    }

    /// Compares the weights with what a network of these sizes reads.
    ///
    /// # Errors
    /// [`Error::Weights`] with every weight that is missing, of another shape or no floating-point number.
    pub fn check(&self, model: &Model) -> Result<(), Error> {
        let wrapped: Vec<&str> = self.names().filter(|name| name.contains(WRAPPED)).collect();
        if let Some(first) = wrapped.first() {
            let (name, count) = ((*first).to_owned(), wrapped.len());
            return Err(Error::Unmerged { path: self.dir.clone(), name, count });
        }
        if let Some(found) = Family::of_weights(self.names()).filter(|found| *found != model.family) {
            let (path, expected) = (self.dir.clone(), model.family.title());
            return Err(Error::Family { path, expected, found: found.title(), model_type: found.config.model_type });
        }
        let read = inventory(model);
        let mut problems = self.check_unread(model, &read);
        for (name, dims) in read {
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

impl Checkpoint {
    /// What the checkpoint holds and no network reads. Of the vision tower that is a problem, which is returned: its sizes are in the
    /// backbone's own file, so that file is another's. Of the rest it is warned about, because the vendor's code leaves it out too; but its
    /// trainer writes nothing that it does not run, so `config.json` may be another's.
    fn check_unread(&self, model: &Model, read: &[(String, Vec<usize>)]) -> Vec<String> {
        let weights = &model.family.weights;
        let unread = (weights.unread)(model);
        let known: BTreeSet<&str> = read.iter().chain(&unread).map(|(name, _)| name.as_str()).collect();
        let unknown = self.names().filter(|name| !known.contains(name));
        let (tower, others): (Vec<&str>, Vec<&str>) = unknown.partition(|name| name.starts_with(weights.vision));
        if let Some(first) = others.first() {
            let count = others.len();
            tracing::warn!(
                "{}: holds {count} weights that config.json describes no layer for, such as {first}: they are left out, as the vendor's \
                 code does. Check that this config.json was saved with these weights",
                self.dir.display()
            );
        }
        let problem = |name: &&str| {
            format!(
                "weight `{name}`: expected the weights of {} vision layers and {} deepstack taps (the backbone's \
             configuration), found one more; name the backbone's own config.json with --backbone-config",
                model.vision.layers,
                model.vision.deepstack.len()
            )
        };
        tower.iter().map(problem).collect()
    }
}

impl Weights for Checkpoint {
    fn get(&self, name: &str) -> Result<Weight<'_>, Error> {
        let shard = self.index.get(name).and_then(|i| self.shards.get(*i));
        let missing = || {
            let file = self.misplaced.get(name).map_or_else(|| self.dir.clone(), |file| self.dir.join(file));
            Error::MissingWeight { name: name.to_owned(), origin: file.display().to_string() }
        };
        shard.ok_or_else(missing)?.get(name)
    }

    fn origin(&self, name: &str) -> String {
        let shard = self.index.get(name).and_then(|i| self.shards.get(*i));
        shard.map_or(self.dir.as_path(), Shard::path).display().to_string()
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json { path: path.to_path_buf(), source })
}
