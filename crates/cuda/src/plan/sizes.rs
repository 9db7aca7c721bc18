//! Values of a program's symbols.

use std::collections::BTreeMap;

use vla_base::tensor::{Dim, display_dims};
use vla_engines::operations::Program;

use super::PlanError;

/// Values of the symbols in a program's dimensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes(BTreeMap<String, usize>);

impl Sizes {
    /// These values.
    pub fn new<'n>(symbols: impl IntoIterator<Item = (&'n str, usize)>) -> Self {
        Self(symbols.into_iter().map(|(name, size)| (name.to_owned(), size)).collect())
    }

    /// The values that follow from the dimensions of all inputs, in the order of [`Program::inputs`].
    ///
    /// # Errors
    /// [`PlanError::Addresses`], [`PlanError::Input`], [`PlanError::Dimension`].
    pub fn of_inputs(program: &Program, inputs: &[&[usize]]) -> Result<Self, PlanError> {
        if inputs.len() != program.inputs.len() {
            let (expected, found) = (program.inputs.len(), inputs.len());
            return Err(PlanError::Addresses { what: "inputs", expected, found });
        }
        let described = || program.inputs.iter().map(|input| &program.values[*input]).zip(inputs);
        let mut sizes = Self::default();
        for (value, dims) in described() {
            for (dim, size) in value.dims.iter().zip(*dims) {
                if let Dim::Symbol(name) = dim
                    && !name.contains('+')
                {
                    sizes.0.entry(name.clone()).or_insert(*size);
                }
            }
        }
        for (value, dims) in described() {
            let expected = value.dims.iter().map(|dim| sizes.of(dim)).collect::<Result<Vec<_>, _>>()?;
            if expected != *dims {
                let (expected, found) = (display_dims(&value.dims), display_dims(dims));
                return Err(PlanError::Input { name: value.name.clone(), expected, found });
            }
        }
        Ok(sizes)
    }

    /// Value of a dimension: a number, a symbol, or a sum of them (`T+324`).
    ///
    /// # Errors
    /// [`PlanError::Dimension`].
    pub fn of(&self, dim: &Dim) -> Result<usize, PlanError> {
        match dim {
            Dim::Fixed(n) => Ok(*n),
            Dim::Symbol(text) => self.sum(text).ok_or_else(|| {
                let known: Vec<_> = self.0.keys().map(String::as_str).collect();
                PlanError::Dimension { dim: text.clone(), known: known.join(", ") }
            }),
        }
    }

    fn sum(&self, text: &str) -> Option<usize> {
        text.split('+').map(str::trim).try_fold(0_usize, |sum, term| {
            let term = term.parse().ok().or_else(|| self.0.get(term).copied())?;
            sum.checked_add(term)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_symbols_and_numbers_have_values() {
        let sizes = Sizes::new([("T", 7), ("S", 12)]);
        let of = |text: &str| sizes.of(&Dim::Symbol(text.to_owned())).ok();
        assert_eq!((of("T"), of("T+5"), of("T + S+1")), (Some(7), Some(12), Some(20)));
        assert_eq!((of("U"), of("T+"), of("T-1")), (None, None, None));
        assert_eq!(of(&format!("T+{}", usize::MAX)), None, "no overflow");
    }
}
