//! A program in double precision: the reference that tests compare engines and exports with. It is slow and no engine.

use vla_base::tensor::{DType, HostTensor};

use super::{Activation, ByHead, Mask, NormKind, Operand, Operation, Program, Source};
use crate::Symbols;
use crate::onnx::Network;
use half::{bf16, f16};

/// Elements of a program's weights in the order of [`Program::weights`], row-major, from its ONNX file.
///
/// # Errors
/// A weight that the file does not have, or has in another type or shape.
pub fn weights(program: &Program, network: &Network) -> Result<Vec<Vec<f64>>, String> {
    let weight = |weight: &super::Weight| {
        let tensors = &network.graph().initializer;
        let found = tensors.iter().find(|tensor| tensor.name() == weight.name);
        let tensor =
            found.ok_or_else(|| format!("weight '{}': expected one in the network, found none", weight.name))?;
        let bytes = network.elements(tensor).map_err(|error| error.to_string())?;
        let elements = weight.dims.iter().product::<usize>();
        if bytes.len() != elements * weight.dtype.size() {
            let found = bytes.len();
            return Err(format!("weight '{}': expected {elements} elements, found {found} bytes", weight.name));
        }
        decode(weight.dtype, &bytes)
            .ok_or_else(|| format!("weight '{}': expected numbers, found {}", weight.name, weight.dtype))
    };
    program.weights.iter().map(weight).collect()
}

fn decode(dtype: DType, bytes: &[u8]) -> Option<Vec<f64>> {
    let two = || bytes.as_chunks::<2>().0.iter().copied();
    let four = || bytes.as_chunks::<4>().0.iter().copied();
    match dtype {
        DType::F32 => Some(four().map(|bytes| f64::from(f32::from_le_bytes(bytes))).collect()),
        DType::I32 => Some(four().map(|bytes| f64::from(i32::from_le_bytes(bytes))).collect()),
        DType::F16 => Some(two().map(|bytes| f16::from_le_bytes(bytes).to_f64()).collect()),
        DType::BF16 => Some(two().map(|bytes| bf16::from_le_bytes(bytes).to_f64()).collect()),
        DType::I64 | DType::U8 | DType::Bool => None,
    }
}

/// Elements of a tensor of floating-point numbers or INT32; `None` of another type.
pub fn elements(tensor: &HostTensor) -> Option<Vec<f64>> {
    let single = tensor.to_single();
    match (single.as_f32(), single.as_i32()) {
        (Some(values), _) => Some(values.iter().map(|value| f64::from(*value)).collect()),
        (_, Some(values)) => Some(values.iter().map(|value| f64::from(*value)).collect()),
        _ => None,
    }
}

/// `x` rounded to an element type.
pub fn round(x: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F32 => f64::from(x as f32),
        DType::F16 => f16::from_f64(x).to_f64(),
        DType::BF16 => bf16::from_f64(x).to_f64(),
        DType::I32 | DType::I64 | DType::U8 | DType::Bool => x,
    }
}

/// Elements of every value of a program, row-major: of `inputs` in the order of [`Program::inputs`] and of weights ([`weights`]). With
/// `rounded` every result is rounded to its value's element type, as an engine does; the result is exact otherwise.
///
/// # Errors
/// [`Program::check`], [`Program::dims`], or a number of elements that does not fit.
pub fn evaluate(
    program: &Program,
    weights: &[Vec<f64>],
    inputs: &[Vec<f64>],
    symbols: &Symbols,
    rounded: bool,
) -> Result<Vec<Vec<f64>>, String> {
    program.check()?;
    let dims = program.dims(symbols)?;
    let mut values: Vec<Vec<f64>> = vec![Vec::new(); dims.len()];
    let count = |dims: &[usize]| dims.iter().product::<usize>();
    if weights.len() != program.weights.len() || inputs.len() != program.inputs.len() {
        return Err("expected the elements of every weight and input".to_owned());
    }
    for (weight, elements) in program.weights.iter().zip(weights) {
        if elements.len() != count(&weight.dims) {
            return Err(format!(
                "weight '{}': expected {:?}, found {} elements",
                weight.name,
                weight.dims,
                elements.len()
            ));
        }
    }
    for (index, elements) in program.inputs.iter().zip(inputs) {
        if elements.len() != count(&dims[*index]) {
            let name = &program.values[*index].name;
            return Err(format!("input '{name}': expected {:?}, found {} elements", dims[*index], elements.len()));
        }
        values[*index].clone_from(elements);
    }
    for operation in &program.operations {
        let memory = Memory { program, dims: &dims, values: &values, weights, symbols };
        let mut result = memory.run(operation);
        let out = operation.out();
        if rounded {
            result.iter_mut().for_each(|x| *x = round(*x, program.values[out].dtype));
        }
        values[out] = result;
    }
    Ok(values)
}

/// Rows of numbers.
struct Matrix {
    rows: usize,
    columns: usize,
    data: Vec<f64>,
}

impl Matrix {
    fn row(&self, row: usize) -> &[f64] {
        &self.data[row * self.columns..][..self.columns]
    }

    fn map(self, function: impl Fn(f64) -> f64) -> Vec<f64> {
        self.data.into_iter().map(function).collect()
    }

    fn with(self, other: &Self, function: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        self.data.iter().zip(other.data.iter().cycle()).map(|(a, b)| function(*a, *b)).collect()
    }
}

/// What an operation reads.
struct Memory<'p> {
    program: &'p Program,
    dims: &'p [Vec<usize>],
    values: &'p [Vec<f64>],
    weights: &'p [Vec<f64>],
    symbols: &'p Symbols,
}

impl Memory<'_> {
    fn size(&self, dim: &vla_base::tensor::Dim) -> usize {
        super::resolve(dim, self.symbols).unwrap_or_default()
    }

    fn matrix(&self, operand: &Operand) -> Matrix {
        let (data, dims) = match operand.source {
            Source::Value(index) => (&self.values[index], &self.dims[index]),
            Source::Weight(index) => (&self.weights[index], &self.program.weights[index].dims),
        };
        let width = if dims.len() == 1 && operand.columns == 1 { 1 } else { dims.last().copied().unwrap_or(1) };
        let (rows, columns) = (self.size(&operand.rows), operand.columns);
        let row = |row: usize| &data[(operand.row + row) * width + operand.column..][..columns];
        Matrix { rows, columns, data: (0..rows).flat_map(row).copied().collect() }
    }

    fn run(&self, operation: &Operation) -> Vec<f64> {
        match operation {
            Operation::Linear { .. } => self.linear(operation),
            Operation::Norm { .. } => self.norm(operation),
            Operation::Attention { .. } => self.attention(operation),
            Operation::Rotary { .. } => self.rotary(operation),
            Operation::Gather { table, index, .. } => {
                let (table, index) = (self.matrix(table), self.matrix(index));
                let row = |index: &f64| table.row((*index as usize).min(table.rows - 1));
                index.data.iter().flat_map(row).copied().collect()
            }
            Operation::Concat { parts, .. } => parts.iter().flat_map(|part| self.matrix(part).data).collect(),
            Operation::Permute { x, dims, order, .. } => {
                let dims: Vec<usize> = dims.iter().map(|dim| self.size(dim)).collect();
                permuted(&self.matrix(x).data, &dims, order)
            }
            Operation::Add { a, b, .. } => self.matrix(a).with(&self.matrix(b), |a, b| a + b),
            Operation::Activate { activation, x, by, .. } => {
                let active = Matrix { data: self.matrix(x).map(|x| activation.of(x)), rows: 0, columns: 0 };
                match by {
                    Some(by) => active.with(&self.matrix(by), |a, b| a * b),
                    None => active.data,
                }
            }
            Operation::Cast { x, .. } => self.matrix(x).data,
            Operation::Euler { actions, velocity, dt, strength, .. } => {
                let (actions, velocity) = (self.matrix(actions), self.matrix(velocity));
                let (dt, strength) = (self.matrix(dt).data[0], self.matrix(strength).data);
                let columns = actions.columns;
                let change = |at: usize| dt * strength[at / columns] * velocity.data[at];
                actions.data.iter().enumerate().map(|(at, action)| action + change(at)).collect()
            }
        }
    }

    fn linear(&self, operation: &Operation) -> Vec<f64> {
        let Operation::Linear { x, parts, transposed, activation, residual, .. } = operation else { return Vec::new() };
        let x = self.matrix(x);
        let mut result = Vec::new();
        let parts: Vec<(&[f64], usize, Option<Matrix>)> = parts
            .iter()
            .map(|part| {
                let weight = self.weights[part.weight].as_slice();
                (weight, weight.len() / x.columns, part.bias.as_ref().map(|bias| self.matrix(bias)))
            })
            .collect();
        for row in 0..x.rows {
            for (weight, to, bias) in &parts {
                let mut sums = bias.as_ref().map_or_else(|| vec![0.0; *to], |bias| bias.data.clone());
                if *transposed {
                    let dot = |weights: &[f64]| weights.iter().zip(x.row(row)).map(|(w, x)| w * x).sum::<f64>();
                    sums.iter_mut().zip(weight.chunks_exact(x.columns)).for_each(|(sum, weights)| *sum += dot(weights));
                } else {
                    for (x, weights) in x.row(row).iter().zip(weight.chunks_exact(*to)) {
                        sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += x * weight);
                    }
                }
                result.extend(sums.into_iter().map(|sum| activation.map_or(sum, |activation| activation.of(sum))));
            }
        }
        if let Some(residual) = residual {
            result.iter_mut().zip(self.matrix(residual).data).for_each(|(x, residual)| *x += residual);
        }
        result
    }

    fn norm(&self, operation: &Operation) -> Vec<f64> {
        let Operation::Norm { kind, x, eps, weight, bias, gain, shift, .. } = operation else { return Vec::new() };
        let x = self.matrix(x);
        let by_index = |index: &Option<usize>| index.map(|index| self.weights[index].clone());
        let by_operand = |row: &Option<Operand>| row.as_ref().map(|row| self.matrix(row).data);
        let factors = [by_index(weight), by_operand(gain)];
        let terms = [by_index(bias), by_operand(shift)];
        let mut result = Vec::with_capacity(x.data.len());
        for row in 0..x.rows {
            let mut normed = normed(*kind, x.row(row), f64::from(*eps));
            for (factor, term) in factors.iter().zip(&terms) {
                factor.iter().for_each(|factor| normed.iter_mut().zip(factor).for_each(|(x, factor)| *x *= factor));
                term.iter().for_each(|term| normed.iter_mut().zip(term).for_each(|(x, term)| *x += term));
            }
            result.extend(normed);
        }
        result
    }

    /// Rows by head: element `c` of head `h` of row `r` is `data[r][h * dim + c]`.
    fn by_head(&self, x: &ByHead, dim: usize) -> Matrix {
        if !x.heads_first {
            return self.matrix(&x.rows);
        }
        let (rows, columns) = (self.size(&x.rows.rows), x.rows.columns);
        let Source::Value(index) = x.rows.source else { return Matrix { rows: 0, columns, data: Vec::new() } };
        let data = permuted(&self.values[index], &[columns / dim, rows, dim], &[1, 0, 2]);
        Matrix { rows, columns, data }
    }

    fn attention(&self, operation: &Operation) -> Vec<f64> {
        let Operation::Attention { q, k, v, groups, heads, kv_heads, dim, scale, mask, .. } = operation else {
            return Vec::new();
        };
        let [q, k, v] = [q, k, v].map(|x| self.by_head(x, *dim));
        let (rows, keys) = (q.rows / groups, k.rows / groups);
        let mut result = vec![0.0; q.data.len()];
        for (row, out) in result.chunks_exact_mut(q.columns).enumerate() {
            let (group, place) = (row / rows, row % rows);
            let seen = if *mask == Mask::Causal { place + 1 } else { keys };
            for (head, out) in out.chunks_exact_mut(*dim).enumerate() {
                let served = head * kv_heads / heads;
                let query = &q.row(row)[head * dim..][..*dim];
                let of = |matrix: &'_ Matrix, key: usize| -> Vec<f64> {
                    matrix.row(group * keys + key)[served * dim..][..*dim].to_vec()
                };
                let score =
                    |key: usize| f64::from(*scale) * query.iter().zip(of(&k, key)).map(|(q, k)| q * k).sum::<f64>();
                let scores: Vec<f64> = (0..seen).map(score).collect();
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let shares: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                let sum: f64 = shares.iter().sum();
                for (key, share) in shares.iter().enumerate() {
                    out.iter_mut().zip(of(&v, key)).for_each(|(out, value)| *out += share / sum * value);
                }
            }
        }
        result
    }

    fn rotary(&self, operation: &Operation) -> Vec<f64> {
        let Operation::Rotary { x, dim, groups, norm, cos, sin, .. } = operation else { return Vec::new() };
        let (x, cos, sin) = (self.matrix(x), self.matrix(cos), self.matrix(sin));
        let rows = x.rows / groups;
        let mut result = Vec::with_capacity(x.data.len());
        for row in 0..x.rows {
            let (cos, sin) = (cos.row(row % rows), sin.row(row % rows));
            for head in x.row(row).chunks_exact(*dim) {
                let mut head = head.to_vec();
                if let Some((weight, eps)) = norm {
                    head = normed(NormKind::Rms, &head, f64::from(*eps));
                    head.iter_mut().zip(&self.weights[*weight]).for_each(|(x, weight)| *x *= weight);
                }
                let half = dim / 2;
                let turned = |at: usize| if at < half { -head[at + half] } else { head[at - half] };
                result.extend((0..*dim).map(|at| head[at] * cos[at] + turned(at) * sin[at]));
            }
        }
        result
    }
}

fn normed(kind: NormKind, row: &[f64], eps: f64) -> Vec<f64> {
    let count = row.len() as f64;
    let mean = match kind {
        NormKind::Layer => row.iter().sum::<f64>() / count,
        NormKind::Rms => 0.0,
    };
    let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
    row.iter().map(|x| (x - mean) / (variance + eps).sqrt()).collect()
}

/// `x` of these dimensions with axis `i` of the result being axis `order[i]`.
fn permuted(x: &[f64], dims: &[usize], order: &[usize]) -> Vec<f64> {
    let mut strides = vec![1; dims.len()];
    for axis in (0..dims.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * dims[axis + 1];
    }
    let place = |at: usize| {
        let (mut rest, mut place) = (at, 0);
        for axis in order.iter().rev() {
            place += rest % dims[*axis] * strides[*axis];
            rest /= dims[*axis];
        }
        place
    };
    (0..x.len()).map(|at| x[place(at)]).collect()
}

impl Activation {
    /// Of one number.
    pub fn of(self, x: f64) -> f64 {
        match self {
            Self::Relu => x.max(0.0),
            Self::Silu => x / (1.0 + (-x).exp()),
            Self::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                x / 2.0 * (1.0 + inner.tanh())
            }
            Self::GeluErf => x / 2.0 * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        }
    }
}

/// `2 / sqrt(pi) * exp(-x^2) * (x + 2/3 x^3 + 4/15 x^5 + ..)`: all terms have one sign.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut sum, mut term, mut n) = (0.0, x, 1.0);
    while term.abs() > 1e-18 {
        sum += term;
        term *= 2.0 * x * x / (n + 2.0);
        n += 2.0;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_has_its_known_values() {
        // Abramowitz and Stegun, table 7.1.
        for (x, expected) in [(0.0, 0.0), (0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)] {
            assert!((erf(x) - expected).abs() < 1e-10 && (erf(-x) + expected).abs() < 1e-10, "{x}: {}", erf(x));
        }
        assert!((1.0 - erf(5.9)).abs() < 1e-15 && erf(7.0) == 1.0);
    }

    #[test]
    fn axes_change_places() {
        let x: Vec<f64> = (0..6).map(f64::from).collect();
        assert_eq!(permuted(&x, &[2, 3], &[1, 0]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }
}
