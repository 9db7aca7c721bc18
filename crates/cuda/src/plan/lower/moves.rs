//! Copies: gathered rows, concatenations, other orders and element types.

use vla_base::tensor::{DType, Dim};
use vla_engines::operations::{Operand, Source};

use super::Lowering;
use crate::launch::{Address, Arguments, CastArguments, GatherArguments, Kernel, Matrix, PermuteArguments};
use crate::plan::Reason;
use crate::plan::operand::{Sized, element, int};

/// Most axes of a permutation.
const AXES: usize = 6;

impl Lowering<'_> {
    pub(super) fn gather(&mut self, table: &Operand, index: &Operand, out: usize) -> Result<(), Reason> {
        let table = self.operand(table)?;
        let index = self.typed(index, DType::I32)?;
        let y = self.result(out, table.columns)?;
        let rows = index.rows * index.columns;
        if y.dtype != table.dtype || y.rows != rows || !index.dense() {
            return Err(format!("expected {rows} rows in {}, found {} in {}", table.dtype, y.rows, y.dtype));
        }
        if table.rows == 0 {
            return Err("expected a table with rows, found none".to_owned());
        }
        self.copy(&table, &y, index.matrix.address)
    }

    pub(super) fn concat(&mut self, parts: &[Operand], out: usize) -> Result<(), Reason> {
        let columns = parts.first().map_or(1, |part| part.columns);
        let y = self.result(out, columns)?;
        let mut row = 0;
        for part in parts {
            let x = self.typed(part, y.dtype)?;
            if x.columns != columns || row + x.rows > y.rows {
                let expected = format!("rows of {columns} columns, {} in all", y.rows);
                return Err(format!("expected {expected}, found {} rows of {} from row {row}", x.rows, x.columns));
            }
            self.copy_rows(&x, &y.part(row, 0, x.rows, columns))?;
            row += x.rows;
        }
        if row == y.rows { Ok(()) } else { Err(format!("expected {} rows in all, found {row}", y.rows)) }
    }

    pub(super) fn cast(&mut self, x: &Operand, out: usize) -> Result<(), Reason> {
        let x = self.operand(x)?;
        let y = self.result(out, x.columns)?;
        if x.rows != y.rows {
            return Err(format!("expected {} rows, found {}", y.rows, x.rows));
        }
        if x.dtype == y.dtype {
            return self.copy_rows(&x, &y);
        }
        let (from, to) = (element(x.dtype)? as u32, element(y.dtype)? as u32);
        if x.rows == 0 {
            return Ok(());
        }
        let (rows, columns) = (int(x.rows)?, int(x.columns)?);
        let arguments = CastArguments { x: x.matrix, y: y.matrix, rows, columns, from, to };
        self.kernel(Kernel::Cast, Arguments::Cast(arguments))
    }

    /// Copies a matrix unless it is in its place already.
    fn copy_rows(&mut self, x: &Sized, y: &Sized) -> Result<(), Reason> {
        let there = x.matrix.address == y.matrix.address && (x.rows <= 1 || x.matrix.stride == y.matrix.stride);
        if there { Ok(()) } else { self.copy(x, y, 0) }
    }

    /// Rows of `x` at `index`; with index 0 all of its rows.
    fn copy(&mut self, x: &Sized, y: &Sized, index: Address) -> Result<(), Reason> {
        if y.rows == 0 || y.columns == 0 {
            return Ok(());
        }
        let in_bytes = |m: &Sized| Matrix { address: m.matrix.address, stride: m.row_bytes() };
        let arguments = GatherArguments {
            table: in_bytes(x),
            y: in_bytes(y),
            index,
            bytes: (x.columns * x.dtype.size()) as i64,
            rows: int(y.rows)?,
            entries: int(x.rows)?,
        };
        self.kernel(Kernel::Gather, Arguments::Gather(arguments))
    }

    pub(super) fn permute(&mut self, x: Source, dims: &[Dim], order: &[usize], out: usize) -> Result<(), Reason> {
        let sizes = dims.iter().map(|dim| self.size(dim)).collect::<Result<Vec<_>, _>>()?;
        let elements: usize = sizes.iter().product();
        let count = |source| self.dims(source).map(|dims| dims.iter().product::<usize>()).map_err(|e| e.to_string());
        let (from, to, size) = (count(x)?, count(Source::Value(out))?, self.dtype(x).size());
        if from != elements || to != elements || self.dtype(x) != self.dtype(Source::Value(out)) {
            let dtype = self.dtype(x);
            return Err(format!("expected {elements} elements in {dtype}, found {from}, and {to} in the result"));
        }
        let mut axes = order.to_vec();
        axes.sort_unstable();
        if !axes.into_iter().eq(0..dims.len()) {
            return Err(format!("expected an order of {} axes, found {order:?}", dims.len()));
        }
        let (x, y) = (self.view(x).address(), self.view(Source::Value(out)).address());
        if x == y || elements == 0 {
            return Ok(());
        }
        let merged = merged(&sizes, order);
        if merged.len() > AXES || !matches!(size, 2 | 4) {
            let expected = format!("at most {AXES} axes of elements of 2 or 4 bytes");
            return Err(format!("expected {expected}, found {} of {size} bytes", merged.len()));
        }
        let mut arguments = PermuteArguments { x, y, dims: [1; AXES], size: int(size)?, ..Default::default() };
        let last = arguments.dims.iter_mut().zip(&mut arguments.strides).rev();
        for ((dim, stride), (n, s)) in last.zip(merged.iter().rev()) {
            (*dim, *stride) = (int(*n)?, *s as i64);
        }
        self.kernel(Kernel::Permute, Arguments::Permute(arguments))
    }
}

/// Sizes of a permutation's result and strides in its source, without axes of size 1 and with axes that stay neighbours as one.
fn merged(dims: &[usize], order: &[usize]) -> Vec<(usize, usize)> {
    let stride = |axis: usize| dims[axis + 1..].iter().product::<usize>();
    let mut merged: Vec<(usize, usize)> = Vec::new();
    for axis in order.iter().copied().filter(|axis| dims[*axis] != 1) {
        match merged.last_mut() {
            Some((n, s)) if *s == dims[axis] * stride(axis) => (*n, *s) = (*n * dims[axis], stride(axis)),
            _ => merged.push((dims[axis], stride(axis))),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_that_stay_neighbours_are_one() {
        assert_eq!(merged(&[5, 3, 4], &[1, 0, 2]), [(3, 4), (5, 12), (4, 1)], "rows by head, heads first");
        assert_eq!(merged(&[2, 1, 3, 4], &[2, 3, 0, 1]), [(12, 1), (2, 12)]);
        assert_eq!(merged(&[2, 3], &[0, 1]), [(6, 1)]);
    }
}
