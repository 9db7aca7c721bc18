//! Elements of weights, wherever the file has them.

use bytes::Bytes;

use super::network::external;
use super::proto::{self, GraphProto, TensorProto};
use super::{Error, Network};
use std::path::Path;
use vla_base::sys::map;

impl Network {
    /// The graph as the file has it.
    pub fn graph(&self) -> &GraphProto {
        &self.graph
    }

    /// Elements of one of its weights or constants, little-endian and row-major: a part of the mapped file where they lie in one.
    ///
    /// # Errors
    /// [`Error`] when their file cannot be read or is too short, and for types whose elements are no bytes.
    pub fn elements(&self, tensor: &TensorProto) -> Result<Bytes, Error> {
        let invalid = |reason: String| Error::Invalid { path: self.path.clone(), reason };
        let count = tensor.dims.iter().try_fold(1_u64, |product, dim| product.checked_mul(u64::try_from(*dim).ok()?));
        let expected = count.and_then(|count| proto::bytes_of(tensor.data_type(), count));
        let expected = expected.ok_or_else(|| {
            let kind = proto::type_name(tensor.data_type());
            invalid(format!("weight '{}' has the dimensions {:?} of {kind}", tensor.name(), tensor.dims))
        })?;
        let found = if tensor.data_location() == 1 {
            let dir = self.path.parent().unwrap_or(Path::new(""));
            let place = external(dir, tensor, expected).map_err(invalid)?;
            let file = map::map(&place.file).map_err(|source| Error::Io { path: place.file.clone(), source })?;
            let start = usize::try_from(place.offset).ok();
            let range = start.and_then(|start| Some(start..start.checked_add(usize::try_from(place.bytes).ok()?)?));
            let range = range.filter(|range| range.end <= file.len()).ok_or_else(|| {
                let end = place.offset.saturating_add(place.bytes);
                invalid(format!("weight '{}' ends at {end} in a file of {} bytes", place.name, file.len()))
            })?;
            file.slice(range)
        } else {
            tensor.raw_data.clone().filter(|raw| !raw.is_empty()).unwrap_or_else(|| listed(tensor))
        };
        if found.len() as u64 != expected {
            let reason = format!("weight '{}': expected {expected} bytes, found {}", tensor.name(), found.len());
            return Err(invalid(reason));
        }
        Ok(found)
    }
}

/// Bytes of elements that are listed one by one.
fn listed(tensor: &TensorProto) -> Bytes {
    let narrow = |bytes: usize| tensor.int32_data.iter().flat_map(move |n| n.to_le_bytes().into_iter().take(bytes));
    match tensor.data_type() {
        1 => tensor.float_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        6 => narrow(4).collect(),
        4 | 5 | 10 | 16 => narrow(2).collect(),
        7 => tensor.int64_data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        _ => narrow(1).collect(),
    }
}
