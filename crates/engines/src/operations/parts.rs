//! What an operation reads and writes.

use super::{Operand, Operation};

impl Operation {
    /// Its name in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Linear { .. } => "linear",
            Self::Norm { .. } => "norm",
            Self::Attention { .. } => "attention",
            Self::Rotary { .. } => "rotary",
            Self::Gather { .. } => "gather",
            Self::Concat { .. } => "concat",
            Self::Permute { .. } => "permute",
            Self::Add { .. } => "add",
            Self::Activate { .. } => "activate",
            Self::Cast { .. } => "cast",
            Self::Euler { .. } => "euler",
        }
    }

    /// Matrices that it reads. Weights that are named by index alone are in [`Self::weights`].
    pub fn operands(&self) -> Vec<&Operand> {
        match self {
            Self::Linear { x, parts, residual, .. } => {
                [x].into_iter().chain(parts.iter().filter_map(|part| part.bias.as_ref())).chain(residual).collect()
            }
            Self::Norm { x, gain, shift, .. } => [x].into_iter().chain(gain).chain(shift).collect(),
            Self::Attention { q, k, v, .. } => vec![&q.rows, &k.rows, &v.rows],
            Self::Rotary { x, cos, sin, .. } => vec![x, cos, sin],
            Self::Gather { table, index, .. } => vec![table, index],
            Self::Concat { parts, .. } => parts.iter().collect(),
            Self::Permute { x, .. } | Self::Cast { x, .. } => vec![x],
            Self::Add { a, b, .. } => vec![a, b],
            Self::Activate { x, by, .. } => [x].into_iter().chain(by).collect(),
            Self::Euler { actions, velocity, dt, strength, .. } => vec![actions, velocity, dt, strength],
        }
    }

    /// As [`Self::operands`], to be changed.
    pub fn operands_mut(&mut self) -> Vec<&mut Operand> {
        match self {
            Self::Linear { x, parts, residual, .. } => {
                [x].into_iter().chain(parts.iter_mut().filter_map(|part| part.bias.as_mut())).chain(residual).collect()
            }
            Self::Norm { x, gain, shift, .. } => [x].into_iter().chain(gain).chain(shift).collect(),
            Self::Attention { q, k, v, .. } => vec![&mut q.rows, &mut k.rows, &mut v.rows],
            Self::Rotary { x, cos, sin, .. } => vec![x, cos, sin],
            Self::Gather { table, index, .. } => vec![table, index],
            Self::Concat { parts, .. } => parts.iter_mut().collect(),
            Self::Permute { x, .. } | Self::Cast { x, .. } => vec![x],
            Self::Add { a, b, .. } => vec![a, b],
            Self::Activate { x, by, .. } => [x].into_iter().chain(by).collect(),
            Self::Euler { actions, velocity, dt, strength, .. } => vec![actions, velocity, dt, strength],
        }
    }

    /// Indices of the weights that it names by index alone: those of products and norms.
    pub fn weights(&self) -> Vec<usize> {
        match self {
            Self::Linear { parts, .. } => parts.iter().map(|part| part.weight).collect(),
            Self::Norm { weight, bias, .. } => weight.iter().chain(bias).copied().collect(),
            Self::Rotary { norm, .. } => norm.iter().map(|(weight, _)| *weight).collect(),
            _ => Vec::new(),
        }
    }

    /// As [`Self::weights`], to be changed.
    pub fn weights_mut(&mut self) -> Vec<&mut usize> {
        match self {
            Self::Linear { parts, .. } => parts.iter_mut().map(|part| &mut part.weight).collect(),
            Self::Norm { weight, bias, .. } => weight.iter_mut().chain(bias).collect(),
            Self::Rotary { norm, .. } => norm.iter_mut().map(|(weight, _)| weight).collect(),
            _ => Vec::new(),
        }
    }

    /// Index of the value that it writes.
    pub fn out(&self) -> usize {
        match self {
            Self::Linear { out, .. }
            | Self::Norm { out, .. }
            | Self::Attention { out, .. }
            | Self::Rotary { out, .. }
            | Self::Gather { out, .. }
            | Self::Concat { out, .. }
            | Self::Permute { out, .. }
            | Self::Add { out, .. }
            | Self::Activate { out, .. }
            | Self::Cast { out, .. }
            | Self::Euler { out, .. } => *out,
        }
    }

    /// As [`Self::out`], to be changed.
    pub fn out_mut(&mut self) -> &mut usize {
        match self {
            Self::Linear { out, .. }
            | Self::Norm { out, .. }
            | Self::Attention { out, .. }
            | Self::Rotary { out, .. }
            | Self::Gather { out, .. }
            | Self::Concat { out, .. }
            | Self::Permute { out, .. }
            | Self::Add { out, .. }
            | Self::Activate { out, .. }
            | Self::Cast { out, .. }
            | Self::Euler { out, .. } => out,
        }
    }
}
