//! Tables of constants: inputs that are known beforehand, a row for each repetition.
//!
//! Their files are read once, when the pipeline is loaded: a program that is made later, for an instruction of another
//! length, has the same constants as the first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use safetensors::{Dtype, SafeTensors};

use super::Error;
use super::wiring::{Source, Wiring};
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
    pub fn read(wiring: &Wiring) -> Result<Self, Error> {
        let mut tables = BTreeMap::new();
        for tensor in &wiring.tensors {
            let Source::Constants(file) = &tensor.source else { continue };
            if !tables.contains_key(file) {
                let fail = |reason: std::io::Error| Error::Constants {
                    input: tensor.spec.name.clone(),
                    file: file.clone(),
                    reason: reason.to_string(),
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

    /// Tensor `<input>.<repetitions>` of `file`, its first dimension the repetitions.
    pub fn table(&self, file: &Path, input: &str, repetitions: u32) -> Result<HostTensor, String> {
        let tables = self.file(file)?;
        let name = format!("{input}.{repetitions}");
        let Ok(view) = tables.tensor(&name) else {
            return Err(format!("no tensor '{name}'; it has {}", tables.names().join(", ")));
        };
        let (elements, _) = view.data().as_chunks::<4>();
        let table = match view.dtype() {
            Dtype::F32 => HostTensor::from_f32(view.shape(), elements.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            Dtype::I32 => HostTensor::from_i32(view.shape(), elements.iter().map(|b| i32::from_le_bytes(*b)).collect()),
            _ => None,
        };
        table.filter(|table| table.dims().first() == Some(&(repetitions as usize))).ok_or_else(|| {
            format!(
                "tensor '{name}' should be F32 or I32 with {repetitions} rows, found {:?} {:?}",
                view.dtype(),
                view.shape()
            )
        })
    }

    /// What the files hold for this number of repetitions and no stage reads: name and rows of each.
    pub fn unread(&self, wiring: &Wiring, repetitions: u32) -> Result<Vec<(String, Vec<HostTensor>)>, Error> {
        let mut found = Vec::new();
        for file in self.0.keys() {
            let of_file = |tensor: &&super::wiring::Tensor| tensor.source == Source::Constants(file.clone());
            let input = wiring.tensors.iter().find(of_file).map(|tensor| tensor.spec.name.clone());
            let fail = |reason| Error::Constants { input: input.unwrap_or_default(), file: file.clone(), reason };
            let tables = self.file(file).map_err(fail)?;
            let suffix = format!(".{repetitions}");
            let of_this_count = tables.names().into_iter().filter_map(|name| name.strip_suffix(suffix.as_str()));
            for name in of_this_count.filter(|name| wiring.tensors.iter().all(|tensor| tensor.spec.name != *name)) {
                // Tables of other types are none of ours.
                if let Ok(table) = self.table(file, name, repetitions) {
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
