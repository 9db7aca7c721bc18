//! Stages loaded in the operator's order and run in the policy's.

use std::time::Duration;

use super::constants::Tables;
use super::host_copy::HostCopy;
use super::memory::{Admission, Footprint, Growth, Plan};
use super::program::Program;
use super::wiring::{Source, Symbols, Wiring};
use super::{BoundInput, Device, Error, Made, StageTime};
use vla_base::tensor::{HostTensor, TensorSpec};

mod admit;
mod load;

pub use admit::admit;
pub use load::plan;

/// Programs kept: an instruction of another length makes another one, and the least recently used goes.
const MAX_PROGRAMS: usize = 4;

/// Progress of [`Pipeline::load`].
#[derive(Clone, Debug, PartialEq)]
pub enum LoadEvent {
    /// Engine `index` of `total` (in load order) is about to be loaded.
    Loading {
        /// From 0.
        index: usize,
        /// Number of stages.
        total: usize,
        /// Stage.
        stage: String,
        /// Size of its file.
        bytes: u64,
    },
    /// It is loaded.
    Loaded(Box<StageReport>),
}

/// What loading one stage took.
#[derive(Clone, Debug, PartialEq)]
pub struct StageReport {
    /// Stage.
    pub stage: String,
    /// Size of its file in bytes.
    pub bytes: u64,
    /// What it was planned to take.
    pub planned: Footprint,
    /// What it took.
    pub measured: Growth,
    /// What became of the runtime's host copy.
    pub host_copy: HostCopy,
    /// Loaded although nothing says where it was built.
    pub unproven: bool,
    /// Loaded although its results were found too far from its network's.
    pub inaccurate: bool,
    /// How long it took.
    pub duration: Duration,
}

/// A loaded pipeline of whatever kind.
pub trait Run: Send {
    /// Short name of the engine kind, e.g. `onnx`.
    fn kind(&self) -> &'static str;

    /// Chooses the program for these values of the symbols and this number of repetitions; makes it if it is new.
    ///
    /// # Errors
    /// [`Error::Profile`] when an engine does not take such sizes; [`Error::Symbol`], [`Error::Constants`];
    /// [`Error::DoesNotFit`] when memory is short.
    fn prepare(&mut self, symbols: &Symbols, repetitions: u32) -> Result<(), Error>;

    /// Writes a host tensor for the next run, to each type that stages read it in.
    ///
    /// # Errors
    /// [`Error::HostTensor`] when type or dimensions differ from the prepared program's.
    fn write(&mut self, name: &str, tensor: &HostTensor) -> Result<(), Error>;

    /// Where the host may put a single-precision input of the prepared program itself, in place of [`Self::write`], row
    /// major; `None` when the networks take another type.
    fn place(&mut self, name: &str) -> Option<&mut [f32]>;

    /// Runs every stage, `repetitions` times those that repeat; `times` is in run order and is added to.
    ///
    /// # Errors
    /// [`Error::Enqueue`] with every shape and the runtime's words; [`Error::DeviceLost`].
    fn execute(&mut self, times: &mut [StageTime]) -> Result<(), Error>;

    /// As [`Self::execute`], and shows every output of a stage as soon as it is made, and a repetition's constants. For
    /// inspection: copies, allocates.
    ///
    /// # Errors
    /// As [`Self::execute`], and [`Error::Device`] for an output that cannot be read.
    fn inspect(&mut self, see: &mut dyn FnMut(Made<'_>)) -> Result<(), Error>;

    /// Reads a tensor after a run.
    ///
    /// # Errors
    /// [`Error::HostTensor`] when type or dimensions differ.
    fn read(&mut self, name: &str, tensor: &mut HostTensor) -> Result<(), Error>;

    /// Shows every input of every stage as the prepared program has it.
    fn shapes(&self, see: &mut dyn FnMut(BoundInput<'_>));

    /// The tensors that the stages take from the host; a name comes once for each type that stages read it in.
    fn host_inputs(&self) -> Vec<TensorSpec>;

    /// Description of a tensor by its pipeline name.
    fn tensor(&self, name: &str) -> Option<&TensorSpec>;

    /// What loading took, in load order.
    fn reports(&self) -> &[StageReport];
}

/// Stages of one device, joined and ready.
pub struct Pipeline<D: Device> {
    // Declared in the order in which they must be dropped: bound runs, then engines, then the device.
    programs: Vec<Program<D>>,
    engines: Vec<D::Engine>,
    wiring: Wiring,
    tables: Tables,
    reports: Vec<StageReport>,
    plan: Plan,
    admission: Admission,
    device: D,
}

impl<D: Device> Pipeline<D> {
    /// What a failed call means: the device may be lost, or want memory.
    fn judge(&mut self, error: Error) -> Error {
        load::judge(error, &mut self.device, &self.plan, self.admission)
    }

    /// A new program. When memory is short, those of other instructions go first.
    fn program(&mut self, symbols: &Symbols, repetitions: u32) -> Result<Program<D>, Error> {
        let Self { device, engines, wiring, tables, programs, .. } = self;
        let made = Program::new(device, engines, wiring, tables, symbols, repetitions);
        match made {
            // Contexts of an engine that another tool built for 8.6 share no profile: only one can be there.
            Err(error) if !programs.is_empty() && (error.does_not_fit() || matches!(error, Error::Device { .. })) => {
                tracing::warn!("{error}; freeing the buffers of {} other instructions", programs.len());
                programs.clear();
                Program::new(device, engines, wiring, tables, symbols, repetitions)
            }
            made => made,
        }
    }

    fn index(&self, name: &str) -> Result<usize, Error> {
        self.wiring.find(name).ok_or_else(|| Error::HostTensor {
            tensor: name.to_owned(),
            expected: "the name of a tensor of this pipeline".into(),
            found: "no such tensor".into(),
        })
    }
}

impl<D> Run for Pipeline<D>
where
    D: Device + Send,
    D::Engine: Send,
    D::Workspace: Send,
    D::Bound: Send,
    D::Recording: Send,
{
    fn kind(&self) -> &'static str {
        self.device.kind()
    }

    fn prepare(&mut self, symbols: &Symbols, repetitions: u32) -> Result<(), Error> {
        let held = self.programs.iter().position(|p| p.repetitions == repetitions && p.symbols == *symbols);
        match held {
            Some(0) => {}
            Some(index) => self.programs[..=index].rotate_right(1),
            None => {
                self.programs.truncate(MAX_PROGRAMS - 1);
                let program = self.program(symbols, repetitions).map_err(|error| self.judge(error))?;
                // Once: for later instructions the system decides which pages to keep.
                if self.programs.is_empty() {
                    self.engines.iter().for_each(|engine| self.device.settle(engine));
                }
                self.programs.insert(0, program);
            }
        }
        Ok(())
    }

    fn write(&mut self, name: &str, tensor: &HostTensor) -> Result<(), Error> {
        self.index(name)?;
        let program = self.programs.first_mut().ok_or(Error::NotPrepared)?;
        let Self { device, wiring, .. } = self;
        let written = wiring.find_all(name).try_for_each(|at| program.write(device, wiring, at, tensor));
        written.map_err(|error| self.judge(error))
    }

    fn place(&mut self, name: &str) -> Option<&mut [f32]> {
        let mut all = self.wiring.find_all(name);
        let index = all.next().filter(|_| all.next().is_none())?;
        self.programs.first_mut()?.place(&mut self.device, &self.wiring, index)
    }

    fn execute(&mut self, times: &mut [StageTime]) -> Result<(), Error> {
        let program = self.programs.first_mut().ok_or(Error::NotPrepared)?;
        let run = program.execute(&mut self.device, &mut self.engines, &self.wiring, times);
        run.map_err(|error| self.judge(error))
    }

    fn inspect(&mut self, see: &mut dyn FnMut(Made<'_>)) -> Result<(), Error> {
        let program = self.programs.first_mut().ok_or(Error::NotPrepared)?;
        let run = program.inspect(&mut self.device, &mut self.engines, &self.wiring, &self.tables, see);
        run.map_err(|error| self.judge(error))
    }

    fn read(&mut self, name: &str, tensor: &mut HostTensor) -> Result<(), Error> {
        let index = self.index(name)?;
        let program = self.programs.first().ok_or(Error::NotPrepared)?;
        program.read(&mut self.device, &self.wiring, index, tensor).map_err(|error| self.judge(error))
    }

    fn shapes(&self, see: &mut dyn FnMut(BoundInput<'_>)) {
        self.programs.iter().take(1).flat_map(|program| program.inputs(&self.wiring)).for_each(see);
    }

    fn host_inputs(&self) -> Vec<TensorSpec> {
        let host = self.wiring.tensors.iter().filter(|tensor| tensor.source == Source::Host);
        host.map(|tensor| tensor.spec.clone()).collect()
    }

    fn tensor(&self, name: &str) -> Option<&TensorSpec> {
        self.wiring.find(name).map(|index| &self.wiring.tensors[index].spec)
    }

    fn reports(&self) -> &[StageReport] {
        &self.reports
    }
}

/// Programs first, then the engine that was loaded last, and so on to the first; the device itself goes after them.
impl<D: Device> Drop for Pipeline<D> {
    fn drop(&mut self) {
        self.programs.clear();
        let mut engines: Vec<Option<D::Engine>> = self.engines.drain(..).map(Some).collect();
        for report in self.reports.iter().rev() {
            let position = self.wiring.stages.iter().position(|stage| stage.name == report.stage);
            drop(position.and_then(|position| engines[position].take()));
        }
    }
}

#[cfg(test)]
mod tests;
