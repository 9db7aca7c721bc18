//! Tests whether the runtime's host copy of an engine can be released.

use std::path::Path;

use super::Error;
use super::probe::{Alone, factor, outputs};
use vla_base::sys::remap::{Access, RemappedMemory};
use vla_engines::host_copy;
use vla_engines::provenance::{Release, kernel};

/// Number of runs with a read-only copy, each in a new context: a runtime that accesses its copy does so when a context is
/// created or at the context's first run.
const RUNS: usize = 3;

impl Alone<'_> {
    /// Maps the host copy read-only from a file and runs the engine again. The test passes if nothing writes to the copy (a
    /// write ends the process by `SIGSEGV`) and every output is bit-identical. A copy that cannot be released is not an error.
    /// `None` after a temporary failure, such as a full disk: the next build or registration tries again.
    pub(super) fn try_release(&mut self) -> Result<Option<Release>, Error> {
        if outputs(&mut self.device, &mut self.loaded, self.engine)? != self.outputs {
            return Ok(Some(Release::failed(
                "the engine's results differ from run to run, so they cannot be compared",
            )));
        }
        let remapped = match self.remap() {
            Ok(remapped) => remapped,
            Err(error) if error.is_passing() => {
                tracing::warn!("releasing the host copy of {} was not tested: {error}", self.engine.display());
                return Ok(None);
            }
            Err(error) => return Ok(Some(Release::failed(error.to_string()))),
        };
        for _ in 0..RUNS {
            if outputs(&mut self.device, &mut self.loaded, self.engine)? != self.outputs {
                remapped.allow_writing().map_err(Error::io(self.engine))?;
                return Ok(Some(Release::failed("the engine's results change when its host copy is released")));
            }
        }
        let resident = remapped.resident().map_err(Error::io(self.engine))?;
        // The runtime may write to it when it frees it.
        remapped.allow_writing().map_err(Error::io(self.engine))?;
        Ok(Some(Release {
            works: true,
            kept_factor: Some(factor(self.kept.saturating_sub(remapped.bytes()), self.bytes)),
            touched_bytes: resident.touched,
            reason: None,
            kernel: kernel(),
        }))
    }

    fn remap(&mut self) -> Result<RemappedMemory, host_copy::Error> {
        let watch = self.watch.as_ref().map_err(|error| std::io::Error::other(error.to_string()))?;
        let found = self.device.find_copy(watch, self.engine)?;
        found.release(self.engine.parent().unwrap_or(Path::new(".")), Access::ReadOnly)
    }
}
