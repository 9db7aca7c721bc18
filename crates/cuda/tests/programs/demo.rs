//! The demo policies' networks.

use std::path::Path;

use tempfile::TempDir;
use vla_base::tensor::DType;
use vla_engines::Symbols;
use vla_engines::onnx;
use vla_engines::operations::Program;
use vla_engines::operations::evaluate::weights;
use vla_export::family::N1D7;
use vla_export::synthetic_checkpoint::{Size, fill_folder};
use vla_export::{Family, bundle, demo};

use super::run::Network;

/// An exported demo policy.
pub(crate) struct Policy {
    pub(crate) name: String,
    folder: TempDir,
}

impl Policy {
    pub(crate) fn new(family: &'static Family, dtype: DType) -> Self {
        let (checkpoint, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fill_folder(family, Size::Demo, 7, checkpoint.path(), u64::MAX, &mut |_| {}).unwrap();
        let mut request = demo::bundle::request(family, checkpoint.path());
        request.dtype = dtype;
        if family.name == N1D7.name {
            // Its images are the larger ones.
            request.cameras.truncate(1);
        }
        bundle::write(&request, folder.path(), &mut |_| {}).unwrap();
        Self { name: format!("{} {dtype}", family.title()), folder }
    }

    /// Its stages in run order.
    pub(crate) fn stages(&self) -> Vec<(&'static str, Network)> {
        let names = ["vision", "language", "fusion", "context", "step"];
        let path = |name: &str| self.folder.path().join(format!("{name}.onnx"));
        names.into_iter().filter(|name| path(name).exists()).map(|name| (name, open(&path(name)))).collect()
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
