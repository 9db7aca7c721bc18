//! Whether the runtime's host copy of an engine can be given back.

use std::path::Path;

use super::Error;
use super::probe::{Alone, factor, outputs};
use vla_base::sys::remap::{Access, RemappedMemory};
use vla_engines::host_copy;
use vla_engines::provenance::{Release, kernel};

/// Runs with the copy read-only, each in a context of its own. A copy that is used at all is used when a context is made or
/// at its first run.
const RUNS: usize = 3;

impl Alone<'_> {
    /// Maps the host copy read-only from a file, and runs the engine again: nobody may write, and every output must stay
    /// the same, bit by bit. Ends the process by `SIGSEGV` when somebody writes. A copy that cannot be given back is no error.
    /// `None` when the moment was against it (a full disk): the next `adopt` or build tries again.
    pub(super) fn try_release(&mut self) -> Result<Option<Release>, Error> {
        if outputs(&mut self.device, &mut self.plan, self.engine)? != self.outputs {
            return Ok(Some(Release::failed(
                "the engine's results differ from run to run, so that nothing can be compared",
            )));
        }
        let remapped = match self.remap() {
            Ok(remapped) => remapped,
            Err(error) if error.is_passing() => {
                tracing::warn!("giving back the host copy of {} was not tried: {error}", self.engine.display());
                return Ok(None);
            }
            Err(error) => return Ok(Some(Release::failed(error.to_string()))),
        };
        for _ in 0..RUNS {
            if outputs(&mut self.device, &mut self.plan, self.engine)? != self.outputs {
                remapped.allow_writing().map_err(Error::io(self.engine))?;
                return Ok(Some(Release::failed("the engine's results change when its host copy is given back")));
            }
        }
        let resident = remapped.resident().map_err(Error::io(self.engine))?;
        // Whoever frees it may write to it.
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
