//! Report of a list of operations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use vla_base::tensor::display_dims;
use vla_engines::Precision;
use vla_engines::operations::{Program, ProgramError, path_beside};

/// Ending of the name of such a file.
pub(super) const ENDING: &str = ".operations.json";

/// What a list of operations (engine kind cuda) holds.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OperationsReport {
    /// The file.
    pub file: PathBuf,
    /// Inputs, as `name f16 [T, 96]`.
    pub inputs: Vec<String>,
    /// Outputs.
    pub outputs: Vec<String>,
    /// Operations by name.
    pub operations: BTreeMap<String, usize>,
    /// Weights that it names.
    pub weights: usize,
    /// Their bytes.
    pub weight_bytes: u64,
    /// Those that a stage whose precision has int8 runs in 8 bits.
    pub eight_bit_weights: usize,
    /// Their elements, a byte each then.
    pub eight_bit_elements: u64,
    /// Why it is not of the network beside it; `None` where it is.
    pub problem: Option<String>,
}

/// Reads a list, and compares it with the network beside it.
pub(super) fn report(path: &Path) -> Result<OperationsReport, ProgramError> {
    let program = Program::read(path)?;
    let name = path.to_string_lossy();
    let onnx = PathBuf::from(format!("{}.onnx", name.strip_suffix(ENDING).unwrap_or(&name)));
    let problem = match path_beside(&onnx) == path {
        true => Program::read_beside(&onnx).err().map(|error| error.to_string()),
        false => None,
    };
    let described = |values: &[usize]| {
        let values = values.iter().filter_map(|&value| program.values.get(value));
        values.map(|value| format!("{} {} {}", value.name, value.dtype, display_dims(&value.dims))).collect()
    };
    let mut operations = BTreeMap::new();
    for operation in &program.operations {
        *operations.entry(operation.name().to_owned()).or_default() += 1;
    }
    let bytes = program.weights.iter().map(|weight| {
        weight.dims.iter().fold(weight.dtype.size() as u64, |bytes, size| bytes.saturating_mul(*size as u64))
    });
    let chosen = program.eight_bit_weights(Precision::INT8_FP16);
    let elements = chosen
        .iter()
        .filter_map(|weight| program.weights.get(*weight))
        .map(|weight| weight.dims.iter().fold(1_u64, |elements, size| elements.saturating_mul(*size as u64)));
    Ok(OperationsReport {
        file: path.to_owned(),
        inputs: described(&program.inputs),
        outputs: described(&program.outputs),
        operations,
        weights: program.weights.len(),
        weight_bytes: bytes.fold(0, u64::saturating_add),
        eight_bit_weights: chosen.len(),
        eight_bit_elements: elements.fold(0, u64::saturating_add),
        problem,
    })
}
