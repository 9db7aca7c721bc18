//! The stream of a device with the checks that keep host and device apart. Every engine kind on CUDA starts its work here.
//!
//! Page-locked memory is read and written by the GPU between an upload and the end of the work. A queue knows whether work was
//! started and not waited for, and waits before the host accesses such memory. While a pass is captured as a graph, it refuses
//! calls with other workspaces, so that the graph has addresses of one only.

use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::CudaGraph;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};

use super::driver::{Cuda, failed};
use super::id::Id;
use super::workspace::Workspace;
use vla_base::tensor::HostTensor;
use vla_engines::{BufferSpec, Error};

/// One stream, and the state of the work on it.
pub struct Queue {
    cuda: Cuda,
    /// Whether the device reads inputs in place from host memory.
    in_place: bool,
    /// The workspace whose pass is being captured.
    capturing: Option<Id>,
    /// Work was started and not waited for: the host must not access memory that the GPU reads or writes.
    busy: bool,
    id: Id,
}

impl Queue {
    /// `in_place`: the device reads the host's buffers directly (an integrated GPU).
    pub fn new(cuda: Cuda, in_place: bool) -> Self {
        Self { cuda, in_place, capturing: None, busy: false, id: Id::new() }
    }

    /// The CUDA side.
    pub fn cuda(&self) -> &Cuda {
        &self.cuda
    }

    /// Whether a pass is being captured: work that is started now runs at each replay, and nothing may be waited for.
    pub fn is_capturing(&self) -> bool {
        self.capturing.is_some()
    }

    /// Allocates and clears the tensors of an instance.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Device`].
    pub fn workspace<C>(&self, buffers: &[BufferSpec], events: usize) -> Result<Workspace<C>, Error> {
        Workspace::new(&self.cuda, self.id, buffers, events, self.in_place)
    }

    /// Refuses a workspace of another device, and any other workspace during a capture.
    ///
    /// # Errors
    /// [`Error::Device`] with `action`.
    pub fn check<C>(&self, workspace: &Workspace<C>, action: &str) -> Result<(), Error> {
        let reason = match self.capturing {
            _ if workspace.device() != self.id => "the workspace is of another device",
            Some(captured) if captured != workspace.id() => "another workspace is being captured",
            _ => return Ok(()),
        };
        Err(Error::Device { action: action.to_owned(), source: reason.into() })
    }

    /// To be called before work of a workspace is put on the stream.
    pub fn start(&mut self) {
        self.busy = true;
    }

    /// Waits for started work, before the host accesses memory that the GPU uses.
    fn wait_if_busy(&mut self) -> Result<(), Error> {
        if self.busy && self.capturing.is_none() {
            self.finish()?;
        }
        Ok(())
    }

    /// Copies a host tensor into a buffer; see [`vla_engines::Backend::write`].
    ///
    /// # Errors
    /// [`Error::BufferSize`], [`Error::Device`].
    pub fn write<C>(&mut self, workspace: &mut Workspace<C>, index: usize, tensor: &HostTensor) -> Result<(), Error> {
        self.wait_if_busy()?;
        workspace.write(&self.cuda, index, tensor)
    }

    /// The upload buffer of an `f32` tensor.
    pub fn input_buffer_mut<'w, C>(&mut self, workspace: &'w mut Workspace<C>, index: usize) -> Option<&'w mut [f32]> {
        self.wait_if_busy().ok()?;
        workspace.input_buffer_mut(index)
    }

    /// Starts the upload of everything that the host wrote.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn upload<C>(&mut self, workspace: &mut Workspace<C>) -> Result<(), Error> {
        self.check(workspace, "copying the inputs to the device")?;
        self.cuda.enter()?;
        self.busy = true;
        workspace.upload(&self.cuda)
    }

    /// Records a timing event after everything that was started so far.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn record_event<C>(&mut self, workspace: &Workspace<C>, event: usize) -> Result<(), Error> {
        self.check(workspace, "recording a CUDA event")?;
        self.cuda.record(workspace.event(event), self.capturing.is_some())
    }

    /// Starts the downloads of the tensors that the host reads.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn download<C>(&mut self, workspace: &mut Workspace<C>) -> Result<(), Error> {
        self.check(workspace, "copying the result from the device")?;
        self.busy = true;
        workspace.download(&self.cuda)
    }

    /// Waits until everything that was started is done.
    ///
    /// # Errors
    /// The error of the work on the stream.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.cuda.wait()?;
        self.busy = false;
        Ok(())
    }

    /// Time from an event to the next one, in the last finished pass.
    pub fn elapsed<C>(&self, workspace: &Workspace<C>, event: usize) -> Duration {
        let milliseconds = workspace.event(event).elapsed_ms(workspace.event(event + 1)).unwrap_or_default();
        Duration::from_secs_f32(milliseconds.max(0.0) / 1e3)
    }

    /// Copies a downloaded tensor out.
    ///
    /// # Errors
    /// [`Error::BufferSize`], [`Error::Device`].
    pub fn downloaded<C>(&self, workspace: &Workspace<C>, index: usize, tensor: &mut HostTensor) -> Result<(), Error> {
        if self.busy {
            self.cuda.wait()?;
        }
        workspace.downloaded(index, tensor)
    }

    /// Copies the current values of any tensor to the host. Waits for the device.
    ///
    /// # Errors
    /// [`Error::BufferSize`], [`Error::Device`].
    pub fn read<C>(&self, workspace: &Workspace<C>, index: usize, tensor: &mut HostTensor) -> Result<(), Error> {
        workspace.read(&self.cuda, index, tensor)
    }

    /// From here on, work of `workspace` is captured in place of being started.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn begin_capture<C>(&mut self, workspace: &Workspace<C>) -> Result<(), Error> {
        self.check(workspace, "beginning to capture the stream")?;
        self.cuda
            .stream()
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .map_err(failed("beginning to capture the stream"))?;
        self.capturing = Some(workspace.id());
        Ok(())
    }

    /// Ends a capture: `passed` is the result of the calls since its beginning.
    ///
    /// # Errors
    /// That of `passed`; [`Error::Device`].
    pub fn end_capture<C>(&mut self, workspace: &Workspace<C>, passed: Result<(), Error>) -> Result<Recording, Error> {
        let stream = Arc::clone(self.cuda.stream());
        self.capturing = None;
        let graph = stream.end_capture(CUgraphInstantiate_flags(0)).map_err(failed("making a CUDA graph"));
        passed?;
        let graph = graph?.ok_or_else(|| Error::Device {
            action: "making a CUDA graph".into(),
            source: "the driver captured nothing".into(),
        })?;
        graph.upload().map_err(failed("uploading a CUDA graph"))?;
        Ok(Recording { graph, workspace: workspace.id() })
    }

    /// Starts a pass that was captured on this workspace.
    ///
    /// # Errors
    /// [`Error::Device`], also for a recording of another workspace; as the work itself.
    pub fn replay<C>(&mut self, recording: &mut Recording, workspace: &mut Workspace<C>) -> Result<(), Error> {
        self.check(workspace, "launching a CUDA graph")?;
        if recording.workspace != workspace.id() {
            return Err(Error::Device {
                action: "launching a CUDA graph".to_owned(),
                source: "it was captured on another workspace".into(),
            });
        }
        self.busy = true;
        // The graph holds addresses of the workspace, of the contexts in it and of what those hold: all of it is there, since the
        // workspace is, and dropping it waits for the stream.
        recording.graph.launch().map_err(failed("launching a CUDA graph"))
    }
}

/// A pass as a CUDA graph. Replayed only on the workspace on which it was captured.
pub struct Recording {
    graph: CudaGraph,
    workspace: Id,
}

// SAFETY: a graph may be used from any thread, by one at a time; every use takes `&mut`.
unsafe impl Send for Recording {}
