//! The demo policies' networks, for small images.

use std::collections::BTreeMap;
use std::path::Path;

use vla_base::tensor::DType;
use vla_engines::Symbols;
use vla_engines::onnx;
use vla_engines::operations::Program;
use vla_engines::operations::evaluate::weights;
use vla_export::demo::weights::DemoWeights;
use vla_export::{Family, Options, RopeFrequencies, View, VisionAttention, demo, split};

use super::run::Network;

/// Entries of the vocabulary.
const VOCABULARY: usize = 500;
/// Fewest, usual and most text tokens.
const TEXT: [usize; 3] = [1, 32, 128];
/// Rows and columns of tokens of each of the cameras' images.
const GRID: (usize, usize) = (2, 3);

/// An exported demo policy.
pub(crate) struct Policy {
    pub(crate) name: String,
    /// Its stages in run order.
    pub(crate) stages: Vec<(&'static str, Network)>,
}

impl Policy {
    pub(crate) fn new(family: &'static Family, dtype: DType) -> Self {
        let model = demo::model_of(family, VOCABULARY);
        let options = Options {
            dtype,
            dtype_of: BTreeMap::new(),
            rope: RopeFrequencies::Bf16,
            attention: VisionAttention::PerImage,
            steps: vec![2],
            embodiment: demo::EMBODIMENT.1,
            text: TEXT,
            blocks_per_engine: None,
            stacked_projections: false,
            debug_outputs: false,
        };
        // A token is two by two patches.
        let side = 2 * model.vision.patch;
        let view =
            |camera: &str| View { camera: camera.to_owned(), width: GRID.1 * side, height: GRID.0 * side, images: 1 };
        let folder = tempfile::tempdir().unwrap();
        let views = ["top", "left", "right"].map(view);
        split::write(&DemoWeights::new(7, model.clone()), &model, &options, &views, folder.path()).unwrap();
        let names = ["vision", "language", "fusion", "context", "step"];
        let path = |name: &str| folder.path().join(format!("{name}.onnx"));
        let stages = names.into_iter().filter(|name| path(name).exists()).map(|name| (name, open(&path(name))));
        Self { name: format!("{} {dtype}", family.title()), stages: stages.collect() }
    }
}

fn open(path: &Path) -> Network {
    let program = Program::read_beside(path).unwrap();
    let weights = weights(&program, &onnx::Network::open(path).unwrap()).unwrap();
    Network { program, weights }
}

/// `text` rows, and a sequence of `rows`.
pub(crate) fn sizes(text: usize, rows: usize) -> Symbols {
    Symbols::from([("T".to_owned(), text), ("S".to_owned(), rows)])
}
