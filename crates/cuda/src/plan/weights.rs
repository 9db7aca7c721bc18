//! Weights in one block on the device.

use std::collections::BTreeSet;
use std::ops::Range;

use vla_engines::operations::{Activation, LinearPart, Operation, Program, Source, Weight};

use super::arena::ALIGNMENT;
use crate::plan::operand::element_size;

/// Where each weight is copied to: the parts of a linear operation one behind the other, so that they are one product. Weights keep the
/// order of elements that the ONNX file has, until the device puts some into tiles ([`super::Plan::tilings`]). Those in 8 bits have a byte an element, and a scale an output elsewhere in the block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WeightLayout {
    offsets: Vec<u64>,
    bytes: u64,
    cleared: Vec<Range<u64>>,
    /// Where the scales of each weight begin that has 8 bits.
    scales: Vec<Option<u64>>,
    /// Zeros for products whose library wants a bias that the operation has not.
    zeros: u64,
}

/// Bias of stacked parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bias {
    /// No part has one.
    None,
    /// The only part has this.
    Own,
    /// One behind the other, from this offset in the block.
    Stacked(u64),
    /// Not one behind the other.
    Scattered,
}

impl WeightLayout {
    /// The layout of a program that [`Program::check`] accepts.
    pub fn new(program: &Program) -> Self {
        Self::with_eight_bits(program, &BTreeSet::new())
    }

    /// The same with these weights, [`Program::eight_bit_weights`], in 8 bits.
    pub fn with_eight_bits(program: &Program, eight_bits: &BTreeSet<usize>) -> Self {
        let none = || vec![None; program.weights.len()];
        let mut making = Making { program, offsets: none(), end: 0, cleared: Vec::new(), eight_bits, scales: none() };
        let mut longest = 0;
        for operation in &program.operations {
            let Operation::Linear { parts, transposed, activation, .. } = operation else { continue };
            if parts.len() > 1 && *transposed {
                making.stack(parts.iter().map(|part| part.weight));
            }
            making.scale(parts);
            if parts.len() > 1 {
                making.stack_biases(parts, *transposed);
            }
            if parts.iter().any(|part| part.bias.is_none())
                && matches!(activation, Some(Activation::Relu | Activation::GeluTanh))
            {
                let wide: u64 = parts.iter().map(|part| bias_bytes(program, part, *transposed)).sum();
                longest = longest.max(wide);
            }
        }
        for weight in 0..program.weights.len() {
            if making.offsets[weight].is_none() {
                making.stack([weight].into_iter());
            }
        }
        let zeros = making.end;
        if longest > 0 {
            making.cleared.push(zeros..zeros + longest);
        }
        Self {
            offsets: making.offsets.into_iter().map(Option::unwrap_or_default).collect(),
            bytes: (zeros + longest).next_multiple_of(ALIGNMENT),
            cleared: making.cleared,
            scales: making.scales,
            zeros,
        }
    }

    /// Bytes of the block. Its start must be aligned to 256 bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the bytes of a weight begin, by its index in [`Program::weights`].
    pub fn offset(&self, weight: usize) -> u64 {
        self.offsets.get(weight).copied().unwrap_or_default()
    }

    /// Where the scales of a weight's outputs begin, in single precision, when it has 8 bits.
    pub fn scales(&self, weight: usize) -> Option<u64> {
        self.scales.get(weight).copied().flatten()
    }

    /// Bytes that belong to no weight and must be 0.
    pub fn cleared(&self) -> &[Range<u64>] {
        &self.cleared
    }

    pub(super) fn zeros(&self) -> u64 {
        self.zeros
    }

    /// Offset of the parts' weights when they are one matrix.
    pub(super) fn stacked(&self, program: &Program, parts: &[LinearPart], transposed: bool) -> Option<u64> {
        let first = self.offset(parts.first()?.weight);
        let mut end = first;
        for part in parts {
            if self.offset(part.weight) != end {
                return None;
            }
            end += bytes(&program.weights[part.weight], self.scales(part.weight).is_some());
        }
        (parts.len() == 1 || transposed).then_some(first)
    }

    pub(super) fn bias(&self, program: &Program, parts: &[LinearPart], transposed: bool) -> Bias {
        if parts.iter().all(|part| part.bias.is_none()) {
            return Bias::None;
        }
        if parts.len() == 1 {
            return Bias::Own;
        }
        self.stacked_bias(program, parts, transposed).map_or(Bias::Scattered, Bias::Stacked)
    }

    fn stacked_bias(&self, program: &Program, parts: &[LinearPart], transposed: bool) -> Option<u64> {
        let sizes: Vec<u64> = parts.iter().map(|part| bias_bytes(program, part, transposed)).collect();
        let (at, weight) = parts.iter().enumerate().find_map(|(i, part)| Some((i, whole_bias(program, part)?)))?;
        let first = self.offset(weight).checked_sub(sizes[..at].iter().sum())?;
        let mut end = first;
        for (part, size) in parts.iter().zip(sizes) {
            let here = match &part.bias {
                Some(_) => self.offset(whole_bias(program, part)?) == end,
                None => self.cleared.contains(&(end..end + size)),
            };
            if !here {
                return None;
            }
            end += size;
        }
        Some(first)
    }
}

/// A layout on the way.
struct Making<'a> {
    program: &'a Program,
    offsets: Vec<Option<u64>>,
    end: u64,
    cleared: Vec<Range<u64>>,
    eight_bits: &'a BTreeSet<usize>,
    scales: Vec<Option<u64>>,
}

impl Making<'_> {
    /// Places weights one behind the other; nothing when one of them has its place already or appears twice.
    fn stack(&mut self, weights: impl Iterator<Item = usize>) {
        let pieces: Vec<(Option<usize>, u64)> = weights.map(|weight| (Some(weight), self.bytes(weight))).collect();
        self.stack_sized(pieces.into_iter());
    }

    /// The same, with zeros where there is no weight.
    fn stack_sized(&mut self, pieces: impl Iterator<Item = (Option<usize>, u64)> + Clone) {
        let mut weights: Vec<usize> = pieces.clone().filter_map(|(weight, _)| weight).collect();
        weights.sort_unstable();
        if weights.windows(2).any(|pair| pair[0] == pair[1]) || weights.iter().any(|w| self.offsets[*w].is_some()) {
            return;
        }
        for (weight, bytes) in pieces {
            match weight {
                Some(weight) => self.offsets[weight] = Some(self.end),
                None => self.cleared.push(self.end..self.end + bytes),
            }
            self.end += bytes;
        }
        self.end = self.end.next_multiple_of(ALIGNMENT);
    }

    fn bytes(&self, weight: usize) -> u64 {
        bytes(&self.program.weights[weight], self.eight_bits.contains(&weight))
    }

    /// Places the scales of a product's parts one behind the other, where they have 8 bits.
    fn scale(&mut self, parts: &[LinearPart]) {
        for part in parts.iter().filter(|part| self.eight_bits.contains(&part.weight)) {
            self.scales[part.weight] = Some(self.end);
            self.end += 4 * width(self.program, part, true) as u64;
        }
        self.end = self.end.next_multiple_of(ALIGNMENT);
    }

    fn stack_biases(&mut self, parts: &[LinearPart], transposed: bool) {
        let program = self.program;
        let stackable = parts.iter().all(|part| part.bias.is_none() || whole_bias(program, part).is_some());
        if stackable && parts.iter().any(|part| part.bias.is_some()) {
            let piece = |part: &LinearPart| (whole_bias(program, part), bias_bytes(program, part, transposed));
            self.stack_sized(parts.iter().map(piece));
        }
    }
}

/// The weight that is all of a part's bias.
fn whole_bias(program: &Program, part: &LinearPart) -> Option<usize> {
    let bias = part.bias.as_ref()?;
    let Source::Weight(weight) = bias.source else { return None };
    let elements: usize = program.weights[weight].dims.iter().product();
    (bias.row == 0 && bias.column == 0 && bias.columns == elements).then_some(weight)
}

/// Columns of a part's result.
pub(super) fn width(program: &Program, part: &LinearPart, transposed: bool) -> usize {
    let dims = &program.weights[part.weight].dims;
    dims.get(usize::from(!transposed)).copied().unwrap_or_default()
}

fn bias_bytes(program: &Program, part: &LinearPart, transposed: bool) -> u64 {
    width(program, part, transposed) as u64 * element_size(program.weights[part.weight].dtype)
}

fn bytes(weight: &Weight, eight_bits: bool) -> u64 {
    let size = if eight_bits { 1 } else { element_size(weight.dtype) };
    weight.dims.iter().map(|n| *n as u64).product::<u64>() * size
}
