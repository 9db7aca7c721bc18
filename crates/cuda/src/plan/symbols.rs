//! Values of a program's symbols.

use vla_base::tensor::{Dim, display_dims};
use vla_engines::Symbols;
use vla_engines::operations::{Program, resolve};

use super::PlanError;

/// The values of a program's symbols that follow from the dimensions of its inputs, in the order of [`Program::inputs`].
///
/// # Errors
/// [`PlanError::Count`], [`PlanError::Input`].
pub fn symbols(program: &Program, inputs: &[&[usize]]) -> Result<Symbols, PlanError> {
    if inputs.len() != program.inputs.len() {
        return Err(PlanError::Count { what: "inputs", expected: program.inputs.len(), found: inputs.len() });
    }
    let described = || program.inputs.iter().map(|input| &program.values[*input]).zip(inputs);
    let mut symbols = Symbols::new();
    for (value, dims) in described() {
        for (dim, size) in value.dims.iter().zip(*dims) {
            if let Dim::Symbol(name) = dim {
                symbols.entry(name.clone()).or_insert(*size);
            }
        }
    }
    for (value, dims) in described() {
        let expected: Option<Vec<usize>> = value.dims.iter().map(|dim| resolve(dim, &symbols)).collect();
        if expected.as_deref() != Some(*dims) {
            let (expected, found) = (display_dims(&value.dims), display_dims(dims));
            return Err(PlanError::Input { name: value.name.clone(), expected, found });
        }
    }
    Ok(symbols)
}
