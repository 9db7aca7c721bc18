//! Which products an engine kind runs in 8-bit weights and activations.

use std::collections::{BTreeMap, BTreeSet};

use vla_base::tensor::DType;

use super::{LinearPart, Operand, Operation, Program, Source};
use crate::Precision;

/// Inputs of a row are a multiple of this: 16 bytes of 8-bit elements.
const CHUNK: usize = 16;
/// Outputs of a part are a multiple of this.
const OUTPUTS: usize = 8;
/// Most inputs of a row: sums of products of two 8-bit numbers stay in 32 bits.
const MOST: usize = 1 << 17;

impl Program {
    /// Weights, by index, of the products that a stage of this precision runs in 8 bits: none without `int8`, else those of the
    /// feed-forward layers and of the queries, keys and values of self-attention, where they have 16 bits and are `[out, in]`.
    ///
    /// A feed-forward layer is a norm, a product with an activation or gate, and a product of that with a residual; queries, keys and
    /// values are one product of a norm's result that one attention reads. So encoders and decoders of states and actions, projections
    /// between stages, and cross-attention stay as they are.
    pub fn eight_bit_weights(&self, precision: Precision) -> BTreeSet<usize> {
        if !precision.int8 {
            return BTreeSet::new();
        }
        let uses = Uses::new(self);
        let chosen = self.operations.iter().filter_map(|operation| match operation {
            Operation::Attention { .. } => uses.projection(operation).map(|projection| vec![projection]),
            Operation::Linear { residual: Some(_), x, .. } => uses.up(x).map(|up| vec![up, operation]),
            _ => None,
        });
        let products: Vec<&Operation> = chosen.flatten().collect();
        let fit = |operation: &&Operation| uses.fits(operation);
        // The two products of a feed-forward layer by themselves: sizes of one say nothing about the other.
        products.into_iter().filter(fit).flat_map(Operation::weights).collect()
    }
}

/// Where values come from and go to.
struct Uses<'p> {
    program: &'p Program,
    /// The operation that writes each value.
    makers: BTreeMap<usize, &'p Operation>,
    /// How often each value is read; outputs once more.
    reads: Vec<usize>,
    /// How often each weight is read.
    weights: Vec<usize>,
}

impl<'p> Uses<'p> {
    fn new(program: &'p Program) -> Self {
        let mut uses = Self {
            program,
            makers: program.operations.iter().map(|operation| (operation.out(), operation)).collect(),
            reads: vec![0; program.values.len()],
            weights: vec![0; program.weights.len()],
        };
        for operation in &program.operations {
            for operand in operation.operands() {
                match operand.source {
                    Source::Value(value) => uses.reads[value] += 1,
                    Source::Weight(weight) => uses.weights[weight] += 1,
                }
            }
            for weight in operation.weights() {
                uses.weights[weight] += 1;
            }
        }
        for output in &program.outputs {
            uses.reads[*output] += 1;
        }
        uses
    }

    fn maker(&self, operand: &Operand) -> Option<&'p Operation> {
        let Source::Value(value) = operand.source else { return None };
        self.makers.get(&value).copied()
    }

    fn is_normed(&self, x: &Operand) -> bool {
        matches!(self.maker(x), Some(Operation::Norm { .. }))
    }

    /// The product that an attention's queries, keys and values are columns of, as they are or turned.
    fn projection(&self, attention: &Operation) -> Option<&'p Operation> {
        let Operation::Attention { q, k, v, .. } = attention else { return None };
        let of = |rows: &Operand| match self.maker(rows)? {
            Operation::Rotary { x, .. } => self.maker(x),
            other => Some(other),
        };
        let [q, k, v] = [&q.rows, &k.rows, &v.rows].map(of);
        let Operation::Linear { x, activation: None, residual: None, out, .. } = q? else { return None };
        let same = [k, v].iter().all(|other| other.is_some_and(|other| other.out() == *out));
        (same && self.is_normed(x)).then_some(q?)
    }

    /// The product whose activated or gated result `x` is, which nothing else reads.
    fn up(&self, x: &Operand) -> Option<&'p Operation> {
        let made = self.maker(x)?;
        let (up, reads) = match made {
            Operation::Linear { activation: Some(_), .. } => (made, 1),
            Operation::Activate { x, by, .. } => {
                let up = self.maker(x)?;
                let same = by.iter().all(|by| by.source == x.source);
                (same && self.reads[made.out()] == 1).then_some((up, 1 + by.iter().count()))?
            }
            _ => return None,
        };
        let Operation::Linear { x, residual: None, out, .. } = up else { return None };
        (self.reads[*out] == reads && self.is_normed(x)).then_some(up)
    }

    fn fits(&self, operation: &Operation) -> bool {
        let Operation::Linear { x, parts, transposed: true, .. } = operation else { return false };
        let part = |part: &LinearPart| {
            let weight = &self.program.weights[part.weight];
            let sixteen_bits = matches!(weight.dtype, DType::F16 | DType::BF16);
            let whole = weight.dims.first().is_some_and(|to| to.is_multiple_of(OUTPUTS));
            sixteen_bits && whole && self.weights[part.weight] == 1
        };
        x.columns.is_multiple_of(CHUNK) && x.columns <= MOST && parts.iter().all(part)
    }
}
