//! One suite for every engine kind: the same cases on ONNX Runtime, and on TensorRT and CUDA in single and in half precision, with
//! the networks on ONNX Runtime in single precision, one by one, as the reference.
//!
//! TensorRT's cases need the feature `tensorrt`, CUDA and TensorRT, and say so where one is missing. They build the demo
//! policy's engines once a process, and take turns:
//!
//! ```text
//! cargo test --release --features tensorrt --test engines -- --test-threads 1
//! ```
//!
//! CUDA's cases need the feature `cuda`, a GPU, its kernels and cuBLASLt.

mod bench;
#[cfg(feature = "tensorrt")]
mod bundles;
mod cases;
#[cfg(feature = "cuda")]
mod cuda_only;
mod given;
mod loads;
mod policy;
mod reference;
#[cfg(feature = "tensorrt")]
mod tensorrt_only;

use bench::{Bench, Kind};
use vla_base::tensor::DType;

/// What results may differ by from the reference. Two runs on the same engines differ by nothing, whatever the kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    /// Of any output: norm of the difference over norm of the reference.
    pub outputs: f64,
    /// Of a value that is to be kept: part of itself.
    pub kept: f32,
}

impl Kind {
    /// By what the engines compute in.
    pub(crate) fn tolerance(self) -> Tolerance {
        match self {
            // The same networks on the same library, run one by one.
            Self::Onnx(_) => Tolerance { outputs: 0.0, kept: 0.0 },
            // Other kernels, other orders of summation.
            #[cfg(feature = "tensorrt")]
            Self::Tensorrt(vla_engines::Precision::FP32) => Tolerance { outputs: 1e-4, kept: 0.0 },
            // Eleven bits of mantissa: a value is rounded by up to 2^-11 of itself, and the error of a chain adds up.
            #[cfg(feature = "tensorrt")]
            Self::Tensorrt(_) => Tolerance { outputs: 2e-2, kept: 1.0 / 2048.0 },
            #[cfg(feature = "cuda")]
            Self::Cuda(DType::F16) => Tolerance { outputs: 2e-2, kept: 1.0 / 2048.0 },
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => Tolerance { outputs: 1e-4, kept: 0.0 },
        }
    }
}

/// Makes a test of every case on one engine kind.
macro_rules! suite {
    ($name:ident on $kind:expr) => {
        suite! { $name on $kind, cases:
            cases::every_output_of_every_stage_is_that_of_the_networks,
            cases::the_same_input_gives_the_same_bits_and_every_step_count_its_own_result,
            cases::a_recorded_pass_gives_the_bits_of_one_run_step_by_step,
            cases::another_instruction_in_between_changes_nothing,
            cases::more_lengths_than_programs_are_kept_come_back_to_the_same_bits,
            cases::rows_of_strength_zero_keep_their_noise,
            cases::host_tensors_that_do_not_fit_are_refused_by_name_and_the_pipeline_goes_on,
            cases::what_the_host_puts_in_place_is_what_it_would_have_written,
            cases::what_is_inspected_is_what_is_executed,
            cases::nothing_runs_before_a_program_is_prepared_and_a_new_program_holds_zeros,
            cases::every_stage_has_a_time_in_every_pass,
            loads::every_load_order_gives_the_same_bits_and_anything_else_is_refused,
            loads::the_smallest_budget_loads_and_a_byte_less_loads_nothing,
            loads::a_network_that_differs_from_its_description_is_refused_whole,
            policy::a_policy_gives_the_chunk_of_the_reference_and_the_same_bits_again,
            policy::a_guided_chunk_is_that_of_the_reference_and_leaves_the_next_unguided,
            policy::what_a_policy_refuses_leaves_it_as_it_was,
            policy::what_becomes_of_the_files_of_a_loaded_policy_does_not_reach_it,
            policy::a_policy_that_is_loaded_again_has_the_weights_and_the_fingerprint_of_the_disk,
        }
    };
    ($name:ident on $kind:expr, cases: $($room:ident::$case:ident,)*) => {
        mod $name {
            use super::*;
            $(
                #[test]
                fn $case() {
                    if let Some(bench) = Bench::open($kind) {
                        $room::$case(&bench);
                    }
                }
            )*
        }
    };
}

suite! { onnx on Kind::Onnx(DType::F32) }
suite! { onnx_fp16 on Kind::Onnx(DType::F16) }
#[cfg(feature = "tensorrt")]
suite! { tensorrt_fp32 on Kind::Tensorrt(vla_engines::Precision::FP32) }
#[cfg(feature = "tensorrt")]
suite! { tensorrt_fp16 on Kind::Tensorrt(vla_engines::Precision::FP16) }
#[cfg(feature = "cuda")]
suite! { cuda_fp32 on Kind::Cuda(DType::F32) }
#[cfg(feature = "cuda")]
suite! { cuda_fp16 on Kind::Cuda(DType::F16) }
