//! Inputs and outputs of an engine, as `vla_engines` describes tensors.

use std::ffi::{CStr, CString};

use super::result::{Error, text};
use super::sys;
use vla_base::tensor::{DType, Dim, TensorSpec};
use vla_engines::profile::Profile;

/// One input or output of an engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tensor {
    /// Name, element type and dimensions. A dynamic dimension is `Dim::Symbol("?")`: plans do not contain its name.
    pub spec: TensorSpec,
    /// Range in the first optimisation profile; inputs only.
    pub profile: Option<Profile>,
    /// Whether its address is a host address (shape inputs); all others are device addresses.
    pub on_host: bool,
    /// Whether shapes are computed from its values.
    pub is_shape: bool,
}

/// Converts a profile from C.
pub(super) fn profile_of(range: &sys::Range) -> Result<Profile, Error> {
    let rank = rank_of(range.rank)?;
    let dims = |raw: &[i64; sys::MAX_RANK]| {
        raw[..rank]
            .iter()
            .map(|&n| {
                usize::try_from(n).map_err(|error| Error::Internal(format!("a profile holds dimension {n}: {error}")))
            })
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(Profile { min: dims(&range.min)?, opt: dims(&range.opt)?, max: dims(&range.max)? })
}

/// Converts a profile to C.
pub(super) fn range_of(profile: &Profile) -> Result<sys::Range, Error> {
    let Profile { min, opt, max } = profile;
    let rank = opt.len();
    if rank > sys::MAX_RANK || min.len() != rank || max.len() != rank {
        return Err(Error::Argument(format!(
            "a profile with min {min:?}, opt {opt:?} and max {max:?}: expected three shapes of one rank, at most 8"
        )));
    }
    let mut range = sys::Range { rank: i32::try_from(rank).unwrap_or_default(), ..Default::default() };
    range.min[..rank].copy_from_slice(&raw_dims(min)?[..rank]);
    range.opt[..rank].copy_from_slice(&raw_dims(opt)?[..rank]);
    range.max[..rank].copy_from_slice(&raw_dims(max)?[..rank]);
    Ok(range)
}

/// Converts dimensions to C without allocating.
pub(super) fn raw_dims(dims: &[usize]) -> Result<[i64; sys::MAX_RANK], Error> {
    let mut raw = [0; sys::MAX_RANK];
    if dims.len() > raw.len() {
        return Err(Error::Argument(format!("shape {dims:?} has rank {}, TensorRT takes at most 8", dims.len())));
    }
    for (raw, &n) in raw.iter_mut().zip(dims) {
        *raw = i64::try_from(n).map_err(|error| Error::Argument(format!("shape {dims:?}: {error}")))?;
    }
    Ok(raw)
}

/// Description of a tensor from the shim, with its name for later calls.
pub(super) struct Described {
    pub name: CString,
    pub is_input: bool,
    pub is_linear: bool,
    pub tensor: Tensor,
}

impl Described {
    /// # Safety
    /// `raw.name` is null or a NUL-terminated string that lives over this call.
    pub(super) unsafe fn of(raw: &sys::RawTensor) -> Result<Self, Error> {
        // SAFETY: the caller's promise.
        let text = unsafe { text(raw.name) }.unwrap_or_default();
        // SAFETY: as above; a null name became the empty one.
        let name = if raw.name.is_null() { c"" } else { unsafe { CStr::from_ptr(raw.name) } }.to_owned();
        let dims = raw.dims[..rank_of(raw.rank)?]
            .iter()
            .map(|&n| usize::try_from(n).map_or_else(|_| Dim::Symbol("?".to_owned()), Dim::Fixed))
            .collect();
        let spec = TensorSpec { dtype: dtype_of(raw.dtype, &text)?, name: text, dims };
        let tensor = Tensor { spec, profile: None, on_host: raw.on_host != 0, is_shape: raw.is_shape != 0 };
        Ok(Self { name, is_input: raw.is_input != 0, is_linear: raw.is_linear != 0, tensor })
    }
}

fn rank_of(raw: i32) -> Result<usize, Error> {
    usize::try_from(raw)
        .ok()
        .filter(|rank| *rank <= sys::MAX_RANK)
        .ok_or_else(|| Error::Internal(format!("TensorRT reports rank {raw}")))
}

/// `nvinfer1::DataType`; its numbers have been the same in every version.
fn dtype_of(raw: i32, tensor: &str) -> Result<DType, Error> {
    let name = match raw {
        0 => return Ok(DType::F32),
        1 => return Ok(DType::F16),
        3 => return Ok(DType::I32),
        4 => return Ok(DType::Bool),
        5 => return Ok(DType::U8),
        7 => return Ok(DType::BF16),
        8 => return Ok(DType::I64),
        2 => "int8",
        6 => "fp8",
        9 => "int4",
        10 => "fp4",
        11 => "e8m0",
        _ => "unknown",
    };
    Err(Error::Unsupported(format!(
        "tensor '{tensor}' is of element type {name} ({raw}): vla_trt carries f32, f16, bf16, i32, i64, u8 and bool \
         between engines; give the network's inputs and outputs one of these types"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(dtype: i32, dims: &[i64]) -> sys::RawTensor {
        let mut all = [0; sys::MAX_RANK];
        all[..dims.len()].copy_from_slice(dims);
        sys::RawTensor {
            name: c"ids".as_ptr(),
            is_input: 1,
            dtype,
            on_host: 0,
            is_shape: 0,
            is_linear: 1,
            rank: i32::try_from(dims.len()).expect("a rank"),
            dims: all,
        }
    }

    #[test]
    fn a_dynamic_dimension_becomes_a_symbol_and_names_are_kept() {
        // SAFETY: a static name.
        let described = unsafe { Described::of(&raw(3, &[2, -1])) }.expect("described");
        assert_eq!(described.tensor.spec.to_string(), "ids: i32 [2, ?]");
        assert_eq!(described.name.as_c_str(), c"ids");
    }

    #[test]
    fn an_element_type_that_no_tensor_here_has_is_refused_by_name() {
        // SAFETY: a static name.
        let error = unsafe { Described::of(&raw(2, &[1])) }.err().expect("int8");
        assert!(error.to_string().contains("tensor 'ids' is of element type int8"), "{error}");
        // SAFETY: a static name.
        let error = unsafe { Described::of(&raw(99, &[1])) }.err().expect("nothing");
        assert!(error.to_string().contains("unknown (99)"), "{error}");
    }

    #[test]
    fn a_profile_goes_to_c_and_back_and_ranks_must_agree() {
        let profile = Profile { min: vec![1, 2], opt: vec![1, 5], max: vec![1, 9] };
        assert_eq!(profile_of(&range_of(&profile).expect("a range")).expect("a profile"), profile);
        assert!(range_of(&Profile { min: vec![1], ..profile.clone() }).is_err());
        let nine = vec![1; 9];
        assert!(range_of(&Profile { min: nine.clone(), opt: nine.clone(), max: nine }).is_err());
    }
}
