//! Stages of one backend: loaded in the operator's order, run in the policy's.

use super::constants::Tables;
use super::frames::FrameSlots;
use super::graph::{Graph, GraphTensor, Symbols, TensorOrigin};
use super::instance::Instance;
use super::memory::{Admission, MemoryPlan};
use super::{Backend, BoundInput, Error, Inference, StageOutput, StageReport, StageTime};
use vla_base::tensor::{DType, Dim, HostTensor, TensorSpec};

mod admit;
mod load;

pub use admit::admit;
pub use load::plan;

/// Instances kept: an instruction of another length needs another one. The least recently used is dropped.
const MAX_INSTANCES: usize = 4;

/// The loaded stages of one backend.
pub struct Pipeline<B: Backend> {
    // Declared in the order in which they must be dropped: bound runs, then engines, then the backend.
    instances: Vec<Instance<B>>,
    engines: Vec<B::Engine>,
    graph: Graph,
    tables: Tables,
    reports: Vec<StageReport>,
    plan: MemoryPlan,
    admission: Admission,
    /// Host tensors that may be given as frames.
    frames: Vec<usize>,
    backend: B,
}

impl<B: Backend> Pipeline<B> {
    /// A shortage of memory with the report of the plan.
    fn judge(&mut self, error: Error) -> Error {
        load::judge(error, &self.backend, &self.plan, self.admission)
    }

    /// A new instance. When memory is short, those of other instructions are dropped first.
    fn instance(&mut self, symbols: &Symbols, iterations: u32) -> Result<Instance<B>, Error> {
        let Self { backend, engines, graph, tables, instances, frames, .. } = self;
        let made = Instance::new(backend, engines, graph, tables, symbols, iterations, frames);
        match made {
            // Contexts of an engine that another tool built for 8.6 share no profile: only one can exist.
            Err(error) if !instances.is_empty() && (error.does_not_fit() || matches!(error, Error::Device { .. })) => {
                tracing::warn!("{error}; freeing the buffers of {} other instructions", instances.len());
                instances.clear();
                Instance::new(backend, engines, graph, tables, symbols, iterations, frames)
            }
            made => made,
        }
    }

    /// The tensor of a name that is read in one type.
    fn only(&self, name: &str) -> Option<usize> {
        let mut all = self.graph.find_all(name);
        all.next().filter(|_| all.next().is_none())
    }

    /// See [`Inference::accept_frames`].
    fn accept(&mut self, name: &str) -> bool {
        let Some(tensor) = self.only(name) else { return false };
        let GraphTensor { spec, origin, .. } = &self.graph.tensors[tensor];
        let images = matches!(spec.dims[..], [_, Dim::Fixed(3), _, _]);
        let are_pixels = *origin == TensorOrigin::Host && spec.dtype == DType::F32 && images;
        let accepted = are_pixels && self.backend.takes_frames();
        if accepted && !self.frames.contains(&tensor) {
            self.frames.push(tensor);
            self.instances.clear();
        }
        accepted
    }

    fn index(&self, name: &str) -> Result<usize, Error> {
        self.graph.find(name).ok_or_else(|| Error::HostTensor {
            tensor: name.to_owned(),
            expected: "the name of a tensor of this pipeline".into(),
            found: "no such tensor".into(),
        })
    }
}

impl<B> Inference for Pipeline<B>
where
    B: Backend + Send,
    B::Engine: Send,
    B::Workspace: Send,
    B::Bound: Send,
    B::Recording: Send,
{
    fn kind(&self) -> &'static str {
        self.backend.kind()
    }

    fn prepare(&mut self, symbols: &Symbols, iterations: u32) -> Result<(), Error> {
        let held = self.instances.iter().position(|p| p.iterations == iterations && p.symbols == *symbols);
        match held {
            Some(0) => {}
            Some(index) => self.instances[..=index].rotate_right(1),
            None => {
                self.instances.truncate(MAX_INSTANCES - 1);
                let instance = self.instance(symbols, iterations).map_err(|error| self.judge(error))?;
                // StreamedFile: for later instructions the system decides which pages to keep.
                if self.instances.is_empty() {
                    self.engines.iter().for_each(|engine| self.backend.release_load_memory(engine));
                }
                self.instances.insert(0, instance);
            }
        }
        Ok(())
    }

    fn write(&mut self, name: &str, tensor: &HostTensor) -> Result<(), Error> {
        self.index(name)?;
        let instance = self.instances.first_mut().ok_or(Error::NotPrepared)?;
        let Self { backend, graph, .. } = self;
        let written = graph.find_all(name).try_for_each(|at| instance.write(backend, graph, at, tensor));
        written.map_err(|error| self.judge(error))
    }

    fn input_buffer_mut(&mut self, name: &str) -> Option<&mut [f32]> {
        let index = self.only(name)?;
        self.instances.first_mut()?.input_buffer_mut(&mut self.backend, &self.graph, index)
    }

    fn accept_frames(&mut self, name: &str) -> bool {
        self.accept(name)
    }

    fn frames_mut(&mut self, name: &str) -> Option<FrameSlots<'_>> {
        let tensor = self.graph.find(name).filter(|tensor| self.frames.contains(tensor))?;
        self.instances.first_mut()?.frames_mut(&mut self.backend, tensor)
    }

    fn execute(&mut self, times: &mut [StageTime]) -> Result<(), Error> {
        let instance = self.instances.first_mut().ok_or(Error::NotPrepared)?;
        let run = instance.execute(&mut self.backend, &mut self.engines, &self.graph, times);
        run.map_err(|error| self.judge(error))
    }

    fn inspect(&mut self, see: &mut dyn FnMut(StageOutput<'_>)) -> Result<(), Error> {
        let instance = self.instances.first_mut().ok_or(Error::NotPrepared)?;
        let run = instance.inspect(&mut self.backend, &mut self.engines, &self.graph, &self.tables, see);
        run.map_err(|error| self.judge(error))
    }

    fn read(&mut self, name: &str, tensor: &mut HostTensor) -> Result<(), Error> {
        let index = self.index(name)?;
        let instance = self.instances.first().ok_or(Error::NotPrepared)?;
        instance.read(&mut self.backend, &self.graph, index, tensor).map_err(|error| self.judge(error))
    }

    fn shapes(&self, see: &mut dyn FnMut(BoundInput<'_>)) {
        self.instances.iter().take(1).flat_map(|instance| instance.inputs(&self.graph)).for_each(see);
    }

    fn host_inputs(&self) -> Vec<TensorSpec> {
        let host = self.graph.tensors.iter().filter(|tensor| tensor.origin == TensorOrigin::Host);
        host.map(|tensor| tensor.spec.clone()).collect()
    }

    fn tensor(&self, name: &str) -> Option<&TensorSpec> {
        self.graph.find(name).map(|index| &self.graph.tensors[index].spec)
    }

    fn reports(&self) -> &[StageReport] {
        &self.reports
    }
}

/// Programs first, then the engine that was loaded last, and so on to the first; the backend itself goes after them.
impl<B: Backend> Drop for Pipeline<B> {
    fn drop(&mut self) {
        self.instances.clear();
        let mut engines: Vec<Option<B::Engine>> = self.engines.drain(..).map(Some).collect();
        for report in self.reports.iter().rev() {
            let position = self.graph.stages.iter().position(|stage| stage.name == report.stage);
            drop(position.and_then(|position| engines[position].take()));
        }
    }
}

#[cfg(test)]
mod tests;
