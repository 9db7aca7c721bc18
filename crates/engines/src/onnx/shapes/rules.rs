//! One rule an operator: the outputs' sizes from the inputs' sizes.

use super::{Known, SMALL, attribute, constant, int, ints};
use crate::onnx::proto::NodeProto;

type Inputs<'k> = [Option<&'k Known>];

/// Outputs of a node in order; `None` when its operator, or an input that it needs, is unknown.
pub(crate) fn outputs(node: &NodeProto, inputs: &Inputs<'_>) -> Option<Vec<Known>> {
    let at = |index: usize| inputs.get(index).copied().flatten();
    let one = |known: Known| Some(vec![known]);
    match node.op_type() {
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Min" | "Max" | "Mod" | "Sum" | "PRelu" => {
            one(elementwise(node, inputs)?)
        }
        "And" | "Or" | "Xor" | "Equal" | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" => {
            one(Known { data_type: 9, ..elementwise(node, inputs)? })
        }
        "Where" => {
            let dims = broadcast(&broadcast(&at(0)?.dims, &at(1)?.dims)?, &at(2)?.dims)?;
            one(plain(dims, at(1)?.data_type))
        }
        "Neg"
        | "Relu"
        | "Sqrt"
        | "Sigmoid"
        | "Erf"
        | "Tanh"
        | "Softmax"
        | "LogSoftmax"
        | "LayerNormalization"
        | "Exp"
        | "Log"
        | "Cos"
        | "Sin"
        | "Not"
        | "Abs"
        | "Clip"
        | "Floor"
        | "Ceil"
        | "Round"
        | "Sign"
        | "Gelu"
        | "HardSigmoid"
        | "HardSwish"
        | "Reciprocal"
        | "Dropout"
        | "Softplus"
        | "LeakyRelu"
        | "Elu"
        | "CumSum"
        | "ScatterElements"
        | "ScatterND"
        | "Trilu"
        | "RMSNormalization"
        | "SimplifiedLayerNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "BatchNormalization" => one(plain(at(0)?.dims.clone(), at(0)?.data_type)),
        "Identity" => one(at(0)?.clone()),
        "Cast" => one(Known { data_type: i32::try_from(int(node, "to", 1)).ok()?, ..at(0)?.clone() }),
        "QuantizeLinear" => {
            let wanted = i32::try_from(int(node, "output_dtype", 0)).ok().filter(|code| *code != 0).unwrap_or(2);
            one(plain(at(0)?.dims.clone(), at(2).map_or(wanted, |zero| zero.data_type)))
        }
        "DequantizeLinear" => one(plain(at(0)?.dims.clone(), at(1)?.data_type)),
        "Constant" => one(constant(attribute(node, "value")?.t.as_ref()?)),
        "ConstantOfShape" => one(plain(sizes(at(0)?.ints.as_ref()?)?, constant_type(node))),
        "Shape" => one(shape(at(0)?)),
        "Range" => one(range(at(0)?, at(1)?, at(2)?)?),
        "MatMul" => one(plain(matmul(&at(0)?.dims, &at(1)?.dims)?, at(0)?.data_type)),
        "Gemm" => one(plain(gemm(node, &at(0)?.dims, &at(1)?.dims)?, at(0)?.data_type)),
        "Conv" => one(plain(conv(node, &at(0)?.dims, &at(1)?.dims)?, at(0)?.data_type)),
        "Reshape" => one(reshape(node, at(0)?, at(1)?)?),
        "Flatten" => one(flatten(node, at(0)?)?),
        "Transpose" => one(transpose(node, at(0)?)?),
        "Concat" => one(concat(node, inputs)?),
        "Split" => split(node, at(0)?, at(1)),
        "Slice" => one(slice(at(0)?, at(1)?, at(2)?, at(3), at(4))?),
        "Gather" => one(gather(node, at(0)?, at(1)?)?),
        "Expand" => one(plain(broadcast(&at(0)?.dims, &sizes(at(1)?.ints.as_ref()?)?)?, at(0)?.data_type)),
        "Unsqueeze" => one(unsqueeze(node, at(0)?, at(1))?),
        "Squeeze" => one(squeeze(node, at(0)?, at(1))?),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceL2" => one(reduce(node, at(0)?, at(1))?),
        "Tile" => {
            let times = sizes(at(1)?.ints.as_ref()?)?;
            let dims = at(0)?.dims.iter().zip(&times).map(|(dim, times)| dim.checked_mul(*times));
            one(plain(dims.collect::<Option<_>>()?, at(0)?.data_type))
        }
        _ => None,
    }
}

fn plain(dims: Vec<usize>, data_type: i32) -> Known {
    Known { dims, data_type, ints: None }
}

fn sizes(ints: &[i64]) -> Option<Vec<usize>> {
    ints.iter().map(|n| usize::try_from(*n).ok()).collect()
}

/// Place of an axis that may count from the end.
fn axis(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(rank)? } else { axis };
    (0..rank).contains(&axis).then(|| usize::try_from(axis).ok()).flatten()
}

pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let of = |dims: &[usize], place: usize| (place + dims.len()).checked_sub(rank).map_or(1, |at| dims[at]);
    (0..rank)
        .map(|place| match (of(a, place), of(b, place)) {
            (a, b) if a == b => Some(a),
            (1, n) | (n, 1) => Some(n),
            _ => None,
        })
        .collect()
}

/// Also follows shape arithmetic, where both sides are known integers.
fn elementwise(node: &NodeProto, inputs: &Inputs<'_>) -> Option<Known> {
    let first = inputs.first().copied().flatten()?;
    let mut known = first.clone();
    for next in &inputs[1..] {
        let next = (*next)?;
        let ints = match (&known.ints, &next.ints) {
            (Some(a), Some(b)) if a.len() == b.len() || b.len() == 1 || a.len() == 1 => {
                arithmetic(node.op_type(), a, b)
            }
            _ => None,
        };
        known = Known { dims: broadcast(&known.dims, &next.dims)?, data_type: first.data_type, ints };
    }
    Some(known)
}

fn arithmetic(operator: &str, a: &[i64], b: &[i64]) -> Option<Vec<i64>> {
    let pair = |i: usize| Some((*a.get(i).or(a.first())?, *b.get(i).or(b.first())?));
    (0..a.len().max(b.len()))
        .map(|i| {
            let (a, b) = pair(i)?;
            match operator {
                "Add" => a.checked_add(b),
                "Sub" => a.checked_sub(b),
                "Mul" => a.checked_mul(b),
                "Div" => a.checked_div(b),
                _ => None,
            }
        })
        .collect()
}

fn constant_type(node: &NodeProto) -> i32 {
    attribute(node, "value").and_then(|value| value.t.as_ref()).map_or(1, |tensor| tensor.data_type())
}

fn shape(x: &Known) -> Known {
    let ints = x.dims.iter().map(|n| i64::try_from(*n).ok()).collect();
    Known { dims: vec![x.dims.len()], data_type: 7, ints }
}

fn range(start: &Known, limit: &Known, delta: &Known) -> Option<Known> {
    let first = |known: &Known| known.ints.as_ref().and_then(|ints| ints.first().copied());
    let (start, end, delta) = (first(start)?, first(limit)?, first(delta)?);
    let count = end.checked_sub(start)?.checked_add(delta)?.checked_sub(delta.signum())?.checked_div(delta)?;
    Some(plain(vec![usize::try_from(count).unwrap_or(0)], limit.data_type))
}

fn matmul(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let (Some((&k, front_a)), Some(&inner)) = (a.split_last(), b.get(b.len().saturating_sub(2))) else { return None };
    if a.len() < 2 || b.len() < 2 || k != inner {
        return None;
    }
    let (m, batch_a) = front_a.split_last()?;
    let mut dims = broadcast(batch_a, &b[..b.len() - 2])?;
    dims.extend([*m, *b.last()?]);
    Some(dims)
}

fn gemm(node: &NodeProto, a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let ([a0, a1], [b0, b1]) = (a, b) else { return None };
    let m = if int(node, "transA", 0) == 1 { a1 } else { a0 };
    let n = if int(node, "transB", 0) == 1 { b0 } else { b1 };
    Some(vec![*m, *n])
}

fn conv(node: &NodeProto, x: &[usize], w: &[usize]) -> Option<Vec<usize>> {
    let spatial = x.len().checked_sub(2).filter(|n| *n > 0 && w.len() == x.len())?;
    let of = |name: &str, at: usize, otherwise: i64| ints(node, name).get(at).copied().unwrap_or(otherwise);
    let auto = attribute(node, "auto_pad").and_then(|pad| pad.s.as_deref()).unwrap_or(b"NOTSET");
    let mut dims = vec![x[0], w[0]];
    for axis in 0..spatial {
        let (size, kernel) = (i64::try_from(x[2 + axis]).ok()?, i64::try_from(w[2 + axis]).ok()?);
        let (stride, dilation) = (of("strides", axis, 1), of("dilations", axis, 1));
        let pads = if auto == b"NOTSET" { of("pads", axis, 0).checked_add(of("pads", axis + spatial, 0))? } else { 0 };
        let field = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
        let out = if auto.starts_with(b"SAME") {
            size.checked_add(stride)?.checked_sub(1)?.checked_div(stride)?
        } else {
            size.checked_add(pads)?.checked_sub(field)?.checked_div(stride)?.checked_add(1)?
        };
        dims.push(usize::try_from(out).ok()?);
    }
    Some(dims)
}

fn reshape(node: &NodeProto, x: &Known, to: &Known) -> Option<Known> {
    let wanted = to.ints.as_ref()?;
    let mut dims = Vec::with_capacity(wanted.len());
    for (place, n) in wanted.iter().enumerate() {
        dims.push(match *n {
            0 if int(node, "allowzero", 0) == 0 => *x.dims.get(place)?,
            // Filled in below.
            -1 => 1,
            n => usize::try_from(n).ok()?,
        });
    }
    if let Some(open) = wanted.iter().position(|n| *n == -1) {
        let others = dims.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim as u64))?;
        dims[open] = usize::try_from(x.elements().checked_div(others)?).ok()?;
    }
    Some(Known { dims, data_type: x.data_type, ints: x.ints.clone() })
}

fn flatten(node: &NodeProto, x: &Known) -> Option<Known> {
    let at = int(node, "axis", 1);
    let at = if at == i64::try_from(x.dims.len()).ok()? { x.dims.len() } else { axis(at, x.dims.len())? };
    let product = |dims: &[usize]| dims.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim));
    Some(plain(vec![product(&x.dims[..at])?, product(&x.dims[at..])?], x.data_type))
}

fn transpose(node: &NodeProto, x: &Known) -> Option<Known> {
    let order = ints(node, "perm");
    let dims = if order.is_empty() {
        x.dims.iter().rev().copied().collect()
    } else {
        order.iter().map(|at| x.dims.get(usize::try_from(*at).ok()?).copied()).collect::<Option<_>>()?
    };
    Some(plain(dims, x.data_type))
}

fn concat(node: &NodeProto, inputs: &Inputs<'_>) -> Option<Known> {
    let all = inputs.iter().copied().collect::<Option<Vec<_>>>()?;
    let first = *all.first()?;
    let along = axis(int(node, "axis", 0), first.dims.len())?;
    let mut dims = first.dims.clone();
    let sizes = all.iter().map(|known| known.dims.get(along).copied());
    dims[along] = sizes.collect::<Option<Vec<_>>>()?.iter().try_fold(0usize, |sum, n| sum.checked_add(*n))?;
    let ints = all.iter().map(|known| known.ints.clone()).collect::<Option<Vec<_>>>().map(|all| all.concat());
    Some(Known { dims, data_type: first.data_type, ints: ints.filter(|ints| ints.len() <= SMALL) })
}

fn split(node: &NodeProto, x: &Known, given: Option<&Known>) -> Option<Vec<Known>> {
    let along = axis(int(node, "axis", 0), x.dims.len())?;
    let parts = node.output.len().max(1);
    let given = match given.map(|known| known.ints.as_ref()) {
        Some(ints) => sizes(ints?)?,
        None if !ints(node, "split").is_empty() => sizes(ints(node, "split"))?,
        None => vec![x.dims[along].div_ceil(parts); parts],
    };
    let part = |size: usize| {
        let mut dims = x.dims.clone();
        dims[along] = size;
        plain(dims, x.data_type)
    };
    Some(given.into_iter().take(parts).map(part).collect())
}

fn slice(x: &Known, starts: &Known, ends: &Known, axes: Option<&Known>, steps: Option<&Known>) -> Option<Known> {
    let (starts, ends) = (starts.ints.as_ref()?, ends.ints.as_ref()?);
    let counted: Vec<i64> = (0..i64::try_from(starts.len()).ok()?).collect();
    let axes = axes.map_or(Some(&counted), |axes| axes.ints.as_ref())?;
    let mut dims = x.dims.clone();
    let mut ints = x.ints.clone();
    for (place, along) in axes.iter().enumerate() {
        let along = axis(*along, dims.len())?;
        let step = steps.map_or(Some(1), |steps| steps.ints.as_ref().and_then(|ints| ints.get(place).copied()))?;
        let size = i64::try_from(dims[along]).ok()?;
        let clamp = |at: i64| if at < 0 { at.saturating_add(size) } else { at }.clamp(0, size);
        let (from, to) = (clamp(*starts.get(place)?), clamp(*ends.get(place)?));
        // A negative step runs backwards over the same number of elements at most.
        let span = if step > 0 { to.saturating_sub(from) } else { size };
        let count = span.max(0).checked_add(step.checked_abs()?)?.checked_sub(1)?.checked_div(step.checked_abs()?)?;
        dims[along] = usize::try_from(count).ok()?;
        let whole = |ints: Vec<i64>| {
            let (from, to) = (usize::try_from(from).ok()?, usize::try_from(to).ok()?);
            ints.get(from..to).map(<[i64]>::to_vec)
        };
        ints = ints.filter(|_| step == 1 && x.dims.len() == 1).and_then(whole);
    }
    Some(Known { dims, data_type: x.data_type, ints })
}

fn gather(node: &NodeProto, x: &Known, index: &Known) -> Option<Known> {
    let along = axis(int(node, "axis", 0), x.dims.len())?;
    let dims = [&x.dims[..along], &index.dims, &x.dims[along + 1..]].concat();
    let pick = |(table, places): (&Vec<i64>, &Vec<i64>)| {
        let at = |place: &i64| axis(*place, table.len()).and_then(|at| table.get(at).copied());
        places.iter().map(at).collect::<Option<Vec<_>>>()
    };
    let ints = x.ints.as_ref().zip(index.ints.as_ref()).filter(|_| x.dims.len() == 1).and_then(pick);
    Some(Known { dims, data_type: x.data_type, ints })
}

/// Axes from the second input (opset 13 and later) or from the attribute.
fn axes(node: &NodeProto, given: Option<&Known>) -> Option<Vec<i64>> {
    match given {
        Some(known) => known.ints.clone(),
        None => Some(ints(node, "axes").to_vec()),
    }
}

fn unsqueeze(node: &NodeProto, x: &Known, given: Option<&Known>) -> Option<Known> {
    let axes = axes(node, given)?;
    let rank = x.dims.len() + axes.len();
    let mut new = axes.iter().map(|at| axis(*at, rank)).collect::<Option<Vec<_>>>()?;
    new.sort_unstable();
    let mut dims = x.dims.clone();
    for at in new {
        dims.insert(at.min(dims.len()), 1);
    }
    Some(Known { dims, data_type: x.data_type, ints: x.ints.clone() })
}

fn squeeze(node: &NodeProto, x: &Known, given: Option<&Known>) -> Option<Known> {
    let axes = axes(node, given)?;
    let gone = axes.iter().map(|at| axis(*at, x.dims.len())).collect::<Option<Vec<_>>>()?;
    let stays = |(at, dim): &(usize, &usize)| if axes.is_empty() { **dim != 1 } else { !gone.contains(at) };
    let dims = x.dims.iter().enumerate().filter(stays).map(|(_, dim)| *dim).collect();
    Some(Known { dims, data_type: x.data_type, ints: x.ints.clone() })
}

fn reduce(node: &NodeProto, x: &Known, given: Option<&Known>) -> Option<Known> {
    let axes = axes(node, given)?;
    let gone = axes.iter().map(|at| axis(*at, x.dims.len())).collect::<Option<Vec<_>>>()?;
    let keep = int(node, "keepdims", 1) == 1;
    let of = |(at, dim): (usize, &usize)| match (axes.is_empty() || gone.contains(&at), keep) {
        (false, _) => Some(*dim),
        (true, true) => Some(1),
        (true, false) => None,
    };
    Some(plain(x.dims.iter().enumerate().filter_map(of).collect(), x.data_type))
}
