//! LoRA adapters of PEFT, merged into the checkpoint's weights while these are exported.
//!
//! A layer's weight becomes `W + scale * B A`, one weight at a time: neither PyTorch nor memory for a merged checkpoint is
//! needed. The arithmetic is that of PEFT's `merge_and_unload` (`lora::merge`); `tests/data/lora` compares the two.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Error;
use super::checkpoint::{Checkpoint, Shard};
use super::weights::{Weight, Weights};
use vla_base::tensor::DType;

pub mod config;
mod fit;
mod merge;
mod names;

use config::AdapterConfig;
use merge::Delta;

/// Configuration of an adapter.
pub const CONFIG: &str = "adapter_config.json";
/// Weights of an adapter.
pub const WEIGHTS: &str = "adapter_model.safetensors";

/// Refuses an adapter that is named as the checkpoint.
///
/// # Errors
/// [`Error::AdapterAsCheckpoint`].
pub(crate) fn refuse_as_checkpoint(dir: &Path) -> Result<(), Error> {
    let config = dir.join(CONFIG);
    if !config.is_file() || Checkpoint::has_weights(dir) {
        return Ok(());
    }
    let base = AdapterConfig::load(&config).ok().and_then(|config| config.base);
    Err(Error::AdapterAsCheckpoint { dir: dir.to_owned(), base })
}

/// An opened adapter folder whose tensors all fit one checkpoint.
pub struct Adapter {
    dir: PathBuf,
    shard: Shard,
    /// What is added, by the checkpoint's name of the weight.
    added: BTreeMap<String, Added>,
    /// Weights that the adapter replaces as a whole: the checkpoint's name, and the adapter's.
    replaced: BTreeMap<String, String>,
    base: Option<String>,
}

/// What is added to a weight. Names are the adapter's.
struct Added {
    kind: Kind,
    scale: f64,
    rank: usize,
}

enum Kind {
    /// `scale * B A` of a linear layer.
    Linear { a: String, b: String },
    /// `scale * (B A)^T` of a table of embeddings.
    Embedding { a: String, b: String },
    /// `scale * bias` of the layer with `B`.
    Bias(String),
}

impl Adapter {
    /// Opens the adapter in `dir`, for the weights of `base`.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] when a file is missing; [`Error::Invalid`] with every key of its configuration that cannot be
    /// merged; [`Error::Adapter`] with every tensor that does not fit `base`; those of a damaged safetensors file.
    pub fn open(dir: &Path, base: &Checkpoint) -> Result<Self, Error> {
        for file in [CONFIG, WEIGHTS] {
            if !dir.join(file).is_file() {
                return Err(Error::NoAdapter { dir: dir.to_owned(), file });
            }
        }
        let config = AdapterConfig::load(&dir.join(CONFIG))?;
        let shard = Shard::open(&dir.join(WEIGHTS))?;
        fit::adapter(dir, shard, config, base)
    }

    /// The adapter with these files' content.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(dir: &Path, config: &[u8], weights: bytes::Bytes, base: &Checkpoint) -> Result<Self, Error> {
        let config = AdapterConfig::parse(&dir.join(CONFIG), config)?;
        fit::adapter(dir, Shard::parse(&dir.join(WEIGHTS), weights)?, config, base)
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The base that its configuration names: a folder or a repository's name.
    pub fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }

    /// Weights of the checkpoint that it changes, and those that it replaces.
    pub fn counts(&self) -> (usize, usize) {
        (self.added.len(), self.replaced.len())
    }

    /// Its weights' file with the content.
    pub(crate) fn file(&self) -> (&Path, &[u8]) {
        (self.shard.path(), self.shard.bytes())
    }

    /// The weights of `base` with this adapter merged.
    pub fn onto<'a>(&'a self, base: &'a dyn Weights) -> Merged<'a> {
        Merged { adapter: self, base }
    }

    fn delta(&self, added: &Added) -> Result<Delta, Error> {
        let values = |name: &str| Ok::<_, Error>(self.shard.get(name)?.to_f32());
        Ok(match &added.kind {
            Kind::Linear { a, b } => Delta::linear(values(a)?, values(b)?, added.rank, added.scale),
            Kind::Embedding { a, b } => Delta::embedding(&values(a)?, &values(b)?, added.rank, added.scale),
            Kind::Bias(bias) => Delta::bias(values(bias)?, added.scale),
        })
    }
}

/// Weights of a checkpoint with an adapter merged. Each is computed when it is read.
pub struct Merged<'a> {
    adapter: &'a Adapter,
    base: &'a dyn Weights,
}

impl Weights for Merged<'_> {
    fn get(&self, name: &str) -> Result<Weight<'_>, Error> {
        let base = self.base.get(name)?;
        let whole = match self.adapter.replaced.get(name) {
            // As PEFT loads it: in the checkpoint's element type.
            Some(own) => merge::as_type(self.adapter.shard.get(own)?, name, base.dtype),
            None => base,
        };
        match self.adapter.added.get(name) {
            Some(added) => Ok(merge::add(whole, &self.adapter.delta(added)?)),
            None => Ok(whole),
        }
    }

    fn outline(&self, name: &str) -> Result<(DType, Vec<usize>), Error> {
        self.base.outline(name)
    }

    fn origin(&self, name: &str) -> String {
        let base = self.base.origin(name);
        let own = self.adapter.shard.path().display();
        if self.adapter.replaced.contains_key(name) {
            own.to_string()
        } else if self.adapter.added.contains_key(name) {
            format!("{base} with {own} merged")
        } else {
            base
        }
    }
}
