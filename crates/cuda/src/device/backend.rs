//! The GPU as a [`Backend`].

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use super::engine::{Prepared, profile, specs};
use super::products::KeptTactics;
use super::{Bound, Device, Instance, LoadedOperations, weights};
use crate::driver::Cuda;
use crate::launch::{Arguments, Kernel, ResampleArguments};
use crate::plan::{Plan, WeightLayout};
use crate::tactics::Split;
use crate::{Id, Recording};
use vla_base::tensor::{HostTensor, TensorSpec};
use vla_engines::frames::{FrameBuffers, MOST_STEPS};
use vla_engines::memory::{Footprint, Pool, estimate};
use vla_engines::onnx::Network;
use vla_engines::operations::Program;
use vla_engines::profile::Profile;
use vla_engines::provenance::{Reason, Rejection, eight_bit_weights, operations, verdict_on_operations};
use vla_engines::{Backend, BufferSpec, Error, Launch, Pass, ProvenanceStatus, Stage};

type Workspace = crate::Workspace<Instance>;

impl Prepared {
    /// Puts the launch on the device's stream. `early`: it is not the first of its stage. What a kernel reads before it waits is older
    /// than the launch in front of it in the same stage; the launch in front of a stage may have made the stage's inputs.
    ///
    /// # Safety
    /// Its addresses are of memory on the device, as large as it says, which lives until the stream is done; the context is current.
    ///
    /// # Errors
    /// [`Error::Device`], [`Error::DeviceLost`].
    pub(super) unsafe fn enqueue(&self, cuda: &Cuda, early: bool) -> Result<(), Error> {
        let stream = cuda.stream().cu_stream();
        match self {
            // SAFETY: the caller's.
            Self::Kernel(kernel) => unsafe { kernel.enqueue(stream, early) },
            // SAFETY: the caller's.
            Self::Product(product) => unsafe { product.enqueue(stream.cast()) },
        }
    }
}

/// Bytes of the arena at the profile's maximum, however products are divided; `None` where the maxima of several symbols do not go
/// together.
fn largest_arena(stage: &Stage, program: &Program, network: &Network, layout: &WeightLayout) -> Option<u64> {
    const MOST: Split = Split::parts(8, true);
    let symbols = estimate::symbols(stage, Some(network), estimate::Size::Most);
    let plan = Plan::new(program, layout, &symbols, &MOST);
    plan.inspect_err(|error| tracing::debug!(stage = %stage.name, %error, "no plan at the profile's maximum"))
        .ok()
        .map(|plan| plan.arena_bytes())
}

impl Backend for Device {
    type Engine = LoadedOperations;
    type Workspace = Workspace;
    type Bound = Bound;
    type Recording = Recording;

    fn kind(&self) -> &'static str {
        "cuda"
    }

    fn pool(&self) -> Pool {
        self.cuda().pool(self.properties.integrated)
    }

    fn verify(&mut self, stage: &Stage) -> Result<ProvenanceStatus, Error> {
        if self.module.is_none() {
            let (gpu, found) = (self.identity.gpu.clone(), self.identity.sm_version.clone());
            let reason = Reason::NoKernels { gpu, found, compiled: super::compiled() };
            return Err(Rejection::new(stage, None, reason).into());
        }
        operations(stage)?;
        Ok(verdict_on_operations(stage, &self.identity)?)
    }

    /// From the files alone, so that `vla-trt plan` says the same on any machine.
    fn footprint(&self, stage: &Stage, _: &ProvenanceStatus) -> Result<Footprint, Error> {
        Footprint::of_operations(stage)
    }

    fn shares_activation(&self) -> bool {
        true
    }

    fn load(&mut self, stage: &Stage, _: &ProvenanceStatus) -> Result<LoadedOperations, Error> {
        let (program, network) = operations(stage)?;
        let layout = WeightLayout::with_eight_bits(&program, &eight_bit_weights(stage, &program));
        let arena = largest_arena(stage, &program, &network, &layout);
        self.largest_arena = self.largest_arena.max(arena.unwrap_or_default());
        let kernels = (self.cuda(), self.module.as_ref());
        let block = weights::load(kernels, &stage.name, &program, &network, &layout, self.properties.integrated)?;
        let (inputs, outputs) = (specs(&program, &program.inputs), specs(&program, &program.outputs));
        let profiles = inputs.iter().map(|input| profile(stage, input)).collect();
        let tactics = RefCell::new(KeptTactics::open(&stage.file, &self.identity));
        let (id, stage, weights) = (Id::new(), stage.name.clone(), Arc::new(block));
        Ok(LoadedOperations {
            id,
            stage,
            program,
            layout,
            weights,
            inputs,
            outputs,
            profiles,
            tactics,
            places: RefCell::default(),
        })
    }

    fn inputs<'e>(&self, engine: &'e LoadedOperations) -> &'e [TensorSpec] {
        &engine.inputs
    }

    fn outputs<'e>(&self, engine: &'e LoadedOperations) -> &'e [TensorSpec] {
        &engine.outputs
    }

    fn tensor_profile<'e>(&self, engine: &'e LoadedOperations, tensor: &str) -> Option<&'e Profile> {
        let at = engine.inputs.iter().position(|input| input.name == tensor)?;
        engine.profiles[at].as_ref()
    }

    fn workspace(&mut self, buffers: &[BufferSpec], events: usize) -> Result<Workspace, Error> {
        self.queue.workspace(buffers, events)
    }

    fn bind(
        &mut self,
        engine: &mut LoadedOperations,
        workspace: &mut Workspace,
        inputs: &[(String, usize)],
        outputs: &[(String, usize)],
    ) -> Result<Bound, Error> {
        self.queue.check(workspace, "binding a stage")?;
        self.cuda().enter()?;
        self.bound(engine, workspace, inputs, outputs)
    }

    fn write(&mut self, workspace: &mut Workspace, index: usize, tensor: &HostTensor) -> Result<(), Error> {
        self.queue.write(workspace, index, tensor)
    }

    fn input_buffer_mut<'w>(&mut self, workspace: &'w mut Workspace, index: usize) -> Option<&'w mut [f32]> {
        self.queue.input_buffer_mut(workspace, index)
    }

    fn takes_frames(&self) -> bool {
        self.frames && self.module.is_some()
    }

    fn make_pixels(&mut self, workspace: &mut Workspace, buffers: &FrameBuffers) -> Result<(), Error> {
        self.queue.check(workspace, "making pixels of frames")?;
        let Some(module) = &self.module else { return Ok(()) };
        self.queue.cuda().enter()?;
        self.queue.start();
        let small = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let address = |buffer: usize| workspace.address(buffer);
        for step in 0..MOST_STEPS {
            let arguments = ResampleArguments {
                slots: address(buffers.slots),
                between: address(buffers.between),
                pixels: address(buffers.pixels),
                images: small(buffers.images),
                width: small(buffers.size[0]),
                height: small(buffers.size[1]),
                step: small(step),
            };
            let kernel = module.prepare(Kernel::Resample, Arguments::Resample(arguments))?;
            let stream = self.queue.cuda().stream().cu_stream();
            // SAFETY: buffers of this workspace, of the sizes that `FrameBuffers` says. Tables are zero from the allocation on and written by
            // `FrameSlot::into_frame` alone, which compares sizes, so that every step stays within `between` and `pixels`. Dropping a
            // workspace waits for the stream.
            unsafe { kernel.enqueue(stream, step > 0) }.map_err(|error| self.launch_error(error))?;
        }
        self.wait_after_each()
    }

    fn upload(&mut self, workspace: &mut Workspace) -> Result<(), Error> {
        self.queue.upload(workspace)
    }

    fn run(
        &mut self,
        engine: &mut LoadedOperations,
        bound: &mut Bound,
        workspace: &mut Workspace,
    ) -> Result<(), Error> {
        self.queue.check(workspace, "starting a stage")?;
        if bound.workspace != workspace.id() {
            return Err(Error::Device {
                action: format!("starting stage '{}'", engine.stage),
                source: "it is bound to another workspace".into(),
            });
        }
        self.cuda().enter()?;
        self.queue.start();
        for (at, launch) in bound.launches.iter().enumerate() {
            // SAFETY: the addresses are those of this workspace's memory, and of the weights, arena and products' memory that its
            // instance holds; `bind` compared sizes. Dropping a workspace waits for the stream.
            unsafe { launch.enqueue(self.queue.cuda(), at > 0) }.map_err(|error| self.launch_error(error))?;
        }
        self.wait_after_each()
    }

    fn record_event(&mut self, workspace: &mut Workspace, event: usize) -> Result<(), Error> {
        self.queue.record_event(workspace, event)
    }

    fn download(&mut self, workspace: &mut Workspace) -> Result<(), Error> {
        self.queue.download(workspace)
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.queue.finish()
    }

    fn elapsed(&self, workspace: &Workspace, event: usize) -> Duration {
        self.queue.elapsed(workspace, event)
    }

    fn downloaded(&self, workspace: &Workspace, index: usize, tensor: &mut HostTensor) -> Result<(), Error> {
        self.queue.downloaded(workspace, index, tensor)
    }

    fn read(&mut self, workspace: &Workspace, index: usize, tensor: &mut HostTensor) -> Result<(), Error> {
        self.queue.read(workspace, index, tensor)
    }

    fn record(&mut self, workspace: &mut Workspace, pass: Pass<'_, Self>) -> Result<Option<Recording>, Error> {
        if self.launch != Launch::Graph {
            return Ok(None);
        }
        match self.capture(workspace, pass) {
            Ok(recording) => Ok(Some(recording)),
            Err(error) => {
                // What cannot be captured still runs by separate launches.
                tracing::warn!(%error, "no CUDA graph of this pass; its launches are started one by one");
                self.cuda().wait()?;
                Ok(None)
            }
        }
    }

    fn replay(&mut self, recording: &mut Recording, workspace: &mut Workspace) -> Result<(), Error> {
        self.queue.replay(recording, workspace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vla_base::tensor::DType;
    use vla_engines::operations;

    /// A stage of the demo policy in half precision.
    fn stage_of(dir: &std::path::Path, name: &str, precision: &str) -> Stage {
        let onnx = dir.join(format!("{name}.onnx"));
        Stage {
            name: name.to_owned(),
            file: operations::path_beside(&onnx),
            onnx,
            repeat: false,
            inputs: Vec::new(),
            outputs: Vec::new(),
            precision: precision.to_owned(),
            profile: vec![("T".to_owned(), [16, 64, 192]), ("S".to_owned(), [76, 124, 252])],
            allow_unverified: false,
            allow_inaccurate: false,
        }
    }

    #[test]
    fn the_planned_memory_covers_the_arena_and_the_weights_at_the_profiles_maximum() {
        let dir = tempfile::tempdir().expect("a folder");
        let family = &vla_export::family::N1D6;
        vla_export::demo::bundle::write_in(family, DType::F16, dir.path(), 7).expect("the demo policy");
        for (name, in_eight_bits) in [("vision", 10), ("language", 12), ("context", 0), ("step", 14)] {
            let mut weights = Vec::new();
            for precision in ["fp16", "int8+fp16"] {
                let stage = stage_of(dir.path(), name, precision);
                let (program, network) = vla_engines::provenance::operations(&stage).expect("a list");
                let chosen = eight_bit_weights(&stage, &program);
                assert_eq!(chosen.len(), if precision == "fp16" { 0 } else { in_eight_bits }, "{name} {precision}");
                let layout = WeightLayout::with_eight_bits(&program, &chosen);
                let arena = largest_arena(&stage, &program, &network, &layout).expect("a plan");
                let footprint = Footprint::of_operations(&stage).expect("a footprint");
                let planned = footprint.activation.bytes - Footprint::PRODUCT_WORKSPACE;
                assert!(arena > 0 && arena <= planned, "{name} {precision}: {arena} of {planned}");
                let room = 256 * (2 * program.weights.len() as u64 + 2);
                assert!(
                    layout.bytes().abs_diff(footprint.weights.bytes) <= room,
                    "{name} {precision}: {}",
                    layout.bytes()
                );
                weights.push(footprint.weights.bytes);
            }
            assert!(in_eight_bits == 0 || weights[1] < weights[0], "{name}: {weights:?}");
        }
    }
}
