//! Camera frames to the pixel tensors that the stages read: `pixels` with every view, or `pixels.<camera>` with one.

use super::encode::image::{EvalTransform, image_tokens};
use super::encode::resize::Size;
use super::processor::Processor;
use super::{Error, PolicySpec};
use crate::message::{CompressedImageView, FrameDecoder, ImageView, Pixels};
use crate::observation::{CameraSample, Transport};
use crate::tensor::{DType, Data, Dim, HostTensor, TensorSpec};

/// Name of the tensor of all views.
const STACKED: &str = "pixels";

/// Every view of the policy, with what its frames are decoded and resampled through.
pub(super) struct Views {
    views: Vec<View>,
    /// What the stages read, `[views, 3, height, width]` each, by name.
    tensors: Vec<(String, HostTensor)>,
}

struct View {
    decoder: FrameDecoder,
    slot: Slot,
}

/// Where the frames of a camera go. Apart from the decoder, whose frame is borrowed on the way.
struct Slot {
    camera: String,
    transform: EvalTransform,
    /// What the frames become.
    size: Size,
    /// The tensor that this view is a part of.
    tensor: usize,
    /// Its place among that tensor's views.
    place: usize,
}

/// The pixel tensors that a stage may read.
pub(super) fn offered(spec: &PolicySpec) -> Vec<TensorSpec> {
    let of = |name: String, views| {
        let dims = vec![Dim::Fixed(views), Dim::Fixed(3), Dim::Symbol("height".into()), Dim::Symbol("width".into())];
        TensorSpec { name, dtype: DType::F32, dims }
    };
    let single = spec.cameras.iter().map(|camera| of(format!("{STACKED}.{camera}"), 1));
    std::iter::once(of(STACKED.into(), spec.cameras.len())).chain(single).collect()
}

impl Views {
    /// Views of the sizes that the stages' pixel inputs have.
    ///
    /// # Errors
    /// [`Error::NoPixels`] naming a camera that no stage reads, or that two inputs read.
    pub fn new(spec: &PolicySpec, processor: &Processor, host_inputs: &[TensorSpec]) -> Result<Self, Error> {
        let (mut tensors, mut views) = (Vec::new(), Vec::new());
        for input in host_inputs {
            let cameras: Vec<&String> = match input.name.strip_prefix(STACKED) {
                Some("") => spec.cameras.iter().collect(),
                Some(rest) => spec.cameras.iter().filter(|camera| rest.strip_prefix('.') == Some(camera)).collect(),
                None => continue,
            };
            let [_, _, Dim::Fixed(height), Dim::Fixed(width)] = *input.dims.as_slice() else { continue };
            for (place, camera) in cameras.iter().enumerate() {
                let slot = Slot {
                    camera: (*camera).clone(),
                    transform: EvalTransform::new(&processor.image),
                    size: Size { width, height },
                    tensor: tensors.len(),
                    place,
                };
                views.push(View { decoder: FrameDecoder::new(), slot });
            }
            let zeros = HostTensor::zeros(DType::F32, &[cameras.len(), 3, height, width]);
            tensors.push((input.name.clone(), zeros.ok_or(Error::Internal("f32 zeros"))?));
        }
        views.sort_by_key(|view| spec.cameras.iter().position(|camera| *camera == view.slot.camera));
        for camera in &spec.cameras {
            let inputs = views.iter().filter(|view| view.slot.camera == *camera).count();
            if inputs != 1 {
                return Err(Error::NoPixels { camera: camera.clone(), inputs });
            }
        }
        Ok(Self { views, tensors })
    }

    /// Image tokens of each view.
    pub fn image_tokens(&self) -> Vec<usize> {
        self.views.iter().map(|view| image_tokens(view.slot.size)).collect()
    }

    /// A tensor by its name.
    pub fn tensor(&self, name: &str) -> Option<&HostTensor> {
        self.tensors.iter().find(|(held, _)| held == name).map(|(_, tensor)| tensor)
    }

    /// Decodes, resamples and normalises one frame of every camera, given in the policy's order.
    pub fn encode(&mut self, samples: &[CameraSample]) -> Result<(), Error> {
        self.check_count(samples.len())?;
        for (view, sample) in self.views.iter_mut().zip(samples) {
            let frame = match sample.transport {
                Transport::Raw => ImageView::parse(&sample.bytes).and_then(|image| image.pixels()),
                Transport::Compressed => {
                    CompressedImageView::parse(&sample.bytes).and_then(|image| view.decoder.decode(&image))
                }
            };
            let frame = frame.map_err(|error| failure(&view.slot.camera, error.to_string()))?;
            view.slot.convert(&frame, &mut self.tensors)?;
        }
        Ok(())
    }

    /// Resamples and normalises frames that are decoded already, given in the policy's order.
    pub fn encode_frames(&mut self, frames: &[Pixels<'_>]) -> Result<(), Error> {
        self.check_count(frames.len())?;
        self.views.iter_mut().zip(frames).try_for_each(|(view, frame)| view.slot.convert(frame, &mut self.tensors))
    }

    /// As [`Self::encode_frames`], and what each frame became on the way. For inspection: allocates.
    pub fn inspect(&mut self, frames: &[Pixels<'_>]) -> Result<Vec<Inspected>, Error> {
        self.encode_frames(frames)?;
        let tensors = &self.tensors;
        self.views.iter_mut().zip(frames).map(|(view, frame)| view.slot.inspect(frame, tensors)).collect()
    }

    fn check_count(&self, found: usize) -> Result<(), Error> {
        let expected = self.views.len();
        if expected == found { Ok(()) } else { Err(Error::Cameras { expected, found }) }
    }
}

/// One view on its way into the model.
pub(super) struct Inspected {
    /// The camera.
    pub camera: String,
    /// After resampling: 8-bit `[height, width, 3]`.
    pub resampled: HostTensor,
    /// `[3, height, width]` in [-1, 1].
    pub normalised: HostTensor,
}

impl Slot {
    fn convert(&mut self, frame: &Pixels<'_>, tensors: &mut [(String, HostTensor)]) -> Result<(), Error> {
        let fail = |reason: String| failure(&self.camera, reason);
        let Size { width, height } = self.size;
        let found = self.transform.output_size(frame.width, frame.height).map_err(|error| fail(error.to_string()))?;
        if found != self.size {
            return Err(fail(format!(
                "frames of {}x{} become {}x{}, but the policy was exported for {width}x{height}; set the camera to \
                 the size that it was exported for",
                frame.width, frame.height, found.width, found.height
            )));
        }
        let values = tensors.get_mut(self.tensor).and_then(|(_, tensor)| tensor.as_f32_mut()).unwrap_or_default();
        let out = values.chunks_exact_mut(3 * height * width).nth(self.place);
        let out = out.ok_or(Error::Internal("a pixel tensor holds all its views"))?;
        self.transform.apply(frame, out).map(drop).map_err(|error| fail(error.to_string()))
    }

    fn inspect(&mut self, frame: &Pixels<'_>, tensors: &[(String, HostTensor)]) -> Result<Inspected, Error> {
        let Size { width, height } = self.size;
        let mut resampled = HostTensor::zeros(DType::U8, &[height, width, 3]).ok_or(Error::Internal("u8 zeros"))?;
        if let Data::U8(out) = resampled.data_mut() {
            let done = self.transform.apply_u8(frame, out);
            done.map_err(|error| failure(&self.camera, error.to_string()))?;
        }
        let values = tensors.get(self.tensor).and_then(|(_, tensor)| tensor.as_f32()).unwrap_or_default();
        let part = values.chunks_exact(3 * height * width).nth(self.place).unwrap_or_default();
        let normalised = HostTensor::from_f32(&[3, height, width], part.to_vec());
        let normalised = normalised.ok_or(Error::Internal("a pixel tensor holds all its views"))?;
        Ok(Inspected { camera: self.camera.clone(), resampled, normalised })
    }
}

fn failure(camera: &str, reason: String) -> Error {
    Error::Camera { camera: camera.to_owned(), reason }
}
