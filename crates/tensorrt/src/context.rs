//! An execution context: shapes, addresses, enqueue.

use std::ffi::{CString, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::cache::RuntimeCache;
use super::library::not_null;
use super::result::{Error, check, text};
use super::runtime::{EngineHandle, find};
use super::sys;
use super::tensor::raw_dims;

/// Runs an engine with one set of shapes and addresses at a time.
///
/// Everything that changes it takes `&mut self`: TensorRT keeps shapes, addresses and activation memory inside the
/// context, so neither two threads nor two enqueues that overlap may use one.
pub struct Context {
    context: NonNull<sys::Context>,
    names: Arc<[CString]>,
    activation_bytes: u64,
    /// Whether activation memory was set; an enqueue without it would be undefined behaviour.
    has_activation: bool,
    /// Dropped after the context, which uses it.
    _cache: Option<Arc<RuntimeCache>>,
    engine: Arc<EngineHandle>,
}

// SAFETY: a context is not tied to the thread that made it (the caller sets CUDA's current context, as for everything on a
// stream); `&mut self` ensures exclusive use. It is not `Sync`: even reading a shape may update it.
unsafe impl Send for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by `context_new`, freed once; the engine is a field, dropped after this.
        unsafe { (self.engine.api().context_free)(self.context.as_ptr()) };
    }
}

impl Context {
    pub(super) fn new(
        engine: Arc<EngineHandle>,
        names: Arc<[CString]>,
        profile: i32,
        activation_bytes: u64,
        cache: Option<Arc<RuntimeCache>>,
    ) -> Result<Self, Error> {
        let mark = engine.log().mark();
        let mut context = ptr::null_mut();
        let raw_cache = cache.as_deref().map_or(ptr::null_mut(), RuntimeCache::as_ptr);
        // SAFETY: a live engine and no cache or a live one of it, both kept by the context below, and a place to write one
        // pointer to.
        let status =
            engine.exclusive(|api, engine| unsafe { (api.context_new)(engine, profile, raw_cache, &raw mut context) });
        check(status, Some((engine.log(), mark)))?;
        Ok(Self { context: not_null(context)?, names, activation_bytes, has_activation: false, _cache: cache, engine })
    }

    /// Sets the shape of an input. Needed for every dynamic input before the first enqueue and when it changes.
    ///
    /// # Errors
    /// [`Error::Argument`] for an unknown name or a rank above 8, [`Error::Refused`] with TensorRT's log lines for a
    /// shape outside the profile.
    pub fn set_shape(&mut self, input: &str, dims: &[usize]) -> Result<(), Error> {
        let name = find(&self.names, input)?;
        let raw = raw_dims(dims)?;
        let rank = i32::try_from(dims.len()).unwrap_or(i32::MAX);
        let mark = self.engine.log().mark();
        // SAFETY: a live context, a NUL-terminated name and at least `rank` dimensions.
        let status =
            unsafe { (self.engine.api().context_set_shape)(self.context.as_ptr(), name.as_ptr(), rank, raw.as_ptr()) };
        check(status, Some((self.engine.log(), mark)))
    }

    /// The shape of a tensor, given the input shapes set so far; -1 for dimensions that are still unknown.
    ///
    /// # Errors
    /// [`Error::Argument`] for an unknown name.
    pub fn shape(&self, tensor: &str) -> Result<Vec<i64>, Error> {
        let name = find(&self.names, tensor)?;
        let mark = self.engine.log().mark();
        let (mut rank, mut dims) = (0, [0; sys::MAX_RANK]);
        // SAFETY: a live context, a NUL-terminated name, places for a rank and eight dimensions.
        let status = unsafe {
            (self.engine.api().context_shape)(self.context.as_ptr(), name.as_ptr(), &raw mut rank, dims.as_mut_ptr())
        };
        check(status, Some((self.engine.log(), mark)))?;
        Ok(dims[..usize::try_from(rank).unwrap_or_default()].to_vec())
    }

    /// Inputs whose shape (for shape inputs: address) is still missing; empty when outputs have their shapes.
    ///
    /// # Errors
    /// [`Error::Refused`] with TensorRT's log lines when the shapes contradict each other.
    pub fn missing_shapes(&mut self) -> Result<Vec<String>, Error> {
        let mark = self.engine.log().mark();
        let (mut names, mut count) = ([ptr::null::<c_char>(); sys::MAX_RANK], 0);
        // SAFETY: a live context, room for eight names and a count.
        let status =
            unsafe { (self.engine.api().context_missing)(self.context.as_ptr(), names.as_mut_ptr(), &raw mut count) };
        check(status, Some((self.engine.log(), mark)))?;
        let named = names.iter().take(usize::try_from(count).unwrap_or_default());
        // SAFETY: the shim sets names that live as long as the engine, or leaves null.
        Ok(named.map(|&name| unsafe { text(name) }.unwrap_or_else(|| "?".to_owned())).collect())
    }

    /// Sets a tensor's address: on the device, or on the host for a tensor with `on_host`. Allocates nothing.
    ///
    /// # Safety
    /// `address` is aligned to 256 bytes. From the next enqueue until its work on the stream is done, it points to memory of
    /// the tensor's size, which nothing else accesses unless the tensor is an input, which nothing else writes.
    ///
    /// # Errors
    /// [`Error::Argument`] for an unknown name, [`Error::Refused`] with TensorRT's log lines.
    pub unsafe fn set_address(&mut self, tensor: &str, address: u64) -> Result<(), Error> {
        let name = find(&self.names, tensor)?;
        let mark = self.engine.log().mark();
        // SAFETY: a live context and a NUL-terminated name; the address is the caller's promise.
        let status = unsafe { (self.engine.api().context_set_address)(self.context.as_ptr(), name.as_ptr(), address) };
        check(status, Some((self.engine.log(), mark)))
    }

    /// Gives the context its activation memory: at least [`super::Engine::activation_bytes`] on the device.
    ///
    /// # Safety
    /// `address` is aligned to 256 bytes and points to `bytes` bytes of device memory as long as this context is enqueued;
    /// while work of this context is running, nothing else uses it. Contexts that never run concurrently may share it.
    ///
    /// # Errors
    /// [`Error::Argument`] when it is too small or badly aligned.
    pub unsafe fn set_activation(&mut self, address: u64, bytes: u64) -> Result<(), Error> {
        if bytes < self.activation_bytes {
            return Err(Error::Argument(format!(
                "activation memory of {bytes} bytes, this engine needs {}",
                self.activation_bytes
            )));
        }
        let mark = self.engine.log().mark();
        // SAFETY: a live context; the memory is the caller's promise.
        let status = unsafe { (self.engine.api().context_set_memory)(self.context.as_ptr(), address, bytes) };
        check(status, Some((self.engine.log(), mark)))?;
        self.has_activation = true;
        Ok(())
    }

    /// Enqueues one run on a stream and returns before it is done. Allocates nothing if it succeeds.
    ///
    /// # Safety
    /// `stream` is a live `CUstream` of the current CUDA context; the requirements of [`Self::set_address`] and
    /// [`Self::set_activation`] are met until the work is done; and no work of this context is still running on another
    /// stream.
    ///
    /// # Errors
    /// [`Error::Refused`] with TensorRT's log lines; [`Error::Argument`] when activation memory was never given.
    pub unsafe fn enqueue(&mut self, stream: *mut c_void) -> Result<(), Error> {
        if !self.has_activation && self.activation_bytes > 0 {
            return Err(Error::Argument(format!(
                "the context has no activation memory yet, this engine needs {} bytes",
                self.activation_bytes
            )));
        }
        let mark = self.engine.log().mark();
        // SAFETY: a live context with activation memory; addresses and stream are the caller's promise.
        let status = unsafe { (self.engine.api().context_enqueue)(self.context.as_ptr(), stream) };
        check(status, Some((self.engine.log(), mark)))
    }
}
