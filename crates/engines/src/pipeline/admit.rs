//! Admission on a machine whose GPU driver counts the page cache as used memory.

use std::path::PathBuf;

use crate::graph::Stage;
use crate::memory::{Admission, MemoryPlan, Pool, Shortage, mib};
use crate::provenance::network_files;
use vla_base::sys::streamed::evict_from_page_cache;

/// Like [`MemoryPlan::admit`], but where the page cache is too large for what the GPU driver counts as free, the pages of the stages' files
/// leave it before the check, also where `count_available` says that it is free: a bundle that was just copied to a robot is completely in
/// the page cache.
///
/// # Errors
/// [`Shortage`] of the last check.
pub fn admit(
    plan: &MemoryPlan,
    admission: Admission,
    stages: &[Stage],
    pool: &mut dyn FnMut() -> Pool,
) -> Result<(), Box<Shortage>> {
    let strict = Admission { count_available: false, ..admission };
    let Err(shortage) = plan.admit(strict, Some(pool())) else { return Ok(()) };
    let Some(cached) = shortage.alternatives.page_cache else { return plan.admit(admission, Some(pool())) };
    tracing::info!(
        "the page cache holds {:.1} MiB that the GPU driver does not count as free; dropping the policy's own files from it",
        mib(cached)
    );
    for file in files(stages) {
        if let Err(error) = evict_from_page_cache(&file) {
            tracing::debug!(%error, "{} stays in the page cache", file.display());
        }
    }
    plan.admit(admission, Some(pool()))
}

/// Existing files of engines, networks and their weights.
fn files(stages: &[Stage]) -> Vec<PathBuf> {
    let engines = stages.iter().map(|stage| stage.file.clone());
    let networks = stages.iter().flat_map(|stage| network_files(&stage.onnx).unwrap_or_default());
    let mut files: Vec<PathBuf> = engines.chain(networks).filter(|file| file.is_file()).collect();
    files.sort();
    files.dedup();
    files
}
