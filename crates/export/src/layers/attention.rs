//! Scaled dot-product attention.

use super::Net;
use crate::Error;
use crate::onnx::Value;
use vla_base::tensor::{DType, Dim};

/// Heads of one attention.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Images (or 1) that attend each to itself.
    pub groups: usize,
    /// Heads.
    pub count: usize,
    /// Channels of a head.
    pub dim: usize,
}

impl Net<'_> {
    /// What a mask adds to a score that does not count, the type's lowest half, and to one that does.
    pub(crate) fn hidden_and_visible(&mut self) -> Result<(Value, Value), Error> {
        let dtype = self.dtype();
        let lowest = if self.graph.storage(dtype) == DType::F16 { -32_752.0 } else { f32::MIN / 2.0 };
        let hidden = self.graph.scalar(lowest, dtype)?;
        Ok((hidden, self.graph.scalar(0.0, dtype)?))
    }

    /// `[groups * rows, heads * dim]` to `[groups, heads, rows, dim]`.
    pub(crate) fn split_heads(&mut self, x: &Value, heads: Heads) -> Result<Value, Error> {
        let split = self.by_head(x, heads)?;
        self.graph.transpose(&split, &[0, 2, 1, 3])
    }

    /// `[groups * rows, heads * dim]` to `[groups, rows, heads, dim]`.
    pub(crate) fn by_head(&mut self, x: &Value, heads: Heads) -> Result<Value, Error> {
        let Heads { groups, count, dim } = heads;
        let rows = match x.dim(0) {
            Some(Dim::Fixed(n)) => Dim::Fixed(n / groups),
            Some(symbol) => symbol.clone(),
            None => Dim::Fixed(0),
        };
        self.graph.reshape(x, &[Dim::Fixed(groups), rows, Dim::Fixed(count), Dim::Fixed(dim)])
    }

    /// Attention of `q` to `k`, `v` (each `[groups, heads, rows, dim]`), with an optional additive mask, as
    /// `[groups * rows, heads * dim]`. The scale is applied to `q`: products of unscaled half-precision rows overflow.
    pub fn attention(
        &mut self,
        q: &Value,
        k: &Value,
        v: &Value,
        heads: Heads,
        mask: Option<&Value>,
    ) -> Result<Value, Error> {
        let q = self.graph.scale(q, (1.0 / (heads.dim as f64).sqrt()) as f32)?;
        let k = self.graph.transpose(k, &[0, 1, 3, 2])?;
        let mut scores = self.graph.matmul(&q, &k)?;
        if let Some(mask) = mask {
            scores = self.graph.add(&scores, mask)?;
        }
        let weights = self.graph.softmax(&scores);
        let mixed = self.graph.matmul(&weights, v)?;
        let rows_first = self.graph.transpose(&mixed, &[0, 2, 1, 3])?;
        let rows = match rows_first.dim(1) {
            Some(Dim::Fixed(n)) => Dim::Fixed(n * heads.groups),
            Some(symbol) => symbol.clone(),
            None => Dim::Fixed(0),
        };
        self.graph.reshape(&rows_first, &[rows, Dim::Fixed(heads.count * heads.dim)])
    }
}
