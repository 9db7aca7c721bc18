//! Nodes of an older operator set in a newer one.

use bytes::Bytes;
use vla_engines::onnx::proto::{AttributeProto, NodeProto};

use super::draft::Draft;
use super::wire;

/// Oldest operator set with scales per channel.
pub(crate) const OLDEST: i64 = 13;
/// Operator set with scales in half precision.
pub(crate) const HALF_SCALES: i64 = 19;
/// Operator set with 4-bit integers and scales a block.
pub(crate) const BLOCKS: i64 = 21;

/// Version of the file format that an operator set needs at least.
pub(crate) const fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=18 => 8,
        19 => 9,
        _ => 10,
    }
}

/// Reductions whose axes are an input since operator set 18.
const REDUCTIONS: [&str; 9] = [
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare",
];
/// Operators whose meaning changed up to operator set 21, and the set that changed it last.
const CHANGED: [(&str, i64); 4] = [("RoiAlign", 16), ("GridSample", 20), ("DFT", 20), ("GroupNormalization", 21)];

/// Adapts a node of operator set `from` to `to`; `raw` are its bytes.
///
/// # Errors
/// Why the node has no such form.
pub(crate) fn raise(
    draft: &mut Draft<'_>,
    node: &NodeProto,
    raw: &Bytes,
    (from, to): (i64, i64),
) -> Result<Bytes, String> {
    let operator = node.op_type();
    check(node, from, to)?;
    if from >= 18 || to < 18 {
        return Ok(raw.clone());
    }
    if REDUCTIONS.contains(&operator)
        && let Some(axes) = node.attribute.iter().find(|attribute| attribute.name() == "axes")
    {
        let input = draft.axes(&axes.ints);
        let kept = wire::fields(raw)?.into_iter().filter(|field| field.tag != 5 || !is_axes(&field.value));
        let more = wire::field(1, input.as_bytes());
        return Ok(kept.map(|field| field.raw).chain([more]).collect::<Vec<_>>().concat().into());
    }
    if operator == "Split" && node.input.get(1).is_none_or(String::is_empty) {
        let parts = AttributeProto {
            name: Some("num_outputs".to_owned()),
            i: i64::try_from(node.output.len()).ok(),
            r#type: Some(2),
            ..AttributeProto::default()
        };
        return Ok([raw.clone(), wire::field(5, &prost::Message::encode_to_vec(&parts))].concat().into());
    }
    Ok(raw.clone())
}

/// Refuses operators that mean something else in the newer set, in graphs inside the node too.
fn check(node: &NodeProto, from: i64, to: i64) -> Result<(), String> {
    let operator = node.op_type();
    let changed = CHANGED.iter().find(|(name, since)| *name == operator && from < *since && to >= *since);
    if let Some((name, since)) = changed {
        return Err(format!(
            "expected operators that opset {to} has as opset {from} has them, found '{name}', which changed in {since}"
        ));
    }
    for graph in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
        for inner in &graph.node {
            let by_attribute =
                from < 18 && to >= 18 && (REDUCTIONS.contains(&inner.op_type()) || inner.op_type() == "Split");
            if by_attribute {
                return Err(format!("'{}' in a graph inside of {operator} has no form in opset {to}", inner.op_type()));
            }
            check(inner, from, to)?;
        }
    }
    Ok(())
}

fn is_axes(attribute: &Bytes) -> bool {
    let name = wire::fields(attribute).ok().and_then(|fields| fields.into_iter().find(|field| field.tag == 1));
    name.is_some_and(|name| name.value == "axes")
}
