//! Recorded tensors on the disk: what every stage of the reference was given and made, read back one at a time, so that
//! memory holds one stage and what it runs on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::Error;
use vla_base::tensor::{DType, Data, HostTensor};
use vla_engines::provenance::hash;

/// Which tensor: of an observation, and in the repeated group of a repetition.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    observation: usize,
    repetition: Option<usize>,
    name: String,
}

struct Entry {
    dtype: DType,
    dims: Vec<usize>,
    offset: u64,
}

/// Tensors in one file.
pub(super) struct Store {
    path: PathBuf,
    file: File,
    entries: BTreeMap<Key, Entry>,
    end: u64,
}

impl Store {
    /// A new file in `folder`.
    pub(super) fn create(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("tensors");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(Error::io(&path))?;
        Ok(Self { path, file, entries: BTreeMap::new(), end: 0 })
    }

    /// Keeps a tensor.
    pub(super) fn put(
        &mut self,
        observation: usize,
        repetition: Option<usize>,
        name: &str,
        tensor: &HostTensor,
    ) -> Result<(), Error> {
        let flags: Vec<u8>;
        let bytes: &[u8] = match tensor.data() {
            Data::F32(values) => bytemuck::cast_slice(values),
            Data::F16(values) => bytemuck::cast_slice(values),
            Data::BF16(values) => bytemuck::cast_slice(values),
            Data::I32(values) => bytemuck::cast_slice(values),
            Data::I64(values) => bytemuck::cast_slice(values),
            Data::U8(values) => values,
            Data::Bool(values) => {
                flags = values.iter().map(|flag| u8::from(*flag)).collect();
                &flags
            }
        };
        self.file.write_all(bytes).map_err(Error::io(&self.path))?;
        let entry = Entry { dtype: tensor.dtype(), dims: tensor.dims().to_vec(), offset: self.end };
        self.entries.insert(Key { observation, repetition, name: name.to_owned() }, entry);
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// What a stage outside the repeated group made, or the last of `steps` repetitions; `None` when neither was kept.
    pub(super) fn latest(&self, observation: usize, steps: u32, name: &str) -> Result<Option<HostTensor>, Error> {
        match (self.get(observation, None, name)?, (steps as usize).checked_sub(1)) {
            (None, Some(last)) => self.get(observation, Some(last), name),
            (found, _) => Ok(found),
        }
    }

    /// SHA-256 of every tensor in the order in which they were kept.
    pub(super) fn sha256(&self) -> Result<String, Error> {
        hash::file_sha256(&self.path).map_err(Error::io(&self.path))
    }

    /// Reads a tensor back; `None` when it was not kept.
    pub(super) fn get(
        &self,
        observation: usize,
        repetition: Option<usize>,
        name: &str,
    ) -> Result<Option<HostTensor>, Error> {
        let key = Key { observation, repetition, name: name.to_owned() };
        let Some(entry) = self.entries.get(&key) else { return Ok(None) };
        // It was counted when it was kept.
        let Some(mut tensor) = HostTensor::zeros(entry.dtype, &entry.dims) else { return Ok(None) };
        let mut flags = Vec::new();
        let bytes: &mut [u8] = match tensor.data_mut() {
            Data::F32(values) => bytemuck::cast_slice_mut(values),
            Data::F16(values) => bytemuck::cast_slice_mut(values),
            Data::BF16(values) => bytemuck::cast_slice_mut(values),
            Data::I32(values) => bytemuck::cast_slice_mut(values),
            Data::I64(values) => bytemuck::cast_slice_mut(values),
            Data::U8(values) => values,
            Data::Bool(values) => {
                flags.resize(values.len(), 0);
                &mut flags
            }
        };
        self.file.read_exact_at(bytes, entry.offset).map_err(Error::io(&self.path))?;
        if let Data::Bool(values) = tensor.data_mut() {
            values.iter_mut().zip(flags).for_each(|(value, flag)| *value = flag != 0);
        }
        Ok(Some(tensor))
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    #[test]
    fn tensors_of_every_type_come_back_under_their_observation_and_repetition() {
        let dir = tempfile::tempdir().expect("scratch");
        let mut store = Store::create(dir.path()).expect("a file");
        let all = [
            Data::F32(vec![1.5, f32::NAN]),
            Data::F16(vec![f16::from_f32(-2.5), f16::INFINITY]),
            Data::BF16(vec![bf16::from_f32(3.0), bf16::ZERO]),
            Data::I32(vec![-7, i32::MAX]),
            Data::I64(vec![i64::MIN, 9]),
            Data::U8(vec![1, 255]),
            Data::Bool(vec![true, false]),
        ];
        let of = |data: &Data, first: usize| {
            let mut tensor = HostTensor::zeros(DType::F32, &[first, 2 / first]).expect("small");
            *tensor.data_mut() = data.clone();
            tensor
        };
        for (index, data) in all.iter().enumerate() {
            store.put(index, None, "x", &of(data, 1)).expect("kept");
            store.put(index, Some(index), "x", &of(data, 2)).expect("kept");
        }
        for (index, data) in all.iter().enumerate() {
            for (repetition, first) in [(None, 1), (Some(index), 2)] {
                let found = store.get(index, repetition, "x").expect("reads").expect("kept");
                assert_eq!(format!("{found:?}"), format!("{:?}", of(data, first)), "NaN stays");
            }
        }
        for (observation, repetition, name) in [(7, None, "x"), (0, Some(1), "x"), (0, None, "y")] {
            assert!(store.get(observation, repetition, name).expect("reads").is_none());
        }
    }
}
