//! A stand-in for a backend, which fails at a chosen call: no runtime fails so on demand.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use crate::frames::FrameBuffers;
use crate::graph::Stage;
use crate::memory::{Figure, Footprint, Pool};
use crate::profile::Profile;
use crate::provenance::{ProvenanceStatus, Reason, Rejection};
use crate::{Backend, BufferSpec, Error, ErrorClass};
use vla_base::tensor::{DType, Dim, HostTensor, TensorSpec};

pub(super) const MIB: u64 = 1 << 20;

/// Events of a stand-in engine.
pub(super) type Diary = Rc<RefCell<Vec<String>>>;

/// A stand-in for a backend that allocates nothing and computes nothing.
#[derive(Default)]
pub(super) struct StandIn {
    pub(super) diary: Diary,
    pub(super) profile: Option<Profile>,
    pub(super) unverified: Vec<&'static str>,
    pub(super) no_memory_for: Option<&'static str>,
    /// Free memory after each load, MiB; the last value is repeated.
    pub(super) available: Vec<u64>,
    /// Free memory reported by an integrated GPU's driver at each query, MiB; the last value is repeated. Empty: no such GPU.
    pub(super) device_free: RefCell<Vec<u64>>,
    pub(super) run: Option<(&'static str, ErrorClass)>,
    /// Result of waiting for a pass.
    pub(super) finish: Option<Error>,
    /// Maximum number of live buffers.
    pub(super) buffers: Option<usize>,
    pub(super) live: Rc<()>,
    /// The one buffer of a workspace that the host may fill; with one it takes frames.
    pub(super) memory: Vec<f32>,
}

pub(super) struct Engine {
    pub(super) name: String,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    diary: Diary,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.diary.borrow_mut().push(format!("free {}", self.name));
    }
}

impl Backend for StandIn {
    type Engine = Engine;
    /// One reference count per tensor, to count live tensors; and memory.
    type Workspace = (Vec<Rc<()>>, Vec<f32>);
    type Bound = ();
    type Recording = Infallible;

    fn kind(&self) -> &'static str {
        "stand-in"
    }

    fn pool(&self) -> Pool {
        let loads = self.diary.borrow().iter().filter(|entry| entry.starts_with("load")).count();
        let mib = self.available.get(loads).or(self.available.last()).copied().unwrap_or(1 << 20);
        let pool = Pool { available: mib * MIB, ..Pool::default() };
        let mut device_free = self.device_free.borrow_mut();
        let free = if device_free.len() > 1 { Some(device_free.remove(0)) } else { device_free.first().copied() };
        Pool { device_free: free.map(|free| free * MIB), integrated: free.is_some(), ..pool }
    }

    fn verify(&mut self, stage: &Stage) -> Result<ProvenanceStatus, Error> {
        self.diary.borrow_mut().push(format!("verify {}", stage.name));
        if self.unverified.contains(&stage.name.as_str()) {
            return Err(Rejection::new(stage, None, Reason::NoEngine).into());
        }
        Ok(ProvenanceStatus::NotApplicable)
    }

    fn footprint(&self, stage: &Stage, _verified: &ProvenanceStatus) -> Result<Footprint, Error> {
        let weights = if stage.name == "vision" { 100 } else { 300 };
        let figure = Figure::measured(weights * MIB);
        Ok(Footprint { stage: stage.name.clone(), file: figure, weights: figure, ..Footprint::default() })
    }

    fn load(&mut self, stage: &Stage, _verified: &ProvenanceStatus) -> Result<Engine, Error> {
        self.diary.borrow_mut().push(format!("load {}", stage.name));
        if self.no_memory_for == Some(stage.name.as_str()) {
            return Err(Error::OutOfMemory { action: "deserializing".into(), source: "error 2".into() });
        }
        let described = |name: &str, dims: &Option<Vec<Dim>>| TensorSpec {
            name: name.to_owned(),
            dtype: DType::F32,
            dims: dims.clone().unwrap_or_default(),
        };
        Ok(Engine {
            name: stage.name.clone(),
            inputs: stage.inputs.iter().map(|input| described(&input.tensor, &input.dims)).collect(),
            outputs: stage.outputs.iter().map(|output| described(&output.tensor, &output.dims)).collect(),
            diary: Rc::clone(&self.diary),
        })
    }

    fn inputs<'e>(&self, engine: &'e Engine) -> &'e [TensorSpec] {
        &engine.inputs
    }

    fn outputs<'e>(&self, engine: &'e Engine) -> &'e [TensorSpec] {
        &engine.outputs
    }

    fn tensor_profile<'e>(&self, engine: &'e Engine, tensor: &str) -> Option<&'e Profile> {
        // Leaked, because this stand-in has one engine type for all engines.
        let found = self.profile.clone().filter(|_| tensor == "rows" && !engine.name.is_empty())?;
        Some(Box::leak(Box::new(found)))
    }

    fn log_tail(&self) -> Vec<String> {
        vec!["Cask unknown internal error".into()]
    }

    fn workspace(&mut self, tensors: &[BufferSpec], _events: usize) -> Result<Self::Workspace, Error> {
        let (mut workspace, memory) = (Vec::new(), self.memory.clone());
        for tensor in tensors {
            let bytes = tensor.dims.iter().product::<usize>() * tensor.dtype.size();
            self.diary.borrow_mut().push(format!("allocate {bytes}"));
            if self.buffers.is_some_and(|most| Rc::strong_count(&self.live) > most) {
                return Err(Error::OutOfMemory { action: "allocating".into(), source: "error 2".into() });
            }
            workspace.push(Rc::clone(&self.live));
        }
        Ok((workspace, memory))
    }

    fn bind(
        &mut self,
        _engine: &mut Engine,
        _workspace: &mut Self::Workspace,
        _inputs: &[(String, usize)],
        _outputs: &[(String, usize)],
    ) -> Result<(), Error> {
        Ok(())
    }

    fn run(&mut self, engine: &mut Engine, _bound: &mut (), _workspace: &mut Self::Workspace) -> Result<(), Error> {
        let (action, source) = ("running".to_owned(), "enqueueV3 failed".into());
        match self.run {
            Some((stage, class)) if stage == engine.name => Err(match class {
                ErrorClass::DeviceLost => Error::DeviceLost { source },
                ErrorClass::DoesNotFit => Error::OutOfMemory { action, source },
                ErrorClass::WrongProvenance | ErrorClass::Other => Error::Device { action, source },
            }),
            _ => Ok(()),
        }
    }

    fn write(&mut self, _: &mut Self::Workspace, _index: usize, _tensor: &HostTensor) -> Result<(), Error> {
        Ok(())
    }

    fn input_buffer_mut<'w>(&mut self, workspace: &'w mut Self::Workspace, index: usize) -> Option<&'w mut [f32]> {
        self.diary.borrow_mut().push(format!("fill {index}"));
        (!workspace.1.is_empty()).then_some(workspace.1.as_mut_slice())
    }

    fn takes_frames(&self) -> bool {
        !self.memory.is_empty()
    }

    fn make_pixels(&mut self, _: &mut Self::Workspace, buffers: &FrameBuffers) -> Result<(), Error> {
        self.diary.borrow_mut().push(format!("{buffers:?}"));
        Ok(())
    }

    fn upload(&mut self, _: &mut Self::Workspace) -> Result<(), Error> {
        Ok(())
    }

    fn record_event(&mut self, _: &mut Self::Workspace, _event: usize) -> Result<(), Error> {
        Ok(())
    }

    fn download(&mut self, _: &mut Self::Workspace) -> Result<(), Error> {
        Ok(())
    }

    fn elapsed(&self, _: &Self::Workspace, _event: usize) -> Duration {
        Duration::ZERO
    }

    fn downloaded(&self, _: &Self::Workspace, _index: usize, _tensor: &mut HostTensor) -> Result<(), Error> {
        Ok(())
    }

    fn read(&mut self, _: &Self::Workspace, _index: usize, _tensor: &mut HostTensor) -> Result<(), Error> {
        Ok(())
    }

    fn replay(&mut self, recording: &mut Infallible, _: &mut Self::Workspace) -> Result<(), Error> {
        match *recording {}
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.finish.take().map_or(Ok(()), Err)
    }
}
