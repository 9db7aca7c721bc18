//! Copies: gathered rows, concatenations, other orders and element types.

#[cfg(test)]
use vla_base::tensor::DType;
use vla_base::tensor::Dim;
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
        let index = self.operand(index)?;
        if !index.dense() {
            return Err("expected an index without other columns between its rows".to_owned());
        }
        self.copy(&table, &self.result(out, table.columns), index.matrix.address)
    }

    pub(super) fn concat(&mut self, parts: &[Operand], out: usize) -> Result<(), Reason> {
        let columns = parts.first().map_or(1, |part| part.columns);
        let y = self.result(out, columns);
        let mut row = 0;
        for part in parts {
            let x = self.operand(part)?;
            self.copy_rows(&x, &y.part(row, 0, x.rows, columns))?;
            row += x.rows;
        }
        Ok(())
    }

    pub(super) fn cast(&mut self, x: &Operand, out: usize) -> Result<(), Reason> {
        let x = self.operand(x)?;
        let y = self.result(out, x.columns);
        if x.dtype == y.dtype {
            return self.copy_rows(&x, &y);
        }
        let (from, to) = (element(x.dtype)? as u32, element(y.dtype)? as u32);
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

    pub(super) fn permute(&mut self, x: &Operand, dims: &[Dim], order: &[usize], out: usize) -> Result<(), Reason> {
        let x = self.operand(x)?;
        let y = self.view(Source::Value(out)).address();
        let sizes = dims.iter().map(|dim| self.size(dim)).collect::<Result<Vec<_>, _>>()?;
        if x.matrix.address == y {
            return Ok(());
        }
        let size = x.dtype.size();
        let merged = merged(&sizes, &strides(&x, &sizes), order);
        if merged.len() > AXES || !matches!(size, 2 | 4) {
            let expected = format!("at most {AXES} axes of elements of 2 or 4 bytes");
            return Err(format!("expected {expected}, found {} of {size} bytes", merged.len()));
        }
        let x = x.matrix.address;
        let mut arguments = PermuteArguments { x, y, dims: [1; AXES], size: int(size)?, ..Default::default() };
        let last = arguments.dims.iter_mut().zip(&mut arguments.strides).rev();
        for ((dim, stride), (n, s)) in last.zip(merged.iter().rev()) {
            (*dim, *stride) = (int(*n)?, *s as i64);
        }
        self.kernel(Kernel::Permute, Arguments::Permute(arguments))
    }
}

/// Elements from one entry to the next along each axis of a matrix that is seen as `dims`: the last axes divide its columns.
fn strides(x: &Sized, dims: &[usize]) -> Vec<usize> {
    let row = x.matrix.stride.unsigned_abs() as usize;
    let stride = |axis: usize| {
        let behind: usize = dims[axis + 1..].iter().product();
        if behind < x.columns { behind } else { behind / x.columns.max(1) * row }
    };
    (0..dims.len()).map(stride).collect()
}

/// Sizes of a permutation's result and strides in its source, without axes of size 1 and with axes that stay neighbours as one.
fn merged(dims: &[usize], strides: &[usize], order: &[usize]) -> Vec<(usize, usize)> {
    let mut merged: Vec<(usize, usize)> = Vec::new();
    for axis in order.iter().copied().filter(|axis| dims[*axis] != 1) {
        match merged.last_mut() {
            Some((n, s)) if *s == dims[axis] * strides[axis] => (*n, *s) = (*n * dims[axis], strides[axis]),
            _ => merged.push((dims[axis], strides[axis])),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged_of(columns: usize, stride: usize, dims: &[usize], order: &[usize]) -> Vec<(usize, usize)> {
        let matrix = Matrix { address: 0, stride: stride as i64 };
        let x = Sized { matrix, rows: dims.iter().product::<usize>() / columns, columns, dtype: DType::F16 };
        merged(dims, &strides(&x, dims), order)
    }

    #[test]
    fn axes_that_stay_neighbours_are_one() {
        let heads_first = [1, 0, 2];
        assert_eq!(merged_of(12, 12, &[5, 3, 4], &heads_first), [(3, 4), (5, 12), (4, 1)]);
        assert_eq!(merged_of(12, 36, &[5, 3, 4], &heads_first), [(3, 4), (5, 36), (4, 1)], "of a wide product");
        assert_eq!(merged_of(12, 12, &[2, 1, 3, 4], &[2, 3, 0, 1]), [(12, 1), (2, 12)]);
        assert_eq!(merged_of(3, 3, &[2, 3], &[0, 1]), [(6, 1)]);
        assert_eq!(merged_of(3, 4, &[2, 3], &[0, 1]), [(2, 4), (3, 1)], "rows with room between them");
        assert_eq!(merged_of(8, 8, &[2, 2, 4, 2], &[1, 0, 2, 3]), [(2, 8), (2, 16), (8, 1)]);
    }
}
