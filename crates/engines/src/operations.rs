//! Networks as lists of fused operations, beside their ONNX files: what an engine kind without a compiler runs.
//!
//! `vla-trt export` writes both from the same layers. The weights are those of the ONNX file, by name. Activations are matrices,
//! `[rows, columns]` row-major, unless said. [`Program::read`] checks everything that an engine relies on: references, widths,
//! element types and order, so that an engine does not repeat the checks.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use vla_base::tensor::{DType, Dim};

use crate::Symbols;
use crate::provenance::hash;

mod check;
mod eight_bits;
pub mod evaluate;
mod parts;
mod size;
#[cfg(test)]
mod tests;

pub use size::{Size, resolve};

/// Format of the file; another one is refused.
pub const FORMAT: u32 = 1;

/// The file beside an ONNX file: `step.onnx` has `step.operations.json`.
pub fn path_beside(onnx: &Path) -> PathBuf {
    onnx.with_extension("operations.json")
}

/// A network as a list of operations.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// [`FORMAT`]
    pub format: u32,
    /// SHA-256 of the ONNX file that it was written with, in hex.
    pub network: String,
    /// Every tensor that is not a weight. Sizes may be symbols of the inputs, and sums and products of them with numbers (`T+324`,
    /// `6*T`).
    pub values: Vec<Value>,
    /// Inputs, as indices of values.
    pub inputs: Vec<usize>,
    /// Outputs, as indices of values.
    pub outputs: Vec<usize>,
    /// Weights: initializers of the ONNX file.
    pub weights: Vec<Weight>,
    /// In the order in which they run: an operation reads inputs, weights and what operations before it wrote.
    pub operations: Vec<Operation>,
}

/// A tensor that is not a weight.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// Name of an input or output; empty of an inner tensor.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub dims: Vec<Dim>,
}

/// An initializer of the ONNX file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weight {
    /// Name in the ONNX file.
    pub name: String,
    /// Element type there.
    pub dtype: DType,
    /// Dimensions there.
    pub dims: Vec<usize>,
}

/// What an operation reads from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A value.
    Value(usize),
    /// A weight.
    Weight(usize),
}

/// A matrix to read: all of a value or weight whose last dimension is the row's width, or `columns` of its columns from `column`
/// on, from row `row` on. Of several leading dimensions the rows are those of all of them. A source of one dimension is one row, or,
/// read with one column, as many rows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operand {
    /// Where from.
    pub source: Source,
    /// Rows; a [`Dim`] as in [`Value::dims`].
    pub rows: Dim,
    /// First row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub row: usize,
    /// Columns.
    pub columns: usize,
    /// First column.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub column: usize,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// Rows by head for attention.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByHead {
    /// `[rows, heads * dim]`. With `heads_first` these are the rows and columns of a whole value `[1, heads, rows, dim]`.
    pub rows: Operand,
    /// Whether heads are outside of rows in memory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub heads_first: bool,
}

/// What is applied to each element of a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`
    Relu,
    /// `x * sigmoid(x)`
    Silu,
    /// GELU by tanh.
    GeluTanh,
    /// Exact GELU, by erf.
    GeluErf,
}

/// Part of a linear layer: columns of its result.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearPart {
    /// Index of a weight `[out, in]`, or `[in, out]`: [`Operation::Linear::transposed`].
    pub weight: usize,
    /// `[out]`, or one row of a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<Operand>,
}

/// Which rows an attention looks at.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// All.
    None,
    /// Itself and those before it.
    Causal,
}

/// Kind of a norm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// `(x - mean) / sqrt(variance + eps)`
    Layer,
    /// `x / sqrt(mean(x^2) + eps)`
    Rms,
}

/// One operation. Sums and statistics are in single precision; the result is rounded once to its value's element type.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// `activation(x W + bias) + residual`; the parts' results side by side.
    Linear {
        /// `[rows, in]`
        x: Operand,
        /// Weights and biases, of one `in`.
        parts: Vec<LinearPart>,
        /// Whether weights are `[out, in]`.
        transposed: bool,
        /// Applied before the residual.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        activation: Option<Activation>,
        /// Added: `[rows, out]`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        residual: Option<Operand>,
        /// `[rows, out]`
        out: usize,
    },
    /// `norm(x) * weight + bias`, then `* gain + shift`, along rows of `width`.
    Norm {
        /// Layer or root mean square.
        kind: NormKind,
        /// `[rows, width]`
        x: Operand,
        /// Added in the root.
        eps: f32,
        /// Index of a weight `[width]`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight: Option<usize>,
        /// Index of a weight `[width]`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bias: Option<usize>,
        /// One row.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gain: Option<Operand>,
        /// One row.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shift: Option<Operand>,
        /// `[rows, width]`
        out: usize,
    },
    /// Scaled dot-product attention of each group's rows to the same group's. Head `h` of the queries reads head
    /// `h * kv_heads / heads`.
    Attention {
        /// Queries.
        q: ByHead,
        /// Keys.
        k: ByHead,
        /// Values.
        v: ByHead,
        /// Images that attend each to itself: rows are divided evenly.
        groups: usize,
        /// Heads of queries.
        heads: usize,
        /// Heads of keys and values.
        kv_heads: usize,
        /// Channels of a head.
        dim: usize,
        /// Factor of the scores.
        scale: f32,
        /// Which rows.
        mask: Mask,
        /// `[rows, heads * dim]`
        out: usize,
    },
    /// Rotary positions of each head, after an RMS norm of it where `norm` is given: `x cos + rotate_half(x) sin`. Row `r` of a group
    /// takes row `r` of the tables.
    Rotary {
        /// `[rows, heads * dim]`
        x: Operand,
        /// Heads.
        heads: usize,
        /// Channels of a head.
        dim: usize,
        /// Images whose rows each begin with row 0 of the tables.
        groups: usize,
        /// Index of a weight `[dim]`, and what is added in the root.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        norm: Option<(usize, f32)>,
        /// `[rows of a group, dim]`
        cos: Operand,
        /// `[rows of a group, dim]`
        sin: Operand,
        /// `[rows, heads * dim]`
        out: usize,
    },
    /// Rows of a table.
    Gather {
        /// `[entries, columns]`
        table: Operand,
        /// INT32, one column or one row: a row of the table each. An engine clamps negative and too large ones.
        index: Operand,
        /// `[rows, columns]`
        out: usize,
    },
    /// Matrices below each other.
    Concat {
        /// Of equal columns.
        parts: Vec<Operand>,
        /// `[sum of rows, columns]`
        out: usize,
    },
    /// Elements in another order: `x` seen as `dims`, with axis `i` of the result being axis `order[i]`. At most six axes.
    Permute {
        /// `[rows, columns]`
        x: Operand,
        /// What it is seen as: its rows are the product of the first axes, its columns that of the others.
        dims: Vec<Dim>,
        /// Axes.
        order: Vec<usize>,
        /// The result, elements in order.
        out: usize,
    },
    /// `a + b`; `b` may have fewer rows than `a`, a divisor of them, and repeats.
    Add {
        /// `[rows, columns]`
        a: Operand,
        /// `[rows / n, columns]`
        b: Operand,
        /// `[rows, columns]`
        out: usize,
    },
    /// `activation(x)`, times `by` where given.
    Activate {
        /// What.
        activation: Activation,
        /// `[rows, columns]`
        x: Operand,
        /// `[rows, columns]`
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Operand>,
        /// `[rows, columns]`
        out: usize,
    },
    /// Conversion to the element type of the result, or a copy.
    Cast {
        /// `[rows, columns]`
        x: Operand,
        /// `[rows, columns]`
        out: usize,
    },
    /// `actions + dt * strength * velocity`, in single precision.
    Euler {
        /// `[horizon, dims]`, FP32
        actions: Operand,
        /// `[horizon, dims]`
        velocity: Operand,
        /// `[1, 1]`, FP32
        dt: Operand,
        /// `[1, horizon]` or `[horizon, 1]`, FP32
        strength: Operand,
        /// `[horizon, dims]`, FP32
        out: usize,
    },
}

/// Why a file of operations is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It is of another format, or contradicts itself.
    #[error("{}: {reason}; export the policy again", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong: operation, expected, found.
        reason: String,
    },
}

impl Program {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn read(path: &Path) -> Result<Self, ProgramError> {
        let text = std::fs::read(path).map_err(|source| ProgramError::Io { path: path.to_path_buf(), source })?;
        let invalid = |reason: String| ProgramError::Invalid { path: path.to_path_buf(), reason };
        let program: Self = serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))?;
        program.check().map_err(invalid)?;
        Ok(program)
    }

    /// Reads and checks the file beside an ONNX file, which it must have been written with.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn read_beside(onnx: &Path) -> Result<Self, ProgramError> {
        let path = path_beside(onnx);
        let program = Self::read(&path)?;
        let found = hash::file_sha256(onnx).map_err(|source| ProgramError::Io { path: onnx.to_path_buf(), source })?;
        if program.network != found {
            let file = onnx.file_name().unwrap_or_default().display();
            let reason = format!("expected {file} with the SHA-256 {}, found {found}", program.network);
            return Err(ProgramError::Invalid { path, reason });
        }
        Ok(program)
    }

    /// Whether everything that an engine relies on holds.
    ///
    /// # Errors
    /// What is wrong, with the number of the operation, expected and found.
    pub fn check(&self) -> Result<(), String> {
        check::check(self)
    }

    /// Dimensions of all values for these values of the symbols, for which every operand lies inside its source.
    ///
    /// # Errors
    /// A symbol without a value, or the number of an operation that reads rows which its source does not have.
    pub fn dims(&self, symbols: &Symbols) -> Result<Vec<Vec<usize>>, String> {
        check::dims(self, symbols)
    }

    /// The file's text: one value, weight or operation a line.
    ///
    /// # Errors
    /// None that input can cause.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        let lines = |items: Vec<String>| format!("[\n  {}\n]", items.join(",\n  "));
        let values = self.values.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        let weights = self.weights.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        let operations = self.operations.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        let fields = [
            ("format", serde_json::to_string(&self.format)?),
            ("network", serde_json::to_string(&self.network)?),
            ("inputs", serde_json::to_string(&self.inputs)?),
            ("outputs", serde_json::to_string(&self.outputs)?),
            ("values", lines(values)),
            ("weights", lines(weights)),
            ("operations", lines(operations)),
        ];
        let fields: Vec<String> = fields.into_iter().map(|(name, text)| format!("\"{name}\": {text}")).collect();
        Ok(format!("{{\n{}\n}}\n", fields.join(",\n")))
    }
}
