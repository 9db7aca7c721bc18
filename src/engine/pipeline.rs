//! Stages loaded in the operator's order and run in the policy's.

use std::fs;
use std::time::{Duration, Instant};

use super::memory::{Admission, MemoryUse};
use super::program::Program;
use super::wiring::{Source, Stage, Symbols, Wiring};
use super::{Device, Error, Made, StageTime};
use crate::tensor::{HostTensor, TensorSpec};

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
    Loaded(StageReport),
}

/// What loading one stage took.
#[derive(Clone, Debug, PartialEq)]
pub struct StageReport {
    /// Stage.
    pub stage: String,
    /// Size of its file in bytes.
    pub bytes: u64,
    /// Growth of this process's resident set, in bytes.
    pub resident: i64,
    /// Growth of its anonymous memory, in bytes.
    pub anonymous: i64,
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
    /// [`Error::Symbol`], [`Error::Constants`], or the device's own when memory is short.
    fn prepare(&mut self, symbols: &Symbols, repetitions: u32) -> Result<(), Error>;

    /// Writes a host tensor for the next run, to each type that stages read it in.
    ///
    /// # Errors
    /// [`Error::HostTensor`] when type or dimensions differ from the prepared program's.
    fn write(&mut self, name: &str, tensor: &HostTensor) -> Result<(), Error>;

    /// Runs every stage, `repetitions` times those that repeat; `times` is in run order and is added to.
    ///
    /// # Errors
    /// [`Error::Run`] with the stage and the runtime's words.
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
    reports: Vec<StageReport>,
    device: D,
}

impl<D: Device> Pipeline<D> {
    /// Loads `stages` (given in run order) in `load_order`, default: largest file first.
    ///
    /// # Errors
    /// [`Error::LoadOrder`] before anything is loaded; [`Error::DoesNotFit`]; [`Error::Load`] naming stage and file; [`Error::Wiring`] with
    /// every mismatch between networks, description and host.
    pub fn load(
        mut device: D,
        stages: &[Stage],
        load_order: Option<&[String]>,
        host: &[TensorSpec],
        admission: Admission,
        progress: &mut dyn FnMut(LoadEvent),
    ) -> Result<Self, Error> {
        let sizes = stages.iter().map(file_size).collect::<Result<Vec<_>, _>>()?;
        let order = order(stages, &sizes, load_order)?;
        let plan: Vec<_> = order.iter().map(|&at| (stages[at].name.as_str(), sizes[at])).collect();
        let mut loaded: Vec<Option<D::Engine>> = stages.iter().map(|_| None).collect();
        let mut reports = Vec::with_capacity(stages.len());
        for (index, &position) in order.iter().enumerate() {
            let (stage, bytes) = (&stages[position], sizes[position]);
            progress(LoadEvent::Loading { index, total: order.len(), stage: stage.name.clone(), bytes });
            let (before, started) = (MemoryUse::now(), Instant::now());
            admission.check(&plan, index, before.available)?;
            loaded[position] = Some(device.load(stage)?);
            let after = MemoryUse::now();
            let report = StageReport {
                stage: stage.name.clone(),
                bytes,
                resident: after.resident as i64 - before.resident as i64,
                anonymous: after.anonymous as i64 - before.anonymous as i64,
                duration: started.elapsed(),
            };
            reports.push(report.clone());
            progress(LoadEvent::Loaded(report));
        }
        let engines: Vec<D::Engine> = loaded.into_iter().flatten().collect();
        let networks: Vec<_> = engines.iter().map(|engine| (device.inputs(engine), device.outputs(engine))).collect();
        let wiring = Wiring::join(stages, &networks, host)?;
        Ok(Self { programs: Vec::new(), engines, wiring, reports, device })
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
    D::Buffer: Send,
    D::Bound: Send,
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
                let program = Program::new(&mut self.device, &mut self.engines, &self.wiring, symbols, repetitions)?;
                self.programs.insert(0, program);
            }
        }
        Ok(())
    }

    fn write(&mut self, name: &str, tensor: &HostTensor) -> Result<(), Error> {
        self.index(name)?;
        let program = self.programs.first_mut().ok_or(Error::NotPrepared)?;
        self.wiring.find_all(name).try_for_each(|at| program.write(&mut self.device, &self.wiring, at, tensor))
    }

    fn execute(&mut self, times: &mut [StageTime]) -> Result<(), Error> {
        let program = self.programs.first_mut().ok_or(Error::NotPrepared)?;
        program.execute(&mut self.device, &mut self.engines, times)
    }

    fn inspect(&mut self, see: &mut dyn FnMut(Made<'_>)) -> Result<(), Error> {
        let program = self.programs.first_mut().ok_or(Error::NotPrepared)?;
        program.inspect(&mut self.device, &mut self.engines, &self.wiring, see)
    }

    fn read(&mut self, name: &str, tensor: &mut HostTensor) -> Result<(), Error> {
        let index = self.index(name)?;
        let program = self.programs.first().ok_or(Error::NotPrepared)?;
        program.read(&mut self.device, &self.wiring, index, tensor)
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

/// Bytes of a stage's network, with the weights that lie beside an ONNX file as `<file>.data`.
fn file_size(stage: &Stage) -> Result<u64, Error> {
    let fail = |reason| Error::Load { stage: stage.name.clone(), file: stage.file.clone(), reason };
    let network = fs::metadata(&stage.file).map_err(|error| fail(error.to_string()))?.len();
    let mut weights = stage.file.clone().into_os_string();
    weights.push(".data");
    Ok(network + fs::metadata(weights).map_or(0, |meta| meta.len()))
}

/// Positions of the stages in load order.
fn order(stages: &[Stage], sizes: &[u64], wanted: Option<&[String]>) -> Result<Vec<usize>, Error> {
    let Some(wanted) = wanted else {
        let mut order: Vec<usize> = (0..stages.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(sizes[index]));
        return Ok(order);
    };
    let fail =
        |problem: String| Error::LoadOrder { problem, stages: stages.iter().map(|stage| stage.name.clone()).collect() };
    let mut order = Vec::with_capacity(stages.len());
    for name in wanted {
        let Some(index) = stages.iter().position(|stage| stage.name == *name) else {
            return Err(fail(format!("'{name}' is no stage")));
        };
        if order.contains(&index) {
            return Err(fail(format!("'{name}' is named twice")));
        }
        order.push(index);
    }
    match stages.iter().enumerate().find(|(index, _)| !order.contains(index)) {
        Some((_, missing)) => Err(fail(format!("'{}' is missing", missing.name))),
        None => Ok(order),
    }
}
