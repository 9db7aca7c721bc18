//! The observation of a request: checked against the policy, with its pixels where they lie in the message.

use std::borrow::Cow;

use vla_messages::{MAX_PIXELS, PixelFormat, Pixels};

use crate::array::{Array, Element};
use crate::{Description, Refusal};

/// One observation.
#[derive(Clone, Debug)]
pub struct Observation<'a> {
    /// The frames of every view, in the policy's order; those of one view are the oldest first.
    pub frames: Vec<Pixels<'a>>,
    /// The state in the policy's units, keys in order; with several samples one after the other, the oldest first.
    pub state: &'a [f32],
    /// The instruction.
    pub instruction: &'a str,
    /// The noise that denoising starts from.
    pub start: Start<'a>,
}

/// The noise that denoising starts from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Start<'a> {
    /// The next of the model's sequence.
    Next,
    /// That of this seed.
    Seed(u64),
    /// These values, `[horizon, dims]`.
    Noise(&'a [f32]),
}

/// What was gathered of a request. Problems are collected, so that a client sees all of them at once.
#[derive(Debug)]
pub(crate) struct Gathered<'a> {
    images: Vec<Image<'a>>,
    state: Vec<f32>,
    instruction: Option<&'a str>,
    seed: Option<u64>,
    noise: Option<Vec<f32>>,
    problems: Vec<String>,
}

#[derive(Debug)]
struct Image<'a> {
    width: usize,
    height: usize,
    /// Red, green and blue of each pixel.
    data: Cow<'a, [u8]>,
}

impl<'a> Gathered<'a> {
    pub(crate) fn new(policy: &Description) -> Self {
        Self {
            images: Vec::with_capacity(policy.cameras.len() * policy.frames),
            state: vec![0.0; policy.samples * policy.state_width()],
            instruction: None,
            seed: None,
            noise: None,
            problems: Vec::new(),
        }
    }

    pub(crate) fn problem(&mut self, name: &str, problem: impl std::fmt::Display) {
        self.problems.push(format!("{name}: {problem}"));
    }

    /// Adds the frames of the next view: `times` images `[height, width, 3]`, one after the other.
    pub(crate) fn view(&mut self, name: &str, times: usize, [height, width]: [usize; 2], data: &'a [u8]) {
        let pixels = height.checked_mul(width).filter(|pixels| (1..=MAX_PIXELS).contains(pixels));
        let bytes = pixels.map(|pixels| 3 * pixels).filter(|bytes| bytes.checked_mul(times) == Some(data.len()));
        let Some(bytes) = bytes else {
            return self
                .problem(name, format_args!("expected images of 1 to {MAX_PIXELS} pixels, found {width}x{height}"));
        };
        self.images.extend(data.chunks_exact(bytes).map(|data| Image { width, height, data: Cow::Borrowed(data) }));
    }

    /// Adds the frame of the next view, given as `[3, height, width]`.
    pub(crate) fn planar_view(&mut self, name: &str, [height, width]: [usize; 2], data: &'a [u8]) {
        let planes = data.chunks_exact((data.len() / 3).max(1)).collect::<Vec<_>>();
        let (&[red, green, blue], 1..=MAX_PIXELS) = (planes.as_slice(), data.len() / 3) else {
            return self
                .problem(name, format_args!("expected images of 1 to {MAX_PIXELS} pixels, found {width}x{height}"));
        };
        let pixels = red.iter().zip(green).zip(blue);
        let data = Cow::Owned(pixels.flat_map(|((red, green), blue)| [*red, *green, *blue]).collect());
        self.images.push(Image { width, height, data });
    }

    /// Sets columns of every sample of the state from `[samples, width]` values.
    pub(crate) fn state(&mut self, name: &str, policy: &Description, start: usize, values: &[f32]) {
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return self.problem(name, format_args!("expected finite values, found {value}"));
        }
        let width = values.len() / policy.samples.max(1);
        let samples = self.state.chunks_exact_mut(policy.state_width().max(1));
        for (sample, values) in samples.zip(values.chunks_exact(width.max(1))) {
            sample.iter_mut().skip(start).zip(values).for_each(|(slot, value)| *slot = *value);
        }
    }

    pub(crate) fn instruction(&mut self, text: &'a str) {
        self.instruction = Some(text);
    }

    pub(crate) fn seed(&mut self, seed: u64) {
        self.seed = Some(seed);
    }

    /// Takes the noise to start from: float32 `[horizon, dims]`, with a batch of 1 before it or not.
    pub(crate) fn noise(&mut self, policy: &Description, array: Result<Array<'a>, String>) {
        let [horizon, dims] = policy.noise;
        match array {
            Ok(array) if array.element == Element::Float32 && fits(&array.dims, &policy.noise) => {
                let values = array.values();
                match values.iter().find(|value| !value.is_finite()) {
                    Some(value) => self.problem("noise", format_args!("expected finite values, found {value}")),
                    None => self.noise = Some(values),
                }
            }
            Ok(array) => {
                self.problem("noise", format_args!("expected float32 [{horizon}, {dims}], found {}", array.shape()));
            }
            Err(reason) => self.problem("noise", reason),
        }
    }

    /// The observation, if nothing is missing or wrong.
    ///
    /// # Errors
    /// [`Refusal::Observation`] with every problem.
    pub(crate) fn finish(&self) -> Result<Observation<'_>, Refusal> {
        if !self.problems.is_empty() {
            return Err(Refusal::Observation(self.problems.clone()));
        }
        let mut frames = Vec::with_capacity(self.images.len());
        for Image { width, height, data } in &self.images {
            let frame = Pixels::new(PixelFormat::Rgb8, *width, *height, 3 * width, data);
            frames.push(frame.map_err(|error| Refusal::Observation(vec![error.to_string()]))?);
        }
        let start = match (&self.noise, self.seed) {
            (Some(noise), _) => Start::Noise(noise),
            (None, Some(seed)) => Start::Seed(seed),
            (None, None) => Start::Next,
        };
        Ok(Observation { frames, state: &self.state, instruction: self.instruction.unwrap_or_default(), start })
    }
}

/// Whether `dims` are `expected`, alone or as a batch of one.
fn fits(dims: &[usize], expected: &[usize]) -> bool {
    dims == expected || matches!(dims, [1, rest @ ..] if rest == expected)
}
