//! Norms, sums and activations along rows.

use vla_engines::operations::{Activation, NormKind, Operand, Operation, Source};

use super::Lowering;
use crate::launch::{Arguments, ElementwiseArguments, EulerArguments, Kernel, Matrix, NormArguments, Parts};
use crate::plan::Reason;
use crate::plan::operand::{Sized, element, int};

/// As `ElementwiseArguments::activation` has it.
pub(super) fn activation_code(activation: Option<Activation>) -> i32 {
    match activation {
        None => 0,
        Some(Activation::Relu) => 1,
        Some(Activation::Silu) => 2,
        Some(Activation::GeluTanh) => 3,
        Some(Activation::GeluErf) => 4,
    }
}

impl Lowering<'_> {
    pub(super) fn norm(&mut self, index: usize, operation: &Operation) -> Result<(), Reason> {
        let Operation::Norm { kind, x, eps, weight, bias, gain, shift, out } = operation else { return Ok(()) };
        let x = self.operand(x)?;
        let y = self.result(*out, x.columns);
        let mut arguments = NormArguments {
            x: x.matrix,
            y: y.matrix,
            weight: self.vector(*weight),
            bias: self.vector(*bias),
            gain: self.row(gain.as_ref())?,
            shift: self.row(shift.as_ref())?,
            rows: int(x.rows)?,
            groups: 1,
            width: int(x.columns)?,
            kind: match kind {
                NormKind::Layer => 0,
                NormKind::Rms => 1,
            },
            eps: *eps,
            ..Default::default()
        };
        if let Some(pending) = self.pending.remove(&index) {
            (arguments.x, arguments.parts, arguments.sum) = (pending.x, pending.parts, pending.sum);
        }
        if self.only_in_eight_bits(*out, &y) {
            let made = self.room_in_eight_bits(y.rows, y.columns);
            (arguments.y, arguments.quantized, arguments.scales) = (Matrix::default(), made.matrix, made.scales);
            self.quantized.insert(y.matrix.address, made);
        }
        let NormArguments { weight, bias, gain, shift, parts, .. } = arguments;
        arguments.early = i32::from(self.early(&[weight, bias, gain, shift, parts.bias]));
        self.kernel(Kernel::Norm(element(x.dtype)?), Arguments::Norm(arguments))
    }

    /// Whether all that reads a value are products in 8 bits, of its rows from the first on.
    fn only_in_eight_bits(&self, value: usize, whole: &Sized) -> bool {
        let reads = |operation: &Operation| operation.operands().iter().any(|it| it.source == Source::Value(value));
        let fits = |(index, operation): (usize, &Operation)| {
            let Operation::Linear { x, parts, residual, .. } = operation else { return false };
            let other = residual.iter().chain(parts.iter().filter_map(|part| part.bias.as_ref()));
            let from_first = self.fusion(index).is_none_or(|fusion| fusion.rows.0 == 0);
            parts.iter().all(|part| self.layout.scales(part.weight).is_some())
                && other.into_iter().all(|operand| operand.source != Source::Value(value))
                && (x.row, x.column, x.columns) == (0, 0, whole.columns)
                && from_first
        };
        let mut readers = self.program.operations.iter().enumerate().filter(|(_, it)| reads(it)).peekable();
        readers.peek().is_some() && readers.all(fits) && !self.program.outputs.contains(&value)
    }

    pub(super) fn add(&mut self, index: usize, (a, b): (&Operand, &Operand), out: usize) -> Result<(), Reason> {
        let a = self.operand(a)?;
        let b = self.operand(b)?;
        let y = self.result(out, a.columns);
        if let Some(fusion) = self.fusion(index) {
            let rows = |matrix: &Sized| matrix.part(fusion.rows.0, 0, fusion.rows.1, matrix.columns).matrix;
            let parts = Parts { first: rows(&b), count: 1, ..Default::default() };
            self.leave(fusion, rows(&a), parts, y.matrix);
            return Ok(());
        }
        let add_rows = int(b.rows)?;
        let arguments = ElementwiseArguments { x: a.matrix, add: b.matrix, add_rows, ..elementwise(&y)? };
        self.kernel(Kernel::Elementwise(element(a.dtype)?), Arguments::Elementwise(arguments))
    }

    pub(super) fn activate(
        &mut self,
        activation: Activation,
        x: &Operand,
        by: Option<&Operand>,
        out: usize,
    ) -> Result<(), Reason> {
        let x = self.operand(x)?;
        let by = by.map(|by| self.operand(by)).transpose()?;
        let y = self.result(out, x.columns);
        let by = by.map(|by| by.matrix).unwrap_or_default();
        let activation = activation_code(Some(activation));
        let arguments = ElementwiseArguments { x: x.matrix, by, activation, ..elementwise(&y)? };
        self.kernel(Kernel::Elementwise(element(x.dtype)?), Arguments::Elementwise(arguments))
    }

    pub(super) fn euler(&mut self, operation: &Operation) -> Result<(), Reason> {
        let Operation::Euler { actions, velocity, dt, strength, out } = operation else { return Ok(()) };
        let actions = self.operand(actions)?;
        let velocity = self.operand(velocity)?;
        let y = self.result(*out, actions.columns);
        let arguments = EulerArguments {
            actions: actions.matrix.address,
            velocity: velocity.matrix,
            dt: self.row(Some(dt))?,
            strength: self.row(Some(strength))?,
            out: y.matrix.address,
            rows: int(y.rows)?,
            columns: int(y.columns)?,
        };
        self.kernel(Kernel::Euler(element(velocity.dtype)?), Arguments::Euler(arguments))
    }
}

fn elementwise(y: &Sized) -> Result<ElementwiseArguments, Reason> {
    let rows = int(y.rows)?;
    Ok(ElementwiseArguments { y: y.matrix, rows, columns: int(y.columns)?, add_rows: rows, ..Default::default() })
}
