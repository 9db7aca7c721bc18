//! The lists of fused operations that are written beside the networks: they compute what ONNX Runtime makes of the networks, and they
//! are short.

use std::collections::BTreeMap;
use std::path::Path;

use vla_base::tensor::{DType, HostTensor};
use vla_engines::Symbols;
use vla_engines::onnx::Network;
use vla_engines::operations::evaluate::{elements, evaluate, round, weights};
use vla_engines::operations::{Program, path_beside};
use vla_export::demo;
use vla_export::demo::weights::DemoWeights;
use vla_export::family::{Family, N1D6, N1D7};
use vla_export::{Model, Options, RopeFrequencies, View, VisionAttention, split};

use onnx_runtime::Runner;
use vla_trt_tests::onnx_runtime;

mod list;
mod numbers;

/// Both releases of the model.
static FAMILIES: [&Family; 2] = [&N1D6, &N1D7];
/// Text tokens of a prompt, such that no two sizes of a network are equal.
const TEXT: [usize; 2] = [5, 17];

/// A network to export.
#[derive(Clone)]
struct Case {
    model: Model,
    options: Options,
    views: Vec<View>,
}

impl Case {
    fn of(family: &'static Family) -> Self {
        let options = Options {
            dtype: DType::F32,
            dtype_of: BTreeMap::new(),
            rope: RopeFrequencies::Bf16,
            attention: VisionAttention::PerImage,
            steps: vec![2],
            embodiment: demo::EMBODIMENT.1,
            text: [1, 16, 32],
            blocks_per_engine: None,
            stacked_projections: false,
            debug_outputs: false,
        };
        Self { model: demo::model_of(family, 500), options, views: vec![view("a", 1, 1)] }
    }

    /// Writes the stages and returns their names.
    fn export(&self, dir: &Path) -> Vec<String> {
        // Two columns more than patches are high and wide: sizes that differ show what is mixed up.
        let weights = DemoWeights::new(7, self.model.clone());
        let patch = self.model.vision.patch;
        let views = self.views.iter().map(|view| View {
            width: view.width * 2 * patch,
            height: view.height * 2 * patch,
            ..view.clone()
        });
        let views: Vec<View> = views.collect();
        let stages = split::write(&weights, &self.model, &self.options, &views, dir).expect("export");
        stages.into_iter().map(|stage| stage.name).collect()
    }

    /// Rows of all images.
    fn images(&self) -> usize {
        self.views.iter().map(|view| view.images * view.width * view.height).sum()
    }

    /// Sizes for a prompt of this many text tokens.
    fn symbols(&self, text: usize) -> Symbols {
        Symbols::from([("T".to_owned(), text), ("S".to_owned(), text + self.images())])
    }
}

/// A view of 3 by 2 rows, times the factors.
fn view(camera: &str, wider: usize, images: usize) -> View {
    View { camera: camera.to_owned(), width: 3 * wider, height: 2, images }
}

/// A stage's program with its weights.
struct Listed {
    program: Program,
    weights: Vec<Vec<f64>>,
}

impl Listed {
    fn read(dir: &Path, stage: &str) -> Self {
        let onnx = dir.join(format!("{stage}.onnx"));
        let program = Program::read_beside(&onnx).unwrap_or_else(|error| panic!("{error}"));
        let weights = weights(&program, &Network::open(&onnx).expect("a network")).expect("its weights");
        Self { program, weights }
    }

    /// Seeded inputs by name, in single precision but of numbers that the inputs' types have.
    fn inputs(&self, symbols: &Symbols) -> BTreeMap<String, HostTensor> {
        let dims = self.program.dims(symbols).expect("sizes");
        let input = |index: &usize| {
            let (value, dims) = (&self.program.values[*index], &dims[*index]);
            let count: usize = dims.iter().product();
            let tensor = match (value.dtype, value.name.as_str()) {
                (DType::I32, "positions") => whole_numbers(dims, |at| at * 7 % count),
                (DType::I32, _) => whole_numbers(dims, |at| (at * 5 + 2) % symbols["S"]),
                (dtype, name) => {
                    let phase = name.bytes().map(f32::from).sum::<f32>() * 0.1;
                    let number = |at: usize| (at as f32 * 0.37 + phase).sin();
                    let numbers = (0..count).map(|at| round(f64::from(number(at)), dtype) as f32);
                    HostTensor::from_f32(dims, numbers.collect()).expect("whole")
                }
            };
            (value.name.clone(), tensor)
        };
        self.program.inputs.iter().map(input).collect()
    }

    /// Outputs by name.
    fn run(
        &self,
        inputs: &BTreeMap<String, HostTensor>,
        symbols: &Symbols,
        rounded: bool,
    ) -> BTreeMap<String, Vec<f64>> {
        let input = |index: &usize| elements(&inputs[&self.program.values[*index].name]).expect("numbers");
        let inputs: Vec<Vec<f64>> = self.program.inputs.iter().map(input).collect();
        let values = evaluate(&self.program, &self.weights, &inputs, symbols, rounded).expect("runs");
        let output = |index: &usize| (self.program.values[*index].name.clone(), values[*index].clone());
        self.program.outputs.iter().map(output).collect()
    }
}

fn whole_numbers(dims: &[usize], number: impl Fn(usize) -> usize) -> HostTensor {
    let count = dims.iter().product();
    let numbers = (0..count).map(|at| i32::try_from(number(at)).expect("small"));
    HostTensor::from_i32(dims, numbers.collect()).expect("whole")
}

/// Outputs of ONNX Runtime by name.
fn reference(runner: &mut Runner, inputs: &BTreeMap<String, HostTensor>) -> BTreeMap<String, Vec<f64>> {
    runner.run(inputs).into_iter().map(|(name, tensor)| (name, elements(&tensor).expect("numbers"))).collect()
}

/// Largest relative L2 difference of all outputs.
fn difference(found: &BTreeMap<String, Vec<f64>>, expected: &BTreeMap<String, Vec<f64>>) -> f64 {
    assert!(found.keys().eq(expected.keys()), "{:?} {:?}", found.keys(), expected.keys());
    let of = |(name, expected): (&String, &Vec<f64>)| {
        let found = &found[name];
        assert_eq!(found.len(), expected.len(), "{name}");
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
        let size = norm(&mut expected.iter().copied());
        assert!(size.is_finite() && size > 1e-3, "{name}: numbers that show something");
        norm(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / size
    };
    expected.iter().map(of).fold(0.0, f64::max)
}
