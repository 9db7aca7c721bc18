//! What a run of nodes is as one operation, for engines that have it as one: [`crate::operations`] writes it as such, the ONNX file has
//! the nodes.

use std::ops::Range;

use vla_engines::operations::{Activation, NormKind};

use super::graph::{Graph, Value};

/// One operation, by the values that the run of nodes takes.
#[derive(Clone, Debug)]
pub(crate) enum Meaning {
    /// A norm along the last axis, then `* weight` where there is one.
    Norm { kind: NormKind, x: Value, weight: Option<Value>, eps: f32 },
    /// An activation.
    Activation { activation: Activation, x: Value },
    /// Attention of `q` to `k` and `v` (each `[groups, heads, rows, dim]`), the scores times `scale`, as `[groups * rows, heads * dim]`.
    Attention { q: Value, k: Value, v: Value, scale: f32, mask: Option<Value> },
    /// Rotary positions of the heads of `x` (`[groups, heads, rows, dim]`, or their rows) after an RMS norm of each by weight and
    /// epsilon, where there is one: `[groups, heads, rows, dim]`.
    Rotary { x: Value, norm: Option<(Value, f32)>, cos: Value, sin: Value },
    /// 0, 1, .. as many as the result has.
    Count,
    /// What makes a row attend to itself and those before it.
    CausalMask,
    /// `actions + dt * strength * velocity`, in single precision.
    Euler { actions: Value, velocity: Value, dt: Value, strength: Value },
}

/// A run of nodes with its meaning.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Indices of the nodes.
    pub nodes: Range<usize>,
    /// What they are together.
    pub meaning: Meaning,
    /// What they make; no node after them reads another of their results.
    pub result: Value,
}

impl Graph {
    /// Where a piece begins whose nodes follow.
    pub(crate) fn start(&self) -> usize {
        self.nodes.len()
    }

    /// Says what the nodes from `start` on are together; the result is `result`. A piece inside another one does not count.
    pub(crate) fn piece(&mut self, start: usize, meaning: Meaning, result: Value) -> Value {
        self.pieces.push(Piece { nodes: start..self.nodes.len(), meaning, result: result.clone() });
        result
    }
}
