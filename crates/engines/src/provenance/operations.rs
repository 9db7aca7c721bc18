//! Lists of operations: whether the one of a stage can be run as its policy says.
//!
//! Nothing here needs a GPU. What the device has kernels for is checked by the engine kind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{Difference, FileMark, Provenance, ProvenanceStatus, Reason, Rejection, hash};
use crate::graph::Stage;
use crate::onnx::{Network, Weight, proto};
use crate::operations::{Operation, Program, ProgramError};
use crate::{Error, Precision};
use vla_base::tensor::{DType, display_dims};

/// Why a list of operations cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum OperationsFault {
    /// There is no file.
    #[error("there is no list of operations {}", file.display())]
    Missing {
        /// Where it should be.
        file: PathBuf,
    },
    /// The file cannot be read, or is damaged.
    #[error(transparent)]
    Unusable(ProgramError),
    /// It was written for another network.
    #[error("{} is of another network than {}: {what}: expected {expected}, found {found}", file.display(), onnx.display())]
    OtherNetwork {
        /// The list.
        file: PathBuf,
        /// The network beside it.
        onnx: PathBuf,
        /// What differs.
        what: String,
        /// As the list says.
        expected: String,
        /// As the network says.
        found: String,
    },
    /// The network computes in a type that the policy's precision does not allow. A network is run in its own element types.
    #[error("{} computes in {found}; expected a type that the stage's precision {wanted} allows", onnx.display())]
    Precision {
        /// The network.
        onnx: PathBuf,
        /// In policy.yaml.
        wanted: String,
        /// Of the network's products.
        found: String,
    },
}

/// The list of operations of a stage, with its network: read, compared with each other and with the stage's precision.
///
/// # Errors
/// [`Error::Provenance`] with [`Reason::Operations`]; [`Error::Load`] when the network cannot be read.
pub fn operations(stage: &Stage) -> Result<(Program, Network), Error> {
    let reject = |fault| Rejection::new(stage, None, Reason::Operations(Box::new(fault)));
    if !stage.file.is_file() {
        return Err(reject(OperationsFault::Missing { file: stage.file.clone() }).into());
    }
    let program = Program::read(&stage.file).map_err(|error| reject(OperationsFault::Unusable(error)))?;
    let network = Network::open(&stage.onnx).map_err(|source| Error::Load {
        stage: stage.name.clone(),
        file: stage.onnx.clone(),
        source: source.into(),
    })?;
    let unreadable = |source: std::io::Error| Error::Load {
        stage: stage.name.clone(),
        file: stage.onnx.clone(),
        source: source.into(),
    };
    let found = hash::file_sha256(&stage.onnx).map_err(unreadable)?;
    let other = || (program.network != found).then(|| Difference::new("SHA-256", &program.network, &found));
    if let Some(Difference { what, built, here }) = difference(&program, &network).or_else(other) {
        let (file, onnx) = (stage.file.clone(), stage.onnx.clone());
        return Err(reject(OperationsFault::OtherNetwork { file, onnx, what, expected: built, found: here }).into());
    }
    let found = precision(&program);
    let allowed: Precision = stage.precision.parse().unwrap_or_default();
    if (found.fp16 && !allowed.fp16) || (found.bf16 && !allowed.bf16) {
        let (onnx, wanted, found) = (stage.onnx.clone(), stage.precision.clone(), found.to_string());
        return Err(reject(OperationsFault::Precision { onnx, wanted, found }).into());
    }
    Ok((program, network))
}

/// Checks the lists of all stages, before a device is opened.
///
/// # Errors
/// [`Error::Provenance`] with every refusal; [`Error::Load`].
pub fn check_operations(stages: &[Stage]) -> Result<(), Error> {
    let mut refused = Vec::new();
    for stage in stages {
        match operations(stage) {
            Ok(_) => {}
            Err(Error::Provenance { rejections }) => refused.extend(rejections),
            Err(error) => return Err(error),
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(Error::Provenance { rejections: refused }) }
}

/// The first difference between what a list expects of its network and what the network has.
fn difference(program: &Program, network: &Network) -> Option<Difference> {
    let shape = |dtype: &str, dims: &[usize]| format!("{dtype} {}", display_dims(dims));
    let of_network = |weight: &Weight| {
        let dtype = proto::dtype(weight.data_type).map_or_else(|| "unknown".to_owned(), |dtype| dtype.to_string());
        shape(&dtype, &weight.dims)
    };
    let expected = program.weights.iter();
    let expected: BTreeMap<&str, String> =
        expected.map(|weight| (weight.name.as_str(), shape(&weight.dtype.to_string(), &weight.dims))).collect();
    let used = network.weights.iter().filter(|weight| expected.contains_key(weight.name.as_str()));
    let found = used.map(|weight| (weight.name.as_str(), of_network(weight))).collect();
    let weights = first("weight", &expected, &found);
    let edges = [("input", &program.inputs, &network.inputs), ("output", &program.outputs, &network.outputs)];
    weights.or_else(|| {
        edges.into_iter().find_map(|(role, values, specs)| {
            let expected = values.iter().filter_map(|&value| program.values.get(value));
            let expected = expected.map(|value| (value.name.as_str(), value.dtype.to_string())).collect();
            let found = specs.iter().map(|spec| (spec.name.as_str(), spec.dtype.to_string())).collect();
            first(role, &expected, &found)
        })
    })
}

/// The first name at which two tables differ.
fn first(role: &str, expected: &BTreeMap<&str, String>, found: &BTreeMap<&str, String>) -> Option<Difference> {
    let name = expected.keys().chain(found.keys()).find(|name| expected.get(*name) != found.get(*name))?;
    let of = |table: &BTreeMap<&str, String>| table.get(name).cloned().unwrap_or_else(|| "none".to_owned());
    Some(Difference::new(format!("{role} '{name}'"), of(expected), of(found)))
}

/// What a network computes in: the narrowest type of the weights of its products.
fn precision(program: &Program) -> Precision {
    let products = program.operations.iter().filter_map(|operation| match operation {
        Operation::Linear { parts, .. } => Some(parts),
        _ => None,
    });
    let types = products.flatten().filter_map(|part| program.weights.get(part.weight)).map(|weight| weight.dtype);
    // A network without a product computes in the type of its values.
    let values = program.values.iter().map(|value| value.dtype);
    let values = values.filter(|dtype| matches!(dtype, DType::F32 | DType::F16 | DType::BF16));
    match types.min_by_key(|dtype| dtype.size()).or_else(|| values.min_by_key(|dtype| dtype.size())) {
        Some(DType::F16) => Precision::FP16,
        Some(DType::BF16) => Precision { bf16: true, ..Precision::FP32 },
        _ => Precision::FP32,
    }
}

/// Weights of a stage's list, by index, that its precision has run in 8 bits.
pub fn eight_bit_weights(stage: &Stage, program: &Program) -> BTreeSet<usize> {
    program.eight_bit_weights(stage.precision.parse().unwrap_or_default())
}

/// What differs from running the network as it is, in a record: a verdict on one does not count for the other.
fn settings(stage: &Stage) -> super::BuildSettings {
    let precision: Precision = stage.precision.parse().unwrap_or_default();
    super::BuildSettings { int8: precision.int8, ..super::BuildSettings::default() }
}

/// The record of a list of operations that was verified on `device`: without a build, it holds the verdict of the accuracy gate and
/// what that is valid for.
///
/// # Errors
/// A message that names the file that cannot be read.
pub fn record_of_operations(stage: &Stage, device: super::DeviceIdentity) -> Result<Provenance, String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", stage.file.display());
    Ok(Provenance {
        format: super::FORMAT,
        device,
        portable: None,
        emulated: false,
        adopted: false,
        onnx: super::OnnxIdentity::of(&stage.onnx)?,
        precision: stage.precision.clone(),
        profiles: BTreeMap::new(),
        flags: settings(stage),
        calibration: None,
        engine: super::EngineIdentity {
            sha256: hash::file_sha256(&stage.file).map_err(unreadable)?,
            bytes: FileMark::of(&stage.file).map_err(unreadable)?.bytes,
        },
        built_at: super::rfc3339(std::time::SystemTime::now()),
        build_s: 0.0,
        memory: super::Memory::default(),
        verification: None,
    })
}

/// The verdict beside a list of operations: that it was verified on this device, with these files. One of another device or file
/// does not count, and is replaced by the next verification.
///
/// # Errors
/// [`Reason::NotVerified`] without such a verdict, unless the stage allows it; [`Reason::BadRecord`]; [`Reason::Inaccurate`] when the
/// verdict is valid here and the stage does not allow it.
pub fn verdict_on_operations(stage: &Stage, device: &super::DeviceIdentity) -> Result<ProvenanceStatus, Rejection> {
    let record =
        match Provenance::read(&stage.file).map_err(|error| Rejection::new(stage, None, Reason::BadRecord(error)))? {
            Some(record) => record,
            None => return not_verified(stage, None),
        };
    if let Err(rejection) = super::check(&record, device, stage) {
        return not_verified(stage, Some(rejection.problem()));
    }
    let here = settings(stage);
    if record.flags.int8 != here.int8 {
        let text = |int8| if int8 { "8-bit products" } else { "no 8-bit products" };
        return not_verified(stage, Some(format!("it is of {}, this is {}", text(record.flags.int8), text(here.int8))));
    }
    super::check_accuracy(&record, stage)?;
    Ok(ProvenanceStatus::Verified(Box::new(record)))
}

/// `found`: why the verdict that is there does not count.
fn not_verified(stage: &Stage, found: Option<String>) -> Result<ProvenanceStatus, Rejection> {
    match stage.allow_unverified {
        true => Ok(ProvenanceStatus::Unverified),
        false => Err(Rejection::new(stage, None, Reason::NotVerified { found })),
    }
}

#[cfg(test)]
mod tests;
