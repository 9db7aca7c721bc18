//! Camera frames to the `pixels` tensor.

use super::encode::image::EvalTransform;
use super::processor::Processor;
use super::{Error, PolicySpec};
use crate::message::{CompressedImageView, FrameDecoder, ImageView};
use crate::observation::{CameraSample, Transport};
use crate::tensor::{DType, Dim, HostTensor, TensorSpec};

/// Side of the square of pixels that becomes one token: 14-pixel patches, unshuffled by 2.
const PIXELS_PER_TOKEN_SIDE: usize = 28;

/// Every view of the policy, with what its frames are decoded and resampled through.
pub(super) struct Views {
    views: Vec<View>,
    /// `[views, 3, height, width]`
    pixels: HostTensor,
    /// Height and width of every view.
    size: (usize, usize),
}

struct View {
    camera: String,
    decoder: FrameDecoder,
    transform: EvalTransform,
}

impl Views {
    /// Views of the size that the first stage's `pixels` input has.
    pub fn new(spec: &PolicySpec, processor: &Processor, host_inputs: &[TensorSpec]) -> Result<Self, Error> {
        let dims = host_inputs.iter().find(|input| input.name == "pixels").map(|input| input.dims.as_slice());
        let Some([_, _, Dim::Fixed(height), Dim::Fixed(width)]) = dims else { return Err(Error::NoPixels) };
        let views = spec.cameras.iter().map(|camera| View {
            camera: camera.clone(),
            decoder: FrameDecoder::new(),
            transform: EvalTransform::new(&processor.image),
        });
        let dims = [spec.cameras.len(), 3, *height, *width];
        let pixels = HostTensor::zeros(DType::F32, &dims).ok_or(Error::Internal("f32 zeros"))?;
        Ok(Self { views: views.collect(), pixels, size: (*height, *width) })
    }

    /// Image tokens of each view.
    pub fn image_tokens(&self) -> Vec<usize> {
        let (height, width) = self.size;
        vec![(height / PIXELS_PER_TOKEN_SIDE) * (width / PIXELS_PER_TOKEN_SIDE); self.views.len()]
    }

    /// The tensor.
    pub fn pixels(&self) -> &HostTensor {
        &self.pixels
    }

    /// Decodes, resamples and normalises one frame of every camera, given in the policy's order.
    pub fn encode(&mut self, samples: &[CameraSample]) -> Result<(), Error> {
        if samples.len() != self.views.len() {
            return Err(Error::Cameras { expected: self.views.len(), found: samples.len() });
        }
        let (height, width) = self.size;
        let pixels = self.pixels.as_f32_mut().unwrap_or_default();
        for ((view, sample), out) in self.views.iter_mut().zip(samples).zip(pixels.chunks_exact_mut(3 * height * width))
        {
            let fail = |reason: String| Error::Camera { camera: view.camera.clone(), reason };
            let frame = match sample.transport {
                Transport::Raw => ImageView::parse(&sample.bytes).and_then(|image| image.pixels()),
                Transport::Compressed => {
                    CompressedImageView::parse(&sample.bytes).and_then(|image| view.decoder.decode(&image))
                }
            };
            let frame = frame.map_err(|error| fail(error.to_string()))?;
            let size =
                view.transform.output_size(frame.width, frame.height).map_err(|error| fail(error.to_string()))?;
            if (size.height, size.width) != (height, width) {
                return Err(fail(format!(
                    "frames of {}x{} become {}x{}, but the policy was exported for {width}x{height}; set the camera to \
                     the size that it was exported for",
                    frame.width, frame.height, size.width, size.height
                )));
            }
            view.transform.apply(&frame, out).map_err(|error| fail(error.to_string()))?;
        }
        Ok(())
    }
}
