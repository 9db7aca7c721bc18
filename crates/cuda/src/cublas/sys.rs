//! The part of cuBLASLt's C interface that is used.

use std::ffi::{c_int, c_void};

/// Where the library is looked for, the newest first.
pub(super) const NAMES: [&str; 3] = ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"];

pub(super) const SUCCESS: i32 = 0;
pub(super) const ALLOC_FAILED: i32 = 3;
pub(super) const NOT_SUPPORTED: i32 = 15;

pub(super) const R_32F: i32 = 0;
pub(super) const R_16F: i32 = 2;
pub(super) const R_8I: i32 = 3;
pub(super) const R_32I: i32 = 10;
pub(super) const R_16BF: i32 = 14;

pub(super) const COMPUTE_32F: i32 = 68;
pub(super) const COMPUTE_32I: i32 = 72;
pub(super) const OP_T: i32 = 1;

pub(super) const EPILOGUE_DEFAULT: i32 = 1;
pub(super) const EPILOGUE_BIAS: i32 = 4;
pub(super) const EPILOGUE_RELU_BIAS: i32 = 6;
pub(super) const EPILOGUE_GELU_BIAS: i32 = 36;

pub(super) const REDUCTION_COMPUTE_TYPE: u32 = 2;
pub(super) const REDUCTION_OUTPUT_TYPE: u32 = 4;

/// Attributes of operations, layouts and preferences.
pub(super) mod attribute {
    pub(in super::super) const TRANSA: i32 = 3;
    pub(in super::super) const EPILOGUE: i32 = 7;
    pub(in super::super) const BIAS_POINTER: i32 = 8;
    pub(in super::super) const BATCH_COUNT: i32 = 5;
    pub(in super::super) const STRIDED_BATCH_OFFSET: i32 = 6;
    pub(in super::super) const MAX_WORKSPACE_BYTES: i32 = 1;
    pub(in super::super) const REDUCTION_SCHEME_MASK: i32 = 3;
    /// Of A, B, C and D, in bytes, as a `u32`.
    pub(in super::super) const MIN_ALIGNMENTS: [i32; 4] = [5, 6, 7, 8];
}

/// An algorithm with its configuration, valid for one version of the library and one GPU model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Algorithm([u64; 8]);

impl Algorithm {
    /// From the bytes of [`Self::bytes`].
    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let mut words = [0_u64; 8];
        let words_as_bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        (words_as_bytes.len() == bytes.len()).then(|| words_as_bytes.copy_from_slice(bytes))?;
        Some(Self(words))
    }

    /// Its bytes, to be kept in a file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        bytemuck::cast_slice(&self.0).to_vec()
    }
}

/// What the heuristic says about an algorithm.
#[repr(C)]
pub(super) struct Heuristic {
    pub(super) algorithm: Algorithm,
    pub(super) workspace: usize,
    pub(super) state: c_int,
    _waves: f32,
    _reserved: [c_int; 4],
}

impl Heuristic {
    pub(super) const ZERO: Self =
        Self { algorithm: Algorithm([0; 8]), workspace: 0, state: 0, _waves: 0.0, _reserved: [0; 4] };
}

type Pointer = *mut c_void;
type Create = unsafe extern "C" fn(*mut Pointer) -> c_int;
type Destroy = unsafe extern "C" fn(Pointer) -> c_int;
type Set = unsafe extern "C" fn(Pointer, c_int, *const c_void, usize) -> c_int;

/// The functions.
pub(super) struct Api {
    pub(super) version: unsafe extern "C" fn() -> usize,
    pub(super) create: Create,
    pub(super) destroy: Destroy,
    pub(super) operation_create: unsafe extern "C" fn(*mut Pointer, c_int, c_int) -> c_int,
    pub(super) operation_destroy: Destroy,
    pub(super) operation_set: Set,
    pub(super) layout_create: unsafe extern "C" fn(*mut Pointer, c_int, u64, u64, i64) -> c_int,
    pub(super) layout_destroy: Destroy,
    pub(super) layout_set: Set,
    pub(super) preference_create: Create,
    pub(super) preference_destroy: Destroy,
    pub(super) preference_set: Set,
    /// Handle, operation, layouts of A, B, C and D, preference, number wanted, results, number found.
    pub(super) heuristic: unsafe extern "C" fn(
        Pointer,
        Pointer,
        Pointer,
        Pointer,
        Pointer,
        Pointer,
        Pointer,
        c_int,
        *mut Heuristic,
        *mut c_int,
    ) -> c_int,
    /// Handle, operation, layouts of A, B, C and D, algorithm, result.
    pub(super) check: unsafe extern "C" fn(
        Pointer,
        Pointer,
        Pointer,
        Pointer,
        Pointer,
        Pointer,
        *const Algorithm,
        *mut Heuristic,
    ) -> c_int,
    /// Handle, operation, alpha, A, its layout, B, its layout, beta, C, its layout, D, its layout, algorithm, workspace, its size,
    /// stream.
    pub(super) multiply: unsafe extern "C" fn(
        Pointer,
        Pointer,
        *const c_void,
        Pointer,
        Pointer,
        Pointer,
        Pointer,
        *const c_void,
        Pointer,
        Pointer,
        Pointer,
        Pointer,
        *const Algorithm,
        Pointer,
        usize,
        Pointer,
    ) -> c_int,
}

impl Api {
    /// Looks all functions up.
    pub(super) fn of(library: &libloading::Library) -> Result<Self, libloading::Error> {
        // SAFETY: the types are those of cublasLt.h, the same from version 11 on; the caller keeps the library open.
        unsafe {
            Ok(Self {
                version: *library.get(b"cublasLtGetVersion\0")?,
                create: *library.get(b"cublasLtCreate\0")?,
                destroy: *library.get(b"cublasLtDestroy\0")?,
                operation_create: *library.get(b"cublasLtMatmulDescCreate\0")?,
                operation_destroy: *library.get(b"cublasLtMatmulDescDestroy\0")?,
                operation_set: *library.get(b"cublasLtMatmulDescSetAttribute\0")?,
                layout_create: *library.get(b"cublasLtMatrixLayoutCreate\0")?,
                layout_destroy: *library.get(b"cublasLtMatrixLayoutDestroy\0")?,
                layout_set: *library.get(b"cublasLtMatrixLayoutSetAttribute\0")?,
                preference_create: *library.get(b"cublasLtMatmulPreferenceCreate\0")?,
                preference_destroy: *library.get(b"cublasLtMatmulPreferenceDestroy\0")?,
                preference_set: *library.get(b"cublasLtMatmulPreferenceSetAttribute\0")?,
                heuristic: *library.get(b"cublasLtMatmulAlgoGetHeuristic\0")?,
                check: *library.get(b"cublasLtMatmulAlgoCheck\0")?,
                multiply: *library.get(b"cublasLtMatmul\0")?,
            })
        }
    }
}

/// NVIDIA's name of a status, without its prefix.
pub(super) fn status_name(status: i32) -> &'static str {
    match status {
        0 => "SUCCESS",
        1 => "NOT_INITIALIZED",
        3 => "ALLOC_FAILED",
        7 => "INVALID_VALUE",
        8 => "ARCH_MISMATCH",
        11 => "MAPPING_ERROR",
        13 => "EXECUTION_FAILED",
        14 => "INTERNAL_ERROR",
        15 => "NOT_SUPPORTED",
        16 => "LICENSE_ERROR",
        _ => "unknown",
    }
}
