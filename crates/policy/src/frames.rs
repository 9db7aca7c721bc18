//! Sizes of camera frames that a policy takes: those that become what its networks read.

use std::sync::Arc;

use super::encode::image::EvalTransform;
use super::encode::resize::Size;
use super::processor::{ImageTransformSpec, ProcessorError};
use super::spec::PolicySpec;
use super::views::STACKED;
use crate::observation::FrameCheck;
use vla_base::tensor::Dim;

/// Sizes that cameras usually have, to name one that fits.
const USUAL: [(usize, usize); 18] = [
    (640, 480),
    (320, 240),
    (1280, 720),
    (640, 360),
    (848, 480),
    (424, 240),
    (1920, 1080),
    (960, 540),
    (1280, 960),
    (800, 600),
    (160, 120),
    (1280, 800),
    (640, 400),
    (480, 480),
    (256, 256),
    (224, 224),
    (480, 640),
    (720, 1280),
];
/// Sizes that are named.
const NAMED: usize = 3;

/// The frame sizes of one policy.
#[derive(Clone, Debug)]
pub struct FrameSizes {
    image: ImageTransformSpec,
    /// Camera, and what its frames must become.
    cameras: Vec<(String, Size)>,
}

impl FrameSizes {
    /// Reads them from a policy's description. A camera whose network leaves the size open takes any.
    ///
    /// # Errors
    /// [`ProcessorError`] when the processor's files cannot be used.
    pub fn load(spec: &PolicySpec) -> Result<Self, ProcessorError> {
        let image = spec.processor.load()?.image;
        let inputs = spec.stages.iter().flat_map(|stage| &stage.inputs);
        let mut cameras = Vec::new();
        for (name, dims) in inputs.filter_map(|input| Some((&input.name, input.dims.as_ref()?))) {
            let [_, _, Dim::Fixed(height), Dim::Fixed(width)] = *dims.as_slice() else { continue };
            let size = Size { width, height };
            match name.strip_prefix(STACKED) {
                Some("") => cameras.extend(spec.cameras.iter().map(|camera| (camera.clone(), size))),
                Some(rest) => cameras.extend(rest.strip_prefix('.').map(|camera| (camera.to_owned(), size))),
                None => {}
            }
        }
        Ok(Self { image, cameras })
    }

    /// As a check of inputs.
    pub fn into_check(self) -> Arc<FrameCheck> {
        Arc::new(move |camera: &str, width, height| self.check(camera, width, height))
    }

    /// Refuses a frame of another size than the policy's, naming those that fit.
    ///
    /// # Errors
    /// What is wrong, and the size to set.
    pub fn check(&self, camera: &str, width: usize, height: usize) -> Result<(), String> {
        match self.cameras.iter().find(|(name, _)| name == camera) {
            Some((_, expected)) => expect(&EvalTransform::new(&self.image), *expected, width, height),
            None => Ok(()),
        }
    }
}

/// Refuses a frame that does not become `expected`.
pub(super) fn expect(transform: &EvalTransform, expected: Size, width: usize, height: usize) -> Result<(), String> {
    let found = transform.output_size(width, height).map_err(|error| error.to_string())?;
    if found == expected {
        return Ok(());
    }
    let fits =
        |&(width, height): &(usize, usize)| transform.output_size(width, height).is_ok_and(|size| size == expected);
    let usual: Vec<String> =
        USUAL.iter().filter(|size| fits(size)).map(|(w, h)| format!("{w}x{h}")).take(NAMED).collect();
    let set = match usual.split_first() {
        Some((first, [])) => format!("set the camera to {first}"),
        Some((first, others)) => format!("set the camera to {first} (or {})", others.join(", ")),
        None => format!("set the camera to a size with sides of about {}:{}", expected.width, expected.height),
    };
    Err(format!(
        "frames of {width}x{height} become {}x{}, but the policy was exported for frames that become {}x{}; {set}, or export \
         the policy for {width}x{height}",
        found.width, found.height, expected.width, expected.height
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::N1D6;

    fn transform() -> EvalTransform {
        EvalTransform::new(&N1D6.image(256, 0.95))
    }

    #[test]
    fn a_frame_of_another_size_names_the_size_to_set() {
        let transform = transform();
        let expected = transform.output_size(640, 480).expect("a size");
        assert_eq!(expect(&transform, expected, 320, 240), Ok(()), "the same sides at half the size");
        let refused = expect(&transform, expected, 640, 360).expect_err("wider");
        assert!(refused.starts_with("frames of 640x360 become "), "{refused}");
        assert!(
            refused.contains("; set the camera to 640x480 (or 320x240, 1280x960), or export the policy for 640x360"),
            "{refused}"
        );
        assert!(
            expect(&transform, Size { width: 28, height: 280 }, 640, 480)
                .is_err_and(|text| text.contains("about 28:280"))
        );
    }
}
