//! Which operations end in the kernel of another: design A of docs/cuda_engine.md.

use std::collections::BTreeMap;

use vla_engines::operations::{Operand, Operation, Program, Source};

use super::WeightLayout;
use super::operand::Sizes;
use super::weights::{Bias, width};
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
pub(super) fn fusions(program: &Program, layout: &WeightLayout, sizes: &Sizes<'_>) -> BTreeMap<usize, Fusion> {
    let readers = readers(program);
    let mut fusions = BTreeMap::new();
    for (index, operation) in program.operations.iter().enumerate() {
        let value = operation.out();
        let readers = &readers[value];
        let Some(first) = readers.first() else { continue };
        let Some(columns) = columns(program, layout, operation) else { continue };
        let only = readers.len() == 1 && !program.outputs.contains(&value);
        let fusion = match &program.operations[*first] {
            // Its norm is the first to read it, once; everything that reads it later reads the sum.
            Operation::Norm { x, .. } if readers.iter().filter(|reader| *reader == first).count() == 1 => {
                into_norm(sizes, (operation, columns), x, only).map(|(rows, kept)| (Follows::Norm, rows, kept))
            }
            Operation::Attention { q, .. } if only && !q.heads_first => {
                into_attention(sizes, (operation, columns), &q.rows).map(|rows| (Follows::Attention, rows, false))
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
    sizes: &Sizes<'_>,
    (operation, columns): (&Operation, usize),
    x: &Operand,
    only: bool,
) -> Option<((usize, usize), bool)> {
    let fits = match operation {
        Operation::Linear { activation, .. } => activation.is_none(),
        Operation::Add { a, b, .. } => sizes.of(&a.rows)? == sizes.of(&b.rows)?,
        _ => false,
    };
    let (rows, whole) = rows_read(sizes, (operation.out(), columns), x)?;
    (fits && (only || whole)).then_some((rows, !only))
}

fn into_attention(sizes: &Sizes<'_>, (operation, columns): (&Operation, usize), q: &Operand) -> Option<(usize, usize)> {
    let Operation::Linear { activation: None, residual: None, out, .. } = operation else { return None };
    rows_read(sizes, (*out, columns), q).map(|(rows, _)| rows)
}

/// First row and number of rows that an operand reads of `value`, in their full width, and whether they are all.
fn rows_read(sizes: &Sizes<'_>, (value, columns): (usize, usize), operand: &Operand) -> Option<((usize, usize), bool)> {
    let dims = &sizes.dims[value];
    let rows = sizes.of(&operand.rows)?;
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

/// Operations that read each value, in order and as often as they read it.
fn readers(program: &Program) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); program.values.len()];
    for (index, operation) in program.operations.iter().enumerate() {
        for operand in operation.operands() {
            if let Source::Value(value) = operand.source {
                readers[value].push(index);
            }
        }
    }
    readers
}
