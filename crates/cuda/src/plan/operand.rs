//! Operands as matrices in memory.

use vla_base::tensor::{DType, Dim};
use vla_engines::Symbols;
use vla_engines::operations::{Operand, Source, resolve};

use super::Reason;
use super::lower::Lowering;
use super::memory::View;
use crate::launch::{Address, Element, Matrix};

/// A matrix with its size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sized {
    pub(super) matrix: Matrix,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) dtype: DType,
}

impl Sized {
    /// Bytes from row to row.
    pub(super) fn row_bytes(&self) -> i64 {
        self.matrix.stride * self.dtype.size() as i64
    }

    /// The part of it from a row and column on.
    pub(super) fn part(&self, row: usize, column: usize, rows: usize, columns: usize) -> Self {
        let elements = row as u64 * self.matrix.stride.unsigned_abs() + column as u64;
        let address = self.matrix.address + elements * element_size(self.dtype);
        Self { matrix: Matrix { address, ..self.matrix }, rows, columns, dtype: self.dtype }
    }

    /// Whether rows have no room between them.
    pub(super) fn dense(&self) -> bool {
        self.rows <= 1 || self.matrix.stride == self.columns as i64
    }
}

/// Bytes of an element.
pub(super) fn element_size(dtype: DType) -> u64 {
    dtype.size() as u64
}

/// Element type of kernels and products.
pub(super) fn element(dtype: DType) -> Result<Element, Reason> {
    match dtype {
        DType::F32 => Ok(Element::F32),
        DType::F16 => Ok(Element::F16),
        DType::BF16 => Ok(Element::BF16),
        other => Err(format!("expected floating-point numbers, found {other}")),
    }
}

/// Bytes of an element.
pub(super) fn bytes_of(element: Element) -> u64 {
    match element {
        Element::F32 => 4,
        Element::F16 | Element::BF16 => 2,
    }
}

/// A count as kernels take it.
pub(super) fn int(n: usize) -> Result<i32, Reason> {
    i32::try_from(n).map_err(|error| format!("expected a size of at most {}, found {n}: {error}", i32::MAX))
}

/// Sizes of a program for values of its symbols.
pub(super) struct Sizes<'a> {
    pub(super) symbols: &'a Symbols,
    /// Dimensions of each value.
    pub(super) dims: Vec<Vec<usize>>,
}

impl Sizes<'_> {
    /// Value of a dimension.
    pub(super) fn of(&self, dim: &Dim) -> Option<usize> {
        resolve(dim, self.symbols)
    }
}

impl Lowering<'_> {
    pub(super) fn view(&self, source: Source) -> View {
        match source {
            Source::Value(value) => self.views[value],
            Source::Weight(weight) => View { storage: 0, offset: self.layout.offset(weight) },
        }
    }

    pub(super) fn dtype(&self, source: Source) -> DType {
        match source {
            Source::Value(value) => self.program.values[value].dtype,
            Source::Weight(weight) => self.program.weights[weight].dtype,
        }
    }

    pub(super) fn dims(&self, source: Source) -> &[usize] {
        match source {
            Source::Value(value) => &self.sizes.dims[value],
            Source::Weight(weight) => &self.program.weights[weight].dims,
        }
    }

    pub(super) fn size(&self, dim: &Dim) -> Result<usize, Reason> {
        self.sizes.of(dim).ok_or_else(|| format!("expected symbols with values, found {dim}"))
    }

    /// What an operand reads. A tensor of one dimension is a row, or a column where one column is read.
    pub(super) fn operand(&self, operand: &Operand) -> Result<Sized, Reason> {
        let dims = self.dims(operand.source);
        let elements: usize = dims.iter().product();
        let width = match dims {
            [] => 1,
            [_] if operand.columns == 1 => 1,
            [.., last] => *last,
        };
        let whole = Sized {
            matrix: Matrix { address: self.view(operand.source).address(), stride: width as i64 },
            rows: elements / width.max(1),
            columns: width,
            dtype: self.dtype(operand.source),
        };
        Ok(whole.part(operand.row, operand.column, self.size(&operand.rows)?, operand.columns))
    }

    /// Address of a row; 0 without one.
    pub(super) fn row(&self, operand: Option<&Operand>) -> Result<Address, Reason> {
        operand.map_or(Ok(0), |operand| Ok(self.operand(operand)?.matrix.address))
    }

    /// Address of a whole weight; 0 without one.
    pub(super) fn vector(&self, weight: Option<usize>) -> Address {
        weight.map_or(0, |weight| self.view(Source::Weight(weight)).address())
    }

    /// A whole value as a matrix with so many columns.
    pub(super) fn result(&self, value: usize, columns: usize) -> Sized {
        let elements: usize = self.sizes.dims[value].iter().product();
        Sized {
            matrix: Matrix { address: self.views[value].address(), stride: columns as i64 },
            rows: elements / columns.max(1),
            columns,
            dtype: self.program.values[value].dtype,
        }
    }
}
