//! ONNX Runtime on the CPU: the numeric reference, and the engine that needs no GPU.
//!
//! The library is opened at run time: from `ORT_DYLIB_PATH`, else `libonnxruntime.so` on the loader's path, so the
//! same binary starts on machines without it and says what is missing.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ort::environment::Environment;
use ort::memory::Allocator;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{IoBinding, Session};
use ort::value::{DynTensor, Outlet, TensorElementType, ValueType};

use super::{Backend, BufferSpec, Cause, Error, Footprint, ProvenanceStatus, RuntimeLibrary, Stage};
use crate::onnx::Network;
use vla_base::sys::{map, private};
use vla_base::tensor::{DType, Data, Dim, HostTensor, TensorSpec};

/// ONNX Runtime's CPU provider.
pub struct Onnx {
    environment: Environment,
    threads: usize,
    in_place: bool,
    integer_kernels: bool,
}

/// A session with its own description of its tensors.
pub struct OnnxEngine {
    session: Session,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
}

/// Tensors in host memory, and timing events.
pub struct Workspace {
    tensors: Vec<DynTensor>,
    events: Vec<Instant>,
}

impl Onnx {
    /// Opens the library. `threads`: how many compute one inference; results do not depend on it only when it is
    /// the same on both sides of a comparison.
    ///
    /// # Errors
    /// [`Error::Library`].
    pub fn new(threads: usize) -> Result<Self, Error> {
        Ok(Self { environment: environment()?, threads: threads.max(1), in_place: false, integer_kernels: false })
    }

    /// Runs on the weights where they lie in their mapped files, in place of a copy in another order: some slower, and
    /// needs memory for activations alone. For programs that measure networks one by one: who writes into the files
    /// meanwhile changes the results, and who cuts them short ends the program.
    pub fn without_prepacking(self) -> Self {
        Self { in_place: true, ..self }
    }

    /// Runs quantised products in integers, in place of the program that the file describes: QuantizeLinear and
    /// DequantizeLinear around products in floating point, which is what TensorRT builds an engine from. Faster, and not a
    /// reference: ONNX Runtime 1.32 fuses a product with an activation that is read once only, the fused kernels saturate on
    /// CPUs without VNNI, and weight-only networks get 8-bit activations.
    pub fn with_integer_kernels(self) -> Self {
        Self { integer_kernels: true, ..self }
    }

    /// Version of the opened library, such as `1.32.0`; `None` when the loader finds it under another name than it was opened by.
    pub fn version(&self) -> Option<String> {
        vla_base::sys::onnx_runtime::version(&library())
    }

    fn builder(&self) -> ort::Result<SessionBuilder> {
        let as_written = if self.integer_kernels { "0" } else { "1" };
        Ok(Session::builder(&self.environment)?
            .with_config_entry("session.disable_quant_qdq", as_written)?
            .with_optimization_level(GraphOptimizationLevel::Level3)?
            .with_intra_threads(self.threads)?
            .with_deterministic_compute(true)?
            .with_prepacking(!self.in_place)?
            // A spinning worker would take the cores that decode the next images.
            .with_intra_op_spinning(false)?)
    }

    /// A session of the network in `file`. ONNX Runtime maps files of weights and keeps them mapped, so it gets a
    /// private copy of them, whose names are gone when this returns.
    fn session(&self, file: &Path) -> Result<Session, Cause> {
        let mut builder = self.builder()?;
        let model = if self.in_place { map::map(file)? } else { private::read(file)? };
        // For an invalid network, ONNX Runtime returns the error.
        let network = Network::decode(file, model.clone()).ok();
        if let Some(problem) = network.as_ref().and_then(|network| network.data_problems().into_iter().next()) {
            return Err(problem.into());
        }
        if self.in_place {
            return Ok(builder.commit_from_file(file)?);
        }
        let data = network.map(|network| network.data_files).unwrap_or_default();
        if data.is_empty() {
            return Ok(builder.commit_from_memory(&model)?);
        }
        let files: Vec<PathBuf> = std::iter::once(file.to_owned()).chain(data).collect();
        let root = file.parent().unwrap_or(Path::new(""));
        let copies = private::PrivateFolder::copy(root, &files)?;
        Ok(builder.commit_from_file(copies.file(file))?)
    }
}

/// The library to open.
fn library() -> PathBuf {
    std::env::var_os("ORT_DYLIB_PATH").map_or_else(|| PathBuf::from("libonnxruntime.so"), PathBuf::from)
}

/// One environment a process: opening the library twice is refused by the crate.
fn environment() -> Result<Environment, Error> {
    static OPENED: Mutex<Option<Environment>> = Mutex::new(None);
    let mut opened = OPENED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(environment) = opened.as_ref() {
        return Ok(environment.clone());
    }
    let path = library();
    let fail = |error: &dyn std::fmt::Display| Error::Library {
        library: RuntimeLibrary::OnnxRuntime,
        source: format!("{}: {error}", path.display()).into(),
    };
    let environment = ort::init_from(&path)
        .map_err(|error| fail(&error))?
        .with_telemetry(false)
        .build()
        .map_err(|error| fail(&error))?;
    Ok(opened.insert(environment).clone())
}

impl Backend for Onnx {
    type Engine = OnnxEngine;
    type Workspace = Workspace;
    type Bound = IoBinding;
    /// Every call starts its engine and waits for it: nothing to record.
    type Recording = Infallible;

    fn kind(&self) -> &'static str {
        "onnx"
    }

    fn footprint(&self, stage: &Stage, _verified: &ProvenanceStatus) -> Result<Footprint, Error> {
        Footprint::of_onnx(stage, self.integer_kernels)
    }

    fn load(&mut self, stage: &Stage, _verified: &ProvenanceStatus) -> Result<OnnxEngine, Error> {
        let fail = |source: Cause| Error::Load { stage: stage.name.clone(), file: stage.file.clone(), source };
        let session = self.session(&stage.file).map_err(fail)?;
        let inputs = describe(session.inputs()).map_err(|reason| fail(reason.into()))?;
        let outputs = describe(session.outputs()).map_err(|reason| fail(reason.into()))?;
        Ok(OnnxEngine { session, inputs, outputs })
    }

    fn inputs<'e>(&self, engine: &'e OnnxEngine) -> &'e [TensorSpec] {
        &engine.inputs
    }

    fn outputs<'e>(&self, engine: &'e OnnxEngine) -> &'e [TensorSpec] {
        &engine.outputs
    }

    fn workspace(&mut self, buffers: &[BufferSpec], events: usize) -> Result<Workspace, Error> {
        let allocate = |buffer: &BufferSpec| {
            let BufferSpec { dtype, dims, .. } = buffer;
            DynTensor::new(&Allocator::default(), element_type(*dtype), dims.as_slice()).map_err(|error| {
                Error::Device {
                    action: format!("allocating {dtype} {}", vla_base::tensor::display_dims(dims)),
                    source: error.into(),
                }
            })
        };
        let tensors = buffers.iter().map(allocate).collect::<Result<_, _>>()?;
        Ok(Workspace { tensors, events: vec![Instant::now(); events] })
    }

    fn bind(
        &mut self,
        engine: &mut OnnxEngine,
        workspace: &mut Workspace,
        inputs: &[(String, usize)],
        outputs: &[(String, usize)],
    ) -> Result<IoBinding, Error> {
        let fail = |tensor: &str, error: ort::Error| Error::Device {
            action: format!("binding '{tensor}'"),
            source: error.into(),
        };
        let mut bound = engine.session.create_binding().map_err(|error| fail("", error))?;
        for (tensor, index) in inputs {
            bound.bind_input(tensor, &workspace.tensors[*index]).map_err(|error| fail(tensor, error))?;
        }
        for (tensor, index) in outputs {
            bound.bind_output(tensor, &mut workspace.tensors[*index]).map_err(|error| fail(tensor, error))?;
        }
        Ok(bound)
    }

    fn write(&mut self, workspace: &mut Workspace, index: usize, tensor: &HostTensor) -> Result<(), Error> {
        let buffer = &mut workspace.tensors[index];
        match tensor.data() {
            Data::F32(values) => copy_in(buffer, values),
            Data::F16(values) => copy_in(buffer, values),
            Data::BF16(values) => copy_in(buffer, values),
            Data::I32(values) => copy_in(buffer, values),
            Data::I64(values) => copy_in(buffer, values),
            Data::U8(values) => copy_in(buffer, values),
            Data::Bool(values) => copy_in(buffer, values),
        }
    }

    fn input_buffer_mut<'w>(&mut self, workspace: &'w mut Workspace, index: usize) -> Option<&'w mut [f32]> {
        workspace.tensors[index].try_extract_tensor_mut::<f32>().ok().map(|(_, values)| values)
    }

    fn upload(&mut self, _: &mut Workspace) -> Result<(), Error> {
        Ok(())
    }

    fn run(&mut self, engine: &mut OnnxEngine, bound: &mut IoBinding, _: &mut Workspace) -> Result<(), Error> {
        let run = engine.session.run_binding(bound).map(drop);
        run.map_err(|error| Error::Device { action: "running the network".to_owned(), source: error.into() })
    }

    fn record_event(&mut self, workspace: &mut Workspace, event: usize) -> Result<(), Error> {
        workspace.events[event] = Instant::now();
        Ok(())
    }

    fn download(&mut self, _: &mut Workspace) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn elapsed(&self, workspace: &Workspace, event: usize) -> Duration {
        workspace.events[event + 1].duration_since(workspace.events[event])
    }

    fn downloaded(&self, workspace: &Workspace, index: usize, tensor: &mut HostTensor) -> Result<(), Error> {
        copy(&workspace.tensors[index], tensor)
    }

    fn read(&mut self, workspace: &Workspace, index: usize, tensor: &mut HostTensor) -> Result<(), Error> {
        copy(&workspace.tensors[index], tensor)
    }

    fn replay(&mut self, recording: &mut Infallible, _: &mut Workspace) -> Result<(), Error> {
        match *recording {}
    }
}

fn copy(buffer: &DynTensor, tensor: &mut HostTensor) -> Result<(), Error> {
    match tensor.data_mut() {
        Data::F32(values) => copy_out(buffer, values),
        Data::F16(values) => copy_out(buffer, values),
        Data::BF16(values) => copy_out(buffer, values),
        Data::I32(values) => copy_out(buffer, values),
        Data::I64(values) => copy_out(buffer, values),
        Data::U8(values) => copy_out(buffer, values),
        Data::Bool(values) => copy_out(buffer, values),
    }
}

fn copy_in<T>(buffer: &mut DynTensor, values: &[T]) -> Result<(), Error>
where
    T: ort::value::PrimitiveTensorElementType + Copy + std::fmt::Debug,
{
    let (_, target) = buffer.try_extract_tensor_mut::<T>().map_err(another_type)?;
    if target.len() != values.len() {
        return Err(size(target.len(), values.len()));
    }
    target.copy_from_slice(values);
    Ok(())
}

fn copy_out<T>(buffer: &DynTensor, values: &mut [T]) -> Result<(), Error>
where
    T: ort::value::PrimitiveTensorElementType + Copy + std::fmt::Debug,
{
    let (_, source) = buffer.try_extract_tensor::<T>().map_err(another_type)?;
    if source.len() != values.len() {
        return Err(size(source.len(), values.len()));
    }
    values.copy_from_slice(source);
    Ok(())
}

fn another_type(error: ort::Error) -> Error {
    Error::Device { action: "accessing a tensor".to_owned(), source: error.into() }
}

fn size(buffer: usize, tensor: usize) -> Error {
    Error::BufferSize { expected: format!("{buffer} elements"), found: format!("{tensor} elements") }
}

fn element_type(dtype: DType) -> TensorElementType {
    match dtype {
        DType::F32 => TensorElementType::Float32,
        DType::F16 => TensorElementType::Float16,
        DType::BF16 => TensorElementType::Bfloat16,
        DType::I32 => TensorElementType::Int32,
        DType::I64 => TensorElementType::Int64,
        DType::U8 => TensorElementType::Uint8,
        DType::Bool => TensorElementType::Bool,
    }
}

/// The network's own description; a dynamic dimension without a name is called `?`.
fn describe(outlets: &[Outlet]) -> Result<Vec<TensorSpec>, String> {
    outlets
        .iter()
        .map(|outlet| {
            let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else {
                return Err(format!("'{}' is not a tensor", outlet.name()));
            };
            let dtype = match ty {
                TensorElementType::Float32 => DType::F32,
                TensorElementType::Float16 => DType::F16,
                TensorElementType::Bfloat16 => DType::BF16,
                TensorElementType::Int32 => DType::I32,
                TensorElementType::Int64 => DType::I64,
                TensorElementType::Uint8 => DType::U8,
                TensorElementType::Bool => DType::Bool,
                other => return Err(format!("'{}' has the element type {other}, which no policy uses", outlet.name())),
            };
            let dims = shape.iter().enumerate().map(|(axis, &n)| match usize::try_from(n) {
                Ok(n) => Dim::Fixed(n),
                Err(_) => {
                    let symbol = dimension_symbols.get(axis).filter(|symbol| !symbol.is_empty());
                    Dim::Symbol(symbol.cloned().unwrap_or_else(|| "?".into()))
                }
            });
            Ok(TensorSpec { name: outlet.name().to_owned(), dtype, dims: dims.collect() })
        })
        .collect()
}
