//! Attention, and rotary positions before it.

use vla_base::tensor::DType;
use vla_engines::operations::{ByHead, Mask, Operation};

use super::Lowering;
use crate::launch::{Address, Arguments, AttentionArguments, Kernel, RotaryArguments};
use crate::plan::Reason;
use crate::plan::operand::{element, int};

/// Rows by head in memory.
struct Heads {
    address: Address,
    /// Of all groups.
    rows: usize,
    /// Elements from row to row, and from head to head.
    row: i64,
    head: i64,
    dtype: DType,
}

impl Lowering<'_> {
    pub(super) fn attention(&mut self, index: usize, operation: &Operation) -> Result<(), Reason> {
        let Operation::Attention { q, k, v, groups, heads, kv_heads, dim, scale, mask, out } = operation else {
            return Ok(());
        };
        let y = self.result(*out, heads * dim)?;
        let q = self.by_head(q, *heads, *dim)?;
        let (k, v) = (self.by_head(k, *kv_heads, *dim)?, self.by_head(v, *kv_heads, *dim)?);
        for (what, found) in [("queries", q.dtype), ("keys", k.dtype), ("values", v.dtype)] {
            if found != y.dtype {
                return Err(format!("expected {what} in {}, found {found}", y.dtype));
            }
        }
        let divided = *groups > 0 && q.rows.is_multiple_of(*groups) && k.rows.is_multiple_of(*groups);
        if q.rows != y.rows || k.rows != v.rows || !divided || *kv_heads == 0 || heads % kv_heads != 0 {
            return Err(format!(
                "expected {} queries, and as many keys as values, in {groups} groups and {heads} heads, found {} queries, {} keys, \
                 {} values and {kv_heads} heads of keys",
                y.rows, q.rows, k.rows, v.rows
            ));
        }
        if q.rows == 0 {
            return Ok(());
        }
        if k.rows == 0 {
            return Err("expected at least one key, found none".to_owned());
        }
        let mut arguments = AttentionArguments {
            q: q.address,
            k: k.address,
            v: v.address,
            out: y.matrix.address,
            q_row: q.row,
            q_head: q.head,
            k_row: k.row,
            k_head: k.head,
            v_row: v.row,
            v_head: v.head,
            out_row: y.matrix.stride,
            rows: int(q.rows / groups)?,
            keys: int(k.rows / groups)?,
            groups: int(*groups)?,
            heads: int(*heads)?,
            kv_heads: int(*kv_heads)?,
            dim: int(*dim)?,
            causal: i32::from(*mask == Mask::Causal),
            scale: *scale,
            ..Default::default()
        };
        if let Some(pending) = self.pending.remove(&index) {
            (arguments.q, arguments.parts) = (0, pending.parts);
        }
        arguments.early_keys = i32::from(self.early(&[k.address, v.address]));
        self.kernel(Kernel::Attention(element(y.dtype)?), Arguments::Attention(arguments))
    }

    fn by_head(&self, by_head: &ByHead, heads: usize, dim: usize) -> Result<Heads, Reason> {
        let operand = &by_head.rows;
        if !by_head.heads_first {
            let sized = self.operand(operand)?;
            if sized.columns != heads * dim {
                return Err(format!("expected {heads} heads of {dim} channels, found {} columns", sized.columns));
            }
            let (address, row) = (sized.matrix.address, sized.matrix.stride);
            return Ok(Heads { address, rows: sized.rows, row, head: dim as i64, dtype: sized.dtype });
        }
        let dims = self.dims(operand.source).map_err(|error| error.to_string())?;
        match dims.as_slice() {
            [before @ .., found, rows, last] if (*found, *last) == (heads, dim) && before.iter().all(|n| *n == 1) => {
                Ok(Heads {
                    address: self.view(operand.source).address(),
                    rows: *rows,
                    row: dim as i64,
                    head: (rows * dim) as i64,
                    dtype: self.dtype(operand.source),
                })
            }
            _ => Err(format!("expected dimensions [1, {heads}, rows, {dim}], found {dims:?}")),
        }
    }

    pub(super) fn rotary(&mut self, operation: &Operation) -> Result<(), Reason> {
        let Operation::Rotary { x, heads, dim, groups, norm, cos, sin, out } = operation else { return Ok(()) };
        let x = self.operand(x)?;
        let y = self.result(*out, heads * dim)?;
        let (cos, sin) = (self.typed(cos, x.dtype)?, self.typed(sin, x.dtype)?);
        let fits = (x.rows, x.columns, x.dtype) == (y.rows, y.columns, y.dtype);
        if !fits || *groups == 0 || x.rows % groups != 0 {
            let expected = format!("{} x {} {} in {groups} groups", y.rows, y.columns, y.dtype);
            return Err(format!("expected {expected}, found {} x {} {}", x.rows, x.columns, x.dtype));
        }
        let group = x.rows / groups;
        for table in [&cos, &sin] {
            if (table.rows, table.columns) != (group, *dim) {
                return Err(format!("expected a table of {group} x {dim}, found {} x {}", table.rows, table.columns));
            }
        }
        if x.rows == 0 {
            return Ok(());
        }
        let arguments = RotaryArguments {
            x: x.matrix,
            y: y.matrix,
            cos: cos.matrix,
            sin: sin.matrix,
            norm: self.vector(norm.map(|(norm, _)| norm), x.dtype, *dim)?,
            eps: norm.map_or(0.0, |(_, eps)| eps),
            rows: int(x.rows)?,
            group: int(group)?,
            heads: int(*heads)?,
            dim: int(*dim)?,
            _padding: 0,
        };
        self.kernel(Kernel::Rotary(element(x.dtype)?), Arguments::Rotary(arguments))
    }
}
