//! Camera frames to the pixel tensors that the stages read: `pixels` with every view, or `pixels.<camera>` with one.

use std::ops::Range;

use super::encode::frames::{Frame, FrameEncoder, TracedImage};
use super::encode::resize::Size;
use super::processor::{ImageTransformSpec, SmartResize};
use super::{Error, PolicySpec};
use crate::observation::{CameraSample, Observation};
use vla_base::tensor::{DType, Dim, HostTensor, TensorSpec};
use vla_engines::Inference;
use vla_messages::Pixels;

/// Name of the tensor of all views.
pub(super) const STACKED: &str = "pixels";

/// The images of a policy's views, in the order of the prompt: with frames of several times all views of a time in one tensor,
/// else all times of a view.
pub(super) struct Views {
    encoder: FrameEncoder,
    smart_resize: SmartResize,
    images: Vec<ImageSource>,
    /// Sizes of the images.
    sizes: Vec<Size>,
    tensors: Vec<PixelTensor>,
    /// Views that a camera gives.
    cameras: usize,
    /// Frames of each view.
    times: usize,
}

/// Where an image comes from.
#[derive(Clone, Copy)]
struct ImageSource {
    view: usize,
    /// The camera among those that there are; `None`: the view is blank.
    camera: Option<usize>,
    /// Index in the policy's history, the last being the newest frame.
    time: usize,
}

impl ImageSource {
    /// Its frame in an observation; `None`: black.
    fn frame(self, observed: &Observation, times: usize) -> Option<&CameraSample> {
        let earlier = times.saturating_sub(1);
        match self.time.checked_sub(earlier) {
            Some(_) => observed.cameras.get(self.camera?),
            None => observed.earlier_frames.get(self.camera? * earlier + self.time),
        }
    }

    /// Its frame among those of every view, those of one view together.
    fn pixels<'f>(self, frames: &[Pixels<'f>], times: usize) -> Option<Pixels<'f>> {
        frames.get(self.view * times + self.time).copied()
    }
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
    /// The pipeline takes frames for it.
    takes_frames: bool,
}

/// Pixel tensors that a stage may read.
pub(super) fn offered(spec: &PolicySpec) -> Vec<TensorSpec> {
    let of = |name: String, views| {
        let dims = vec![Dim::Fixed(views), Dim::Fixed(3), Dim::Symbol("height".into()), Dim::Symbol("width".into())];
        TensorSpec { name, dtype: DType::F32, dims }
    };
    let times = spec.video_history.len();
    let single = spec.cameras.iter().map(|camera| of(format!("{STACKED}.{camera}"), times));
    std::iter::once(of(STACKED.into(), times * spec.cameras.len())).chain(single).collect()
}

/// What a policy sees.
#[derive(Clone, Copy)]
pub(super) struct ViewOptions<'a> {
    /// Its views, in order.
    pub cameras: &'a [String],
    /// Those that are black and take no frame.
    pub blank: &'a [String],
    /// Frames of each view.
    pub times: usize,
    /// The evaluation transform.
    pub transform: &'a ImageTransformSpec,
    /// As [`FrameEncoder::new`].
    pub threads: usize,
}

impl Views {
    /// Views with the sizes of the stages' pixel inputs.
    ///
    /// # Errors
    /// [`Error::NoPixels`] naming a camera that no stage reads, or that two inputs read; [`Error::Threads`].
    pub(crate) fn new(options: ViewOptions<'_>, host_inputs: &[TensorSpec]) -> Result<Self, Error> {
        let ViewOptions { cameras: names, blank, times, transform, threads } = options;
        let mut inputs: Vec<(&TensorSpec, Vec<usize>, Size)> = Vec::new();
        for input in host_inputs {
            let named = |(_, camera): &(usize, &String)| match input.name.strip_prefix(STACKED) {
                Some("") => true,
                Some(rest) => rest.strip_prefix('.') == Some(camera),
                None => false,
            };
            let views: Vec<usize> = names.iter().enumerate().filter(named).map(|(view, _)| view).collect();
            let [_, _, Dim::Fixed(height), Dim::Fixed(width)] = *input.dims.as_slice() else { continue };
            if !views.is_empty() {
                inputs.push((input, views, Size { width, height }));
            }
        }
        for (view, camera) in names.iter().enumerate() {
            let inputs = inputs.iter().filter(|(_, views, _)| views.contains(&view)).count();
            if inputs != 1 {
                return Err(Error::NoPixels { camera: camera.clone(), inputs });
            }
        }
        inputs.sort_by_key(|(_, views, _)| views.first().copied());
        let (mut images, mut sizes, mut tensors) = (Vec::new(), Vec::new(), Vec::new());
        let seen = |name: &&String| !blank.contains(name);
        let camera = |view: usize| {
            let camera = || names.iter().take(view).filter(seen).count();
            names.get(view).filter(seen).map(|_| camera())
        };
        for (input, views, size) in inputs {
            let start = images.len();
            for time in 0..times {
                images.extend(views.iter().map(|&view| ImageSource { view, camera: camera(view), time }));
            }
            sizes.resize(images.len(), size);
            let dims = [images.len() - start, 3, size.height, size.width];
            tensors.push(PixelTensor {
                name: input.name.clone(),
                dims,
                images: start..images.len(),
                own: None,
                takes_frames: false,
            });
        }
        let cameras = images.iter().filter_map(|image| names.get(image.view)).cloned();
        let encoder = FrameEncoder::new(transform, cameras.zip(sizes.iter().copied()), threads);
        let encoder = encoder.map_err(|source| Error::Threads { source })?;
        let cameras = names.iter().filter(seen).count();
        Ok(Self { encoder, smart_resize: transform.smart_resize, images, sizes, tensors, cameras, times })
    }

    /// From now on frames are given to the pipeline, if it makes pixels of them itself; false if not. Images of several tensors are
    /// encoded at the same time, for which the pipeline would have to lend several buffers.
    pub(crate) fn offer_frames(&mut self, pipeline: &mut dyn Inference) -> bool {
        let [tensor] = self.tensors.as_mut_slice() else { return false };
        tensor.takes_frames = pipeline.accept_frames(&tensor.name);
        tensor.takes_frames
    }

    /// Image tokens of each image.
    pub(crate) fn image_tokens(&self) -> Vec<usize> {
        self.sizes.iter().map(|&size| self.smart_resize.image_tokens(size)).collect()
    }

    /// Whether the pipeline is given frames.
    pub(crate) fn give_frames(&self) -> bool {
        self.tensors.iter().any(|tensor| tensor.takes_frames)
    }

    /// Dimensions of a tensor by its name.
    pub(crate) fn dims(&self, name: &str) -> Option<&[usize]> {
        self.tensors.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.dims.as_slice())
    }

    /// Decodes, resamples and normalises the frames of every camera, in the policy's order, into the prepared pipeline.
    pub(crate) fn encode(&mut self, observed: &Observation, pipeline: &mut dyn Inference) -> Result<(), Error> {
        check_count(self.cameras, observed.cameras.len())?;
        check_count(self.cameras * self.times.saturating_sub(1), observed.earlier_frames.len())?;
        let times = self.times;
        self.encode_each(|image| image.frame(observed, times).into(), pipeline)
    }

    /// As [`Self::encode`] for decoded frames, those of the first view, oldest first, then those of the next.
    pub(crate) fn encode_pixels(&mut self, frames: &[Pixels<'_>], pipeline: &mut dyn Inference) -> Result<(), Error> {
        check_count(self.images.len(), frames.len())?;
        let times = self.times;
        self.encode_each(|image| image.pixels(frames, times).map_or(Frame::Black, Frame::Pixels), pipeline)
    }

    /// Encodes the frame that `frame` gives for each image.
    fn encode_each<'f>(
        &mut self,
        frame: impl Fn(&ImageSource) -> Frame<'f> + Copy + Send,
        pipeline: &mut dyn Inference,
    ) -> Result<(), Error> {
        let Self { encoder, images, tensors, .. } = self;
        if encoder.threads() == 1 || tensors.len() == 1 {
            for tensor in &mut *tensors {
                let (range, length) = (tensor.images.clone(), tensor.image_length());
                let frames = images.get(range.clone()).unwrap_or_default().iter().map(frame);
                match pipeline.frames_mut(&tensor.name).filter(|_| tensor.takes_frames) {
                    Some(slots) => {
                        // Of a time at which the pipeline lent none.
                        tensor.own = None;
                        encoder.encode(range, frames, slots.images())?;
                    }
                    None => encoder.encode(range, frames, tensor.values(pipeline)?.chunks_exact_mut(length))?,
                }
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

    /// As [`Self::encode`] for decoded frames, those of the first view, oldest first, then those of the next, with the intermediate images of each. Allocates.
    pub(crate) fn trace(
        &mut self,
        frames: &[Pixels<'_>],
        pipeline: &mut dyn Inference,
    ) -> Result<Vec<TracedImage>, Error> {
        let Self { encoder, images, tensors, times, .. } = self;
        check_count(images.len(), frames.len())?;
        let mut traced = Vec::with_capacity(images.len());
        for tensor in tensors {
            let (range, length) = (tensor.images.clone(), tensor.image_length());
            for (at, values) in range.zip(tensor.values(pipeline)?.chunks_exact_mut(length)) {
                let frame = images.get(at).and_then(|image| image.pixels(frames, *times));
                let mut image = encoder.trace(at, &frame.ok_or(Error::Internal("a frame of each view"))?, values)?;
                if let Some(source) = images.get(at).filter(|_| *times > 1) {
                    image.camera = format!("{}.{}", image.camera, source.time);
                }
                traced.push(image);
            }
        }
        self.write_own(pipeline)?;
        Ok(traced)
    }

    /// Copies of every tensor as [`Self::trace`] encoded it. Allocates.
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
}

fn check_count(expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Cameras { expected, found }) }
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

#[cfg(test)]
mod tests;
