//! Releases the copies that TensorRT keeps of its engines in host memory.

use std::path::Path;

use super::Tensorrt;
use vla_base::sys::remap::{Access, RemappedMemory};
use vla_engines::Stage;
use vla_engines::host_copy::{Error, Found, HostCopy, MappingSnapshot};
use vla_engines::provenance::{ProvenanceStatus, Release};

/// The host copy of an engine according to its record, before the load.
pub(super) enum Expected {
    /// Nothing is known, or releasing is off.
    Nothing,
    /// It cannot be released.
    Stays(String),
    /// It can be released; the mappings before the load.
    Goes(Result<MappingSnapshot, Error>),
}

impl Tensorrt {
    pub(super) fn before_load(&self, status: &ProvenanceStatus) -> Expected {
        let trial = status.provenance().and_then(|record| record.memory.release.as_ref());
        match trial.filter(|_| self.release_host_copy) {
            None => Expected::Nothing,
            Some(Release { works: true, .. }) => Expected::Goes(MappingSnapshot::take()),
            Some(Release { reason, .. }) => Expected::Stays(reason.clone().unwrap_or_default()),
        }
    }

    /// Releases the host copy of the engine loaded since the snapshot. After a failure it stays in memory.
    pub(super) fn after_load(&self, stage: &Stage, expected: Expected) -> (HostCopy, Option<RemappedMemory>) {
        let released = match expected {
            Expected::Nothing => return (HostCopy::AsLoaded, None),
            Expected::Stays(reason) => {
                tracing::warn!("stage '{}': TensorRT's host copy of its engine stays in memory: {reason}", stage.name);
                return (HostCopy::Kept { reason }, None);
            }
            Expected::Goes(watch) => watch.and_then(|watch| self.find_copy(&watch, &stage.file)),
        };
        let folder = stage.file.parent().unwrap_or(Path::new("."));
        // The test at the build showed that nothing writes to it; a write would only make its page private memory again.
        match released.and_then(|found| found.release(folder, Access::ReadWrite)) {
            Ok(remapped) => (HostCopy::Released { bytes: remapped.bytes() }, Some(remapped)),
            Err(error) => {
                tracing::warn!("stage '{}': TensorRT's host copy of its engine stays in memory: {error}", stage.name);
                (HostCopy::Kept { reason: error.to_string() }, None)
            }
        }
    }

    /// Finds the host copy of a plan that was loaded since `watch` was taken.
    ///
    /// # Errors
    /// [`Error`] with what was found instead.
    pub fn find_copy(&self, watch: &MappingSnapshot, file: &Path) -> Result<Found, Error> {
        let found = watch.find(file)?;
        let addresses = found.addresses();
        // The driver registers whole blocks, so checking both ends and the middle is enough.
        let middle = addresses.start.midpoint(addresses.end);
        let known = [addresses.start, middle, addresses.end - 1].iter().any(|at| self.cuda().knows(*at));
        if known { Err(Error::Registered) } else { Ok(found) }
    }
}
