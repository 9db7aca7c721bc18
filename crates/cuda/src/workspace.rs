//! The tensors of one pipeline instance. Tensors that the host writes are contiguous and uploaded in one copy; the others stay
//! on the device.

use cudarc::driver::{CudaEvent, result};

use super::blocks::{ALIGNMENT, DeviceBlock, PinnedBlock};
use super::driver::{Cuda, failed};
use super::id::Id;
use vla_base::tensor::{Data, HostTensor};
use vla_engines::{BufferSpec, Error};

/// All tensors of an instance on the device, and what each engine made for its shapes (`C`).
pub struct Workspace<C> {
    /// One for each engine that was bound. They may keep addresses of the tensors: they are dropped before the memory.
    pub contexts: Vec<C>,
    places: Vec<Buffer>,
    written: Written,
    /// Memory that only the device accesses. Owned here to keep its addresses valid.
    _inner: DeviceBlock,
    fetched: PinnedBlock,
    events: Vec<CudaEvent>,
    id: Id,
    device: Id,
    cuda: Cuda,
}

/// Waits for all started work: neither a context nor its memory may be freed before.
impl<C> Drop for Workspace<C> {
    fn drop(&mut self) {
        if let Err(error) = self.cuda.enter().and_then(|()| self.cuda.wait()) {
            tracing::debug!(%error, "while freeing an instance");
        }
    }
}

/// One tensor.
struct Buffer {
    address: u64,
    dims: Vec<usize>,
    bytes: usize,
    /// Offset in `written`, if the host writes it.
    written: Option<usize>,
    /// Offset in `fetched`, if the host reads it.
    fetched: Option<usize>,
}

/// Tensors that the host writes before a pass.
enum Written {
    /// Copied to the device.
    Copied { host: PinnedBlock, device: DeviceBlock },
    /// Read by the device in place, if both share one memory.
    Shared(PinnedBlock),
}

impl Written {
    fn host(&mut self) -> &mut [u8] {
        match self {
            Self::Copied { host, .. } | Self::Shared(host) => host.as_mut_slice(),
        }
    }
}

impl<C> Workspace<C> {
    /// `in_place`: the device reads the host's buffers directly (an integrated GPU).
    pub(super) fn new(
        cuda: &Cuda,
        device: Id,
        buffers: &[BufferSpec],
        events: usize,
        in_place: bool,
    ) -> Result<Self, Error> {
        let bytes = |buffer: &BufferSpec| buffer.dims.iter().product::<usize>() * buffer.dtype.size();
        let total = |of: &dyn Fn(&BufferSpec) -> bool| {
            buffers.iter().filter(|buffer| of(buffer)).map(|buffer| aligned(bytes(buffer))).sum()
        };
        let host = PinnedBlock::zeroed(cuda, total(&|buffer| buffer.upload))?;
        let (written, base) = if in_place {
            let address = host.device_address()?;
            (Written::Shared(host), address)
        } else {
            let device = DeviceBlock::zeroed(cuda, total(&|buffer| buffer.upload))?;
            let address = device.address();
            (Written::Copied { host, device }, address)
        };
        let inner = DeviceBlock::zeroed(cuda, total(&|buffer| !buffer.upload))?;
        let fetched = PinnedBlock::zeroed(cuda, total(&|buffer| buffer.download))?;
        let (mut at_written, mut at_inner, mut at_fetched) = (0, 0, 0);
        let places = buffers.iter().map(|buffer| {
            let bytes = bytes(buffer);
            let take = |at: &mut usize| std::mem::replace(at, *at + aligned(bytes));
            let written = buffer.upload.then(|| take(&mut at_written));
            let address = match written {
                Some(offset) => base + offset as u64,
                None => inner.address() + take(&mut at_inner) as u64,
            };
            let fetched = buffer.download.then(|| take(&mut at_fetched));
            Buffer { address, dims: buffer.dims.clone(), bytes, written, fetched }
        });
        let places = places.collect();
        let events = (0..events).map(|_| cuda.event()).collect::<Result<_, _>>()?;
        let (id, cuda) = (Id::new(), cuda.clone());
        Ok(Self { contexts: Vec::new(), places, written, _inner: inner, fetched, events, id, device, cuda })
    }

    /// Identifier of this workspace.
    pub fn id(&self) -> Id {
        self.id
    }

    /// Identifier of its device.
    pub fn device(&self) -> Id {
        self.device
    }

    /// Size of a tensor's buffer.
    pub fn bytes(&self, index: usize) -> usize {
        self.places[index].bytes
    }

    /// Address of a tensor on the device.
    pub fn address(&self, index: usize) -> u64 {
        self.places[index].address
    }

    /// Dimensions of a tensor.
    pub fn dims(&self, index: usize) -> &[usize] {
        &self.places[index].dims
    }

    /// A timing event.
    pub(super) fn event(&self, event: usize) -> &CudaEvent {
        &self.events[event]
    }

    /// The upload buffer of an `f32` tensor.
    pub(super) fn input_buffer_mut(&mut self, index: usize) -> Option<&mut [f32]> {
        let place = &self.places[index];
        let (offset, bytes) = (place.written?, place.bytes);
        bytemuck::try_cast_slice_mut(self.written.host().get_mut(offset..offset + bytes)?).ok()
    }

    /// Writes a tensor: into the upload buffer if it has one, otherwise directly to the device.
    pub(super) fn write(&mut self, cuda: &Cuda, index: usize, tensor: &HostTensor) -> Result<(), Error> {
        let place = &self.places[index];
        let source = bytes_of(tensor.data());
        if source.len() != place.bytes {
            return Err(size(place.bytes, source.len()));
        }
        match place.written {
            Some(offset) => self.written.host()[offset..offset + source.len()].copy_from_slice(source),
            None => {
                cuda.enter()?;
                cuda.wait()?;
                // SAFETY: the tensor's buffer on the device is that long, and nothing runs on it.
                unsafe { result::memcpy_htod_sync(place.address, source) }.map_err(failed("copying to the device"))?;
            }
        }
        Ok(())
    }

    /// Starts the upload of everything that the host wrote, in one copy.
    pub(super) fn upload(&mut self, cuda: &Cuda) -> Result<(), Error> {
        let Written::Copied { host, device } = &self.written else { return Ok(()) };
        // SAFETY: equally long; both live as long as the workspace, and the host writes no byte before `finish`.
        unsafe { result::memcpy_htod_async(device.address(), host.as_slice(), cuda.stream().cu_stream()) }
            .map_err(failed("copying the inputs to the device"))
    }

    /// Starts the downloads of the tensors that the host reads.
    pub(super) fn download(&mut self, cuda: &Cuda) -> Result<(), Error> {
        for place in &self.places {
            let Some(offset) = place.fetched else { continue };
            let target = &mut self.fetched.as_mut_slice()[offset..offset + place.bytes];
            // SAFETY: equally long; both live as long as the workspace, and the host reads no byte before `finish`.
            unsafe { result::memcpy_dtoh_async(target, place.address, cuda.stream().cu_stream()) }
                .map_err(failed("copying the result from the device"))?;
        }
        Ok(())
    }

    /// A downloaded tensor.
    pub(super) fn downloaded(&self, index: usize, tensor: &mut HostTensor) -> Result<(), Error> {
        let place = &self.places[index];
        let source = place.fetched.and_then(|offset| self.fetched.as_slice().get(offset..offset + place.bytes));
        let source = source.ok_or_else(|| unreadable("it is not downloaded"))?;
        let target = bytes_of_mut(tensor.data_mut())?;
        if target.len() != source.len() {
            return Err(size(source.len(), target.len()));
        }
        target.copy_from_slice(source);
        Ok(())
    }

    /// Copies any tensor to the host after waiting for the stream.
    pub(super) fn read(&self, cuda: &Cuda, index: usize, tensor: &mut HostTensor) -> Result<(), Error> {
        let place = &self.places[index];
        let target = bytes_of_mut(tensor.data_mut())?;
        if target.len() != place.bytes {
            return Err(size(place.bytes, target.len()));
        }
        cuda.enter()?;
        cuda.wait()?;
        // SAFETY: the tensor's buffer on the device is that long, and nothing runs on it.
        unsafe { result::memcpy_dtoh_sync(target, place.address) }.map_err(failed("copying from the device"))
    }
}

fn size(buffer: usize, tensor: usize) -> Error {
    Error::BufferSize { expected: format!("{buffer} bytes"), found: format!("{tensor} bytes") }
}

fn unreadable(reason: &str) -> Error {
    Error::Device { action: "reading a tensor".to_owned(), source: reason.into() }
}

fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

fn bytes_of(data: &Data) -> &[u8] {
    match data {
        Data::F32(values) => bytemuck::cast_slice(values),
        Data::F16(values) => bytemuck::cast_slice(values),
        Data::BF16(values) => bytemuck::cast_slice(values),
        Data::I32(values) => bytemuck::cast_slice(values),
        Data::I64(values) => bytemuck::cast_slice(values),
        Data::U8(values) => values,
        Data::Bool(values) => bytemuck::cast_slice(values),
    }
}

/// Booleans are refused: not every byte value is a valid one.
fn bytes_of_mut(data: &mut Data) -> Result<&mut [u8], Error> {
    match data {
        Data::F32(values) => Ok(bytemuck::cast_slice_mut(values)),
        Data::F16(values) => Ok(bytemuck::cast_slice_mut(values)),
        Data::BF16(values) => Ok(bytemuck::cast_slice_mut(values)),
        Data::I32(values) => Ok(bytemuck::cast_slice_mut(values)),
        Data::I64(values) => Ok(bytemuck::cast_slice_mut(values)),
        Data::U8(values) => Ok(values),
        Data::Bool(_) => Err(unreadable("booleans are not read from the device")),
    }
}
