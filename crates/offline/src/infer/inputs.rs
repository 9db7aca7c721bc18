//! Named arrays checked against a policy.

use std::collections::BTreeMap;

use crate::Error;
use vla_base::tensor::{DType, Data, HostTensor, display_dims};
use vla_messages::{PixelFormat, Pixels};
use vla_policy::PolicySpec;

/// Prefix of a camera's frame.
pub const IMAGE: &str = "image.";
/// Prefix of a key's raw state.
pub const STATE: &str = "state_raw.";
/// Initial actions.
pub(crate) const NOISE: &str = "noise";
/// The instruction's UTF-8 bytes.
pub const INSTRUCTION: &str = "instruction";
/// Number of denoising steps.
pub const STEPS: &str = "steps";

/// One observation as arrays.
#[derive(Clone, PartialEq, Debug)]
pub struct Inputs {
    /// The frames of every camera in the policy's order, `[height, width, 3]`, or `[times, height, width, 3]`.
    images: Vec<(String, HostTensor)>,
    /// Raw state, keys in model order.
    pub(super) state: Vec<f32>,
    pub(super) instruction: String,
    /// `[horizon, dims]`
    pub(super) noise: HostTensor,
    /// The policy's default when `None`.
    pub(super) steps: Option<u32>,
    /// Arrays that are copied to the outputs unchanged.
    pub(super) echoed: Vec<(String, HostTensor)>,
}

impl Inputs {
    /// Takes `image.<camera>` u8 `[H, W, 3]` (of a policy with frames of several times `[times, H, W, 3]`, the oldest first), `state_raw.<key>` f32 `[1, width]`, `noise` f32 `[horizon, dims]`,
    /// `instruction` u8 `[bytes]` and, where it is given, `steps` i32 or i64 of one element.
    ///
    /// # Errors
    /// [`Error::Arrays`] with every array that is missing, unknown, or of another type, shape or content.
    pub fn new(arrays: BTreeMap<String, HostTensor>, spec: &PolicySpec) -> Result<Self, Error> {
        let mut taker = Taker { arrays, expected: Vec::new(), problems: Vec::new() };
        let times = spec.video_history.len();
        let sides = [Side::Is(times), Side::Any, Side::Any, Side::Is(3)];
        let sides = if times > 1 { &sides[..] } else { &sides[1..] };
        let images = spec.cameras.iter().map(|camera| {
            let tensor = taker.take(&format!("{IMAGE}{camera}"), DType::U8, sides);
            (camera.clone(), tensor)
        });
        let images = images.collect();
        let (mut state, mut echoed) = (Vec::new(), Vec::new());
        for (key, width) in &spec.state {
            let name = format!("{STATE}{key}");
            let tensor = taker.take(&name, DType::F32, &[Side::Is(1), Side::Is(*width)]);
            state.extend_from_slice(tensor.as_f32().unwrap_or_default());
            echoed.push((name, tensor));
        }
        let noise = taker.take(NOISE, DType::F32, &[Side::Is(spec.action.horizon), Side::Is(spec.action.dims)]);
        echoed.push((NOISE.to_owned(), noise.clone()));
        let instruction = taker.instruction();
        let steps = taker.steps();
        taker.finish()?;
        Ok(Self { images, state, instruction, noise, steps, echoed })
    }

    /// The frames, in the policy's order; those of one camera oldest first.
    pub(super) fn frames(&self) -> Result<Vec<Pixels<'_>>, Error> {
        let mut frames = Vec::new();
        for (camera, image) in &self.images {
            let fail = |reason: String| Error::Array { name: format!("{IMAGE}{camera}"), reason };
            let (&[.., height, width, _], Data::U8(data)) = (image.dims(), image.data()) else {
                return Err(fail("expected u8 [height, width, 3]".to_owned()));
            };
            for data in data.chunks_exact((3 * width * height).max(1)) {
                let frame = Pixels::new(PixelFormat::Rgb8, width, height, 3 * width, data);
                frames.push(frame.map_err(|error| fail(error.to_string()))?);
            }
        }
        Ok(frames)
    }
}

/// What a dimension has to be.
#[derive(Clone, Copy)]
enum Side {
    /// At least 1.
    Any,
    /// None at all too.
    Maybe,
    Is(usize),
}

struct Taker {
    arrays: BTreeMap<String, HostTensor>,
    /// Names asked for.
    expected: Vec<String>,
    problems: Vec<String>,
}

impl Taker {
    fn asked(&mut self, name: &str) -> Option<HostTensor> {
        self.expected.push(name.to_owned());
        self.arrays.remove(name)
    }

    /// The array; an empty one after adding a problem.
    fn take(&mut self, name: &str, dtype: DType, sides: &[Side]) -> HostTensor {
        let wanted = sides.iter().map(|side| match side {
            Side::Any | Side::Maybe => "any".to_owned(),
            Side::Is(n) => n.to_string(),
        });
        let wanted = format!("{dtype} {}", display_dims(&wanted.collect::<Vec<_>>()));
        let found = self.asked(name);
        let fits = |tensor: &HostTensor| {
            let same = |(side, n): (&Side, &usize)| match side {
                Side::Any => *n > 0,
                Side::Maybe => true,
                Side::Is(expected) => n == expected,
            };
            tensor.dtype() == dtype && tensor.dims().len() == sides.len() && sides.iter().zip(tensor.dims()).all(same)
        };
        let problem = match found {
            None => format!("'{name}': expected {wanted}, found no such array"),
            Some(tensor) if !fits(&tensor) => {
                format!("'{name}': expected {wanted}, found {} {}", tensor.dtype(), display_dims(tensor.dims()))
            }
            Some(tensor) => match tensor.as_f32().and_then(|values| values.iter().find(|value| !value.is_finite())) {
                Some(value) => format!("'{name}': expected finite values, found {value}"),
                None => return tensor,
            },
        };
        self.problems.push(problem);
        HostTensor::default()
    }

    fn instruction(&mut self) -> String {
        let tensor = self.take(INSTRUCTION, DType::U8, &[Side::Maybe]);
        let Data::U8(bytes) = tensor.data() else { return String::new() };
        match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(error) => {
                self.problems.push(format!("'{INSTRUCTION}': expected the bytes of UTF-8 text, found {error}"));
                String::new()
            }
        }
    }

    fn steps(&mut self) -> Option<u32> {
        let tensor = self.asked(STEPS)?;
        let value = match tensor.data() {
            Data::I32(values) if values.len() == 1 => values.first().map(|n| i64::from(*n)),
            Data::I64(values) if values.len() == 1 => values.first().copied(),
            _ => {
                let found = format!("{} {}", tensor.dtype(), display_dims(tensor.dims()));
                self.problems.push(format!("'{STEPS}': expected i32 or i64 of one element, found {found}"));
                return None;
            }
        };
        let steps = value.and_then(|n| u32::try_from(n).ok());
        if steps.is_none() {
            self.problems.push(format!("'{STEPS}': expected a step count, found {}", value.unwrap_or_default()));
        }
        steps
    }

    fn finish(mut self) -> Result<(), Error> {
        let known = self.expected.join(", ");
        let unknown = self.arrays.keys().map(|name| format!("'{name}': no such array is known; known are {known}"));
        self.problems.extend(unknown.collect::<Vec<_>>());
        if self.problems.is_empty() { Ok(()) } else { Err(Error::Arrays { problems: self.problems }) }
    }
}
