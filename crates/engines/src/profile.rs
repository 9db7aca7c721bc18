//! Optimisation profiles: the shapes that an engine accepts. They are compared with the stage's description at load, and
//! with every input before it is enqueued.
//!
//! TensorRT reports a shape outside the profile late and unclearly, so such a shape is refused before it is enqueued.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::graph::{Problem, Stage};
use vla_base::tensor::{DType, Dim, TensorSpec, display_dims};

mod failure;

pub use failure::{EnqueueFailure, TensorShape};

/// Optimisation profile of one input: smallest, optimal and largest dimensions.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Profile {
    /// Smallest.
    pub min: Vec<usize>,
    /// The dimensions that the engine is fastest for.
    pub opt: Vec<usize>,
    /// Largest.
    pub max: Vec<usize>,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}..{}", display_dims(&self.min), display_dims(&self.opt), display_dims(&self.max))
    }
}

impl Profile {
    /// One rank, and `min <= opt <= max` in every dimension.
    pub fn is_sound(&self) -> bool {
        let ordered = |a: &[usize], b: &[usize]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a <= b);
        ordered(&self.min, &self.opt) && ordered(&self.opt, &self.max)
    }

    /// The dimension that is outside, as `(axis, value, min, max)`; a dimension that is missing or too many counts as
    /// outside. Allocates nothing.
    fn outside(&self, dims: &[usize]) -> Option<(usize, usize, usize, usize)> {
        let rank = self.max.len().max(self.min.len()).max(dims.len());
        (0..rank).find_map(|axis| {
            let at = |dims: &[usize]| dims.get(axis).copied();
            match (at(dims), at(&self.min), at(&self.max)) {
                (Some(value), Some(min), Some(max)) if min <= value && value <= max => None,
                (value, min, max) => Some((axis, value.unwrap_or(0), min.unwrap_or(0), max.unwrap_or(0))),
            }
        })
    }
}

/// An input outside the range of an engine's profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The engine's stage.
    pub stage: String,
    /// The engine's own name of the tensor.
    pub tensor: String,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with an input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A dimension outside the profile.
    Dimension {
        /// Its place, from 0.
        axis: usize,
        /// Its name in the description of the stage, when it has one.
        symbol: Option<String>,
        /// What it is.
        value: usize,
        /// Least that the engine takes.
        min: usize,
        /// Most that it takes.
        max: usize,
    },
    /// Another number of dimensions.
    Rank {
        /// What the input has.
        found: usize,
        /// What the engine takes.
        expected: usize,
    },
    /// Another element type.
    Type {
        /// What the input has.
        found: DType,
        /// What the engine takes.
        expected: DType,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, tensor, fault } = self;
        write!(f, "engine '{stage}', input '{tensor}': ")?;
        match fault {
            Fault::Dimension { axis, symbol, value, min, max } => {
                let name = symbol.as_ref().map_or_else(String::new, |symbol| format!(" ({symbol})"));
                write!(f, "dimension {axis}{name} is {value}, the engine's profile takes {min} to {max}")
            }
            Fault::Rank { found, expected } => write!(f, "{found} dimensions, the engine takes {expected}"),
            Fault::Type { found, expected } => write!(f, "element type {found}, the engine takes {expected}"),
        }
    }
}

impl std::error::Error for Violation {}

/// What an engine accepts for one of its inputs.
#[derive(Clone, Copy, Debug)]
pub struct Accepts<'e> {
    /// The engine's own description.
    pub spec: &'e TensorSpec,
    /// Its profile; `None`: any size that the description leaves open.
    pub profile: Option<&'e Profile>,
}

/// Checks an input before it is enqueued. `described` has the names of the dimensions. Allocates only for a violation.
///
/// # Errors
/// [`Violation`] with the first thing that is wrong.
pub fn check(
    stage: &str,
    accepts: Accepts<'_>,
    described: &[Dim],
    dtype: DType,
    dims: &[usize],
) -> Result<(), Box<Violation>> {
    let refuse = |fault| Box::new(Violation { stage: stage.to_owned(), tensor: accepts.spec.name.clone(), fault });
    if dtype != accepts.spec.dtype {
        return Err(refuse(Fault::Type { found: dtype, expected: accepts.spec.dtype }));
    }
    let rank = accepts.profile.map_or(accepts.spec.dims.len(), |profile| profile.max.len());
    if dims.len() != rank {
        return Err(refuse(Fault::Rank { found: dims.len(), expected: rank }));
    }
    let outside = match accepts.profile {
        Some(profile) => profile.outside(dims),
        None => accepts.spec.dims.iter().zip(dims).enumerate().find_map(|(axis, (own, value))| match own {
            Dim::Fixed(n) if n != value => Some((axis, *value, *n, *n)),
            _ => None,
        }),
    };
    let Some((axis, value, min, max)) = outside else { return Ok(()) };
    let symbol = described.get(axis).and_then(|dim| match dim {
        Dim::Symbol(name) => Some(name.clone()),
        Dim::Fixed(_) => None,
    });
    Err(refuse(Fault::Dimension { axis, symbol, value, min, max }))
}

/// Whether a described element type (or that of an ONNX file) is the engine's. TensorRT before 10 has no 64-bit integers:
/// those of a network are 32-bit integers in its engine, and the host must write them as such.
pub fn same_type(described: DType, engine: DType, narrows_int64: bool) -> bool {
    described == engine || narrows_int64 && described == DType::I64 && engine == DType::I32
}

/// An input whose profile is narrower than its description.
pub(crate) struct Uncovered {
    /// The engine's name of the input.
    pub input: String,
    /// Smallest and largest dimensions of the profile.
    pub built: String,
    /// Dimensions of the description, with the range of each symbol.
    pub required: String,
}

/// Inputs whose profile does not contain every size of the description.
pub(crate) fn uncovered<'p>(stage: &Stage, profile_of: impl Fn(&str) -> Option<&'p Profile>) -> Vec<Uncovered> {
    let mut problems = Vec::new();
    for input in &stage.inputs {
        let (Some(profile), Some(dims)) = (profile_of(&input.tensor), &input.dims) else { continue };
        let range = |dim: &Dim| match dim {
            Dim::Fixed(n) => Some((*n, *n)),
            Dim::Symbol(name) => {
                stage.profile.iter().find(|(symbol, _)| symbol == name).map(|(_, [min, _, max])| (*min, *max))
            }
        };
        let inside = |(axis, dim): (usize, &Dim)| {
            let Some((least, most)) = range(dim) else { return true };
            profile.min.get(axis).is_some_and(|min| *min <= least)
                && profile.max.get(axis).is_some_and(|max| *max >= most)
        };
        if dims.len() != profile.max.len() || !dims.iter().enumerate().all(inside) {
            let shown = dims.iter().map(|dim| match (dim, range(dim)) {
                (Dim::Symbol(name), Some((least, most))) => format!("{name} {least}..{most}"),
                (dim, _) => dim.to_string(),
            });
            let required = display_dims(&shown.collect::<Vec<_>>());
            let built = format!("{}..{}", display_dims(&profile.min), display_dims(&profile.max));
            problems.push(Uncovered { input: input.tensor.clone(), built, required });
        }
    }
    problems
}

/// Problems with the profiles of a loaded engine; names, types and ranks are checked with the graph.
pub(crate) fn problems<'p>(stage: &Stage, profile_of: impl Fn(&str) -> Option<&'p Profile>) -> Vec<Problem> {
    let unordered = stage.inputs.iter().filter_map(|input| {
        let profile = profile_of(&input.tensor).filter(|profile| !profile.is_sound())?.clone();
        Some(Problem::UnorderedProfile { stage: stage.name.clone(), input: input.tensor.clone(), profile })
    });
    let narrow = uncovered(stage, &profile_of).into_iter().map(|Uncovered { input, built, required }| {
        Problem::NarrowProfile { stage: stage.name.clone(), input, built, required }
    });
    unordered.chain(narrow).collect()
}

#[cfg(test)]
mod tests;
