//! Attention, and rotary positions before it.

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
}

impl Lowering<'_> {
    pub(super) fn attention(&mut self, index: usize, operation: &Operation) -> Result<(), Reason> {
        let Operation::Attention { q, k, v, groups, heads, kv_heads, dim, scale, mask, out } = operation else {
            return Ok(());
        };
        if scale.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
            return Err(format!("expected a scale above 0, found {scale}"));
        }
        let y = self.result(*out, heads * dim);
        let (q, k, v) = (self.by_head(q, *dim)?, self.by_head(k, *dim)?, self.by_head(v, *dim)?);
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

    fn by_head(&self, by_head: &ByHead, dim: usize) -> Result<Heads, Reason> {
        let sized = self.operand(&by_head.rows)?;
        let dim_stride = dim as i64;
        let (address, rows) = (sized.matrix.address, sized.rows);
        Ok(match by_head.heads_first {
            true => Heads { address, rows, row: dim_stride, head: rows as i64 * dim_stride },
            false => Heads { address, rows, row: sized.matrix.stride, head: dim_stride },
        })
    }

    pub(super) fn rotary(&mut self, operation: &Operation) -> Result<(), Reason> {
        let Operation::Rotary { x, heads, dim, groups, norm, cos, sin, out } = operation else { return Ok(()) };
        let x = self.operand(x)?;
        let y = self.result(*out, heads * dim);
        let (cos, sin) = (self.operand(cos)?, self.operand(sin)?);
        let arguments = RotaryArguments {
            x: x.matrix,
            y: y.matrix,
            cos: cos.matrix,
            sin: sin.matrix,
            norm: self.vector(norm.map(|(norm, _)| norm)),
            eps: norm.map_or(0.0, |(_, eps)| eps),
            rows: int(x.rows)?,
            group: int(x.rows / groups)?,
            heads: int(*heads)?,
            dim: int(*dim)?,
            _padding: 0,
        };
        self.kernel(Kernel::Rotary(element(x.dtype)?), Arguments::Rotary(arguments))
    }
}
