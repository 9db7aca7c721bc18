//! Files of external data: whether each is there, and as long as the network says.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::Network;
use super::network::{external, held};
use super::proto::{self, TensorProto};

/// First bytes of a git-lfs pointer.
const POINTER: &[u8] = b"version https://git-lfs";

/// Why a network's weights cannot be read from a file beside it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DataProblem {
    /// There is no such file.
    #[error("{}: expected {expected} bytes of weights, found no file; copy it beside the model", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// Bytes that the network needs of it.
        expected: u64,
    },
    /// The file ends before the last weight in it does.
    #[error(
        "{}: expected {expected} bytes (weight '{weight}' ends there), found {found}; the file was cut: copy it again, or \
         export the network again",
        file.display()
    )]
    Short {
        /// The file.
        file: PathBuf,
        /// The weight that ends last.
        weight: String,
        /// Bytes that the network needs of it.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// A pointer of git-lfs lies in place of the file.
    #[error("{}: expected {expected} bytes of weights, found a git-lfs pointer; run `git lfs pull`", file.display())]
    Pointer {
        /// The file.
        file: PathBuf,
        /// Bytes that the network needs of it.
        expected: u64,
    },
    /// The place of a weight is no place in a file.
    #[error("{}: {reason}; export the network again", model.display())]
    Place {
        /// The model.
        model: PathBuf,
        /// The weight, and what is wrong.
        reason: String,
    },
}

impl DataProblem {
    /// The file, where it is one of the files beside the model.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Missing { file, .. } | Self::Short { file, .. } | Self::Pointer { file, .. } => Some(file),
            Self::Place { .. } => None,
        }
    }
}

impl Network {
    /// Bytes that the network needs of each file beside it, with the weight that ends there, and weights without a place.
    pub fn data_needed(&self) -> (BTreeMap<PathBuf, (u64, String)>, Vec<DataProblem>) {
        let dir = self.path.parent().unwrap_or(Path::new(""));
        let mut tensors = Vec::new();
        held(&self.graph, &mut tensors);
        let mut needed: BTreeMap<PathBuf, (u64, String)> = BTreeMap::new();
        let mut problems = Vec::new();
        for tensor in tensors.into_iter().filter(|tensor| tensor.data_location() == 1) {
            match end(dir, tensor) {
                Ok((file, end)) => {
                    let most = needed.entry(file).or_default();
                    if end > most.0 {
                        *most = (end, tensor.name().to_owned());
                    }
                }
                Err(reason) => problems.push(DataProblem::Place { model: self.path.clone(), reason }),
            }
        }
        (needed, problems)
    }

    /// Everything wrong with the files beside the network: missing, shorter than their weights' places, pointers of git-lfs.
    pub fn data_problems(&self) -> Vec<DataProblem> {
        let (needed, mut problems) = self.data_needed();
        problems.extend(needed.into_iter().filter_map(|(file, (expected, weight))| problem(file, expected, weight)));
        problems
    }
}

fn problem(file: PathBuf, expected: u64, weight: String) -> Option<DataProblem> {
    let Some(found) = fs::metadata(&file).ok().filter(fs::Metadata::is_file).map(|meta| meta.len()) else {
        return Some(DataProblem::Missing { file, expected });
    };
    if found >= expected {
        return None;
    }
    let mut start = Vec::new();
    let read = File::open(&file).and_then(|open| open.take(POINTER.len() as u64).read_to_end(&mut start));
    if read.is_ok() && start == POINTER {
        return Some(DataProblem::Pointer { file, expected });
    }
    Some(DataProblem::Short { file, weight, expected, found })
}

/// The file of an external tensor, and where the tensor ends there.
fn end(dir: &Path, tensor: &TensorProto) -> Result<(PathBuf, u64), String> {
    let mut sizes = tensor.dims.iter().map(|size| u64::try_from(*size).ok());
    let elements = sizes.try_fold(1_u64, |product, size| product.checked_mul(size?));
    // Of strings and 4-bit types only the place counts.
    let size = proto::element_size(tensor.data_type());
    let bytes = elements.and_then(|elements| elements.checked_mul(size.unwrap_or(0)));
    let bytes = bytes.ok_or_else(|| format!("weight '{}' has the dimensions {:?}", tensor.name(), tensor.dims))?;
    let place = external(dir, tensor, bytes)?;
    if size.is_some() && place.bytes < bytes {
        return Err(format!("weight '{}': expected a length of {bytes} bytes, found {}", place.name, place.bytes));
    }
    let end = place.offset.checked_add(place.bytes);
    end.map(|end| (place.file, end)).ok_or_else(|| format!("weight '{}' ends beyond any file", place.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto};
    use prost::Message as _;

    fn weight(name: &str, dims: &[i64], place: &[(&str, &str)]) -> TensorProto {
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some((*key).to_owned()),
            value: Some((*value).to_owned()),
        };
        TensorProto {
            dims: dims.to_vec(),
            data_type: Some(1),
            name: Some(name.to_owned()),
            external_data: place.iter().map(entry).collect(),
            data_location: Some(1),
            ..TensorProto::default()
        }
    }

    fn network(dir: &Path, initializer: Vec<TensorProto>, constant: Option<TensorProto>) -> Network {
        let attribute = AttributeProto { t: constant, ..AttributeProto::default() };
        let node = vec![NodeProto { attribute: vec![attribute], ..NodeProto::default() }];
        let graph = GraphProto { initializer, node, ..GraphProto::default() };
        let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
        Network::decode(&dir.join("net.onnx"), model.encode_to_vec().into()).expect("a network")
    }

    #[test]
    fn a_file_that_ends_before_its_last_weight_is_short_and_a_longer_one_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("w.data");
        let first = weight("first", &[4], &[("location", "w.data")]);
        let last = weight("last", &[2, 3], &[("location", "w.data"), ("offset", "16"), ("length", "24")]);
        let network = network(dir.path(), vec![last, first], None);
        assert_eq!(network.data_problems(), [DataProblem::Missing { file: file.clone(), expected: 40 }]);
        for (bytes, expected) in [(40, None), (41, None), (39, Some(39)), (0, Some(0))] {
            fs::write(&file, vec![0; bytes]).expect("written");
            let short = |found| DataProblem::Short { file: file.clone(), weight: "last".into(), expected: 40, found };
            assert_eq!(network.data_problems(), expected.map(short).into_iter().collect::<Vec<_>>(), "{bytes}");
        }
        fs::write(&file, "version https://git-lfs.gi").expect("written");
        assert_eq!(network.data_problems(), [DataProblem::Pointer { file, expected: 40 }]);
    }

    #[test]
    fn constants_of_nodes_count_as_well() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("w.data"), [0; 8]).expect("written");
        let constant = weight("c", &[2], &[("location", "w.data"), ("offset", "4")]);
        let problems = network(dir.path(), Vec::new(), Some(constant)).data_problems();
        assert!(matches!(problems.as_slice(), [DataProblem::Short { expected: 12, found: 8, .. }]), "{problems:?}");
    }

    #[test]
    fn places_that_no_file_has_are_named() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("w.data"), [0; 64]).expect("written");
        for place in [("offset", "18446744073709551615"), ("offset", "-1"), ("length", "15"), ("length", "x")] {
            let weight = weight("w", &[4], &[("location", "w.data"), place]);
            let problems = network(dir.path(), vec![weight], None).data_problems();
            assert!(matches!(problems.as_slice(), [DataProblem::Place { .. }]), "{place:?}: {problems:?}");
        }
    }
}
