//! TensorRT-RTX's runtime cache of an engine, kept in a file beside it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Context, Engine, Error, RuntimeCache};
use vla_base::sys::fs::replace;

/// The runtime cache of a loaded engine. Without one, TensorRT-RTX compiles every kernel again at each load.
pub(super) struct KeptCache {
    cache: Arc<RuntimeCache>,
    file: PathBuf,
    /// What the file has.
    written: Mutex<Vec<u8>>,
}

/// Kernels of shapes that were first used after the load are kept, too.
impl Drop for KeptCache {
    fn drop(&mut self) {
        self.keep();
    }
}

impl KeptCache {
    /// The cache of `engine`, filled from the file beside it. A file of another GPU, driver or version is replaced later.
    pub(super) fn open(engine: &Engine, file: &Path) -> Result<Self, Error> {
        let mut name = file.as_os_str().to_owned();
        name.push(".runtime_cache");
        let file = PathBuf::from(name);
        let earlier = match std::fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("runtime cache {} is not used: {error}", file.display());
                }
                Vec::new()
            }
        };
        let cache = engine.runtime_cache(&earlier)?;
        if !earlier.is_empty() && !cache.used() {
            tracing::warn!(
                "runtime cache {} is not used: another GPU, driver or version of TensorRT-RTX wrote it; kernels are compiled again",
                file.display()
            );
        }
        Ok(Self { cache: Arc::new(cache), file, written: Mutex::new(earlier) })
    }

    /// A context of `engine` that uses the cache.
    pub(super) fn context(&self, engine: &Engine) -> Result<Context, Error> {
        engine.context_with(0, &self.cache)
    }

    /// Writes the cache when kernels were added. A file that cannot be written costs the next load its time only.
    pub(super) fn keep(&self) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match self.cache.bytes() {
            Ok(bytes) if bytes == *written => {}
            Ok(bytes) => match replace(&self.file, &bytes) {
                Ok(()) => *written = bytes,
                Err(error) => tracing::warn!("the runtime cache was not kept: {error}"),
            },
            Err(error) => tracing::warn!("runtime cache {} was not kept: {error}", self.file.display()),
        }
    }
}
