//! Attention, and rotary positions before it.

use vla_engines::operations::{ByHead, Mask, Operation};

use super::Lowering;
use crate::launch::{Address, Arguments, AttentionArguments, Kernel, Launch, Matrix, RotaryArguments, RotaryHeads};
use crate::plan::Reason;
use crate::plan::memory::View;
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
        let first = RotaryHeads {
            x: x.matrix,
            y: y.matrix,
            norm: self.vector(norm.map(|(norm, _)| norm)),
            heads: int(*heads)?,
            eps: norm.map_or(0.0, |(_, eps)| eps),
        };
        let (rows, group, dim) = (int(x.rows)?, int(x.rows / groups)?, int(*dim)?);
        let (cos, sin) = (cos.matrix, sin.matrix);
        let arguments = RotaryArguments { first, cos, sin, rows, group, dim, ..Default::default() };
        let kernel = Kernel::Rotary(element(x.dtype)?);
        let arguments = self.with_heads_before(kernel, arguments);
        self.kernel(kernel, Arguments::Rotary(arguments))
    }

    /// Queries and keys are turned in one launch: takes the launch before back where it turns other heads by the same tables.
    fn with_heads_before(&mut self, kernel: Kernel, new: RotaryArguments) -> RotaryArguments {
        let Some(Launch::Kernel { kernel: before, arguments: Arguments::Rotary(a) }) = self.launches.last() else {
            return new;
        };
        let of_storage = |matrix: Matrix| View::of(matrix.address).map(|view| view.storage);
        let apart = of_storage(new.first.x) != of_storage(a.first.y)
            && ![a.first.x, a.first.y].map(of_storage).contains(&of_storage(new.first.y));
        let joined = RotaryArguments { first: a.first, second: new.first, ..new };
        let same = RotaryArguments { second: RotaryHeads::default(), ..joined } == *a;
        if *before != kernel || !same || !apart {
            return new;
        }
        self.launches.pop();
        joined
    }
}
