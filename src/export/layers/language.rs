//! Qwen3 decoder over text and image rows, final RMSNorm, and the head's `vlln`.

use std::ops::Range;

use super::Net;
use super::attention::Heads;
use super::rope::Rotation;
use crate::export::model::Language;
use crate::export::onnx::Value;
use crate::export::{Error, Model};
use crate::tensor::{DType, Dim};

const DECODER: &str = "backbone.model.language_model.model";
/// Epsilon of `vlln` (PyTorch's default).
const VLLN_EPS: f32 = 1e-5;

/// Decoder layers `layers` of the language stage. From the first on: `text_rows` `[T, width]`, `image_rows`
/// `[images, width]` and `positions` `[S]`, which says for each place of the sequence its row in text and image rows
/// joined; else what the stage before gives, and `positions` for the length alone. To the last: `vl_embs` `[S, width]`,
/// else `language.<next layer>` `[S, width]`.
pub fn language(
    net: &mut Net<'_>,
    model: &Model,
    images: usize,
    layers: Range<usize>,
) -> Result<(String, Value), Error> {
    let language = &model.language;
    let width = Dim::Fixed(language.width);
    let length = Dim::Symbol("S".to_owned());
    let inner = |layer: usize| format!("language.{layer}");
    let (mut x, positions) = if layers.start == 0 {
        let text = net.float_input("text_rows", &[Dim::Symbol("T".to_owned()), width.clone()])?;
        let image = net.float_input("image_rows", &[Dim::Fixed(images), width])?;
        let positions = net.graph.input("positions", DType::I32, &[length])?;
        let rows = net.graph.concat(&[&text, &image], 0)?;
        (net.graph.gather(&rows, &positions)?, positions)
    } else {
        let x = net.float_input(&inner(layers.start), &[length.clone(), width])?;
        (x, net.graph.input("positions", DType::I32, &[length])?)
    };
    let count = net.graph.count(&positions)?;
    let mask = causal_mask(net, &count)?;
    let rotation = net.rotation(language, &count, net.options.text[2] + images)?;
    for index in layers.clone() {
        x = net.part(format!("layers.{index}"), |net| layer(net, language, &x, index, &rotation, &mask))?;
    }
    if layers.end < language.layers {
        return Ok((inner(layers.end), x));
    }
    let features = net.rms_norm(&x, &format!("{DECODER}.norm"), language.width, language.eps)?;
    net.tap("backbone_features", &features)?;
    if !model.head.vlln {
        return Ok(("vl_embs".to_owned(), features));
    }
    Ok(("vl_embs".to_owned(), net.layer_norm(&features, "action_head.vlln", language.width, VLLN_EPS)?))
}

/// `[S, S]`: 0 where a row may look, the type's lowest half otherwise.
fn causal_mask(net: &mut Net<'_>, count: &Value) -> Result<Value, Error> {
    let dim = count.dims()[0].clone();
    let queries = net.graph.reshape(count, &[dim.clone(), Dim::Fixed(1)])?;
    let keys = net.graph.reshape(count, &[Dim::Fixed(1), dim])?;
    let later = net.graph.greater(&keys, &queries)?;
    let dtype = net.dtype();
    let lowest = if net.graph.storage(dtype) == DType::F16 { -32_752.0 } else { f32::MIN / 2.0 };
    let hidden = net.graph.scalar(lowest, dtype)?;
    let visible = net.graph.scalar(0.0, dtype)?;
    net.graph.choose(&later, &hidden, &visible)
}

fn layer(
    net: &mut Net<'_>,
    language: &Language,
    x: &Value,
    index: usize,
    rotation: &Rotation,
    mask: &Value,
) -> Result<Value, Error> {
    let Language { width, mlp, eps, .. } = *language;
    let name = format!("{DECODER}.layers.{index}");
    let normed = net.rms_norm(x, &format!("{name}.input_layernorm"), width, eps)?;
    let mixed =
        net.part("attention", |net| attention(net, language, &normed, &format!("{name}.self_attn"), rotation, mask))?;
    let x = net.graph.add(x, &mixed)?;
    let normed = net.rms_norm(&x, &format!("{name}.post_attention_layernorm"), width, eps)?;
    let gate = net.linear(&normed, &format!("{name}.mlp.gate_proj"), width, mlp, false)?;
    let gate = net.graph.silu(&gate)?;
    let up = net.linear(&normed, &format!("{name}.mlp.up_proj"), width, mlp, false)?;
    let inner = net.graph.mul(&gate, &up)?;
    let out = net.linear(&inner, &format!("{name}.mlp.down_proj"), mlp, width, false)?;
    net.graph.add(&x, &out)
}

/// Grouped-query attention with per-head RMSNorm of queries and keys before the rotation.
fn attention(
    net: &mut Net<'_>,
    language: &Language,
    x: &Value,
    name: &str,
    rotation: &Rotation,
    mask: &Value,
) -> Result<Value, Error> {
    let Language { width, head_dim, eps, .. } = *language;
    let query_heads = Heads { groups: 1, count: language.heads, dim: head_dim };
    let key_heads = Heads { groups: 1, count: language.kv_heads, dim: head_dim };

    let mut turned = |part: &str, heads: Heads| {
        let rows = net.linear(x, &format!("{name}.{part}_proj"), width, heads.count * head_dim, false)?;
        let by_head = net.by_head(&rows, heads)?;
        let normed = net.rms_norm(&by_head, &format!("{name}.{part}_norm"), head_dim, eps)?;
        let heads_first = net.graph.transpose(&normed, &[0, 2, 1, 3])?;
        net.rotate(&heads_first, rotation)
    };
    let q = turned("q", query_heads)?;
    let k = turned("k", key_heads)?;
    let v = net.linear(x, &format!("{name}.v_proj"), width, key_heads.count * head_dim, false)?;
    let v = net.to_heads(&v, key_heads)?;
    let (k, v) = (repeat(net, language, &k)?, repeat(net, language, &v)?);
    let mixed = net.attention(&q, &k, &v, query_heads, Some(mask))?;
    net.linear(&mixed, &format!("{name}.o_proj"), language.heads * head_dim, width, false)
}

/// Each key or value head once for every query head that it serves.
fn repeat(net: &mut Net<'_>, language: &Language, x: &Value) -> Result<Value, Error> {
    let Language { heads, kv_heads, head_dim, .. } = *language;
    if heads == kv_heads {
        return Ok(x.clone());
    }
    let rows = x.dims()[2].clone();
    let shape =
        |copies: usize| [Dim::Fixed(1), Dim::Fixed(kv_heads), Dim::Fixed(copies), rows.clone(), Dim::Fixed(head_dim)];
    let single = net.graph.reshape(x, &shape(1))?;
    let copies = net.graph.expand(&single, &shape(heads / kv_heads))?;
    net.graph.reshape(&copies, &[Dim::Fixed(1), Dim::Fixed(heads), rows, Dim::Fixed(head_dim)])
}
