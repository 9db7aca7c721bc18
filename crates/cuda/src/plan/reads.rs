//! What operations read and write.

use vla_engines::operations::{ByHead, LinearPart, Operand, Operation, Program, Source};

/// Name of an operation in errors.
pub(super) fn name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Linear { .. } => "linear",
        Operation::Norm { .. } => "norm",
        Operation::Attention { .. } => "attention",
        Operation::Rotary { .. } => "rotary",
        Operation::Gather { .. } => "gather",
        Operation::Concat { .. } => "concat",
        Operation::Permute { .. } => "permute",
        Operation::Add { .. } => "add",
        Operation::Activate { .. } => "activate",
        Operation::Cast { .. } => "cast",
        Operation::Euler { .. } => "euler",
    }
}

/// The value that an operation writes.
pub(super) fn result(operation: &Operation) -> usize {
    match operation {
        Operation::Linear { out, .. }
        | Operation::Norm { out, .. }
        | Operation::Attention { out, .. }
        | Operation::Rotary { out, .. }
        | Operation::Gather { out, .. }
        | Operation::Concat { out, .. }
        | Operation::Permute { out, .. }
        | Operation::Add { out, .. }
        | Operation::Activate { out, .. }
        | Operation::Cast { out, .. }
        | Operation::Euler { out, .. } => *out,
    }
}

/// Where an operation's operands come from, in order.
pub(super) fn sources(operation: &Operation) -> Vec<Source> {
    let of = |operand: &Operand| operand.source;
    let maybe = |operand: &Option<Operand>| operand.as_ref().map(|operand| operand.source);
    let weight = |weight: &Option<usize>| weight.map(Source::Weight);
    let head = |by_head: &ByHead| by_head.rows.source;
    match operation {
        Operation::Linear { x, parts, residual, .. } => {
            let part = |part: &LinearPart| [Some(Source::Weight(part.weight)), maybe(&part.bias)];
            let parts = parts.iter().flat_map(part).flatten();
            [of(x)].into_iter().chain(parts).chain(maybe(residual)).collect()
        }
        Operation::Norm { x, weight: w, bias, gain, shift, .. } => {
            let all = [Some(of(x)), weight(w), weight(bias), maybe(gain), maybe(shift)];
            all.into_iter().flatten().collect()
        }
        Operation::Attention { q, k, v, .. } => vec![head(q), head(k), head(v)],
        Operation::Rotary { x, norm, cos, sin, .. } => {
            let norm = norm.map(|(norm, _)| Source::Weight(norm));
            [of(x), of(cos), of(sin)].into_iter().chain(norm).collect()
        }
        Operation::Gather { table, index, .. } => vec![of(table), of(index)],
        Operation::Concat { parts, .. } => parts.iter().map(of).collect(),
        Operation::Permute { x, .. } => vec![*x],
        Operation::Add { a, b, .. } => vec![of(a), of(b)],
        Operation::Activate { x, by, .. } => [of(x)].into_iter().chain(maybe(by)).collect(),
        Operation::Cast { x, .. } => vec![of(x)],
        Operation::Euler { actions, velocity, dt, strength, .. } => {
            [actions, velocity, dt, strength].into_iter().map(of).collect()
        }
    }
}

/// Operations that read each value, in order and as often as they read it.
pub(super) fn readers(program: &Program) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); program.values.len()];
    for (index, operation) in program.operations.iter().enumerate() {
        for source in sources(operation) {
            if let Source::Value(value) = source {
                readers[value].push(index);
            }
        }
    }
    readers
}
