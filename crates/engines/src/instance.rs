//! A pipeline for given values of the symbols and a given number of iterations: every buffer allocated and every run bound.
//! It is created once and replayed at each inference.

use super::constants::{Tables, rows};
use super::frames::FrameSlots;
use super::graph::{Graph, GraphNode, Symbols, TensorOrigin, resolve};
use super::{Backend, BoundInput, BufferSpec, Cause, Error, StageOutput, StageTime};
use vla_base::tensor::{DType, HostTensor, display_dims, without_batch};

mod check;
mod layout;

use layout::{Layout, order};

/// Buffers and bound runs for one (symbols, iterations).
pub(super) struct Instance<B: Backend> {
    // Declared in the order in which they must be dropped: users of the workspace, then the workspace.
    recording: Recording<B::Recording>,
    steps: Vec<Step<B>>,
    workspace: B::Workspace,
    pub symbols: Symbols,
    pub iterations: u32,
    layout: Layout,
    /// For each tensor written by the host in another type than the engine's: where it is converted.
    staging: Vec<Option<HostTensor>>,
}

struct Step<B: Backend> {
    stage: usize,
    iteration: usize,
    bound: B::Bound,
    /// Timing event after it; `None` when the next step belongs to the same stage.
    event: Option<usize>,
}

/// The recording of a pass.
enum Recording<R> {
    /// The pass has not run yet: the first run of an engine may allocate, which cannot be recorded.
    NotYet,
    /// The backend does not record.
    Never,
    /// Recorded.
    Recorded(R),
}

impl<B: Backend> Instance<B> {
    pub(crate) fn new(
        backend: &mut B,
        engines: &mut [B::Engine],
        graph: &Graph,
        tables: &Tables,
        symbols: &Symbols,
        iterations: u32,
        frames: &[usize],
    ) -> Result<Self, Error> {
        // StreamedFile: the shapes of an instance never change, and tensors of other shapes are refused when they are written.
        check::inputs(backend, engines, graph, symbols)?;
        let (layout, buffers) = Layout::new(graph, symbols, iterations, frames)?;
        let order = order(graph, iterations as usize);
        let ends: Vec<bool> = (0..order.len())
            .map(|at| order.get(at + 1).is_none_or(|(next, _)| order.get(at).is_some_and(|(stage, _)| stage != next)))
            .collect();
        let workspace = backend.workspace(&buffers, 1 + ends.iter().filter(|end| **end).count())?;
        let mut instance = Self {
            recording: Recording::NotYet,
            steps: Vec::new(),
            workspace,
            symbols: symbols.clone(),
            iterations,
            layout,
            staging: graph.tensors.iter().map(|_| None).collect(),
        };
        instance.fill_constants(backend, graph, tables)?;
        let mut event = 0;
        for ((stage, iteration), end) in order.into_iter().zip(ends) {
            event += usize::from(end);
            let bound = instance.bind(backend, &mut engines[stage], graph, stage, iteration)?;
            instance.steps.push(Step { stage, iteration, bound, event: end.then_some(event) });
        }
        Ok(instance)
    }

    fn bind(
        &mut self,
        backend: &mut B,
        engine: &mut B::Engine,
        graph: &Graph,
        stage: usize,
        iteration: usize,
    ) -> Result<B::Bound, Error> {
        let named = |tensors: &[(String, usize)]| -> Vec<(String, usize)> {
            let buffer = |tensor: usize| self.layout.buffer(graph, tensor, iteration);
            tensors.iter().map(|(name, tensor)| (name.clone(), buffer(*tensor))).collect()
        };
        let stage = &graph.stages[stage];
        let (inputs, outputs) = (named(&stage.inputs), named(&stage.outputs));
        backend.bind(engine, &mut self.workspace, &inputs, &outputs)
    }

    /// Writes the rows of every table of constants, each into a buffer.
    fn fill_constants(&mut self, backend: &mut B, graph: &Graph, tables: &Tables) -> Result<(), Error> {
        for (tensor, buffers) in graph.tensors.iter().zip(&self.layout.buffers) {
            let TensorOrigin::Constants(file) = &tensor.origin else { continue };
            let input = &tensor.spec.name;
            let fail = |source: Cause| Error::Constants { input: input.clone(), file: file.clone(), source };
            let table = tables.table(file, input, self.iterations).map_err(|reason| fail(reason.into()))?;
            let dims = resolve(&tensor.spec, &self.symbols)?;
            let dtype = tensor.spec.dtype;
            let rows = rows(&table);
            if rows.len() != buffers.len() {
                return Err(fail(format!("expected {} rows, found {}", buffers.len(), rows.len()).into()));
            }
            for (row, buffer) in rows.into_iter().zip(buffers) {
                let mut converted = HostTensor::zeros(dtype, &dims).ok_or_else(|| fail("too many elements".into()))?;
                if row.dims() != dims || (row.dtype() != dtype && !row.convert_into(&mut converted)) {
                    let (expected, found) = (display_dims(&dims), display_dims(row.dims()));
                    let found_type = row.dtype();
                    return Err(fail(
                        format!("expected rows of {dtype} {expected}, found {found_type} {found}").into(),
                    ));
                }
                let row = if row.dtype() == dtype { &row } else { &converted };
                backend.write(&mut self.workspace, *buffer, row).map_err(|error| fail(error.into()))?;
            }
        }
        Ok(())
    }

    /// Copies a host tensor in, and converts it where the network reads another type ([`HostTensor::convert_into`]), but for pixels that
    /// may be given as frames. Leading dimensions of 1 are ignored.
    pub(crate) fn write(
        &mut self,
        backend: &mut B,
        graph: &Graph,
        tensor: usize,
        host: &HostTensor,
    ) -> Result<(), Error> {
        let spec = &graph.tensors[tensor].spec;
        let (dims, buffer) = (&self.layout.dims[tensor], self.layout.buffers[tensor][0]);
        let refuse = |expected: String| Error::HostTensor {
            tensor: spec.name.clone(),
            expected,
            found: format!("{} {}", host.dtype(), display_dims(host.dims())),
        };
        let named = |error: Error| match error {
            Error::BufferSize { expected, .. } => refuse(expected),
            error => error,
        };
        if !same_but_for_batch(host.dims(), dims) {
            return Err(refuse(format!("{} {}", spec.dtype, display_dims(dims))));
        }
        if let Some(buffers) = self.layout.frames_of(tensor) {
            let Some(memory) = backend.input_buffer_mut(&mut self.workspace, buffers.slots) else {
                // There is none when waiting for the device failed; this returns the reason.
                backend.finish()?;
                let source = "expected the memory of its slots, found none; load the policy again".into();
                return Err(Error::Device { action: format!("writing tensor '{}'", spec.name), source });
            };
            let pixels = FrameSlots::new(memory, buffers.size).into_pixels();
            let values = host.as_f32().filter(|values| values.len() == pixels.len());
            let values = values.ok_or_else(|| refuse(format!("{} {}", spec.dtype, display_dims(dims))))?;
            pixels.copy_from_slice(values);
            return Ok(());
        }
        if host.dtype() == spec.dtype {
            return backend.write(&mut self.workspace, buffer, host).map_err(named);
        }
        if self.staging[tensor].is_none() {
            self.staging[tensor] = HostTensor::zeros(spec.dtype, dims);
        }
        let staging = self.staging[tensor].as_mut();
        match staging.and_then(|staging| host.convert_into(staging).then_some(staging)) {
            Some(converted) => backend.write(&mut self.workspace, buffer, converted).map_err(named),
            None => Err(refuse(format!("{} (or a type that converts to it)", spec.dtype))),
        }
    }

    /// The upload buffer of an `f32` tensor; `None` for other types.
    pub(crate) fn input_buffer_mut(&mut self, backend: &mut B, graph: &Graph, tensor: usize) -> Option<&mut [f32]> {
        if self.layout.frames_of(tensor).is_some() {
            return self.frames_mut(backend, tensor).map(FrameSlots::into_pixels);
        }
        let single = graph.tensors[tensor].spec.dtype == DType::F32;
        if single { backend.input_buffer_mut(&mut self.workspace, self.layout.buffers[tensor][0]) } else { None }
    }

    /// The slots of a tensor that may be given as frames.
    pub(crate) fn frames_mut(&mut self, backend: &mut B, tensor: usize) -> Option<FrameSlots<'_>> {
        let buffers = self.layout.frames_of(tensor)?;
        Some(FrameSlots::new(backend.input_buffer_mut(&mut self.workspace, buffers.slots)?, buffers.size))
    }

    /// Copies a tensor out; after the repeated group, the value of its last iteration.
    pub(crate) fn read(
        &self,
        backend: &mut B,
        graph: &Graph,
        tensor: usize,
        host: &mut HostTensor,
    ) -> Result<(), Error> {
        let last = (self.iterations as usize).saturating_sub(1);
        let spec = &graph.tensors[tensor].spec;
        let dims = &self.layout.dims[tensor];
        if host.dtype() != spec.dtype || !same_but_for_batch(host.dims(), dims) {
            return Err(Error::HostTensor {
                tensor: spec.name.clone(),
                expected: format!("{} {}", spec.dtype, display_dims(dims)),
                found: format!("{} {}", host.dtype(), display_dims(host.dims())),
            });
        }
        let buffer = self.layout.buffer(graph, tensor, last);
        let read = match graph.result() == Some(tensor) {
            true => backend.downloaded(&self.workspace, buffer, host),
            false => backend.read(&self.workspace, buffer, host),
        };
        read.map_err(|error| reading(&spec.name, error))
    }

    /// Bound inputs of every stage.
    pub(crate) fn inputs<'p>(&'p self, graph: &'p Graph) -> impl Iterator<Item = BoundInput<'p>> {
        graph.stages.iter().flat_map(move |stage| {
            stage.inputs.iter().map(move |(tensor, at)| BoundInput {
                stage: &stage.name,
                tensor,
                dtype: graph.tensors[*at].spec.dtype,
                dims: &self.layout.dims[*at],
            })
        })
    }

    /// Runs every step in order, adding to the time of its stage.
    pub(crate) fn execute(
        &mut self,
        backend: &mut B,
        engines: &mut [B::Engine],
        graph: &Graph,
        times: &mut [StageTime],
    ) -> Result<(), Error> {
        let Self { recording, steps, workspace, layout, .. } = self;
        let report = |backend: &B, engines: &[B::Engine], error| {
            check::pass_failure(backend, engines, graph, &layout.dims, error)
        };
        match recording {
            Recording::Recorded(recording) => {
                backend.replay(recording, workspace).map_err(|error| report(backend, engines, error))?;
            }
            Recording::NotYet | Recording::Never => {
                if let Err(error) = pass(backend, engines, graph, steps, workspace, layout) {
                    // What did start must end before the host touches the workspace again.
                    backend.finish().unwrap_or_else(|error| tracing::debug!(%error, "after a failed pass"));
                    return Err(error);
                }
            }
        }
        backend.finish().map_err(|error| report(backend, engines, error))?;
        for (event, step) in steps.iter().filter(|step| step.event.is_some()).enumerate() {
            if let Some(time) = times.get_mut(step.stage) {
                time.time += backend.elapsed(workspace, event);
            }
        }
        if matches!(recording, Recording::NotYet) {
            let mut again =
                |backend: &mut B, workspace: &mut B::Workspace| pass(backend, engines, graph, steps, workspace, layout);
            let recorded = backend.record(workspace, &mut again)?;
            *recording = recorded.map_or(Recording::Never, Recording::Recorded);
        }
        Ok(())
    }

    /// Like [`Self::execute`]; passes every output to `see` as soon as it is computed, and the constants of an iteration before
    /// it runs, including those that no stage reads. Copies and allocates.
    pub(crate) fn inspect(
        &mut self,
        backend: &mut B,
        engines: &mut [B::Engine],
        graph: &Graph,
        tables: &Tables,
        see: &mut dyn FnMut(StageOutput<'_>),
    ) -> Result<(), Error> {
        let Self { steps, workspace, layout, iterations, .. } = self;
        let show = |see: &mut dyn FnMut(StageOutput<'_>),
                    backend: &mut B,
                    workspace: &B::Workspace,
                    stage: &GraphNode,
                    tensor: usize,
                    iteration: usize| {
            let spec = &graph.tensors[tensor].spec;
            let buffer = layout.buffer(graph, tensor, iteration);
            let too_large = || Error::Device { action: "reading".to_owned(), source: "too many elements".into() };
            let held = HostTensor::zeros(spec.dtype, &layout.dims[tensor]);
            let mut held = held.ok_or_else(|| reading(&spec.name, too_large()))?;
            backend.read(workspace, buffer, &mut held).map_err(|error| reading(&spec.name, error))?;
            see(StageOutput { name: &spec.name, iteration: stage.repeat.then_some(iteration), tensor: held });
            Ok::<(), Error>(())
        };
        upload(backend, workspace, layout)?;
        let unread = tables.unread(graph, *iterations)?;
        let mut shown = 0;
        for step in steps {
            let stage = &graph.stages[step.stage];
            if stage.repeat && step.iteration == shown {
                for (name, rows) in &unread {
                    if let Some(row) = rows.get(shown) {
                        see(StageOutput { name, iteration: Some(shown), tensor: row.clone() });
                    }
                }
                shown += 1;
            }
            let constant = |tensor: &usize| matches!(graph.tensors[*tensor].origin, TensorOrigin::Constants(_));
            for tensor in stage.inputs.iter().map(|(_, tensor)| *tensor).filter(constant) {
                show(see, backend, workspace, stage, tensor, step.iteration)?;
            }
            let run = backend.run(&mut engines[step.stage], &mut step.bound, workspace);
            run.map_err(|error| {
                check::failure(backend, engines, graph, (step.stage, step.iteration), &layout.dims, error)
            })?;
            backend.finish()?;
            for (_, tensor) in &stage.outputs {
                show(see, backend, workspace, stage, *tensor, step.iteration)?;
            }
        }
        backend.download(workspace)?;
        backend.finish()
    }
}

/// Starts everything, from upload to download.
fn pass<B: Backend>(
    backend: &mut B,
    engines: &mut [B::Engine],
    graph: &Graph,
    steps: &mut [Step<B>],
    workspace: &mut B::Workspace,
    layout: &Layout,
) -> Result<(), Error> {
    upload(backend, workspace, layout)?;
    backend.record_event(workspace, 0)?;
    for step in steps {
        let run = backend.run(&mut engines[step.stage], &mut step.bound, workspace);
        run.map_err(|error| {
            check::failure(backend, engines, graph, (step.stage, step.iteration), &layout.dims, error)
        })?;
        if let Some(event) = step.event {
            backend.record_event(workspace, event)?;
        }
    }
    backend.download(workspace)
}

/// Starts the upload of the inputs, and has pixels made of frames.
fn upload<B: Backend>(backend: &mut B, workspace: &mut B::Workspace, layout: &Layout) -> Result<(), Error> {
    backend.upload(workspace)?;
    layout.frames.iter().try_for_each(|(_, buffers)| backend.make_pixels(workspace, buffers))
}

/// An error of reading a tensor, with its name. A lost device stays one.
fn reading(tensor: &str, error: Error) -> Error {
    match error {
        Error::DeviceLost { .. } => error,
        error => Error::Device { action: format!("reading tensor '{tensor}'"), source: error.into() },
    }
}

fn same_but_for_batch(a: &[usize], b: &[usize]) -> bool {
    let rank = a.len().min(b.len());
    without_batch(a, rank).zip(without_batch(b, rank)).is_some_and(|(a, b)| a == b)
}
