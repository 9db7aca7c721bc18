//! Joins operations that an engine runs as one.

use vla_base::tensor::Dim;
use vla_engines::operations::{Operand, Operation, Size, Source};

use super::lower::{Lowering, Step};

/// Joins what can be joined; the list computes the same, but for roundings between operations that are one now.
pub(super) fn fuse(lowering: &mut Lowering<'_>) {
    let mut list = List { steps: std::mem::take(&mut lowering.steps).into_iter().map(Some).collect(), lowering };
    list.drop_unread();
    list.each(List::multiply);
    list.each(List::shift);
    list.each(List::side_by_side);
    list.each(List::turn_together);
    list.each(List::activate);
    list.each(List::add_residual);
    list.drop_unread();
    list.lowering.steps = list.steps.into_iter().flatten().collect();
}

/// The steps, those that became a part of another left out.
struct List<'l, 'g> {
    steps: Vec<Option<Step>>,
    lowering: &'l mut Lowering<'g>,
}

impl Step {
    fn out(&self) -> usize {
        match self {
            Self::Operation(operation) => operation.out(),
            Self::Multiply { out, .. } => *out,
        }
    }

    fn operands(&self) -> Vec<&Operand> {
        match self {
            Self::Operation(operation) => operation.operands(),
            Self::Multiply { a, b, .. } => vec![a, b],
        }
    }

    fn operands_mut(&mut self) -> Vec<&mut Operand> {
        match self {
            Self::Operation(operation) => operation.operands_mut(),
            Self::Multiply { a, b, .. } => vec![a, b],
        }
    }
}

impl List<'_, '_> {
    fn each(&mut self, join: fn(&mut Self, usize)) {
        (0..self.steps.len()).for_each(|at| join(self, at));
    }

    fn operation(&self, at: usize) -> Option<&Operation> {
        match self.steps.get(at)?.as_ref()? {
            Step::Operation(operation) => Some(operation),
            Step::Multiply { .. } => None,
        }
    }

    fn readers(&self, value: usize) -> usize {
        let reads = |step: &Step| step.operands().iter().filter(|x| x.source == Source::Value(value)).count();
        self.steps.iter().flatten().map(reads).sum()
    }

    fn writer(&self, value: usize) -> Option<usize> {
        self.steps.iter().position(|step| step.as_ref().is_some_and(|step| step.out() == value))
    }

    fn is_output(&self, value: usize) -> bool {
        self.lowering.outputs.contains(&value)
    }

    /// Whether an operand is all of a value, as the value has its rows.
    fn is_all(&self, operand: &Operand, value: usize) -> bool {
        let dims = self.lowering.values[value].dims.as_slice();
        let Some((Dim::Fixed(width), leading)) = dims.split_last() else { return false };
        let rows = Size::product(leading);
        (operand.row, operand.column, operand.columns) == (0, 0, *width) && rows == Size::of(&operand.rows)
    }

    /// The operation that made all of `operand` for this reader alone, with its place.
    fn made_for(&self, operand: &Operand) -> Option<(usize, &Operation)> {
        let Source::Value(value) = operand.source else { return None };
        let alone = self.readers(value) == 1 && !self.is_output(value) && self.is_all(operand, value);
        let at = self.writer(value).filter(|_| alone)?;
        Some((at, self.operation(at)?))
    }

    fn replace(&mut self, at: usize, joined: usize, operation: Operation) {
        self.steps[joined] = None;
        self.steps[at] = Some(Step::Operation(operation));
    }

    fn drop_unread(&mut self) {
        for at in (0..self.steps.len()).rev() {
            let out = self.steps[at].as_ref().map(Step::out);
            if out.is_some_and(|out| self.readers(out) == 0 && !self.is_output(out)) {
                self.steps[at] = None;
            }
        }
    }

    /// `activation(x) * by`, `norm(x) * gain`.
    fn multiply(&mut self, at: usize) {
        let Some(Step::Multiply { a, b, out }) = self.steps[at].clone() else { return };
        for (x, factor) in [(&a, &b), (&b, &a)] {
            let Some((joined, made)) = self.made_for(x) else { continue };
            let mut made = made.clone();
            match &mut made {
                Operation::Activate { by: by @ None, .. } if factor.rows == x.rows => *by = Some(factor.clone()),
                Operation::Norm { gain: gain @ None, shift: None, .. } if is_row(factor) => {
                    *gain = Some(factor.clone())
                }
                _ => continue,
            }
            *made.out_mut() = out;
            return self.replace(at, joined, made);
        }
    }

    /// `norm(x) * gain + shift`.
    fn shift(&mut self, at: usize) {
        let Some(Operation::Add { a, b, out }) = self.operation(at).cloned() else { return };
        if !is_row(&b) {
            return;
        }
        let Some((joined, Operation::Norm { shift: None, .. })) = self.made_for(&a) else { return };
        let Some(mut made) = self.operation(joined).cloned() else { return };
        if let Operation::Norm { shift, .. } = &mut made {
            *shift = Some(b);
        }
        *made.out_mut() = out;
        self.replace(at, joined, made);
    }

    /// Products of one input as one, with their results side by side.
    fn side_by_side(&mut self, at: usize) {
        let Some(Operation::Linear { x, transposed, .. }) = self.operation(at) else { return };
        let (x, transposed) = (x.clone(), *transposed);
        let alike = |operation: &Operation| {
            matches!(operation, Operation::Linear { x: other, transposed: layout, activation: None, residual: None, .. }
                if (other, *layout) == (&x, transposed))
        };
        let joins = |place: usize| {
            self.operation(place).is_some_and(alike) && self.biases_ready(place, at) && self.is_read_by_columns(place)
        };
        let places: Vec<usize> = (at..self.steps.len()).filter(|place| joins(*place)).collect();
        if places.len() < 2 || places[0] != at {
            return;
        }
        let (mut parts, mut outs) = (Vec::new(), Vec::new());
        for place in places {
            if let Some(Step::Operation(Operation::Linear { parts: own, out, .. })) = self.steps[place].take() {
                parts.extend(own);
                outs.push(out);
            }
        }
        let out = self.join_columns(&outs);
        let (activation, residual) = (None, None);
        self.steps[at] = Some(Step::Operation(Operation::Linear { x, parts, transposed, activation, residual, out }));
    }

    /// Rotations of neighbouring columns, such as queries and keys, as one.
    fn turn_together(&mut self, at: usize) {
        let Some(Operation::Rotary { x, heads, dim, groups, norm, cos, sin, .. }) = self.operation(at).cloned() else {
            return;
        };
        let next = Operand { column: x.column + x.columns, ..x.clone() };
        let is_next = |place: &usize| match self.operation(*place) {
            Some(Operation::Rotary { x: other, dim: d, groups: g, norm: n, cos: c, sin: s, .. }) => {
                let beside = Operand { columns: other.columns, ..next.clone() } == *other;
                beside && (*d, *g, n, c, s) == (dim, groups, &norm, &cos, &sin)
            }
            _ => false,
        };
        let Some(place) = (at + 1..self.steps.len()).find(is_next) else { return };
        let outs = [at, place].map(|place| self.operation(place).map(Operation::out));
        let ([Some(first), Some(second)], true) =
            (outs, [at, place].iter().all(|place| self.is_read_by_columns(*place)))
        else {
            return;
        };
        let Some(Operation::Rotary { heads: more, x: other, .. }) = self.operation(place) else { return };
        let (heads, x) = (heads + more, Operand { columns: x.columns + other.columns, ..x });
        let out = self.join_columns(&[first, second]);
        self.replace(at, place, Operation::Rotary { x, heads, dim, groups, norm, cos, sin, out });
    }

    /// Whether the biases of the product at `place` are there when the step `at` runs.
    fn biases_ready(&self, place: usize, at: usize) -> bool {
        let Some(Operation::Linear { parts, .. }) = self.operation(place) else { return false };
        parts.iter().filter_map(|part| part.bias.as_ref()).all(|bias| match bias.source {
            Source::Weight(_) => true,
            Source::Value(value) => self.writer(value).is_none_or(|writer| writer < at),
        })
    }

    /// Whether the result of the step at `place` may be columns of a wider value: it is no output, and its readers know its rows.
    fn is_read_by_columns(&self, place: usize) -> bool {
        let Some(out) = self.operation(place).map(Operation::out) else { return false };
        !self.is_output(out) && self.lowering.values[out].dims.len() == 2
    }

    /// A value with the columns of all of `values` side by side, which is read in their place.
    fn join_columns(&mut self, values: &[usize]) -> usize {
        let values_of = &mut self.lowering.values;
        let mut joined = values_of[values[0]].clone();
        let (index, mut column) = (values_of.len(), 0);
        let mut starts = Vec::new();
        for value in values {
            starts.push((*value, column));
            column += match values_of[*value].dims.last() {
                Some(Dim::Fixed(width)) => *width,
                _ => 0,
            };
        }
        if let Some(last) = joined.dims.last_mut() {
            *last = Dim::Fixed(column);
        }
        values_of.push(joined);
        for operand in self.steps.iter_mut().flatten().flat_map(Step::operands_mut) {
            if let Some((_, start)) = starts.iter().find(|(value, _)| operand.source == Source::Value(*value)) {
                operand.source = Source::Value(index);
                operand.column += start;
            }
        }
        index
    }

    /// `activation(x W + bias)`.
    fn activate(&mut self, at: usize) {
        let Some(Operation::Activate { activation, x, by: None, out }) = self.operation(at).cloned() else { return };
        let Some((joined, made)) = self.made_for(&x) else { return };
        let mut made = made.clone();
        let Operation::Linear { activation: own @ None, residual: None, .. } = &mut made else { return };
        *own = Some(activation);
        *made.out_mut() = out;
        self.replace(at, joined, made);
    }

    /// `x W + bias + residual`.
    fn add_residual(&mut self, at: usize) {
        let Some(Operation::Add { a, b, out }) = self.operation(at).cloned() else { return };
        if Size::of(&a.rows) != Size::of(&b.rows) {
            return;
        }
        for (x, other) in [(&b, &a), (&a, &b)] {
            let Some((joined, made)) = self.made_for(x) else { continue };
            let mut made = made.clone();
            let Operation::Linear { residual: residual @ None, .. } = &mut made else { continue };
            *residual = Some(other.clone());
            *made.out_mut() = out;
            return self.replace(at, joined, made);
        }
    }
}

fn is_row(operand: &Operand) -> bool {
    operand.rows == Dim::Fixed(1)
}
