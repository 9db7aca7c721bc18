//! `vl_self_attention`: what a model has between its language model and its head, self-attention layers in which every row attends to
//! all rows, behind the head's `vlln`.
//!
//! Formulas: NVIDIA Isaac-GR00T at commit 376ba89, `SelfAttentionTransformer`.

use std::ops::Range;

use super::Net;
use super::attention::Heads;
use super::language::vlln;
use crate::model::Fusion;
use crate::onnx::Value;
use crate::weights::Weight;
use crate::{Error, Model};
use vla_base::tensor::Dim;

const LAYERS: &str = "action_head.vl_self_attention.transformer_blocks";
/// Epsilon of its LayerNorms.
const EPS: f32 = 1e-5;

/// Layers `layers` of the fusion stage. From the first on: `backbone_features` `[S, width]` and `vlln`, else what the stage before
/// gives. To the last: `vl_embs` `[S, width]`, else `fusion.<next layer>` `[S, width]`. `images`: image rows of a sequence.
pub(crate) fn fusion(
    net: &mut Net<'_>,
    model: &Model,
    fusion: &Fusion,
    images: usize,
    layers: Range<usize>,
) -> Result<(String, Value), Error> {
    let first = layers.start == 0;
    let name = if first { "backbone_features".to_owned() } else { between(layers.start) };
    let dims = [Dim::Symbol("S".to_owned()), Dim::Fixed(model.language.width)];
    let x = net.float_input(&name, &dims)?;
    let x = if first { normed(net, model, &x)? } else { x };
    let x = encode(net, model, fusion, &x, images, layers.clone())?;
    Ok((if layers.end < fusion.layers { between(layers.end) } else { "vl_embs".to_owned() }, x))
}

/// Name of the tensor `[S, width]` passed between stages before layer `layer`.
pub(crate) fn between(layer: usize) -> String {
    format!("fusion.{layer}")
}

/// `vlln` of `features`, for comparison too.
pub(crate) fn normed(net: &mut Net<'_>, model: &Model, features: &Value) -> Result<Value, Error> {
    let x = vlln(net, model, features)?;
    net.tap("vlln_out", &x)?;
    Ok(x)
}

/// Layers `layers` on `[S, width]`.
pub(crate) fn encode(
    net: &mut Net<'_>,
    model: &Model,
    fusion: &Fusion,
    x: &Value,
    images: usize,
    layers: Range<usize>,
) -> Result<Value, Error> {
    let width = model.language.width;
    let positions = match fusion.sinusoids {
        Some(rows) => Some(sinusoids(net, x, width, (net.options.text[2] + images, rows))?),
        None => None,
    };
    let mut x = x.clone();
    for index in layers {
        x = net.part(format!("fusion.{index}"), |net| layer(net, (fusion, width), &x, index, positions.as_ref()))?;
        net.tap(&format!("vlsa_layer{index}"), &x)?;
    }
    Ok(x)
}

fn layer(
    net: &mut Net<'_>,
    (fusion, width): (&Fusion, usize),
    x: &Value,
    index: usize,
    positions: Option<&Value>,
) -> Result<Value, Error> {
    let name = format!("{LAYERS}.{index}");
    let heads = Heads { groups: 1, count: fusion.heads, dim: fusion.head_dim };
    let mut normed = net.layer_norm(x, &format!("{name}.norm1"), width, EPS)?;
    if let Some(positions) = positions {
        normed = net.graph.add(&normed, positions)?;
    }
    let parts = ["to_q", "to_k", "to_v"].map(|part| (part, width));
    let rows = net.linears(&normed, &format!("{name}.attn1"), &parts, width, true)?;
    let by_head = rows.iter().map(|rows| net.split_heads(rows, heads)).collect::<Result<Vec<_>, _>>()?;
    let mixed = net.attention(&by_head[0], &by_head[1], &by_head[2], heads, None)?;
    let out = net.linear(&mixed, &format!("{name}.attn1.to_out.0"), width, width, true)?;
    let x = net.graph.add(x, &out)?;
    let normed = net.layer_norm(&x, &format!("{name}.norm3"), width, EPS)?;
    let names = ["ff.net.0.proj", "ff.net.2"].map(|layer| format!("{name}.{layer}"));
    net.feed_forward(&x, &normed, [&names[0], &names[1]], (width, 4 * width))
}

/// `sin` and `cos` of `p * 10000^(-2i / width)` in channels `2i` and `2i + 1` of row `p`, for the rows of `x`, of which there are at
/// most so many; the vendor's table has that many rows.
fn sinusoids(net: &mut Net<'_>, x: &Value, width: usize, (most, table): (usize, usize)) -> Result<Value, Error> {
    if most > table {
        return Err(Error::Config {
            file: "config.json".to_owned(),
            key: "vl_self_attention_cfg.positional_embeddings".to_owned(),
            expected: format!(
                "prompts of at most {table} tokens (max_num_positional_embeddings) with sinusoidal positions"
            ),
            found: format!("up to {most}; give a smaller --max-text-tokens or smaller frames"),
        });
    }
    let rate = -(10_000_f64.ln() / width as f64) as f32;
    let mut values = Vec::with_capacity(most * width);
    for place in 0..most {
        for pair in 0..width / 2 {
            let angle = f64::from(place as f32 * ((2 * pair) as f32 * rate).exp());
            values.extend([angle.sin() as f32, angle.cos() as f32]);
        }
    }
    let values = net.place(&Weight::computed("fusion_positions", &[most, width], &values))?;
    let count = net.graph.count(x)?;
    net.graph.gather(&values, &count)
}
