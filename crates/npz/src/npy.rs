//! NumPy's `.npy` format (versions 1 to 3): a header (a Python dictionary literal), then the elements, little-endian, row-major.

use half::f16;

use vla_base::tensor::{DType, Data, HostTensor};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Largest header; NumPy's headers of plain arrays have 118 bytes.
const MAX_HEADER: usize = 1 << 16;
/// Largest number of dimensions; NumPy's limit is 64.
const MAX_RANK: usize = 32;
/// Alignment of the elements in the file.
const ALIGNMENT: usize = 64;

/// Header of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub dims: Vec<usize>,
    /// Offset of the elements in bytes.
    pub length: usize,
}

impl Header {
    /// Reads the header at the start of `bytes`.
    ///
    /// # Errors
    /// The reason: another format, an unsupported element type, Fortran order.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let not_npy = || "expected a .npy array (\\x93NUMPY), found other bytes".to_owned();
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(not_npy)?;
        let (start, size) = match *rest {
            [1, _, a, b, ..] => (10, usize::from(u16::from_le_bytes([a, b]))),
            [2 | 3, _, a, b, c, d, ..] => (12, u32::from_le_bytes([a, b, c, d]) as usize),
            [version, ..] => return Err(format!("expected .npy version 1, 2 or 3, found {version}")),
            [] => return Err(not_npy()),
        };
        if size > MAX_HEADER {
            return Err(format!("expected a .npy header of at most {MAX_HEADER} bytes, found {size}"));
        }
        let text = bytes.get(start..start + size).ok_or_else(|| "the .npy header is truncated".to_owned())?;
        let text = std::str::from_utf8(text).map_err(|error| format!("the .npy header is not text: {error}"))?;
        let (dtype, dims) = dictionary(text)?;
        Ok(Self { dtype, dims, length: start + size })
    }

    /// Bytes of all elements; `None` on overflow.
    pub fn data_bytes(&self) -> Option<usize> {
        self.dims.iter().try_fold(self.dtype.size(), |bytes, &n| bytes.checked_mul(n))
    }
}

/// Reads a whole array.
///
/// # Errors
/// As [`Header::parse`], and when the number of elements differs from the header.
pub fn parse(bytes: &[u8]) -> Result<HostTensor, String> {
    let header = Header::parse(bytes)?;
    elements(header.dtype, &header.dims, bytes.get(header.length..).unwrap_or_default())
}

/// A tensor from the bytes of its elements.
///
/// # Errors
/// When the number of elements differs from the dimensions, and for a type that NumPy does not have.
pub fn elements(dtype: DType, dims: &[usize], data: &[u8]) -> Result<HostTensor, String> {
    let bytes = dims.iter().try_fold(dtype.size(), |bytes, &n| bytes.checked_mul(n));
    if bytes != Some(data.len()) {
        let dims = vla_base::tensor::display_dims(dims);
        return Err(format!("expected the elements of {dtype} {dims}, found {} bytes", data.len()));
    }
    let tensor = HostTensor::zeros(dtype, dims);
    let mut tensor = tensor.ok_or_else(|| format!("{dtype} is not supported"))?;
    match tensor.data_mut() {
        Data::F32(values) => fill(values, data, f32::from_le_bytes),
        Data::F16(values) => fill(values, data, f16::from_le_bytes),
        Data::BF16(_) => return Err("NumPy has no bfloat16".to_owned()),
        Data::I32(values) => fill(values, data, i32::from_le_bytes),
        Data::I64(values) => fill(values, data, i64::from_le_bytes),
        Data::U8(values) => values.copy_from_slice(data),
        Data::Bool(values) => fill(values, data, |[byte]: [u8; 1]| byte != 0),
    }
    Ok(tensor)
}

fn fill<T, const N: usize>(values: &mut [T], data: &[u8], from: impl Fn([u8; N]) -> T) {
    let (elements, _) = data.as_chunks::<N>();
    values.iter_mut().zip(elements).for_each(|(value, bytes)| *value = from(*bytes));
}

/// A tensor as a `.npy` file. bfloat16, which NumPy does not have, becomes single precision.
pub fn write(tensor: &HostTensor) -> Vec<u8> {
    let (descr, data) = match tensor.data() {
        Data::F32(values) => ("<f4", values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        Data::F16(values) => ("<f2", values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        Data::BF16(values) => ("<f4", values.iter().flat_map(|v| v.to_f32().to_le_bytes()).collect()),
        Data::I32(values) => ("<i4", values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        Data::I64(values) => ("<i8", values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        Data::U8(values) => ("|u1", values.clone()),
        Data::Bool(values) => ("|b1", values.iter().map(|v| u8::from(*v)).collect::<Vec<u8>>()),
    };
    let dims = tensor.dims().iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let comma = if tensor.dims().len() == 1 { "," } else { "" };
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}{comma}), }}");
    let used = MAGIC.len() + 4 + text.len() + 1;
    text.extend(std::iter::repeat_n(' ', used.next_multiple_of(ALIGNMENT) - used));
    text.push('\n');
    let size = u16::try_from(text.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(MAGIC.len() + 4 + text.len() + data.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.extend_from_slice(&data);
    bytes
}

/// Element type and dimensions of `{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }`.
fn dictionary(text: &str) -> Result<(DType, Vec<usize>), String> {
    let fail = || {
        let shown: String = text.trim().chars().take(120).collect();
        format!("expected a header {{'descr': ..., 'fortran_order': False, 'shape': (...)}}, found {shown:?}")
    };
    let mut rest = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or_else(fail)?.trim();
    let (mut dtype, mut order, mut dims) = (None, None, None);
    while !rest.is_empty() {
        let (key, after) = quoted(rest).ok_or_else(fail)?;
        let after = after.trim_start().strip_prefix(':').ok_or_else(fail)?.trim_start();
        let after = match key {
            "descr" if dtype.is_none() => {
                let (descr, after) =
                    quoted(after).ok_or_else(|| "expected a plain element type, found a structured one".to_owned())?;
                dtype = Some(element_type(descr)?);
                after
            }
            "fortran_order" if order.is_none() => {
                let word = after.find([',', '}', ' ']).unwrap_or(after.len());
                order = Some(after.get(..word).unwrap_or_default());
                after.get(word..).unwrap_or_default()
            }
            "shape" if dims.is_none() => {
                let (inner, after) =
                    after.strip_prefix('(').and_then(|after| after.split_once(')')).ok_or_else(fail)?;
                dims = Some(shape(inner).ok_or_else(fail)?);
                after
            }
            _ => return Err(fail()),
        };
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return Err(fail()),
        };
    }
    match (dtype, order, dims) {
        (Some(dtype), Some("False"), Some(dims)) => Ok((dtype, dims)),
        (Some(_), Some("True"), Some(_)) => {
            Err("expected C order, found Fortran order; save numpy.ascontiguousarray(x)".to_owned())
        }
        _ => Err(fail()),
    }
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let mark = text.chars().next().filter(|mark| matches!(mark, '\'' | '"'))?;
    text.get(1..)?.split_once(mark)
}

fn shape(inner: &str) -> Option<Vec<usize>> {
    let inner = inner.trim();
    let inner = inner.strip_suffix(',').unwrap_or(inner);
    if inner.is_empty() {
        return Some(Vec::new());
    }
    let dims: Vec<usize> = inner.split(',').map(|n| n.trim().parse().ok()).collect::<Option<_>>()?;
    (dims.len() <= MAX_RANK).then_some(dims)
}

fn element_type(descr: &str) -> Result<DType, String> {
    Ok(match descr {
        "<f4" | "=f4" => DType::F32,
        "<f2" | "=f2" => DType::F16,
        "<i4" | "=i4" => DType::I32,
        "<i8" | "=i8" => DType::I64,
        "|u1" | "<u1" | "u1" => DType::U8,
        "|b1" | "?" => DType::Bool,
        other => {
            return Err(format!(
                "expected one of <f4, <f2, <i4, <i8, |u1, |b1, found the element type '{other}'; convert it with astype"
            ));
        }
    })
}
