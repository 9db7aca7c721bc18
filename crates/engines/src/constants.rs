//! Tables of constants: inputs that are known beforehand, with a row for each iteration.
//!
//! Their files are read once, when the pipeline is loaded, so every instance of it has the same constants.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use safetensors::{Dtype, SafeTensors};

use super::Error;
use super::graph::{Graph, TensorOrigin};
use vla_base::sys::private;
use vla_base::tensor::{Data, HostTensor};

/// The files of constants that a pipeline's stages name, as they were when it was loaded.
#[derive(Default)]
pub(super) struct Tables(BTreeMap<PathBuf, Bytes>);

impl Tables {
    /// Reads every file.
    ///
    /// # Errors
    /// [`Error::Constants`] naming the first that cannot be read.
    pub(crate) fn read(graph: &Graph) -> Result<Self, Error> {
        let mut tables = BTreeMap::new();
        for tensor in &graph.tensors {
            let TensorOrigin::Constants(file) = &tensor.origin else { continue };
            if !tables.contains_key(file) {
                let fail = |source: std::io::Error| Error::Constants {
                    input: tensor.spec.name.clone(),
                    file: file.clone(),
                    source: source.into(),
                };
                tables.insert(file.clone(), private::read(file).map_err(fail)?);
            }
        }
        Ok(Self(tables))
    }

    fn file(&self, file: &Path) -> Result<SafeTensors<'_>, String> {
        let bytes = self.0.get(file).ok_or("it was not read when the pipeline was loaded")?;
        SafeTensors::deserialize(bytes).map_err(|error| format!("not a safetensors file: {error}"))
    }

    /// Tensor `<input>.<iterations>` of `file`, its first dimension the iterations.
    pub(crate) fn table(&self, file: &Path, input: &str, iterations: u32) -> Result<HostTensor, String> {
        let tables = self.file(file)?;
        let name = format!("{input}.{iterations}");
        let Ok(view) = tables.tensor(&name) else {
            return Err(format!("no tensor '{name}'; it has {}", tables.names().join(", ")));
        };
        let (elements, _) = view.data().as_chunks::<4>();
        let table = match view.dtype() {
            Dtype::F32 => HostTensor::from_f32(view.shape(), elements.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            Dtype::I32 => HostTensor::from_i32(view.shape(), elements.iter().map(|b| i32::from_le_bytes(*b)).collect()),
            _ => None,
        };
        table.filter(|table| table.dims().first() == Some(&(iterations as usize))).ok_or_else(|| {
            format!(
                "tensor '{name}' should be F32 or I32 with {iterations} rows, found {:?} {:?}",
                view.dtype(),
                view.shape()
            )
        })
    }

    /// What the files hold for this number of iterations and no stage reads: name and rows of each.
    pub(crate) fn unread(&self, graph: &Graph, iterations: u32) -> Result<Vec<(String, Vec<HostTensor>)>, Error> {
        let mut found = Vec::new();
        for file in self.0.keys() {
            let of_file = |tensor: &&super::graph::GraphTensor| tensor.origin == TensorOrigin::Constants(file.clone());
            let input = graph.tensors.iter().find(of_file).map(|tensor| tensor.spec.name.clone());
            let fail = |reason: String| Error::Constants {
                input: input.unwrap_or_default(),
                file: file.clone(),
                source: reason.into(),
            };
            let tables = self.file(file).map_err(fail)?;
            let suffix = format!(".{iterations}");
            let of_this_count = tables.names().into_iter().filter_map(|name| name.strip_suffix(suffix.as_str()));
            for name in of_this_count.filter(|name| graph.tensors.iter().all(|tensor| tensor.spec.name != *name)) {
                // Tables of other types are none of ours.
                if let Ok(table) = self.table(file, name, iterations) {
                    found.push((name.to_owned(), rows(&table)));
                }
            }
        }
        Ok(found)
    }
}

/// The rows of a table along its first dimension.
pub(super) fn rows(table: &HostTensor) -> Vec<HostTensor> {
    let dims = table.dims().get(1..).unwrap_or_default();
    let length = dims.iter().product::<usize>().max(1);
    match table.data() {
        Data::F32(values) => {
            values.chunks_exact(length).filter_map(|row| HostTensor::from_f32(dims, row.to_vec())).collect()
        }
        Data::I32(values) => {
            values.chunks_exact(length).filter_map(|row| HostTensor::from_i32(dims, row.to_vec())).collect()
        }
        _ => Vec::new(),
    }
}
