//! Norms, sums and activations along rows.

use vla_base::tensor::DType;
use vla_engines::operations::{Activation, NormKind, Operand, Operation};

use super::Lowering;
use crate::launch::{Arguments, ElementwiseArguments, EulerArguments, Kernel, NormArguments, Parts};
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
        let y = self.result(*out, x.columns)?;
        same(&x, &y)?;
        if x.rows == 0 {
            return Ok(());
        }
        let width = weight.or(*bias).map_or(x.columns, |w| self.program.weights[w].dims.iter().product());
        if width == 0 || x.columns % width != 0 {
            return Err(format!("expected rows of a multiple of {width}, found {}", x.columns));
        }
        let mut arguments = NormArguments {
            x: x.matrix,
            y: y.matrix,
            weight: self.vector(*weight, x.dtype, width)?,
            bias: self.vector(*bias, x.dtype, width)?,
            gain: self.row(gain.as_ref(), x.dtype, width)?,
            shift: self.row(shift.as_ref(), x.dtype, width)?,
            rows: int(x.rows)?,
            groups: int(x.columns / width)?,
            width: int(width)?,
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
        let NormArguments { weight, bias, gain, shift, parts, .. } = arguments;
        arguments.early = i32::from(self.early(&[weight, bias, gain, shift, parts.bias]));
        self.kernel(Kernel::Norm(element(x.dtype)?), Arguments::Norm(arguments))
    }

    pub(super) fn add(&mut self, index: usize, (a, b): (&Operand, &Operand), out: usize) -> Result<(), Reason> {
        let a = self.operand(a)?;
        let b = self.typed(b, a.dtype)?;
        let y = self.result(out, a.columns)?;
        same(&a, &y)?;
        if a.rows == 0 {
            return Ok(());
        }
        if b.columns != a.columns || b.rows == 0 || a.rows % b.rows != 0 {
            let expected = format!("a divisor of {} rows, and {} columns", a.rows, a.columns);
            return Err(format!("expected {expected}, found {} and {}", b.rows, b.columns));
        }
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
        let by = by.map(|by| self.typed(by, x.dtype)).transpose()?;
        let y = self.result(out, x.columns)?;
        same(&x, &y)?;
        by.as_ref().map_or(Ok(()), |by| same(by, &y))?;
        if x.rows == 0 {
            return Ok(());
        }
        let by = by.map(|by| by.matrix).unwrap_or_default();
        let activation = activation_code(Some(activation));
        let arguments = ElementwiseArguments { x: x.matrix, by, activation, ..elementwise(&y)? };
        self.kernel(Kernel::Elementwise(element(x.dtype)?), Arguments::Elementwise(arguments))
    }

    pub(super) fn euler(&mut self, operation: &Operation) -> Result<(), Reason> {
        let Operation::Euler { actions, velocity, dt, strength, out } = operation else { return Ok(()) };
        let actions = self.typed(actions, DType::F32)?;
        let velocity = self.operand(velocity)?;
        let y = self.result(*out, actions.columns)?;
        same(&actions, &y)?;
        if (velocity.rows, velocity.columns) != (y.rows, y.columns) || !actions.dense() {
            let (expected, found) = ((y.rows, y.columns), (velocity.rows, velocity.columns));
            return Err(format!("expected a velocity of {} x {}, found {} x {}", expected.0, expected.1, found.0, found.1));
        }
        let arguments = EulerArguments {
            actions: actions.matrix.address,
            velocity: velocity.matrix,
            dt: self.row(Some(dt), DType::F32, 1)?,
            strength: self.row(Some(strength), DType::F32, y.rows)?,
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

/// Whether an operand has its result's size and element type.
fn same(x: &Sized, y: &Sized) -> Result<(), Reason> {
    if (x.rows, x.columns, x.dtype) == (y.rows, y.columns, y.dtype) {
        return Ok(());
    }
    let text = |m: &Sized| format!("{} x {} {}", m.rows, m.columns, m.dtype);
    Err(format!("expected {} as the result has, found {}", text(y), text(x)))
}
