//! One operation: its operands and its result fit each other.

use vla_base::tensor::{DType, Dim, display_dims};

use super::{Checker, MOST_AXES, Matrix, is_float, wrong};
use crate::operations::{ByHead, LinearPart, Mask, Operand, Operation, Size, Source};

impl Checker<'_> {
    pub(super) fn operation(&self, operation: &Operation) -> Result<(), String> {
        match operation {
            Operation::Linear { x, parts, transposed, residual, out, .. } => {
                self.linear(x, (parts, *transposed), residual.as_ref(), *out)
            }
            Operation::Norm { .. } => self.norm(operation),
            Operation::Attention { .. } => self.attention(operation),
            Operation::Rotary { .. } => self.rotary(operation),
            Operation::Gather { table, index, out } => self.gather(table, index, *out),
            Operation::Concat { parts, out } => self.concat(parts, *out),
            Operation::Permute { x, dims, order, out } => self.permute(x, dims, order, *out),
            Operation::Add { a, b, out } => self.add(a, b, *out),
            Operation::Activate { x, by, out, .. } => {
                let x = self.float("x", x)?;
                if let Some(by) = by {
                    self.like("by", by, &x.rows, x.columns, x.dtype)?;
                }
                self.result(*out, &x.rows, x.columns, x.dtype)
            }
            Operation::Cast { x, out } => {
                let x = self.operand("x", x)?;
                let to = self.program.values.get(*out).map_or(x.dtype, |value| value.dtype);
                if to != x.dtype && !(x.is_float() && is_float(to)) {
                    return Err(wrong("out", "a floating-point type of a floating-point x", to));
                }
                self.result(*out, &x.rows, x.columns, to)
            }
            Operation::Euler { actions, velocity, dt, strength, out } => {
                let x = self.float("actions", actions)?;
                self.like("actions", actions, &x.rows, x.columns, DType::F32)?;
                let v = self.float("velocity", velocity)?;
                self.like("velocity", velocity, &x.rows, x.columns, v.dtype)?;
                self.like("dt", dt, &Size::number(1), 1, DType::F32)?;
                self.list("strength", strength, &x.rows, DType::F32)?;
                self.result(*out, &x.rows, x.columns, DType::F32)
            }
        }
    }

    fn float(&self, what: &str, operand: &Operand) -> Result<Matrix, String> {
        let found = self.operand(what, operand)?;
        if !found.is_float() {
            return Err(wrong(what, "f32, f16 or bf16", found.dtype));
        }
        Ok(found)
    }

    /// Checks that an operand has these rows and columns.
    fn like(&self, what: &str, operand: &Operand, rows: &Size, columns: usize, dtype: DType) -> Result<(), String> {
        let found = self.operand(what, operand)?;
        if (&found.rows, found.columns, found.dtype) != (rows, columns, dtype) {
            return Err(wrong(what, Matrix { rows: rows.clone(), columns, dtype }.show(), found.show()));
        }
        Ok(())
    }

    /// Checks that an operand is one row or one column of so many elements.
    fn list(&self, what: &str, operand: &Operand, count: &Size, dtype: DType) -> Result<(), String> {
        let found = self.operand(what, operand)?;
        let elements = found.rows.times(&Size::number(found.columns));
        let is_list = found.columns == 1 || found.rows.fixed() == Some(1);
        if !is_list || found.dtype != dtype || elements.as_ref() != Some(count) {
            return Err(wrong(what, format_args!("{dtype}, one row or column of {}", count.dim()), found.show()));
        }
        Ok(())
    }

    fn linear(
        &self,
        x: &Operand,
        (parts, transposed): (&[LinearPart], bool),
        residual: Option<&Operand>,
        out: usize,
    ) -> Result<(), String> {
        let x = self.float("x", x)?;
        let mut columns = 0_usize;
        for (index, part) in parts.iter().enumerate() {
            let what = format!("weight of part {index}");
            let dims = self.program.weights.get(part.weight).map(|weight| weight.dims.as_slice());
            let width = match (dims, transposed) {
                (Some([to, _]), true) | (Some([_, to]), false) => *to,
                (Some(dims), _) => return Err(wrong(what, "two dimensions", display_dims(dims))),
                (None, _) => {
                    return Err(wrong(
                        what,
                        format_args!("one of {} weights", self.program.weights.len()),
                        part.weight,
                    ));
                }
            };
            let dims = if transposed { [width, x.columns] } else { [x.columns, width] };
            self.weight(&what, part.weight, &dims, x.dtype)?;
            if let Some(bias) = &part.bias {
                self.like(&format!("bias of part {index}"), bias, &Size::number(1), width, x.dtype)?;
            }
            columns = columns.checked_add(width).ok_or_else(|| wrong("parts", "columns that fit 64 bits", "more"))?;
        }
        if parts.is_empty() {
            return Err(wrong("parts", "at least one", "none"));
        }
        if let Some(residual) = residual {
            self.like("residual", residual, &x.rows, columns, x.dtype)?;
        }
        self.result(out, &x.rows, columns, x.dtype)
    }

    fn norm(&self, operation: &Operation) -> Result<(), String> {
        let Operation::Norm { x, eps, weight, bias, gain, shift, out, .. } = operation else { return Ok(()) };
        let x = self.float("x", x)?;
        positive("eps", *eps)?;
        for (what, index) in [("weight", weight), ("bias", bias)] {
            index.map_or(Ok(()), |index| self.weight(what, index, &[x.columns], x.dtype))?;
        }
        for (what, row) in [("gain", gain), ("shift", shift)] {
            row.as_ref().map_or(Ok(()), |row| self.like(what, row, &Size::number(1), x.columns, x.dtype))?;
        }
        self.result(*out, &x.rows, x.columns, x.dtype)
    }

    fn attention(&self, operation: &Operation) -> Result<(), String> {
        let Operation::Attention { q, k, v, groups, heads, kv_heads, dim, scale, mask, out } = operation else {
            return Ok(());
        };
        if *groups == 0 || *kv_heads == 0 || *heads == 0 || *dim == 0 || !heads.is_multiple_of(*kv_heads) {
            let found = format_args!("groups {groups}, heads {heads}, kv_heads {kv_heads}, dim {dim}").to_string();
            return Err(wrong("heads", "at least 1 of all and heads a multiple of kv_heads", found));
        }
        positive("scale", *scale)?;
        let queries = self.by_head("q", q, *heads, *dim)?;
        let keys = self.by_head("k", k, *kv_heads, *dim)?;
        let values = self.by_head("v", v, *kv_heads, *dim)?;
        if (&keys.rows, keys.dtype) != (&values.rows, values.dtype) {
            return Err(wrong("v", format_args!("rows and type of k, {}", keys.show()), values.show()));
        }
        if queries.dtype != keys.dtype {
            return Err(wrong("k", queries.dtype, keys.dtype));
        }
        if *groups > 1 && (q.heads_first || k.heads_first || v.heads_first) {
            return Err(wrong("groups", "1 of a value with heads first", groups));
        }
        if *mask == Mask::Causal && queries.rows != keys.rows {
            return Err(wrong("k", format_args!("{} rows with the causal mask", queries.rows.dim()), keys.rows.dim()));
        }
        for rows in [&queries.rows, &keys.rows] {
            rows.over(*groups).ok_or_else(|| wrong("rows", format_args!("a multiple of {groups}"), rows.dim()))?;
        }
        self.result(*out, &queries.rows, queries.columns, queries.dtype)
    }

    fn by_head(&self, what: &str, x: &ByHead, heads: usize, dim: usize) -> Result<Matrix, String> {
        let columns = heads.checked_mul(dim).ok_or_else(|| wrong(what, "heads * dim that fits 64 bits", heads))?;
        if !x.heads_first {
            let found = self.float(what, &x.rows)?;
            if found.columns != columns {
                return Err(wrong(what, format_args!("{columns} columns ({heads} heads of {dim})"), found.columns));
            }
            return Ok(found);
        }
        let expected = format!("a whole value [1, {heads}, {}, {dim}]", x.rows.rows);
        let fails = |found: String| wrong(what, &expected, found);
        let Source::Value(index) = x.rows.source else { return Err(fails("a weight".to_owned())) };
        let Some(value) = self.program.values.get(index) else { return Err(fails(format!("value {index}"))) };
        if !self.ready[index] {
            return Err(wrong(what, "a value that is written before", format_args!("value {index}")));
        }
        let dims = [Dim::Fixed(1), Dim::Fixed(heads), x.rows.rows.clone(), Dim::Fixed(dim)];
        if value.dims != dims
            || (x.rows.row, x.rows.column, x.rows.columns) != (0, 0, columns)
            || !is_float(value.dtype)
        {
            return Err(fails(format!("{} {}", value.dtype, display_dims(&value.dims))));
        }
        let rows = Size::of(&x.rows.rows).ok_or_else(|| fails(x.rows.rows.to_string()))?;
        Ok(Matrix { rows, columns, dtype: value.dtype })
    }

    fn rotary(&self, operation: &Operation) -> Result<(), String> {
        let Operation::Rotary { x, heads, dim, groups, norm, cos, sin, out } = operation else { return Ok(()) };
        let x = self.float("x", x)?;
        let columns = heads.checked_mul(*dim).filter(|columns| *columns == x.columns && dim.is_multiple_of(2));
        if columns.is_none() {
            let expected = format_args!("{heads} heads of an even number of channels, {dim}").to_string();
            return Err(wrong("x", expected, format_args!("{} columns", x.columns)));
        }
        if let Some((weight, eps)) = norm {
            self.weight("norm", *weight, &[*dim], x.dtype)?;
            positive("eps", *eps)?;
        }
        let rows =
            x.rows.over(*groups).ok_or_else(|| wrong("rows", format_args!("a multiple of {groups}"), x.rows.dim()))?;
        for (what, table) in [("cos", cos), ("sin", sin)] {
            self.like(what, table, &rows, *dim, x.dtype)?;
        }
        self.result(*out, &x.rows, x.columns, x.dtype)
    }

    fn gather(&self, table: &Operand, index: &Operand, out: usize) -> Result<(), String> {
        let table = self.operand("table", table)?;
        let found = self.operand("index", index)?;
        let count = found.rows.times(&Size::number(found.columns));
        let count = count.ok_or_else(|| wrong("index", "elements that fit 64 bits", found.show()))?;
        self.list("index", index, &count, DType::I32)?;
        self.result(out, &count, table.columns, table.dtype)
    }

    fn concat(&self, parts: &[Operand], out: usize) -> Result<(), String> {
        let parts = parts.iter().map(|part| self.operand("part", part)).collect::<Result<Vec<_>, _>>()?;
        let Some((first, rest)) = parts.split_first() else { return Err(wrong("parts", "at least one", "none")) };
        let mut rows = first.rows.clone();
        for part in rest {
            if (part.columns, part.dtype) != (first.columns, first.dtype) {
                return Err(wrong("part", format_args!("{} columns of {}", first.columns, first.dtype), part.show()));
            }
            rows = rows.plus(&part.rows).ok_or_else(|| wrong("parts", "rows that fit 64 bits", part.show()))?;
        }
        self.result(out, &rows, first.columns, first.dtype)
    }

    fn permute(&self, x: &Operand, dims: &[Dim], order: &[usize], out: usize) -> Result<(), String> {
        let x = self.operand("x", x)?;
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if dims.is_empty() || dims.len() > MOST_AXES || sorted.iter().copied().ne(0..dims.len()) {
            let found = format_args!("{order:?} of {}", display_dims(dims)).to_string();
            return Err(wrong("order", "each of one to six axes once", found));
        }
        let splits = |at: usize| {
            let (rows, columns) = dims.split_at(at);
            Size::product(rows).as_ref() == Some(&x.rows) && Size::product(columns) == Some(Size::number(x.columns))
        };
        if !(0..=dims.len()).any(splits) {
            return Err(wrong(
                "dims",
                format_args!("axes of {} rows, then of {} columns", x.rows.dim(), x.columns),
                display_dims(dims),
            ));
        }
        let value = self.unwritten(out)?;
        if value.dtype != x.dtype || Size::product(&value.dims) != Size::product(dims) {
            let found = format_args!("{} {}", value.dtype, display_dims(&value.dims)).to_string();
            return Err(wrong("out", format_args!("the elements of {} {}", x.dtype, display_dims(dims)), found));
        }
        Ok(())
    }

    fn add(&self, a: &Operand, b: &Operand, out: usize) -> Result<(), String> {
        let (a, b) = (self.float("a", a)?, self.float("b", b)?);
        let repeats = a.rows == b.rows
            || match (a.rows.fixed(), b.rows.fixed()) {
                (_, Some(1)) => true,
                (Some(a), Some(b)) => a.is_multiple_of(b),
                // Compared when they are known: `dims`.
                _ => true,
            };
        if (a.columns, a.dtype) != (b.columns, b.dtype) || !repeats {
            return Err(wrong("b", format_args!("{} or a divisor of its rows", a.show()), b.show()));
        }
        self.result(out, &a.rows, a.columns, a.dtype)
    }
}

fn positive(what: &str, value: f32) -> Result<(), String> {
    if value.is_finite() && value > 0.0 { Ok(()) } else { Err(wrong(what, "a finite number above 0", value)) }
}
