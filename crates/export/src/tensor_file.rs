//! Safetensors files, written as a stream: the format's own crate wants a temporary file that only its owner can read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use super::Error;
use super::weights::Weight;
use vla_base::tensor::DType;

#[derive(Serialize)]
struct Entry<'a> {
    dtype: &'static str,
    shape: &'a [usize],
    data_offsets: [usize; 2],
}

/// Writes `tensors` under their names and in their own element types; the widest type first, then by name.
///
/// # Errors
/// [`Error::Io`]; [`Error::DuplicateName`] when two tensors have one name.
pub(crate) fn write(tensors: &[Weight<'_>], path: &Path) -> Result<(), Error> {
    let mut ordered: Vec<&Weight<'_>> = tensors.iter().collect();
    ordered.sort_by(|a, b| b.dtype.size().cmp(&a.dtype.size()).then(a.name.cmp(&b.name)));
    let mut header = BTreeMap::new();
    let mut offset = 0;
    for tensor in &ordered {
        let end = offset + tensor.data.len();
        let dtype = match tensor.dtype {
            DType::F16 => "F16",
            DType::BF16 => "BF16",
            DType::I32 => "I32",
            _ => "F32",
        };
        let entry = Entry { dtype, shape: &tensor.dims, data_offsets: [offset, end] };
        if header.insert(tensor.name.as_str(), entry).is_some() {
            return Err(Error::DuplicateName {
                name: tensor.name.clone(),
                expected: "one tensor a name".to_owned(),
                found: "two".to_owned(),
            });
        }
        offset = end;
    }
    let mut header = serde_json::to_vec(&header).map_err(|source| Error::Json { path: path.to_path_buf(), source })?;
    // Data starts at a multiple of eight, so that it can be read in place.
    header.resize(header.len().next_multiple_of(8), b' ');
    let write = || -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for tensor in &ordered {
            file.write_all(&tensor.data)?;
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    };
    write().map_err(Error::io(path))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn the_formats_own_reader_reads_it() {
        let scratch = tempfile::tempdir().expect("scratch");
        let path = scratch.path().join("t.safetensors");
        let half =
            Weight { name: "a".into(), dtype: DType::F16, dims: vec![3], data: Cow::Owned(vec![1, 2, 3, 4, 5, 6]) };
        write(&[half, Weight::computed("b", &[1, 2], &[1.0, -2.0])], &path).expect("writes");
        let bytes = std::fs::read(&path).expect("reads");
        let tensors = SafeTensors::deserialize(&bytes).expect("valid");
        let single = tensors.tensor("b").expect("there");
        assert_eq!(
            (single.shape(), single.data()),
            (&[1, 2][..], &[1.0_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat()[..])
        );
        assert_eq!(tensors.tensor("a").expect("there").data(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_name_twice_is_refused() {
        let scratch = tempfile::tempdir().expect("scratch");
        let twice = [Weight::computed("b", &[1], &[1.0]), Weight::computed("b", &[1], &[2.0])];
        assert!(matches!(write(&twice, &scratch.path().join("t")), Err(Error::DuplicateName { .. })));
    }
}
