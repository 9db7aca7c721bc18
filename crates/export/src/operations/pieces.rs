//! Pieces that the layers say are one operation.

use vla_base::tensor::{Dim, display_dims};
use vla_engines::operations::{ByHead, Mask, Operation, Size, Source};

use super::lower::{Lowering, Place, Step};
use super::view::View;
use crate::onnx::pieces::{Meaning, Piece};
use crate::onnx::{Value, pieces};

impl Lowering<'_> {
    /// Lowers a piece; `Err` says what the operations do not express.
    pub(super) fn piece(&mut self, piece: &Piece) -> Result<(), String> {
        let result = &piece.result;
        match &piece.meaning {
            Meaning::Norm { kind, x, weight, eps } => {
                let weight = weight.as_ref().map(|weight| self.weight(weight.id, 1)).transpose()?;
                let (x, kind, eps) = (self.operand(x.id)?, *kind, *eps);
                self.push(result.id, |out| {
                    let (bias, gain, shift) = (None, None, None);
                    Step::Operation(Operation::Norm { kind, x, eps, weight, bias, gain, shift, out })
                })
            }
            Meaning::Activation { activation, x } => {
                let (x, activation) = (self.operand(x.id)?, *activation);
                self.push(result.id, |out| Step::Operation(Operation::Activate { activation, x, by: None, out }))
            }
            Meaning::Attention { .. } => self.attention(&piece.meaning, result),
            Meaning::Rotary { x, norm, cos, sin } => self.rotary((x, norm.as_ref()), [cos, sin], result),
            Meaning::Count => {
                let count = result.dim(0).and_then(Size::of).ok_or("expected a size")?;
                self.place(result.id, Place::Count(count));
                Ok(())
            }
            Meaning::CausalMask => {
                self.place(result.id, Place::CausalMask);
                Ok(())
            }
            Meaning::Euler { actions, velocity, dt, strength } => {
                let (actions, velocity) = (self.operand(actions.id)?, self.operand(velocity.id)?);
                let (dt, strength) = (self.column(dt.id)?, self.column(strength.id)?);
                self.push(result.id, |out| Step::Operation(Operation::Euler { actions, velocity, dt, strength, out }))
            }
        }
    }

    fn attention(&mut self, meaning: &pieces::Meaning, result: &Value) -> Result<(), String> {
        let Meaning::Attention { q, k, v, scale, mask } = meaning else { return Ok(()) };
        let [groups, heads, _, dim] = by_head_sizes(q)?;
        let [_, kv_heads, _, _] = by_head_sizes(k)?;
        let mask = match mask.as_ref().map(|mask| self.at(mask.id)).transpose()? {
            None => Mask::None,
            Some(Place::CausalMask) => Mask::Causal,
            Some(place) => return Err(format!("expected no mask or the causal one, found {place:?}")),
        };
        let (q, k, v, scale) = (self.by_head(q.id)?, self.by_head(k.id)?, self.by_head(v.id)?, *scale);
        self.push(result.id, |out| {
            Step::Operation(Operation::Attention { q, k, v, groups, heads, kv_heads, dim, scale, mask, out })
        })
    }

    fn rotary(
        &mut self,
        (x, norm): (&Value, Option<&(Value, f32)>),
        tables: [&Value; 2],
        result: &Value,
    ) -> Result<(), String> {
        let [groups, heads, rows, dim] = by_head_sizes(result)?;
        let ByHead { rows: x, heads_first } = match x.dims().len() {
            2 => ByHead { rows: self.operand(x.id)?, heads_first: false },
            _ => self.by_head(x.id)?,
        };
        if heads_first {
            return Err(format!("expected rows of all heads, found heads of {rows} rows"));
        }
        let norm = match norm {
            Some((weight, eps)) => Some((self.weight(weight.id, 1)?, *eps)),
            None => None,
        };
        let (cos, sin) = (self.operand(tables[0].id)?, self.operand(tables[1].id)?);
        let (dtype, _) = self.shape(result.id);
        let out = self.fresh(dtype, &[x.rows.clone(), Dim::Fixed(heads * dim)])?;
        // Heads are inside of rows here and outside in the graph.
        let sizes = result.dims().iter().map(Size::of).collect::<Option<Vec<_>>>().ok_or("expected sizes")?;
        let by_row = [0, 2, 1, 3].map(|axis| sizes[axis].clone());
        let view = View::whole(Source::Value(out), &by_row).and_then(|view| view.transposed(&[0, 2, 1, 3]));
        self.steps.push(Step::Operation(Operation::Rotary { x, heads, dim, groups, norm, cos, sin, out }));
        self.place(result.id, Place::View(view.ok_or("expected a size that fits 64 bits")?));
        Ok(())
    }
}

/// Groups, heads, rows where they are a number, and channels of a head.
fn by_head_sizes(x: &Value) -> Result<[usize; 4], String> {
    match x.dims() {
        [Dim::Fixed(groups), Dim::Fixed(heads), rows, Dim::Fixed(dim)] => {
            let rows = if let Dim::Fixed(rows) = rows { *rows } else { 0 };
            Ok([*groups, *heads, rows, *dim])
        }
        dims => Err(format!("expected [groups, heads, rows, dim], found {}", display_dims(dims))),
    }
}
