//! Scaled dot-product attention.

use super::Net;
use crate::Error;
use crate::onnx::Value;
use crate::onnx::pieces::Meaning;
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

    /// Attention of `q` to `k`, `v` (each `[groups, heads, rows, dim]`; a head of `k` and `v` may serve several of `q`), with an optional
    /// additive mask, as `[groups * rows, heads * dim]`. The scale is applied to `q`: products of unscaled half-precision rows overflow.
    pub fn attention(
        &mut self,
        q: &Value,
        k: &Value,
        v: &Value,
        heads: Heads,
        mask: Option<&Value>,
    ) -> Result<Value, Error> {
        let start = self.graph.start();
        let scale = (1.0 / (heads.dim as f64).sqrt()) as f32;
        let result = self.scaled_dot_product(q, [k, v], heads, scale, mask)?;
        let [q, k, v] = [q, k, v].map(Clone::clone);
        let attention = Meaning::Attention { q, k, v, scale, mask: mask.cloned() };
        Ok(self.graph.piece(start, attention, result))
    }

    fn scaled_dot_product(
        &mut self,
        q: &Value,
        [k, v]: [&Value; 2],
        heads: Heads,
        scale: f32,
        mask: Option<&Value>,
    ) -> Result<Value, Error> {
        let (k, v) = (&self.repeat(k, heads)?, &self.repeat(v, heads)?);
        let q = self.graph.scale(q, scale)?;
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

    /// Each of the key or value heads `x` once for every head of the queries that it serves.
    fn repeat(&mut self, x: &Value, heads: Heads) -> Result<Value, Error> {
        let (kv_heads, rows) = match x.dims() {
            [_, Dim::Fixed(kv_heads), rows, _] if *kv_heads != heads.count && *kv_heads > 0 => {
                (*kv_heads, rows.clone())
            }
            _ => return Ok(x.clone()),
        };
        let Heads { groups, count, dim } = heads;
        let [groups, dim] = [groups, dim].map(Dim::Fixed);
        let shape =
            |copies: usize| [groups.clone(), Dim::Fixed(kv_heads), Dim::Fixed(copies), rows.clone(), dim.clone()];
        let single = self.graph.reshape(x, &shape(1))?;
        let copies = self.graph.expand(&single, &shape(count / kv_heads))?;
        self.graph.reshape(&copies, &[groups.clone(), Dim::Fixed(count), rows.clone(), dim.clone()])
    }
}
