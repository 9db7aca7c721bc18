//! Camera frames to the pixel tensors that the stages read: `pixels` with every view, or `pixels.<camera>` with one.

use std::ops::Range;

use super::encode::frames::{FrameEncoder, TracedImage};
use super::encode::image::image_tokens;
use super::encode::resize::Size;
use super::processor::Processor;
use super::{Error, PolicySpec};
use crate::observation::CameraSample;
use vla_base::tensor::{DType, Dim, HostTensor, TensorSpec};
use vla_engines::Inference;
use vla_messages::Pixels;

/// Name of the tensor of all views.
pub(super) const STACKED: &str = "pixels";

/// The images of a policy's views, in the order of the prompt.
pub(super) struct Views {
    encoder: FrameEncoder,
    /// The view that each image is of.
    images: Vec<usize>,
    /// Sizes of the images.
    sizes: Vec<Size>,
    tensors: Vec<PixelTensor>,
    views: usize,
}

/// A tensor that a stage reads. The last resampling step writes directly into the engine's memory, unless frames of several
/// tensors are encoded at the same time.
struct PixelTensor {
    name: String,
    /// `[images, 3, height, width]`
    dims: [usize; 4],
    /// Its images.
    images: Range<usize>,
    /// For networks that read pixels in another type than single precision, and for several tensors at the same time.
    own: Option<HostTensor>,
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
    /// Views with the sizes of the stages' pixel inputs. `threads`: as [`FrameEncoder::new`].
    ///
    /// # Errors
    /// [`Error::NoPixels`] naming a camera that no stage reads, or that two inputs read; [`Error::Threads`].
    pub(crate) fn new(
        spec: &PolicySpec,
        processor: &Processor,
        host_inputs: &[TensorSpec],
        threads: usize,
    ) -> Result<Self, Error> {
        let mut inputs: Vec<(&TensorSpec, Vec<usize>, Size)> = Vec::new();
        for input in host_inputs {
            let named = |(_, camera): &(usize, &String)| match input.name.strip_prefix(STACKED) {
                Some("") => true,
                Some(rest) => rest.strip_prefix('.') == Some(camera),
                None => false,
            };
            let views: Vec<usize> = spec.cameras.iter().enumerate().filter(named).map(|(view, _)| view).collect();
            let [_, _, Dim::Fixed(height), Dim::Fixed(width)] = *input.dims.as_slice() else { continue };
            if !views.is_empty() {
                inputs.push((input, views, Size { width, height }));
            }
        }
        for (view, camera) in spec.cameras.iter().enumerate() {
            let inputs = inputs.iter().filter(|(_, views, _)| views.contains(&view)).count();
            if inputs != 1 {
                return Err(Error::NoPixels { camera: camera.clone(), inputs });
            }
        }
        inputs.sort_by_key(|(_, views, _)| views.first().copied());
        let (mut images, mut sizes, mut tensors) = (Vec::new(), Vec::new(), Vec::new());
        for (input, views, size) in inputs {
            let start = images.len();
            images.extend(&views);
            sizes.resize(images.len(), size);
            let dims = [views.len(), 3, size.height, size.width];
            tensors.push(PixelTensor { name: input.name.clone(), dims, images: start..images.len(), own: None });
        }
        let cameras = images.iter().filter_map(|&view| spec.cameras.get(view)).cloned();
        let encoder = FrameEncoder::new(&processor.image, cameras.zip(sizes.iter().copied()), threads);
        let encoder = encoder.map_err(|source| Error::Threads { source })?;
        Ok(Self { encoder, images, sizes, tensors, views: spec.cameras.len() })
    }

    /// Image tokens of each image.
    pub(crate) fn image_tokens(&self) -> Vec<usize> {
        self.sizes.iter().copied().map(image_tokens).collect()
    }

    /// Threads that encode frames.
    pub(crate) fn threads(&self) -> usize {
        self.encoder.threads()
    }

    /// Dimensions of a tensor by its name.
    pub(crate) fn dims(&self, name: &str) -> Option<&[usize]> {
        self.tensors.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.dims.as_slice())
    }

    /// Decodes, resamples and normalises one frame of every camera, in the policy's order, into the prepared pipeline.
    pub(crate) fn encode(&mut self, samples: &[CameraSample], pipeline: &mut dyn Inference) -> Result<(), Error> {
        self.check_count(samples.len())?;
        let Self { encoder, images, tensors, .. } = self;
        let frame = |&view: &usize| samples.get(view);
        if encoder.threads() == 1 || tensors.len() == 1 {
            for tensor in &mut *tensors {
                let (range, length) = (tensor.images.clone(), tensor.image_length());
                let frames = images.get(range.clone()).unwrap_or_default().iter().map(frame);
                encoder.encode(range, frames, tensor.values(pipeline)?.chunks_exact_mut(length))?;
            }
        } else {
            // The engine lends one buffer at a time.
            let values = tensors.iter_mut().flat_map(|tensor| {
                let length = tensor.image_length();
                tensor.own().into_iter().flat_map(move |values| values.chunks_exact_mut(length))
            });
            encoder.encode(0..images.len(), images.iter().map(frame), values)?;
        }
        self.write_own(pipeline)
    }

    /// Sets every pixel to zero.
    pub(crate) fn encode_zeros(&mut self, pipeline: &mut dyn Inference) -> Result<(), Error> {
        self.tensors.iter_mut().try_for_each(|tensor| tensor.values(pipeline).map(|values| values.fill(0.0)))?;
        self.write_own(pipeline)
    }

    /// As [`Self::encode`] for decoded frames, with the intermediate images of each. Allocates.
    pub(crate) fn trace(
        &mut self,
        frames: &[Pixels<'_>],
        pipeline: &mut dyn Inference,
    ) -> Result<Vec<TracedImage>, Error> {
        self.check_count(frames.len())?;
        let Self { encoder, images, tensors, .. } = self;
        let mut traced = Vec::with_capacity(images.len());
        for tensor in tensors {
            let (range, length) = (tensor.images.clone(), tensor.image_length());
            for (at, values) in range.zip(tensor.values(pipeline)?.chunks_exact_mut(length)) {
                let frame = images.get(at).and_then(|&view| frames.get(view));
                traced.push(encoder.trace(at, frame.ok_or(Error::Internal("a frame of each view"))?, values)?);
            }
        }
        self.write_own(pipeline)?;
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

    /// Writes the tensors that are not in the engine's memory yet.
    fn write_own(&self, pipeline: &mut dyn Inference) -> Result<(), Error> {
        for tensor in &self.tensors {
            if let Some(values) = &tensor.own {
                pipeline.write(&tensor.name, values)?;
            }
        }
        Ok(())
    }

    fn check_count(&self, found: usize) -> Result<(), Error> {
        let expected = self.views;
        if expected == found { Ok(()) } else { Err(Error::Cameras { expected, found }) }
    }
}

impl PixelTensor {
    /// Values of one image.
    fn image_length(&self) -> usize {
        let [_, channels, height, width] = self.dims;
        (channels * height * width).max(1)
    }

    /// The elements: where they were put before, else in the engine's memory where it reads single precision.
    fn values<'p>(&'p mut self, pipeline: &'p mut dyn Inference) -> Result<&'p mut [f32], Error> {
        if self.own.is_none()
            && let Some(values) = pipeline.input_buffer_mut(&self.name)
        {
            return Ok(values);
        }
        self.own().ok_or(Error::Internal("f32 zeros"))
    }

    /// The elements in memory of its own.
    fn own(&mut self) -> Option<&mut [f32]> {
        if self.own.is_none() {
            self.own = HostTensor::zeros(DType::F32, &self.dims);
        }
        self.own.as_mut().and_then(HostTensor::as_f32_mut)
    }
}
