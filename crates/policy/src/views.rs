//! Camera frames to the pixel tensors that the stages read: `pixels` with every view, or `pixels.<camera>` with one.

use super::encode::image::{EvalTransform, image_tokens};
use super::encode::resize::Size;
use super::processor::Processor;
use super::{Error, PolicySpec, frames};
use crate::observation::{CameraSample, Transport};
use vla_base::tensor::{DType, Data, Dim, HostTensor, TensorSpec};
use vla_engines::Inference;
use vla_messages::{CompressedImageView, FrameDecoder, ImageView, Pixels};

/// Name of the tensor of all views.
pub(super) const STACKED: &str = "pixels";

/// The views of a policy, each with its decoder and its resampler.
pub(super) struct Views {
    views: Vec<View>,
    tensors: Vec<PixelTensor>,
}

/// A tensor that a stage reads. The last resampling step writes directly into the engine's memory.
struct PixelTensor {
    name: String,
    /// `[views, 3, height, width]`
    dims: [usize; 4],
    /// For networks that read pixels in another type than single precision.
    converted: Option<HostTensor>,
}

struct View {
    decoder: FrameDecoder,
    target: ViewTarget,
}

/// Target of a camera's frames. Separate from the decoder, whose frame is borrowed meanwhile.
struct ViewTarget {
    camera: String,
    transform: EvalTransform,
    /// Size after resampling.
    size: Size,
    /// Index of the tensor.
    tensor: usize,
    /// Index of the view in the tensor.
    index: usize,
}

/// Pixel tensors that a stage may read.
pub(super) fn offered(spec: &PolicySpec) -> Vec<TensorSpec> {
    let of = |name: String, views| {
        let dims = vec![Dim::Fixed(views), Dim::Fixed(3), Dim::Symbol("height".into()), Dim::Symbol("width".into())];
        TensorSpec { name, dtype: DType::F32, dims }
    };
    let single = spec.cameras.iter().map(|camera| of(format!("{STACKED}.{camera}"), 1));
    std::iter::once(of(STACKED.into(), spec.cameras.len())).chain(single).collect()
}

impl Views {
    /// Views with the sizes of the stages' pixel inputs.
    ///
    /// # Errors
    /// [`Error::NoPixels`] naming a camera that no stage reads, or that two inputs read.
    pub(crate) fn new(spec: &PolicySpec, processor: &Processor, host_inputs: &[TensorSpec]) -> Result<Self, Error> {
        let (mut tensors, mut views) = (Vec::new(), Vec::new());
        for input in host_inputs {
            let cameras: Vec<&String> = match input.name.strip_prefix(STACKED) {
                Some("") => spec.cameras.iter().collect(),
                Some(rest) => spec.cameras.iter().filter(|camera| rest.strip_prefix('.') == Some(camera)).collect(),
                None => continue,
            };
            let [_, _, Dim::Fixed(height), Dim::Fixed(width)] = *input.dims.as_slice() else { continue };
            for (index, camera) in cameras.iter().enumerate() {
                let target = ViewTarget {
                    camera: (*camera).clone(),
                    transform: EvalTransform::new(&processor.image),
                    size: Size { width, height },
                    tensor: tensors.len(),
                    index,
                };
                views.push(View { decoder: FrameDecoder::new(), target });
            }
            let dims = [cameras.len(), 3, height, width];
            tensors.push(PixelTensor { name: input.name.clone(), dims, converted: None });
        }
        views.sort_by_key(|view| spec.cameras.iter().position(|camera| *camera == view.target.camera));
        for camera in &spec.cameras {
            let inputs = views.iter().filter(|view| view.target.camera == *camera).count();
            if inputs != 1 {
                return Err(Error::NoPixels { camera: camera.clone(), inputs });
            }
        }
        Ok(Self { views, tensors })
    }

    /// Image tokens of each view.
    pub(crate) fn image_tokens(&self) -> Vec<usize> {
        self.views.iter().map(|view| image_tokens(view.target.size)).collect()
    }

    /// Dimensions of a tensor by its name.
    pub(crate) fn dims(&self, name: &str) -> Option<&[usize]> {
        self.tensors.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.dims.as_slice())
    }

    /// Decodes, resamples and normalises one frame of every camera, in the policy's order, into the prepared pipeline.
    pub(crate) fn encode(&mut self, samples: &[CameraSample], pipeline: &mut dyn Inference) -> Result<(), Error> {
        self.check_count(samples.len())?;
        for (view, sample) in self.views.iter_mut().zip(samples) {
            let frame = match sample.transport {
                Transport::Raw => ImageView::parse(&sample.bytes).and_then(|image| image.pixels()),
                Transport::Compressed => {
                    CompressedImageView::parse(&sample.bytes).and_then(|image| view.decoder.decode(&image))
                }
            };
            let frame = frame.map_err(|error| failure(&view.target.camera, error.to_string()))?;
            view.target.convert(&frame, self.tensors[view.target.tensor].values(pipeline)?)?;
        }
        self.write_converted(pipeline)
    }

    /// Sets every pixel to zero.
    pub(crate) fn encode_zeros(&mut self, pipeline: &mut dyn Inference) -> Result<(), Error> {
        self.tensors.iter_mut().try_for_each(|tensor| tensor.values(pipeline).map(|values| values.fill(0.0)))?;
        self.write_converted(pipeline)
    }

    /// As [`Self::encode`] for decoded frames, with the intermediate images of each. Allocates.
    pub(crate) fn trace(
        &mut self,
        frames: &[Pixels<'_>],
        pipeline: &mut dyn Inference,
    ) -> Result<Vec<TracedView>, Error> {
        self.check_count(frames.len())?;
        let mut traced = Vec::with_capacity(frames.len());
        for (view, frame) in self.views.iter_mut().zip(frames) {
            let values = self.tensors[view.target.tensor].values(pipeline)?;
            view.target.convert(frame, &mut *values)?;
            traced.push(view.target.trace(frame, values)?);
        }
        self.write_converted(pipeline)?;
        Ok(traced)
    }

    /// Copies of every tensor as encoded last. Allocates.
    pub(crate) fn copies(&mut self, pipeline: &mut dyn Inference) -> Result<Vec<(String, HostTensor)>, Error> {
        let copy = |tensor: &mut PixelTensor| {
            let values = tensor.values(pipeline)?.to_vec();
            let values = HostTensor::from_f32(&tensor.dims, values).ok_or(Error::Internal("a tensor of its size"))?;
            Ok((tensor.name.clone(), values))
        };
        self.tensors.iter_mut().map(copy).collect()
    }

    /// Writes the tensors that the engine converts.
    fn write_converted(&self, pipeline: &mut dyn Inference) -> Result<(), Error> {
        for tensor in &self.tensors {
            if let Some(values) = &tensor.converted {
                pipeline.write(&tensor.name, values)?;
            }
        }
        Ok(())
    }

    fn check_count(&self, found: usize) -> Result<(), Error> {
        let expected = self.views.len();
        if expected == found { Ok(()) } else { Err(Error::Cameras { expected, found }) }
    }
}

/// Intermediate images of one view.
pub(super) struct TracedView {
    /// The camera.
    pub camera: String,
    /// After resampling: 8-bit `[height, width, 3]`.
    pub resampled: HostTensor,
    /// `[3, height, width]` in [-1, 1].
    pub normalised: HostTensor,
}

impl PixelTensor {
    /// The elements, in the engine's memory where it reads single precision.
    fn values<'p>(&'p mut self, pipeline: &'p mut dyn Inference) -> Result<&'p mut [f32], Error> {
        if let Some(values) = pipeline.input_buffer_mut(&self.name) {
            return Ok(values);
        }
        if self.converted.is_none() {
            self.converted = HostTensor::zeros(DType::F32, &self.dims);
        }
        self.converted.as_mut().and_then(HostTensor::as_f32_mut).ok_or(Error::Internal("f32 zeros"))
    }
}

impl ViewTarget {
    /// `tensor`: the elements of the whole tensor.
    fn convert(&mut self, frame: &Pixels<'_>, tensor: &mut [f32]) -> Result<(), Error> {
        let fail = |reason: String| failure(&self.camera, reason);
        let Size { width, height } = self.size;
        frames::expect(&self.transform, self.size, frame.width, frame.height).map_err(fail)?;
        let out = tensor.chunks_exact_mut(3 * height * width).nth(self.index);
        let out = out.ok_or(Error::Internal("a pixel tensor holds all its views"))?;
        self.transform.apply(frame, out).map(drop).map_err(|error| fail(error.to_string()))
    }

    fn trace(&mut self, frame: &Pixels<'_>, tensor: &[f32]) -> Result<TracedView, Error> {
        let Size { width, height } = self.size;
        let mut resampled = HostTensor::zeros(DType::U8, &[height, width, 3]).ok_or(Error::Internal("u8 zeros"))?;
        if let Data::U8(out) = resampled.data_mut() {
            let done = self.transform.apply_u8(frame, out);
            done.map_err(|error| failure(&self.camera, error.to_string()))?;
        }
        let part = tensor.chunks_exact(3 * height * width).nth(self.index).unwrap_or_default();
        let normalised = HostTensor::from_f32(&[3, height, width], part.to_vec());
        let normalised = normalised.ok_or(Error::Internal("a pixel tensor holds all its views"))?;
        Ok(TracedView { camera: self.camera.clone(), resampled, normalised })
    }
}

fn failure(camera: &str, reason: String) -> Error {
    Error::Camera { camera: camera.to_owned(), reason }
}
