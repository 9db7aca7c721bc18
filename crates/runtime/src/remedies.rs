//! What to do about an error of the engines: commands of `vla-trt`, parameters of the node, keys of policy.yaml.
//!
//! Errors of [`vla_engines`] carry data. The tool and the node print them with [`described`].

use std::error::Error as StdError;

use vla_engines::onnx::Network;
use vla_engines::profile::{EnqueueFailure, Fault, Violation};
use vla_engines::provenance::{Difference, OperationsFault, Provenance, RTX, Reason, Rejection};
use vla_engines::{Error, ErrorClass, RuntimeLibrary, Stage, graph};

pub mod command;
mod memory;

pub use memory::shortage;

/// The text of an error with the remedy below it, where the error is one of the engines.
pub fn described(error: &(dyn StdError + 'static)) -> String {
    match find(error).and_then(remedy) {
        Some(remedy) => format!("{error}\n{remedy}"),
        None => error.to_string(),
    }
}

/// The error of the engines among an error and its sources.
pub fn find<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// Class of the error of the engines among an error and its sources; [`ErrorClass::Other`] without one.
pub fn class(error: &(dyn StdError + 'static)) -> ErrorClass {
    find(error).map_or(ErrorClass::Other, Error::class)
}

fn causes<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

/// What to do about `error`; `None` where its text says it already.
pub fn remedy(error: &Error) -> Option<String> {
    match error {
        Error::Library { library: wanted, .. } => Some(library(*wanted).to_owned()),
        Error::LoadOrder { .. } => Some("correct engines.load_order (vla-trt plan: --order)".to_owned()),
        Error::DoesNotFit(found) => Some(shortage(found)),
        Error::Provenance { rejections } => Some(each(rejections)),
        Error::Profile(found) => Some(violation(found)),
        Error::Graph { problems } => Some(of_graph(problems)),
        Error::Enqueue(_) | Error::DeviceLost { .. } => {
            causes(error).find_map(|cause| cause.downcast_ref::<EnqueueFailure>()).and_then(likely_causes)
        }
        _ => None,
    }
}

/// How to get a library, or do without it.
pub const fn library(library: RuntimeLibrary) -> &'static str {
    match library {
        RuntimeLibrary::OnnxRuntime => {
            "source the .cache/env.sh that scripts/setup.sh wrote in the checkout; or install ONNX Runtime 1.20 or newer (pip install \
             onnxruntime) and set ORT_DYLIB_PATH to its libonnxruntime.so"
        }
        RuntimeLibrary::Tensorrt => {
            "install TensorRT (docs/tensorrt.md), or set engine.kind: onnx, which runs without it"
        }
        RuntimeLibrary::CublasLt => {
            "install cuBLAS of CUDA 12 or newer (part of the CUDA toolkit and of JetPack; pip install nvidia-cublas), with the folder of \
             libcublasLt.so.* on the loader's path (LD_LIBRARY_PATH); or set engine.kind: tensorrt or onnx"
        }
        RuntimeLibrary::Cuda => "install the NVIDIA driver (on a Jetson: JetPack), or set engine.kind: onnx",
    }
}

fn each(rejections: &[Rejection]) -> String {
    let named = rejections.iter().map(|found| format!("stage '{}': {}", found.stage.name, rejection(found)));
    named.collect::<Vec<_>>().join("\n")
}

/// What to do about a rejected engine: a sentence, and the commands on lines below it.
pub fn rejection(rejection: &Rejection) -> String {
    let (stage, record) = (&rejection.stage, rejection.record.as_deref());
    let (name, build) = (&stage.name, command::build(stage, record));
    match &rejection.reason {
        Reason::Operations(fault) => operations(stage, fault),
        Reason::NotVerified { .. } => format!(
            "verify the policy on this device: vla-trt verify POLICY --engine-kind cuda --bag BAG --params FILE; or set \
             engines.{name}.allow_unverified: true to load it without a verdict"
        ),
        Reason::NoKernels { compiled, .. } if compiled.is_empty() => {
            "build this program where nvcc is found (NVCC, or on PATH), or set engine.kind: tensorrt or onnx".to_owned()
        }
        Reason::NoKernels { .. } => "set engine.kind: tensorrt or onnx on this GPU".to_owned(),
        Reason::Inaccurate if is_operations(stage) && stage.precision.contains("int8") => format!(
            "set stages.{name}.precision in policy.yaml to one without int8 and verify again, or engine.kind: tensorrt or onnx, or set \
             engines.{name}.allow_inaccurate: true to load it anyway"
        ),
        Reason::Inaccurate if is_operations(stage) => format!(
            "export the policy in another precision (vla-trt export --dtype bf16 or fp32), or set engine.kind: tensorrt or onnx, or set \
             engines.{name}.allow_inaccurate: true to load it anyway"
        ),
        Reason::BadRecord(_) if is_operations(stage) => format!(
            "remove {} and verify the policy again (vla-trt verify --engine-kind cuda)",
            Provenance::path(&stage.file).display()
        ),
        Reason::NoEngine => format!("build the engine on this device:\n  {build}"),
        Reason::NoRecord => format!(
            "build the engine on this device:\n  {build}\nor, if another tool built it on this device, write its record:\n  \
             {}\nor set engines.{name}.allow_unverified: true to load it without a record",
            command::adopt(stage)
        ),
        Reason::Mismatch(differences) if record.is_some_and(|record| record.portable.is_some()) => {
            let other = |found: &Difference| found.what == "TensorRT" && !found.here.starts_with(RTX);
            match differences.iter().any(other) {
                true => format!(
                    "the engine is for TensorRT-RTX and this device has TensorRT: build it on this device:\n  {}",
                    command::build(stage, None)
                ),
                false => format!(
                    "build the engine again on an x86-64 machine with this TensorRT-RTX, with this GPU's compute capability in \
                     --for:\n  {build}"
                ),
            }
        }
        Reason::BadRecord(_) | Reason::Mismatch(_) | Reason::OtherModel { .. } => {
            format!("build the engine again on this device:\n  {build}")
        }
        Reason::Inaccurate if is_quantized(stage) => format!(
            "quantise the policy with a smaller error (vla-trt quantize --max-action-rad), or use the network before it was \
             quantised, and build the engine again:\n  {build}\nor set engines.{name}.allow_inaccurate: true to load it anyway"
        ),
        Reason::Inaccurate => format!(
            "build the engine in another precision (stages.{name}.precision in policy.yaml: fp16 or fp32 instead of int8, fp32 \
             instead of fp16), or with more calibration samples:\n  {build}\nor set engines.{name}.allow_inaccurate: true to \
             load it anyway"
        ),
    }
}

/// What to do about a list of operations that cannot be run.
fn operations(stage: &Stage, fault: &OperationsFault) -> String {
    match fault {
        OperationsFault::Missing { .. } | OperationsFault::Unusable(_) | OperationsFault::OtherNetwork { .. } => {
            "export the policy again with this version (vla-trt export, layout split), or copy its whole folder again; or set \
             engine.kind: tensorrt or onnx"
                .to_owned()
        }
        OperationsFault::Precision { found, .. } => format!(
            "engine.kind cuda runs a network in its own element types: export the policy in the wanted precision (vla-trt export \
             --dtype), or set stages.{}.precision: {found} in policy.yaml",
            stage.name
        ),
    }
}

/// Whether the file of a stage is a list of operations.
fn is_operations(stage: &Stage) -> bool {
    stage.file == vla_engines::operations::path_beside(&stage.onnx)
}

/// Whether the network says by itself what it computes in integers, so that no precision changes that.
fn is_quantized(stage: &Stage) -> bool {
    Network::open(&stage.onnx).is_ok_and(|network| network.is_quantized())
}

fn violation(violation: &Violation) -> String {
    match &violation.fault {
        Fault::Dimension { symbol: Some(symbol), .. } => {
            format!("use a shorter input, or build the engine with a profile of {symbol} that contains this size")
        }
        Fault::Dimension { symbol: None, .. } => {
            "use another input, or build the engine with a profile that contains this size".to_owned()
        }
        Fault::Rank { .. } | Fault::Type { .. } => "export the policy and build the engine again".to_owned(),
    }
}

fn of_graph(problems: &[graph::Problem]) -> String {
    use graph::Problem as P;
    let profile = |problem: &P| matches!(problem, P::NarrowProfile { .. } | P::UnorderedProfile { .. });
    let described = problems.iter().any(|problem| !profile(problem));
    let renamed = problems.iter().any(|problem| matches!(problem, P::MissingTensor { .. }));
    let mut todo = Vec::new();
    if described {
        todo.push("correct the stages in policy.yaml, or export the networks again");
    }
    if renamed {
        todo.push("a tensor with another name in the network is connected by `rename` in policy.yaml");
    }
    if problems.iter().any(profile) {
        todo.push("build engines with a narrow profile again (policy.yaml has the sizes under `profile`)");
    }
    todo.join("; ")
}

/// Likely causes of a failed run of an engine that is tied to a device, the likeliest first.
fn likely_causes(failure: &EnqueueFailure) -> Option<String> {
    let record = match failure.verified? {
        true => "its record matches this device",
        false => "it has no record, so its device is unknown: build it on this device",
    };
    Some(format!(
        "likely causes, in this order:\
         \n  1. a shape at the edge of the optimisation profile: compare the shapes above, build with another --profile\
         \n  2. an engine of another device ({record})\
         \n  3. INT8 scales of another network: calibrate and build again"
    ))
}

#[cfg(test)]
mod tests;
