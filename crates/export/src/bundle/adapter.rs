//! What a bundle says about the LoRA adapter that was merged.

use std::path::PathBuf;

use super::{ExportPlan, PROCESSOR, Request};
use crate::Error;
use crate::checkpoint::folder;
use crate::lora::{self, Adapter};

/// A LoRA adapter in a bundle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Merged {
    /// Hash over its two files, as of a bundle.
    pub fingerprint: String,
    /// Weights of the checkpoint that it changes.
    pub changed: usize,
    /// Weights of the checkpoint that it replaces.
    pub replaced: usize,
    /// The base that it names.
    pub base: Option<String>,
    /// Whether processor and statistics are the adapter's.
    pub own_processor: bool,
}

impl Merged {
    pub(super) fn of(plan: &ExportPlan, adapter: &Adapter) -> Result<Self, Error> {
        let fingerprint = vla_policy::fingerprint(adapter.dir(), &[lora::CONFIG, lora::WEIGHTS])
            .map_err(|error| Error::Io { path: error.path, source: error.source })?;
        let (changed, replaced) = adapter.counts();
        let own_processor = plan.processor_dir.starts_with(adapter.dir());
        Ok(Self { fingerprint, changed, replaced, base: adapter.base().map(str::to_owned), own_processor })
    }
}

impl Request {
    /// The folder with the processor's files: of the adapter's own training, where it has them.
    ///
    /// # Errors
    /// As [`folder::of_processor`].
    pub(super) fn processor_dir(&self) -> Result<PathBuf, Error> {
        let own = self.lora.as_deref().and_then(|folder| folder::of_processor(folder, PROCESSOR).ok());
        own.map_or_else(|| folder::of_processor(&self.checkpoint, PROCESSOR), Ok)
    }
}
