//! Operands as matrices in memory.

use vla_base::tensor::{DType, Dim};
use vla_engines::operations::{Operand, Source};

use super::lower::Lowering;
use super::memory::View;
use super::{PlanError, Reason};
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
    i32::try_from(n).map_err(|_| format!("expected a size below {}, found {n}", i32::MAX))
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

    pub(super) fn dims(&self, source: Source) -> Result<Vec<usize>, PlanError> {
        match source {
            Source::Value(value) => self.program.values[value].dims.iter().map(|dim| self.sizes.of(dim)).collect(),
            Source::Weight(weight) => Ok(self.program.weights[weight].dims.clone()),
        }
    }

    pub(super) fn size(&self, dim: &Dim) -> Result<usize, Reason> {
        self.sizes.of(dim).map_err(|error| error.to_string())
    }

    /// What an operand reads. A tensor of one dimension is a row, or a column where one column is read.
    pub(super) fn operand(&self, operand: &Operand) -> Result<Sized, Reason> {
        let dims = self.dims(operand.source).map_err(|error| error.to_string())?;
        let elements: usize = dims.iter().product();
        let width = match dims.as_slice() {
            [] => 1,
            [_] if operand.columns == 1 => 1,
            [.., last] => *last,
        };
        let (rows, all) = (self.size(&operand.rows)?, elements / width.max(1));
        if operand.row + rows > all || operand.column + operand.columns > width {
            return Err(format!(
                "expected rows and columns of {all} x {width}, found {rows} from row {} and {} from column {}",
                operand.row, operand.columns, operand.column
            ));
        }
        let whole = Sized {
            matrix: Matrix { address: self.view(operand.source).address(), stride: width as i64 },
            rows: all,
            columns: width,
            dtype: self.dtype(operand.source),
        };
        Ok(whole.part(operand.row, operand.column, rows, operand.columns))
    }

    /// An operand in the kernel's element type.
    pub(super) fn typed(&self, operand: &Operand, dtype: DType) -> Result<Sized, Reason> {
        let sized = self.operand(operand)?;
        if sized.dtype != dtype {
            return Err(format!("expected operands in {dtype}, found {}", sized.dtype));
        }
        Ok(sized)
    }

    /// A single row of `columns` elements.
    pub(super) fn row(&self, operand: Option<&Operand>, dtype: DType, columns: usize) -> Result<Address, Reason> {
        let Some(operand) = operand else { return Ok(0) };
        let row = self.typed(operand, dtype)?;
        if row.rows * row.columns != columns {
            return Err(format!("expected one row of {columns}, found {} x {}", row.rows, row.columns));
        }
        Ok(row.matrix.address)
    }

    /// A weight of `elements`, in the kernel's element type.
    pub(super) fn vector(&self, weight: Option<usize>, dtype: DType, elements: usize) -> Result<Address, Reason> {
        let Some(weight) = weight else { return Ok(0) };
        let found = &self.program.weights[weight];
        let count: usize = found.dims.iter().product();
        if found.dtype != dtype || count != elements {
            return Err(format!("expected weight {} to be {elements} x {dtype}, found {count} x {}", found.name, found.dtype));
        }
        Ok(self.view(Source::Weight(weight)).address())
    }

    /// The matrix `[rows, columns]` of a whole value.
    pub(super) fn result(&self, value: usize, columns: usize) -> Result<Sized, Reason> {
        let dims = self.dims(Source::Value(value)).map_err(|error| error.to_string())?;
        let elements: usize = dims.iter().product();
        if elements > 0 && (columns == 0 || elements % columns != 0) {
            return Err(format!("expected a result with rows of {columns}, found {elements} elements"));
        }
        Ok(Sized {
            matrix: Matrix { address: self.views[value].address(), stride: columns as i64 },
            rows: elements / columns.max(1),
            columns,
            dtype: self.program.values[value].dtype,
        })
    }
}
