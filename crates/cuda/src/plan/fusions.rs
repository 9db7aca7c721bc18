//! Which operations end in the kernel of another: design A of docs/cuda_engine.md.

use std::collections::BTreeMap;

use vla_engines::operations::{Operand, Operation, Program, Source};

use super::weights::{Bias, width};
use super::{Sizes, WeightLayout, reads};
use crate::launch::Follows;

/// An operation whose result the kernel of a later one adds up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fusion {
    /// The later operation.
    pub(super) into: usize,
    /// Its kernel.
    pub(super) follows: Follows,
    /// Rows of the result that are needed: first and number.
    pub(super) rows: (usize, usize),
    /// Whether the sum itself is read by others.
    pub(super) kept: bool,
}

/// Fusions of a program, by the operation that ends elsewhere.
pub(super) fn fusions(program: &Program, layout: &WeightLayout, sizes: &Sizes) -> BTreeMap<usize, Fusion> {
    let readers = reads::readers(program);
    let mut fusions = BTreeMap::new();
    for (index, operation) in program.operations.iter().enumerate() {
        let value = reads::result(operation);
        let readers = &readers[value];
        let Some(first) = readers.first() else { continue };
        let Some(columns) = columns(program, layout, operation) else { continue };
        let only = readers.len() == 1 && !program.outputs.contains(&value);
        let fusion = match &program.operations[*first] {
            // Its norm is the first to read it, once; everything that reads it later reads the sum.
            Operation::Norm { x, .. } if readers.iter().filter(|reader| *reader == first).count() == 1 => {
                into_norm(program, sizes, (operation, columns), x, only).map(|(rows, kept)| (Follows::Norm, rows, kept))
            }
            Operation::Attention { q, .. } if only && !q.heads_first => {
                into_attention(program, sizes, (operation, columns), &q.rows).map(|rows| (Follows::Attention, rows, false))
            }
            _ => None,
        };
        if let Some((follows, rows, kept)) = fusion {
            fusions.insert(index, Fusion { into: *first, follows, rows, kept });
        }
    }
    fusions
}

/// Rows that a norm needs, and whether the sum is kept: it is written as a whole or not at all.
fn into_norm(
    program: &Program,
    sizes: &Sizes,
    (operation, columns): (&Operation, usize),
    x: &Operand,
    only: bool,
) -> Option<((usize, usize), bool)> {
    let fits = match operation {
        Operation::Linear { activation, .. } => activation.is_none(),
        Operation::Add { a, b, .. } => sizes.of(&a.rows).ok()? == sizes.of(&b.rows).ok()?,
        _ => false,
    };
    let (rows, whole) = rows_read(program, sizes, (reads::result(operation), columns), x)?;
    (fits && (only || whole)).then_some((rows, !only))
}

fn into_attention(
    program: &Program,
    sizes: &Sizes,
    (operation, columns): (&Operation, usize),
    q: &Operand,
) -> Option<(usize, usize)> {
    let Operation::Linear { activation: None, residual: None, out, .. } = operation else { return None };
    rows_read(program, sizes, (*out, columns), q).map(|(rows, _)| rows)
}

/// First row and number of rows that an operand reads of `value`, in their full width, and whether they are all.
fn rows_read(
    program: &Program,
    sizes: &Sizes,
    (value, columns): (usize, usize),
    operand: &Operand,
) -> Option<((usize, usize), bool)> {
    let dims = program.values[value].dims.iter().map(|dim| sizes.of(dim)).collect::<Result<Vec<_>, _>>().ok()?;
    let rows = sizes.of(&operand.rows).ok()?;
    let from_start = operand.source == Source::Value(value) && operand.column == 0;
    let full = from_start && operand.columns == columns && dims.last() == Some(&columns);
    full.then_some(((operand.row, rows), operand.row == 0 && rows * columns == dims.iter().product::<usize>()))
}

/// Columns of a result that one product or sum makes.
fn columns(program: &Program, layout: &WeightLayout, operation: &Operation) -> Option<usize> {
    match operation {
        Operation::Linear { parts, transposed, .. } => {
            layout.stacked(program, parts, *transposed)?;
            let one = layout.bias(program, parts, *transposed) != Bias::Scattered;
            one.then(|| parts.iter().map(|part| width(program, part, *transposed)).sum())
        }
        Operation::Add { a, .. } => Some(a.columns),
        _ => None,
    }
}
