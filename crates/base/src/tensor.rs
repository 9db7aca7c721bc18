//! Tensors: element types, dimensions, descriptions of engine inputs and outputs, and tensors in host memory.

use std::borrow::Cow;
use std::fmt;

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

/// Element type of a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// bfloat16. The host converts to it but does not compute with it.
    BF16,
    /// 32-bit signed integer: ids and indices of exported policies.
    I32,
    /// 64-bit signed integer: ids of other exporters' networks.
    I64,
    /// Unsigned byte.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::I64 => 8,
            Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether a host tensor of this type can be written where a network wants `to`; see [`HostTensor::convert_into`].
    pub const fn converts_to(self, to: Self) -> bool {
        matches!(
            (self, to),
            (Self::F32, Self::F32 | Self::F16 | Self::BF16)
                | (Self::I32, Self::I32 | Self::I64 | Self::Bool)
                | (Self::F16, Self::F16)
                | (Self::BF16, Self::BF16)
                | (Self::I64, Self::I64)
                | (Self::U8, Self::U8)
                | (Self::Bool, Self::Bool)
        )
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::Bool => "bool",
        })
    }
}

/// One dimension of a tensor: fixed, or a symbol that takes its value from the first input that has it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// A number.
    Fixed(usize),
    /// Named, e.g. `T` for text tokens.
    Symbol(String),
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(n) => write!(f, "{n}"),
            Self::Symbol(name) => f.write_str(name),
        }
    }
}

impl PartialEq<usize> for Dim {
    fn eq(&self, n: &usize) -> bool {
        matches!(self, Self::Fixed(fixed) if fixed == n)
    }
}

/// The last `rank` dimensions, if all dimensions before them are 1 (a batch of one has the same memory layout). All
/// dimensions if there are at most `rank`; `None` if a leading dimension is not 1.
pub fn without_batch<D: PartialEq<usize>>(dims: &[D], rank: usize) -> Option<&[D]> {
    let (batch, rest) = dims.split_at(dims.len().saturating_sub(rank));
    batch.iter().all(|dim| *dim == 1).then_some(rest)
}

/// Name, element type and dimensions of one input or output of an engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorSpec {
    /// The tensor's name in the engine.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub dims: Vec<Dim>,
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.name, self.dtype, display_dims(&self.dims))
    }
}

/// Dimensions as `[3, T, 64]`.
pub fn display_dims<D: fmt::Display>(dims: &[D]) -> String {
    let inner: Vec<String> = dims.iter().map(ToString::to_string).collect();
    format!("[{}]", inner.join(", "))
}

/// The elements of a [`HostTensor`].
#[derive(Clone, PartialEq, Debug)]
pub enum Data {
    /// Single precision.
    F32(Vec<f32>),
    /// Half precision.
    F16(Vec<f16>),
    /// bfloat16.
    BF16(Vec<bf16>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// Bytes.
    U8(Vec<u8>),
    /// Booleans.
    Bool(Vec<bool>),
}

/// A dense row-major tensor in host memory.
#[derive(Clone, PartialEq, Debug)]
pub struct HostTensor {
    dims: Vec<usize>,
    data: Data,
}

/// No elements: f32 `[0]`.
impl Default for HostTensor {
    fn default() -> Self {
        Self { dims: vec![0], data: Data::F32(Vec::new()) }
    }
}

impl HostTensor {
    /// A tensor of zeros; `None` when the element count overflows.
    pub fn zeros(dtype: DType, dims: &[usize]) -> Option<Self> {
        let n = dims.iter().try_fold(1_usize, |n, dim| n.checked_mul(*dim))?;
        let data = match dtype {
            DType::F32 => Data::F32(vec![0.0; n]),
            DType::F16 => Data::F16(vec![f16::ZERO; n]),
            DType::BF16 => Data::BF16(vec![bf16::ZERO; n]),
            DType::I32 => Data::I32(vec![0; n]),
            DType::I64 => Data::I64(vec![0; n]),
            DType::U8 => Data::U8(vec![0; n]),
            DType::Bool => Data::Bool(vec![false; n]),
        };
        Some(Self { dims: dims.to_vec(), data })
    }

    /// A single-precision tensor; `None` when the element count differs from the product of `dims`.
    pub fn from_f32(dims: &[usize], values: Vec<f32>) -> Option<Self> {
        (values.len() == dims.iter().product::<usize>()).then(|| Self { dims: dims.to_vec(), data: Data::F32(values) })
    }

    /// A 32-bit integer tensor; `None` when the element count differs from the product of `dims`.
    pub fn from_i32(dims: &[usize], values: Vec<i32>) -> Option<Self> {
        (values.len() == dims.iter().product::<usize>()).then(|| Self { dims: dims.to_vec(), data: Data::I32(values) })
    }

    /// A 64-bit integer tensor; `None` when the element count differs from the product of `dims`.
    pub fn from_i64(dims: &[usize], values: Vec<i64>) -> Option<Self> {
        (values.len() == dims.iter().product::<usize>()).then(|| Self { dims: dims.to_vec(), data: Data::I64(values) })
    }

    /// A tensor of bytes; `None` when the element count differs from the product of `dims`.
    pub fn from_u8(dims: &[usize], values: Vec<u8>) -> Option<Self> {
        (values.len() == dims.iter().product::<usize>()).then(|| Self { dims: dims.to_vec(), data: Data::U8(values) })
    }

    /// The same elements in other dimensions; `None` when their product differs.
    pub fn reshaped(self, dims: &[usize]) -> Option<Self> {
        let same = self.dims.iter().product::<usize>() == dims.iter().product::<usize>();
        same.then(|| Self { dims: dims.to_vec(), data: self.data })
    }

    /// Writes these elements into `target`: i32 widened to i64 or, where not 0, true; f32 rounded to f16 or bf16. False
    /// when the types do not convert ([`DType::converts_to`]; equal types need no conversion) or the lengths differ.
    pub fn convert_into(&self, target: &mut HostTensor) -> bool {
        match (&self.data, &mut target.data) {
            (Data::I32(from), Data::I64(to)) => convert(from, to, |v| i64::from(*v)),
            (Data::I32(from), Data::Bool(to)) => convert(from, to, |v| *v != 0),
            (Data::F32(from), Data::F16(to)) => convert(from, to, |v| f16::from_f32(*v)),
            (Data::F32(from), Data::BF16(to)) => convert(from, to, |v| bf16::from_f32(*v)),
            _ => false,
        }
    }

    /// Converts f16 and bf16 to single precision; other types are unchanged.
    pub fn to_single(&self) -> Cow<'_, Self> {
        let values: Vec<f32> = match &self.data {
            Data::F16(values) => values.iter().map(|v| v.to_f32()).collect(),
            Data::BF16(values) => values.iter().map(|v| v.to_f32()).collect(),
            _ => return Cow::Borrowed(self),
        };
        Cow::Owned(Self { dims: self.dims.clone(), data: Data::F32(values) })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        match self.data {
            Data::F32(_) => DType::F32,
            Data::F16(_) => DType::F16,
            Data::BF16(_) => DType::BF16,
            Data::I32(_) => DType::I32,
            Data::I64(_) => DType::I64,
            Data::U8(_) => DType::U8,
            Data::Bool(_) => DType::Bool,
        }
    }

    /// Dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The elements, mutable.
    pub fn data_mut(&mut self) -> &mut Data {
        &mut self.data
    }

    /// The elements when they are single precision.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(values) => Some(values),
            _ => None,
        }
    }

    /// The elements when they are single precision, mutable.
    pub fn as_f32_mut(&mut self) -> Option<&mut [f32]> {
        match &mut self.data {
            Data::F32(values) => Some(values),
            _ => None,
        }
    }

    /// The elements when they are 32-bit integers.
    pub fn as_i32(&self) -> Option<&[i32]> {
        match &self.data {
            Data::I32(values) => Some(values),
            _ => None,
        }
    }
}

fn convert<A, B>(from: &[A], to: &mut [B], one: impl Fn(&A) -> B) -> bool {
    let fits = from.len() == to.len();
    if fits {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = one(from));
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [DType; 7] = [DType::F32, DType::F16, DType::BF16, DType::I32, DType::I64, DType::U8, DType::Bool];

    #[test]
    fn converts_to_and_convert_into_agree() {
        for (from, to) in ALL.iter().flat_map(|from| ALL.map(|to| (*from, to))).filter(|(from, to)| from != to) {
            let source = HostTensor::zeros(from, &[2, 3]).expect("small");
            let mut target = HostTensor::zeros(to, &[6]).expect("small");
            assert_eq!(source.convert_into(&mut target), from.converts_to(to), "{from} to {to}");
        }
        assert!(ALL.iter().all(|dtype| dtype.converts_to(*dtype)));
    }

    #[test]
    fn converted_values_are_the_nearest() {
        let ints = HostTensor::from_i32(&[3], vec![-1, 0, 7]).expect("whole");
        let mut bools = HostTensor::zeros(DType::Bool, &[3]).expect("small");
        assert!(ints.convert_into(&mut bools));
        assert_eq!(bools.data(), &Data::Bool(vec![true, false, true]));
        let floats = HostTensor::from_f32(&[2], vec![1.0 / 3.0, -2.5]).expect("whole");
        let mut rounded = HostTensor::zeros(DType::BF16, &[2]).expect("small");
        assert!(floats.convert_into(&mut rounded));
        assert_eq!(rounded.to_single().as_f32(), Some(&[0.333_984_38, -2.5][..]));
        assert!(!floats.convert_into(&mut HostTensor::zeros(DType::F16, &[3]).expect("small")), "another length");
    }

    #[test]
    fn only_a_batch_of_one_is_left_out() {
        assert_eq!(without_batch(&[1, 1, 5, 2], 2), Some(&[5, 2][..]));
        assert_eq!(without_batch(&[5, 2], 3), Some(&[5, 2][..]));
        assert_eq!(without_batch(&[2, 5, 2], 2), None);
        let symbol = Dim::Symbol("S".into());
        assert_eq!(without_batch(&[Dim::Fixed(1), symbol.clone()], 1), Some(&[symbol.clone()][..]));
        assert_eq!(without_batch(&[symbol, Dim::Fixed(4)], 1), None);
    }
}
