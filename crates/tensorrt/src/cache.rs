//! The runtime cache of TensorRT-RTX: kernels that it compiled for an engine on this machine.

use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::library::not_null;
use super::load::{Collected, collect};
use super::result::{Error, check};
use super::runtime::EngineHandle;
use super::sys;

/// Kernels that TensorRT-RTX compiled for one engine. Contexts that are made with it use its kernels and add theirs.
pub struct RuntimeCache {
    cache: NonNull<sys::Cache>,
    used: bool,
    engine: Arc<EngineHandle>,
}

// SAFETY: the cache is not tied to the thread that made it; uses that change it go through the engine's lock, and dropping it
// takes the only reference (contexts hold one).
unsafe impl Send for RuntimeCache {}
// SAFETY: as above: `&RuntimeCache` reaches the C++ object only with the engine's lock held.
unsafe impl Sync for RuntimeCache {}

impl Drop for RuntimeCache {
    fn drop(&mut self) {
        // SAFETY: made by `cache_new`, freed once; the contexts that use it hold it, so none is left; the engine is a field,
        // dropped after this.
        unsafe { (self.engine.api().cache_free)(self.cache.as_ptr()) };
    }
}

impl RuntimeCache {
    /// A cache for contexts of `engine`, filled from the bytes of an earlier one, which may be empty.
    pub(super) fn new(engine: Arc<EngineHandle>, earlier: &[u8]) -> Result<Self, Error> {
        let mark = engine.log().mark();
        let (mut cache, mut used) = (ptr::null_mut(), 0);
        // SAFETY: a live engine, kept by the cache below; bytes that are copied; places to write a number and one pointer to.
        let status = engine.exclusive(|api, engine| unsafe {
            (api.cache_new)(engine, earlier.as_ptr().cast(), earlier.len() as u64, &raw mut used, &raw mut cache)
        });
        check(status, Some((engine.log(), mark)))?;
        Ok(Self { cache: not_null(cache)?, used: used != 0, engine })
    }

    /// Whether the earlier bytes were used. Those of another GPU, driver or version are not.
    pub fn used(&self) -> bool {
        self.used
    }

    /// The bytes for the next load of this engine on this machine.
    ///
    /// # Errors
    /// [`Error::Refused`] with the library's log lines.
    pub fn bytes(&self) -> Result<Vec<u8>, Error> {
        let mark = self.engine.log().mark();
        let mut collected = Collected::default();
        // SAFETY: a live cache, not used by another call while the engine's lock is held; `collect` gets the `Collected` whose
        // address goes with it, which outlives the call.
        let status =
            self.engine.exclusive(|api, _| unsafe { (api.cache_out)(self.cache.as_ptr(), collect, collected.user()) });
        check(status, Some((self.engine.log(), mark)))?;
        Ok(collected.0)
    }

    /// Whether it was made for this engine.
    pub(super) fn is_of(&self, engine: &Arc<EngineHandle>) -> bool {
        Arc::ptr_eq(&self.engine, engine)
    }

    pub(super) fn as_ptr(&self) -> *mut sys::Cache {
        self.cache.as_ptr()
    }
}
