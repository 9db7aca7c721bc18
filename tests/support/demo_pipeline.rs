//! The demo policy on the project's own pipeline, fed below the processor: arrays in, normalised actions out.

use std::path::Path;

use safetensors::SafeTensors;
use vla_base::tensor::{HostTensor, TensorSpec};
use vla_engines::onnx_runtime::Onnx;
use vla_engines::{Admission, Inference, Pipeline, StageTime, Symbols};
use vla_export::demo;
use vla_policy::spec::PolicySpec;

/// What a policy is given, after the processor.
#[derive(Clone)]
pub struct Inputs {
    pub pixels: Vec<f32>,
    pub instruction: String,
    pub state: Vec<f32>,
    pub noise: Vec<f32>,
    pub steps: u32,
}

pub struct Demo {
    pipeline: Pipeline<Onnx>,
    tokenizer: tokenizers::Tokenizer,
    embedding: Vec<u8>,
    image_tokens: usize,
}

impl Demo {
    pub fn load(dir: &Path) -> Self {
        let spec = PolicySpec::load(dir).expect("the description loads");
        let stages = spec.stages.clone();
        let host: Vec<TensorSpec> = stages
            .iter()
            .flat_map(|stage| &stage.inputs)
            .filter_map(|input| {
                Some(TensorSpec { name: input.name.clone(), dtype: input.dtype?, dims: input.dims.clone()? })
            })
            .collect();
        let device = Onnx::new(1).expect("ONNX Runtime opens");
        let pipeline = Pipeline::load(device, &stages, None, &host, Admission::default(), &mut |_| {})
            .expect("the stages fit together");
        let image = pipeline.tensor("image_rows").expect("image rows");
        let vla_base::tensor::Dim::Fixed(image_tokens) = image.dims[0] else { panic!("{image}") };
        Self {
            pipeline,
            tokenizer: tokenizers::Tokenizer::from_file(dir.join("tokenizer.json")).expect("tokenizer"),
            embedding: std::fs::read(dir.join("embedding.safetensors")).expect("embedding"),
            image_tokens,
        }
    }

    /// Ids of the whole prompt.
    pub fn prompt(&self, instruction: &str) -> Vec<u32> {
        let mut text =
            format!("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{instruction}");
        let views = demo::CAMERAS.len();
        for view in 1..=views {
            let context = "<IMG_CONTEXT>".repeat(self.image_tokens / views);
            text.push_str(&format!("<image {view}><img>{context}</img>"));
        }
        text.push_str("<|im_end|>\n");
        self.tokenizer.encode(text, false).expect("encodes").get_ids().to_vec()
    }

    /// Denoised actions `[horizon, dims]`.
    pub fn run(&mut self, inputs: &Inputs) -> Vec<f32> {
        let context = self.tokenizer.token_to_id("<IMG_CONTEXT>").expect("token");
        let ids = self.prompt(&inputs.instruction);
        let tensors = SafeTensors::deserialize(&self.embedding).expect("embedding");
        let table = tensors.tensor("embed_tokens").expect("table");
        let width = table.shape()[1];
        let (mut text, mut image, mut rows, mut positions) = (vec![], vec![], vec![], vec![]);
        let texts = ids.iter().filter(|id| **id != context).count() as i32;
        for (place, id) in ids.iter().enumerate() {
            if *id == context {
                positions.push(texts + image.len() as i32);
                image.push(place as i32);
            } else {
                positions.push(text.len() as i32);
                text.push(place as i32);
                let row = &table.data()[*id as usize * width * 4..][..width * 4];
                rows.extend(row.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
            }
        }
        let symbols: Symbols = [("T".to_owned(), text.len()), ("S".to_owned(), ids.len())].into_iter().collect();
        self.pipeline.prepare(&symbols, inputs.steps).expect("prepares");
        let f32s = |dims: &[usize], v: Vec<f32>| HostTensor::from_f32(dims, v).expect("whole");
        let i32s = |v: Vec<i32>| HostTensor::from_i32(&[v.len()], v).expect("whole");
        for (name, tensor) in [
            ("pixels", f32s(&[3, 3, demo::views()[0].height, demo::views()[0].width], inputs.pixels.clone())),
            ("text_rows", f32s(&[text.len(), width], rows)),
            ("text_index", i32s(text)),
            ("image_index", i32s(image)),
            ("positions", i32s(positions)),
            ("state", f32s(&[1, demo::DIMS], inputs.state.clone())),
            ("actions", f32s(&[demo::HORIZON, demo::DIMS], inputs.noise.clone())),
            ("strength", f32s(&[demo::HORIZON], vec![1.0; demo::HORIZON])),
        ] {
            self.pipeline.write(name, &tensor).expect("fits");
        }
        let names = ["vision", "language", "context", "step"];
        let mut times = names.map(|stage| StageTime { stage: stage.to_owned(), ..StageTime::default() });
        self.pipeline.execute(&mut times).expect("runs");
        let mut actions = f32s(&[demo::HORIZON, demo::DIMS], vec![0.0; demo::HORIZON * demo::DIMS]);
        self.pipeline.read("next_actions", &mut actions).expect("reads");
        if std::env::var_os("DEMO_TIMES").is_some() {
            eprintln!("{times:?}");
        }
        actions.as_f32().expect("f32").to_vec()
    }
}
