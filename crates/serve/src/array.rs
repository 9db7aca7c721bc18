//! Arrays as the two protocols write them: a `.npy` file in msgpack, or a map of element type, shape and bytes.

use vla_base::tensor::{DType, HostTensor, display_dims};
use vla_npz::npy;

use crate::msgpack::{Value, Writer};

/// Key that marks an array of GR00T's protocol.
const NPY_MARK: &str = "__ndarray_class__";
/// Key that marks an array of openpi's.
const NUMPY_MARK: &str = "__ndarray__";
/// Most dimensions of an array.
const MAX_RANK: usize = 8;

/// An array of a message: little-endian, row-major.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Array<'a> {
    pub(crate) element: Element,
    pub(crate) dims: Vec<usize>,
    data: &'a [u8],
}

/// Element types that are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Element {
    Uint8,
    Float32,
    Float64,
    Int32,
    Int64,
}

impl Element {
    const ALL: [(&'static str, &'static str, Self); 5] = [
        ("|u1", "uint8", Self::Uint8),
        ("<f4", "float32", Self::Float32),
        ("<f8", "float64", Self::Float64),
        ("<i4", "int32", Self::Int32),
        ("<i8", "int64", Self::Int64),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, _, element)| *element == self).map_or("", |(_, name, _)| name)
    }

    fn size(self) -> usize {
        match self {
            Self::Uint8 => 1,
            Self::Float32 | Self::Int32 => 4,
            Self::Float64 | Self::Int64 => 8,
        }
    }
}

impl<'a> Array<'a> {
    /// The array that a value of GR00T's protocol is; `None` for another value.
    ///
    /// # Errors
    /// What is wrong with the array.
    pub(crate) fn from_npy(value: &Value<'a>) -> Option<Result<Self, String>> {
        value.get(NPY_MARK)?;
        Some(match value.get("as_npy") {
            Some(Value::Bytes(file)) => Self::of_file(file),
            _ => Err("expected the bytes of a .npy file in as_npy, found none".to_owned()),
        })
    }

    fn of_file(file: &'a [u8]) -> Result<Self, String> {
        let header = npy::Header::parse(file)?;
        let element = match header.dtype {
            DType::U8 => Element::Uint8,
            DType::F32 => Element::Float32,
            DType::I32 => Element::Int32,
            DType::I64 => Element::Int64,
            other => return Err(format!("expected uint8 or float32 elements, found {other}")),
        };
        Self::new(element, header.dims, file.get(header.length..).unwrap_or_default())
    }

    /// The array that a value of openpi's protocol is; `None` for another value.
    ///
    /// # Errors
    /// What is wrong with the array.
    pub(crate) fn from_numpy(value: &Value<'a>) -> Option<Result<Self, String>> {
        value.get(NUMPY_MARK)?;
        let (Some(Value::Bytes(data)), Some(Value::Array(shape))) = (value.get("data"), value.get("shape")) else {
            return Some(Err("expected the keys data (bytes) and shape (a list), found others".to_owned()));
        };
        let dtype = value.get("dtype").and_then(Value::text).unwrap_or_default();
        let Some((_, _, element)) = Element::ALL.iter().find(|(code, ..)| *code == dtype) else {
            let known = Element::ALL.map(|(_, name, _)| name).join(", ");
            return Some(Err(format!("expected elements of {known}, found '{dtype}': convert them with astype")));
        };
        let side = |side: &Value<'_>| match side {
            Value::Integer(side) => usize::try_from(*side).ok(),
            _ => None,
        };
        let dims: Option<Vec<usize>> = shape.iter().map(side).collect();
        Some(match dims {
            Some(dims) => Self::new(*element, dims, data),
            None => Err("expected a shape of whole numbers, found other values".to_owned()),
        })
    }

    fn new(element: Element, dims: Vec<usize>, data: &'a [u8]) -> Result<Self, String> {
        if dims.len() > MAX_RANK {
            return Err(format!("expected at most {MAX_RANK} dimensions, found {}", dims.len()));
        }
        let bytes = dims.iter().try_fold(element.size(), |bytes, &side| bytes.checked_mul(side));
        if bytes == Some(data.len()) {
            Ok(Self { element, dims, data })
        } else {
            let (name, dims) = (element.name(), display_dims(&dims));
            Err(format!("expected the bytes of {name} {dims}, found {} bytes", data.len()))
        }
    }

    /// The elements' bytes.
    pub(crate) fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Element type and dimensions.
    pub(crate) fn shape(&self) -> String {
        format!("{} {}", self.element.name(), display_dims(&self.dims))
    }

    /// The values in single precision.
    pub(crate) fn values(&self) -> Vec<f32> {
        fn each<const N: usize>(data: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            data.as_chunks::<N>().0.iter().map(|bytes| convert(*bytes)).collect()
        }
        match self.element {
            Element::Uint8 => each(self.data, |[byte]| f32::from(byte)),
            Element::Float32 => each(self.data, f32::from_le_bytes),
            Element::Float64 => each(self.data, |bytes| f64::from_le_bytes(bytes) as f32),
            Element::Int32 => each(self.data, |bytes| i32::from_le_bytes(bytes) as f32),
            Element::Int64 => each(self.data, |bytes| i64::from_le_bytes(bytes) as f32),
        }
    }
}

/// Writes a single precision array as GR00T's protocol has it.
pub(crate) fn write_npy(writer: &mut Writer<'_>, dims: &[usize], values: Vec<f32>) {
    let file = npy::write(&HostTensor::from_f32(dims, values).unwrap_or_default());
    writer.map(2);
    writer.text(NPY_MARK);
    writer.bool(true);
    writer.text("as_npy");
    writer.bytes(&file);
}

/// Writes a single precision array as openpi's protocol has it.
pub(crate) fn write_numpy(writer: &mut Writer<'_>, dims: &[usize], values: &[f32]) {
    writer.map(4);
    writer.bytes(NUMPY_MARK.as_bytes());
    writer.bool(true);
    writer.bytes(b"data");
    writer.bytes_of(4 * values.len());
    values.iter().for_each(|value| writer.0.extend_from_slice(&value.to_le_bytes()));
    writer.bytes(b"dtype");
    writer.text("<f4");
    writer.bytes(b"shape");
    writer.array(dims.len());
    dims.iter().for_each(|side| writer.integer(i64::try_from(*side).unwrap_or(i64::MAX)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msgpack::parse;

    #[test]
    fn both_forms_give_back_the_bits_that_were_written() {
        let values = vec![0.0, -0.0, 1.5e-40, f32::MAX, -3.25, 1.0 / 3.0];
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let (mut npy, mut numpy) = (Vec::new(), Vec::new());
        write_npy(&mut Writer(&mut npy), &[1, 2, 3], values.clone());
        write_numpy(&mut Writer(&mut numpy), &[1, 2, 3], &values);
        let (npy, numpy) = (parse(&npy).expect("msgpack"), parse(&numpy).expect("msgpack"));
        for array in [Array::from_npy(&npy), Array::from_numpy(&numpy)] {
            let array = array.expect("marked").expect("an array");
            assert_eq!((array.element, array.dims.as_slice()), (Element::Float32, &[1, 2, 3][..]));
            assert_eq!(bits(&array.values()), bits(&values));
        }
        assert!(Array::from_npy(&numpy).is_none() && Array::from_numpy(&npy).is_none());
    }

    fn numpy(dtype: &str, shape: &[i64], data: &[u8]) -> Result<(Vec<usize>, Vec<f32>), String> {
        let mut bytes = Vec::new();
        let mut writer = Writer(&mut bytes);
        writer.map(4);
        writer.bytes(b"__ndarray__");
        writer.bool(true);
        writer.bytes(b"data");
        writer.bytes(data);
        writer.bytes(b"dtype");
        writer.text(dtype);
        writer.bytes(b"shape");
        writer.array(shape.len());
        shape.iter().for_each(|side| writer.integer(*side));
        let value = parse(&bytes).expect("msgpack");
        let array = Array::from_numpy(&value).expect("marked")?;
        Ok((array.dims.clone(), array.values()))
    }

    #[test]
    fn numbers_of_every_type_become_single_precision() {
        assert_eq!(numpy("<f8", &[2], &[2.5f64, -1.0].map(f64::to_le_bytes).concat()), Ok((vec![2], vec![2.5, -1.0])));
        assert_eq!(numpy("<i8", &[1, 1], &7i64.to_le_bytes()), Ok((vec![1, 1], vec![7.0])));
        assert_eq!(numpy("<i4", &[], &(-7i32).to_le_bytes()), Ok((vec![], vec![-7.0])));
        assert_eq!(numpy("|u1", &[3], &[0, 1, 255]), Ok((vec![3], vec![0.0, 1.0, 255.0])));
    }

    #[test]
    fn shapes_that_do_not_fit_their_bytes_are_refused() {
        assert!(numpy("<f4", &[2], &[0; 4]).is_err());
        assert!(numpy("<f4", &[-1], &[0; 4]).is_err());
        assert!(numpy("<f4", &[i64::MAX, 8], &[]).is_err());
        assert!(numpy(">f4", &[1], &[0; 4]).is_err());
        assert!(numpy("|O", &[1], &[0; 4]).is_err());
        assert!(numpy("|u1", &[1; 9], &[0]).is_err());
    }
}
