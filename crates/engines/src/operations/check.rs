//! What an engine relies on in a program.

use std::collections::BTreeSet;
use std::fmt::Display;

use vla_base::tensor::{DType, Dim, display_dims};

use super::{FORMAT, Operand, Operation, Program, Size, Source};
use crate::Symbols;

mod operation;

/// Most axes of a value.
const MOST_AXES: usize = 6;

fn wrong(what: impl Display, expected: impl Display, found: impl Display) -> String {
    format!("{what}: expected {expected}, found {found}")
}

/// See [`Program::check`].
pub(super) fn check(program: &Program) -> Result<(), String> {
    if program.format != FORMAT {
        return Err(wrong("format", FORMAT, program.format));
    }
    let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'a'..=b'f'));
    if !is_hash(&program.network) {
        return Err(wrong("network", "a SHA-256 of 64 hexadecimal digits", format_args!("'{}'", program.network)));
    }
    check_edges(program)?;
    check_values(program)?;
    check_weights(program)?;
    let mut checker = Checker { program, ready: vec![false; program.values.len()] };
    program.inputs.iter().for_each(|input| checker.ready[*input] = true);
    for (index, operation) in program.operations.iter().enumerate() {
        let in_place = |problem| format!("operation {index} ({}): {problem}", operation.name());
        checker.operation(operation).map_err(in_place)?;
        let out = operation.out();
        checker.ready[out] = true;
    }
    match checker.ready.iter().position(|ready| !ready) {
        Some(index) => Err(wrong(format_args!("value {index}"), "an operation that writes it", "none")),
        None => Ok(()),
    }
}

/// Inputs and outputs are values, each once, and they and no others have names.
fn check_edges(program: &Program) -> Result<(), String> {
    let (mut edges, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (what, indices) in [("input", &program.inputs), ("output", &program.outputs)] {
        for index in indices {
            let Some(value) = program.values.get(*index) else {
                let expected = format_args!("one of {} values", program.values.len()).to_string();
                return Err(wrong(what, expected, format_args!("value {index}")));
            };
            if !edges.insert(*index) {
                return Err(wrong(what, "each value once", format_args!("value {index} again")));
            }
            if value.name.is_empty() || !names.insert(value.name.as_str()) {
                let found = format_args!("'{}'", value.name).to_string();
                return Err(wrong(format_args!("{what} {index}"), "a unique name", found));
            }
        }
    }
    match program.values.iter().enumerate().find(|(index, value)| !value.name.is_empty() && !edges.contains(index)) {
        Some((index, value)) => Err(wrong(format_args!("value {index}"), "no name inside", &value.name)),
        None => Ok(()),
    }
}

/// Dimensions are sizes of at least 1, and their symbols are dimensions of inputs.
fn check_values(program: &Program) -> Result<(), String> {
    let inputs = program.inputs.iter().map(|index| &program.values[*index]);
    let symbols: BTreeSet<&str> = inputs
        .flat_map(|value| &value.dims)
        .filter_map(|dim| match dim {
            Dim::Symbol(name) => Some(name.as_str()),
            Dim::Fixed(_) => None,
        })
        .collect();
    for (index, value) in program.values.iter().enumerate() {
        let fails = |expected: &str| wrong(format_args!("value {index}"), expected, display_dims(&value.dims));
        if value.dims.is_empty() || value.dims.len() > MOST_AXES {
            return Err(fails("one to six dimensions"));
        }
        let sizes: Option<Vec<Size>> = value.dims.iter().map(Size::of).collect();
        let Some(sizes) = sizes.filter(|sizes| sizes.iter().all(|size| size.fixed() != Some(0))) else {
            return Err(fails("dimensions of at least 1, or symbols and their sums and products"));
        };
        if Size::product(&value.dims).is_none() {
            return Err(fails("a number of elements that fits 64 bits"));
        }
        let plain = value.dims.iter().zip(&sizes).all(|(dim, size)| match dim {
            Dim::Symbol(name) => size.symbols().eq([name.as_str()]),
            Dim::Fixed(_) => true,
        });
        if program.inputs.contains(&index) && !plain {
            return Err(fails("numbers and symbols of an input"));
        }
        if let Some(unknown) = sizes.iter().flat_map(Size::symbols).find(|name| !symbols.contains(name)) {
            return Err(fails(&format!("symbols of the inputs, not {unknown}")));
        }
    }
    Ok(())
}

fn check_weights(program: &Program) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for (index, weight) in program.weights.iter().enumerate() {
        let what = format_args!("weight {index} ('{}')", weight.name).to_string();
        if weight.name.is_empty() || !names.insert(weight.name.as_str()) {
            return Err(wrong(what, "a unique name", "an empty name or a second weight of this name"));
        }
        if !matches!(weight.dtype, DType::F32 | DType::F16 | DType::BF16 | DType::I32) {
            return Err(wrong(what, "f32, f16, bf16 or i32", weight.dtype));
        }
        let elements = weight.dims.iter().try_fold(weight.dtype.size(), |bytes, dim| bytes.checked_mul(*dim));
        if weight.dims.is_empty() || elements.is_none_or(|bytes| bytes == 0) {
            return Err(wrong(what, "dimensions of at least 1 that fit 64 bits", display_dims(&weight.dims)));
        }
    }
    Ok(())
}

/// A source as a matrix: number of rows and their width.
struct Rows {
    rows: Size,
    width: usize,
    dtype: DType,
}

/// Rows and width of what `operand` reads from; `Err` with what was expected.
fn source(program: &Program, operand: &Operand) -> Result<Rows, String> {
    let (dims, dtype) = match operand.source {
        Source::Value(index) => match program.values.get(index) {
            Some(value) => (value.dims.clone(), value.dtype),
            None => return Err(wrong("source", format_args!("one of {} values", program.values.len()), index)),
        },
        Source::Weight(index) => match program.weights.get(index) {
            Some(weight) => (weight.dims.iter().copied().map(Dim::Fixed).collect(), weight.dtype),
            None => return Err(wrong("source", format_args!("one of {} weights", program.weights.len()), index)),
        },
    };
    let too_large = || wrong("source", "a number of elements that fits 64 bits", display_dims(&dims));
    let (width, leading) = match dims.as_slice() {
        [n] if operand.columns == 1 => (1, std::slice::from_ref(n)),
        [leading @ .., Dim::Fixed(width)] => (*width, leading),
        _ => return Err(wrong("source", "a last dimension that is a number", display_dims(&dims))),
    };
    Ok(Rows { rows: Size::product(leading).ok_or_else(too_large)?, width, dtype })
}

/// The matrix that an operand is.
struct Matrix {
    rows: Size,
    columns: usize,
    dtype: DType,
}

impl Matrix {
    fn show(&self) -> String {
        format!("{} [{}, {}]", self.dtype, self.rows.dim(), self.columns)
    }

    fn is_float(&self) -> bool {
        is_float(self.dtype)
    }
}

fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

/// The operations so far.
struct Checker<'p> {
    program: &'p Program,
    /// Values that are inputs or were written.
    ready: Vec<bool>,
}

impl Checker<'_> {
    /// The matrix that `operand`, the operation's `what`, is.
    fn operand(&self, what: &str, operand: &Operand) -> Result<Matrix, String> {
        let found = source(self.program, operand).map_err(|problem| format!("{what}: {problem}"))?;
        if let Source::Value(index) = operand.source
            && !self.ready[index]
        {
            return Err(wrong(what, "a value that is written before", format_args!("value {index}")));
        }
        let rows = Size::of(&operand.rows).filter(|rows| rows.fixed() != Some(0) && operand.columns > 0);
        let Some(rows) = rows else {
            return Err(wrong(
                what,
                "at least one row and column",
                format_args!("[{}, {}]", operand.rows, operand.columns),
            ));
        };
        let end = operand.column.checked_add(operand.columns);
        if end.is_none_or(|end| end > found.width) {
            let columns = format_args!("{} from column {}", operand.columns, operand.column).to_string();
            return Err(wrong(what, format_args!("columns of {} in its source", found.width), columns));
        }
        let end = rows.plus(&Size::number(operand.row));
        // Sizes of symbols are compared when they are known: `dims`.
        if let (Some(end), Some(most)) = (end.as_ref().and_then(Size::fixed), found.rows.fixed())
            && end > most
        {
            let rows = format_args!("{} from row {}", operand.rows, operand.row).to_string();
            return Err(wrong(what, format_args!("rows of {most} in its source"), rows));
        }
        if end.is_none() {
            return Err(wrong(
                what,
                "rows that fit 64 bits",
                format_args!("{} from row {}", operand.rows, operand.row),
            ));
        }
        Ok(Matrix { rows, columns: operand.columns, dtype: found.dtype })
    }

    /// Checks that `out` is a value that is not written yet, of these rows and columns.
    fn result(&self, out: usize, rows: &Size, columns: usize, dtype: DType) -> Result<(), String> {
        let value = self.unwritten(out)?;
        let found = match value.dims.as_slice() {
            [leading @ .., Dim::Fixed(width)] => Size::product(leading).map(|rows| (rows, *width)),
            _ => None,
        };
        if value.dtype != dtype || found.is_none_or(|found| found != (rows.clone(), columns)) {
            let found = format_args!("{} {}", value.dtype, display_dims(&value.dims)).to_string();
            let expected = format_args!("{dtype} [{}, {columns}]", rows.dim()).to_string();
            return Err(wrong(format_args!("out, value {out}"), expected, found));
        }
        Ok(())
    }

    fn unwritten(&self, out: usize) -> Result<&super::Value, String> {
        match self.program.values.get(out) {
            None => Err(wrong("out", format_args!("one of {} values", self.program.values.len()), out)),
            Some(_) if self.ready[out] => {
                Err(wrong("out", "a value that is no input and not written before", format_args!("value {out}")))
            }
            Some(value) => Ok(value),
        }
    }

    /// Checks that `index` is a weight of these dimensions.
    fn weight(&self, what: &str, index: usize, dims: &[usize], dtype: DType) -> Result<(), String> {
        let Some(weight) = self.program.weights.get(index) else {
            return Err(wrong(what, format_args!("one of {} weights", self.program.weights.len()), index));
        };
        if weight.dims != dims || weight.dtype != dtype {
            let found = format_args!("{} {}", weight.dtype, display_dims(&weight.dims)).to_string();
            return Err(wrong(what, format_args!("{dtype} {}", display_dims(dims)), found));
        }
        Ok(())
    }
}

/// See [`Program::dims`].
pub(super) fn dims(program: &Program, symbols: &Symbols) -> Result<Vec<Vec<usize>>, String> {
    let resolve = |index: usize| {
        let dims = &program.values[index].dims;
        let sizes = dims.iter().map(|dim| super::resolve(dim, symbols).filter(|size| *size > 0));
        let sizes = sizes.collect::<Option<Vec<usize>>>();
        let sizes = sizes.filter(|sizes| sizes.iter().try_fold(4_usize, |bytes, n| bytes.checked_mul(*n)).is_some());
        let expected = "values of at least 1 for its symbols";
        sizes.ok_or_else(|| {
            wrong(format_args!("value {index}"), expected, format_args!("{} with {symbols:?}", display_dims(dims)))
        })
    };
    let sizes = (0..program.values.len()).map(resolve).collect::<Result<Vec<_>, _>>()?;
    for (index, operation) in program.operations.iter().enumerate() {
        for operand in operation.operands() {
            let have = source(program, operand)?.rows.resolve(symbols);
            let need = super::resolve(&operand.rows, symbols).and_then(|rows| rows.checked_add(operand.row));
            if need.is_none_or(|need| have.is_none_or(|have| need > have)) {
                let found = format_args!("{} from row {} with {symbols:?}", operand.rows, operand.row).to_string();
                let expected = format_args!("rows of {}", have.unwrap_or_default()).to_string();
                return Err(format!("operation {index} ({}): {}", operation.name(), wrong("operand", expected, found)));
            }
        }
        if let Operation::Add { a, b, .. } = operation {
            let rows = [a, b].map(|operand| super::resolve(&operand.rows, symbols).unwrap_or_default());
            if rows[1] == 0 || !rows[0].is_multiple_of(rows[1]) {
                let problem = wrong("b", format_args!("a divisor of {} rows", rows[0]), rows[1]);
                return Err(format!("operation {index} ({}): {problem}", operation.name()));
            }
        }
    }
    Ok(sizes)
}
