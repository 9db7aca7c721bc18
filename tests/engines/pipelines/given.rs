//! What the stages are given, as arrays without a pattern, and what they make of it.

use safetensors::SafeTensors;
use vla_base::tensor::{DType, HostTensor};
#[cfg(feature = "cuda")]
use vla_engines::frames::{Axis, FrameTransform, Resize, Sums};
use vla_engines::operations::evaluate::elements;
use vla_engines::{Inference, StageTime, Symbols};
use vla_export::demo;

use super::bench::Bench;

/// Tokens of all views.
pub(super) const IMAGE_TOKENS: usize = 60;
/// Text before the images.
const BEFORE: usize = 8;
pub(super) const RESULT: &str = "next_actions";
pub(super) const STAGES: [&str; 4] = ["vision", "language", "context", "step"];

/// The inputs of one inference.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub steps: u32,
    /// Text tokens.
    pub text: usize,
    /// Another one gives other values everywhere.
    pub salt: u64,
    /// Of each row.
    pub strength: Vec<f32>,
    /// Rows of the token embedding, `[tokens, width]`.
    table: HostTensor,
}

impl Given {
    /// Inputs of the usual length and the default number of steps.
    pub(super) fn usual(bench: &Bench) -> Self {
        let spec = bench.spec();
        let (file, name) = spec.instruction.embedding.as_ref().expect("the demo policy has a table");
        let bytes = std::fs::read(file).expect("the embedding's file");
        let tables = SafeTensors::deserialize(&bytes).expect("safetensors");
        let view = tables.tensor(name).expect("the table");
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let table = HostTensor::from_f32(view.shape(), values.collect()).expect("whole");
        Self { steps: spec.denoise.default, text: demo::TEXT[1], salt: 1, strength: vec![1.0; demo::HORIZON], table }
    }

    pub(super) fn with_steps(&self, steps: u32) -> Self {
        Self { steps, ..self.clone() }
    }

    pub(super) fn with_text(&self, text: usize) -> Self {
        Self { text, ..self.clone() }
    }

    pub(super) fn with_salt(&self, salt: u64) -> Self {
        Self { salt, ..self.clone() }
    }

    pub(super) fn with_strength(&self, strength: Vec<f32>) -> Self {
        Self { strength, ..self.clone() }
    }

    pub(super) fn symbols(&self) -> Symbols {
        [("T".to_owned(), self.text), ("S".to_owned(), self.text + IMAGE_TOKENS)].into()
    }

    /// Close to the normal distribution that the flow starts from.
    pub(super) fn noise(&self) -> Vec<f32> {
        let draws: Vec<Vec<f32>> =
            (0..3).map(|draw| scattered(demo::HORIZON * demo::DIMS, self.salt * 16 + draw)).collect();
        (0..demo::HORIZON * demo::DIMS).map(|at| draws.iter().map(|draw| draw[at]).sum()).collect()
    }

    /// Every host tensor by its name.
    pub(super) fn tensors(&self) -> Vec<(&'static str, HostTensor)> {
        let floats = |dims: &[usize], values| HostTensor::from_f32(dims, values).expect("whole");
        let ints = |values: Vec<i32>| HostTensor::from_i32(&[values.len()], values).expect("whole");
        let [tokens, width] = *self.table.dims() else { panic!("the table has two dimensions") };
        let table = self.table.as_f32().expect("f32");
        let row = |at: usize| &table[(at * 7 + self.salt as usize * 3) % tokens * width..][..width];
        let places = 0..self.text + IMAGE_TOKENS;
        let (image, text): (Vec<usize>, Vec<usize>) =
            places.partition(|place| (BEFORE..BEFORE + IMAGE_TOKENS).contains(place));
        let mut positions = vec![0; text.len() + image.len()];
        for (row, place) in text.iter().chain(&image).enumerate() {
            positions[*place] = row as i32;
        }
        let places = |places: &[usize]| ints(places.iter().map(|place| *place as i32).collect());
        let view = &demo::views()[0];
        let pixels = [demo::CAMERAS.len(), 3, view.height, view.width];
        let mut state = scattered(demo::used_columns(), self.salt * 16 + 4);
        state.resize(demo::DIMS, 0.0);
        vec![
            ("pixels", floats(&pixels, scattered(pixels.iter().product(), self.salt * 16 + 3))),
            ("text_rows", floats(&[text.len(), width], (0..text.len()).flat_map(row).copied().collect())),
            ("positions", ints(positions)),
            ("text_index", places(&text)),
            ("image_index", places(&image)),
            ("state", floats(&[1, demo::DIMS], state)),
            ("actions", floats(&[demo::HORIZON, demo::DIMS], self.noise())),
            ("strength", floats(&[demo::HORIZON], self.strength.clone())),
        ]
    }

    /// Prepares a pipeline for these inputs and writes them.
    pub(super) fn feed(&self, pipeline: &mut dyn Inference) {
        pipeline.prepare(&self.symbols(), self.steps).unwrap_or_else(|error| panic!("{error}"));
        for (name, tensor) in self.tensors() {
            pipeline.write(name, &tensor).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    /// The denoised actions `[horizon, dims]`.
    pub(super) fn run(&self, pipeline: &mut dyn Inference) -> Vec<f32> {
        self.feed(pipeline);
        execute(pipeline);
        result(pipeline)
    }

    /// As [`Self::run`], with pixels that the device makes of frames twice their size, in a pipeline that accepts them.
    #[cfg(feature = "cuda")]
    pub(super) fn run_with_frames(&self, pipeline: &mut dyn Inference) -> Vec<f32> {
        self.feed(pipeline);
        let view = &demo::views()[0];
        let axis = |output: usize| Axis {
            first: (0..output as i32).map(|at| 2 * at).collect(),
            taps: 1,
            weights: vec![1; output],
        };
        let (input, sums) = ([2 * view.width, 2 * view.height], Sums::Fixed { columns: 0, rows: 0 });
        let halved = Resize { input, offset: [0, 0], columns: axis(view.width), rows: axis(view.height), sums };
        let transform = FrameTransform::new(&[halved]).expect("a transform");
        let slots = pipeline.frames_mut("pixels").expect("frames are accepted");
        for (at, slot) in slots.images().enumerate() {
            let frame = slot.into_frame(&transform).expect("four times as many pixels fit");
            frame
                .iter_mut()
                .enumerate()
                .for_each(|(byte, value)| *value = (byte * (7 + at) / 3 + self.salt as usize * 13) as u8);
        }
        execute(pipeline);
        result(pipeline)
    }

    /// Every tensor on the way with its repetition, by an inspected run.
    pub(super) fn inspect(&self, pipeline: &mut dyn Inference) -> Vec<(String, HostTensor)> {
        self.feed(pipeline);
        let mut made = Vec::new();
        let run = pipeline.inspect(&mut |tensor| {
            let iteration = tensor.iteration.map_or_else(String::new, |iteration| format!("[{iteration}]"));
            made.push((format!("{}{iteration}", tensor.name), tensor.tensor));
        });
        run.unwrap_or_else(|error| panic!("{error}"));
        made
    }
}

/// Runs what was prepared and written.
pub(super) fn execute(pipeline: &mut dyn Inference) -> Vec<StageTime> {
    let mut times: Vec<StageTime> =
        STAGES.iter().map(|stage| StageTime { stage: (*stage).to_owned(), ..StageTime::default() }).collect();
    pipeline.execute(&mut times).unwrap_or_else(|error| panic!("{error}"));
    times
}

/// The denoised actions as they are now.
pub(super) fn result(pipeline: &mut dyn Inference) -> Vec<f32> {
    let mut actions = HostTensor::zeros(DType::F32, &[demo::HORIZON, demo::DIMS]).expect("small");
    pipeline.read(RESULT, &mut actions).unwrap_or_else(|error| panic!("{error}"));
    let actions = actions.as_f32().expect("f32").to_vec();
    assert!(actions.iter().all(|value| value.is_finite()), "NaN or infinity in the actions");
    actions
}

/// Numbers from -1 to 1, the same on every machine.
fn scattered(count: usize, salt: u64) -> Vec<f32> {
    let number = |at: u64| {
        let mut x = (at ^ salt << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x ^= x >> 31;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (x >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count as u64).map(number).collect()
}

/// Its elements, of whatever type, without rounding.
pub(super) fn floats(tensor: &HostTensor) -> Vec<f32> {
    let elements = elements(tensor).expect("numbers");
    elements.into_iter().map(|element| element as f32).collect()
}

/// Norm of the difference over norm of the reference.
pub(super) fn distance(found: &[f32], reference: &[f32]) -> f64 {
    assert_eq!(found.len(), reference.len());
    let square = |value: f64| value * value;
    let difference: f64 = found.iter().zip(reference).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let norm: f64 = reference.iter().map(|b| square(f64::from(*b))).sum();
    if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() }
}

/// Panics unless every value has the same bits.
#[track_caller]
pub(super) fn assert_same_bits(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let differing = found.iter().zip(expected).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    assert_eq!(
        differing,
        0,
        "{what}: values that differ, of {}; distance {:e}",
        found.len(),
        distance(found, expected)
    );
}

/// Panics unless `found` is within the kind's tolerance.
#[track_caller]
pub(super) fn assert_close(bench: &Bench, found: &[f32], reference: &[f32], what: &str) {
    let (distance, most) = (distance(found, reference), bench.kind.tolerance().outputs);
    eprintln!("{:?}, {what}: {distance:.2e} of {most:.0e}", bench.kind);
    assert!(distance <= most, "{what}: {distance:e} from the reference, at most {most:e}");
}
