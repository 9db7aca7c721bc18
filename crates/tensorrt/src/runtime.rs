//! Runtime and engine: owners of the C++ objects, loading, and the description of an engine.

use std::ffi::CString;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::RuntimeCache;
use super::context::Context;
use super::family::Family;
use super::library::not_null;
use super::load::{Collected, EngineFile, collect};
use super::log::Log;
use super::result::{Error, check, text};
use super::tensor::{self, Described, Tensor};
use super::{Library, sys};
use vla_engines::profile::Profile;

/// Deserializes engines.
pub struct Runtime(Arc<RuntimeHandle>);

struct RuntimeHandle {
    runtime: NonNull<sys::Runtime>,
    /// TensorRT does not allow concurrent use of one runtime.
    busy: Mutex<()>,
    library: Library,
    log: Log,
}

// SAFETY: TensorRT's runtime is not tied to the thread that made it; every use goes through `busy`, and dropping it
// takes the only reference.
unsafe impl Send for RuntimeHandle {}
// SAFETY: as above: `&RuntimeHandle` reaches the runtime only with `busy` held.
unsafe impl Sync for RuntimeHandle {}

impl Drop for RuntimeHandle {
    fn drop(&mut self) {
        // SAFETY: made by `vla_trt_runtime_new`, freed once. Every engine holds this handle, so none is left; library
        // and log are fields, dropped after this.
        unsafe { (self.library.api().runtime_free)(self.runtime.as_ptr()) };
    }
}

impl Runtime {
    /// A runtime whose refusals quote `log`.
    ///
    /// # Errors
    /// [`Error::Refused`] with TensorRT's log lines, for instance without a CUDA device.
    pub fn new(library: &Library, log: &Log) -> Result<Self, Error> {
        let mark = log.mark();
        let mut runtime = ptr::null_mut();
        // SAFETY: a live library (kept by the handle below), and a place to write one pointer to.
        let status = unsafe { (library.api().runtime_new)(library.as_ptr(), &raw mut runtime) };
        check(status, Some((log, mark)))?;
        let runtime = not_null(runtime)?;
        Ok(Self(Arc::new(RuntimeHandle { runtime, busy: Mutex::new(()), library: library.clone(), log: log.clone() })))
    }

    /// The library that it runs on.
    pub fn library(&self) -> &Library {
        &self.0.library
    }

    /// Deserializes an engine file. The file is read once, from front to back: through a stream reader from TensorRT 10 on,
    /// from a mapping before, and never as a whole into anonymous memory. Buffers and mappings are released before this
    /// returns. The file must not be modified in place meanwhile.
    ///
    /// # Errors
    /// [`Error::Io`] for the file, [`Error::OtherFamily`] for an engine of the other library (before it is deserialized),
    /// [`Error::Refused`] with TensorRT's log lines, [`Error::Unsupported`] for an engine with an unsupported type or layout of an
    /// input or output.
    pub fn load(&self, file: &Path) -> Result<Engine, Error> {
        let log = &self.0.log;
        let api = self.0.library.api();
        let source = EngineFile::open(file)?;
        self.check_family(file, source.family())?;
        let mark = log.mark();
        let mut engine = ptr::null_mut();
        let status = {
            let _busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: a live runtime, locked by `busy`; `raw` points into `source`, which outlives the call.
            source.with_raw(|raw| unsafe { (api.engine_load)(self.0.runtime.as_ptr(), raw, &raw mut engine) })
        };
        let read = source.close(file);
        if status == sys::CALLBACK {
            read?;
        }
        check(status, Some((log, mark)))?;
        let handle = EngineHandle { engine: not_null(engine)?, busy: Mutex::new(()), runtime: Arc::clone(&self.0) };
        Engine::describe(Arc::new(handle))
    }

    /// Refuses an engine whose first bytes are those of the other family's engines.
    fn check_family(&self, file: &Path, found: Option<Family>) -> Result<(), Error> {
        let expected = self.0.library.family();
        match found {
            Some(found) if found != expected => Err(Error::OtherFamily { file: file.to_owned(), found, expected }),
            _ => Ok(()),
        }
    }
}

pub(super) struct EngineHandle {
    engine: NonNull<sys::Engine>,
    /// Serialises the creation of contexts and queries of the engine.
    busy: Mutex<()>,
    runtime: Arc<RuntimeHandle>,
}

// SAFETY: an engine is not tied to the thread that made it; uses that change it go through `busy`, and dropping it takes
// the only reference (contexts hold one).
unsafe impl Send for EngineHandle {}
// SAFETY: TensorRT lets several contexts of one engine run at once; everything else goes through `busy`.
unsafe impl Sync for EngineHandle {}

impl Drop for EngineHandle {
    fn drop(&mut self) {
        // SAFETY: made by `vla_trt_engine_load`, freed once. Every context holds this handle, so none is left; the
        // runtime is a field, dropped after this.
        unsafe { (self.api().engine_free)(self.engine.as_ptr()) };
    }
}

impl EngineHandle {
    pub(super) fn log(&self) -> &Log {
        &self.runtime.log
    }

    pub(super) fn api(&self) -> &'static sys::Api {
        self.runtime.library.api()
    }

    /// Runs `with` on the engine, with its family's functions, under the lock.
    pub(super) fn exclusive<T>(&self, with: impl FnOnce(&'static sys::Api, *mut sys::Engine) -> T) -> T {
        let _busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        with(self.api(), self.engine.as_ptr())
    }
}

/// A deserialized engine. Kept alive by its contexts, keeps its runtime and library alive.
pub struct Engine {
    handle: Arc<EngineHandle>,
    name: String,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    /// Names of inputs and outputs as C strings, so that the hot path allocates none.
    names: Arc<[CString]>,
    layers: usize,
    profiles: u32,
    activation_bytes: u64,
    weights_bytes: Option<u64>,
    hardware_compatibility: i32,
}

impl Engine {
    fn describe(handle: Arc<EngineHandle>) -> Result<Self, Error> {
        let mark = handle.log().mark();
        let mut info = std::mem::MaybeUninit::<sys::EngineInfo>::uninit();
        let (status, info) = handle.exclusive(|api, engine| {
            // SAFETY: a live engine, and a place to write the description to.
            let status = unsafe { (api.engine_describe)(engine, info.as_mut_ptr()) };
            (status, info)
        });
        check(status, Some((handle.log(), mark)))?;
        // SAFETY: the shim fills the whole struct before it returns OK.
        let info = unsafe { info.assume_init() };
        let (mut inputs, mut outputs, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..info.tensors {
            let Described { name, is_input, is_linear, mut tensor } = describe_tensor(&handle, index)?;
            if !is_linear {
                return Err(Error::Unsupported(format!(
                    "tensor '{}' of the engine is not stored row by row (a vectorised format): build the engine with \
                     linear inputs and outputs",
                    tensor.spec.name
                )));
            }
            if is_input {
                tensor.profile = profile_of(&handle, &name, 0)?;
                inputs.push(tensor);
            } else {
                outputs.push(tensor);
            }
            names.push(name);
        }
        Ok(Self {
            // SAFETY: the engine's name lives as long as the engine.
            name: unsafe { text(info.name) }.unwrap_or_default(),
            handle,
            inputs,
            outputs,
            names: names.into(),
            layers: usize::try_from(info.layers).unwrap_or_default(),
            profiles: u32::try_from(info.profiles).unwrap_or_default(),
            activation_bytes: u64::try_from(info.activation_bytes).unwrap_or_default(),
            weights_bytes: u64::try_from(info.weights_bytes).ok(),
            hardware_compatibility: info.hardware_compatibility,
        })
    }

    /// The name that the builder was given, often none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The inputs, in the engine's order, with the ranges of the first profile.
    pub fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    /// The outputs, in the engine's order.
    pub fn outputs(&self) -> &[Tensor] {
        &self.outputs
    }

    /// Bytes of device memory that a context needs while it runs, for the largest profile.
    pub fn activation_bytes(&self) -> u64 {
        self.activation_bytes
    }

    /// [`Self::activation_bytes`] of one profile; TensorRT 8.6 reports the largest for each.
    ///
    /// # Errors
    /// [`Error::Argument`] when there is no such profile.
    pub fn profile_activation_bytes(&self, profile: u32) -> Result<u64, Error> {
        let (mark, mut bytes) = (self.handle.log().mark(), 0);
        // SAFETY: a live engine, and a place to write the number to.
        let status = self.handle.exclusive(|api, engine| unsafe {
            (api.engine_profile_activation)(engine, raw_profile(profile), &raw mut bytes)
        });
        check(status, Some((self.handle.log(), mark)))?;
        Ok(u64::try_from(bytes).unwrap_or_default())
    }

    /// Size of the weights in bytes; reported from TensorRT 10.16 on.
    pub fn weights_bytes(&self) -> Option<u64> {
        self.weights_bytes
    }

    /// Layers after fusion.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Number of optimisation profiles.
    pub fn profiles(&self) -> u32 {
        self.profiles
    }

    /// The range of an input in a profile; `None` for an output.
    ///
    /// # Errors
    /// [`Error::Argument`] when there is no such tensor or profile.
    pub fn profile(&self, tensor: &str, profile: u32) -> Result<Option<Profile>, Error> {
        if self.outputs.iter().any(|output| output.spec.name == tensor) {
            return Ok(None);
        }
        if profile >= self.profiles {
            return Err(Error::Argument(format!("the engine has {} profiles, asked for {profile}", self.profiles)));
        }
        profile_of(&self.handle, find(&self.names, tensor)?, profile)
    }

    /// Whether the plan was built to run on other GPUs than the one it was built on (never on a Jetson).
    pub fn is_hardware_compatible(&self) -> bool {
        self.hardware_compatibility != 0
    }

    /// The layers as TensorRT's JSON: names only, unless the engine was built with detailed layers.
    ///
    /// # Errors
    /// [`Error::Refused`] with TensorRT's log lines.
    pub fn inspect(&self) -> Result<String, Error> {
        let mark = self.handle.log().mark();
        let mut collected = Collected::default();
        // SAFETY: a live engine; `collect` gets the `Collected` whose address goes with it, which outlives the call.
        let status =
            self.handle.exclusive(|api, engine| unsafe { (api.engine_inspect)(engine, collect, collected.user()) });
        check(status, Some((self.handle.log(), mark)))?;
        Ok(String::from_utf8_lossy(&collected.0).into_owned())
    }

    /// Checks that every input and output is in device memory. The CPU accesses shape inputs and shape outputs: a device
    /// address would crash the process.
    ///
    /// # Errors
    /// [`Error::Unsupported`] naming those that are not.
    pub fn check_locations(&self) -> Result<(), Error> {
        let on_host: Vec<String> = self
            .inputs
            .iter()
            .chain(&self.outputs)
            .filter(|tensor| tensor.on_host)
            .map(|tensor| format!("'{}'", tensor.spec.name))
            .collect();
        if on_host.is_empty() {
            return Ok(());
        }
        Err(Error::Unsupported(format!(
            "{} of the engine lies in host memory, because the network computes shapes from its values; expected inputs \
             and outputs on the device: export the network with these values as constants, or with a tensor whose \
             dimensions give the shape, and build again",
            on_host.join(", ")
        )))
    }

    /// A runtime cache for contexts of this engine: with TensorRT-RTX, which compiles kernels when a context is created.
    /// `earlier`: bytes of an earlier cache, or none.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with TensorRT, [`Error::Refused`] with the library's log lines.
    pub fn runtime_cache(&self, earlier: &[u8]) -> Result<RuntimeCache, Error> {
        RuntimeCache::new(Arc::clone(&self.handle), earlier)
    }

    /// An execution context on `profile`. It allocates no activation memory: call [`Context::set_activation`] before the
    /// first [`Context::enqueue`].
    ///
    /// # Errors
    /// [`Error::Argument`] when there is no such profile, [`Error::Refused`] with TensorRT's log lines.
    pub fn context(&self, profile: u32) -> Result<Context, Error> {
        if profile >= self.profiles.max(1) {
            return Err(Error::Argument(format!("the engine has {} profiles, asked for {profile}", self.profiles)));
        }
        Context::new(
            Arc::clone(&self.handle),
            Arc::clone(&self.names),
            raw_profile(profile),
            self.activation_bytes,
            None,
        )
    }

    /// [`Self::context`] with a runtime cache of this engine.
    ///
    /// # Errors
    /// As [`Self::context`], and [`Error::Argument`] for a cache of another engine.
    pub fn context_with(&self, profile: u32, cache: &Arc<RuntimeCache>) -> Result<Context, Error> {
        if profile >= self.profiles.max(1) {
            return Err(Error::Argument(format!("the engine has {} profiles, asked for {profile}", self.profiles)));
        }
        if !cache.is_of(&self.handle) {
            return Err(Error::Argument("the runtime cache belongs to another engine".to_owned()));
        }
        let (handle, names) = (Arc::clone(&self.handle), Arc::clone(&self.names));
        Context::new(handle, names, raw_profile(profile), self.activation_bytes, Some(Arc::clone(cache)))
    }
}

/// The C name of a tensor.
pub(super) fn find<'n>(names: &'n [CString], tensor: &str) -> Result<&'n CString, Error> {
    names.iter().find(|name| name.to_bytes() == tensor.as_bytes()).ok_or_else(|| {
        let known: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
        Error::Argument(format!("the engine has no tensor '{tensor}'; it has {}", known.join(", ")))
    })
}

fn raw_profile(profile: u32) -> i32 {
    i32::try_from(profile).unwrap_or(i32::MAX)
}

fn describe_tensor(handle: &EngineHandle, index: i32) -> Result<Described, Error> {
    let mark = handle.log().mark();
    let mut raw = std::mem::MaybeUninit::<sys::RawTensor>::uninit();
    // SAFETY: a live engine, and a place to write the description to.
    let status = handle.exclusive(|api, engine| unsafe { (api.engine_tensor)(engine, index, raw.as_mut_ptr()) });
    check(status, Some((handle.log(), mark)))?;
    // SAFETY: the shim fills the whole struct before it returns OK; the name lives as long as the engine.
    unsafe { Described::of(&raw.assume_init()) }
}

fn profile_of(handle: &EngineHandle, input: &CString, profile: u32) -> Result<Option<Profile>, Error> {
    let mark = handle.log().mark();
    let mut range = sys::Range::default();
    // SAFETY: a live engine, a NUL-terminated name, and a place to write the range to.
    let status = handle.exclusive(|api, engine| unsafe {
        (api.engine_profile)(engine, input.as_ptr(), raw_profile(profile), &raw mut range)
    });
    check(status, Some((handle.log(), mark)))?;
    tensor::profile_of(&range).map(Some)
}
