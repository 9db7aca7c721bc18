//! Qwen3 decoder over text and image rows, the final RMSNorm where the head takes it, and the head's `vlln`.

use std::ops::Range;

use super::attention::Heads;
use super::rope::Rotation;
use super::{Net, fixed, vision};
use crate::model::Language;
use crate::onnx::Value;
use crate::onnx::pieces::Meaning;
use crate::weights::Weight;
use crate::{Error, Model};
use vla_base::tensor::{DType, Dim};

/// Epsilon of `vlln` (PyTorch's default).
const VLLN_EPS: f32 = 1e-5;

/// Decoder layers `layers` of the language stage. From the first on: `text_rows` `[T, width]`, `image_rows`
/// `[images, width]` and `positions` `[S]`, which says for each place of the sequence its row in text and image rows
/// joined; else what the stage before gives, and `positions` for the length alone. `deepstack_<k>` `[images, width]` of layers `k`
/// among them. To the last: `vl_embs` `[S, width]`, or `backbone_features` `[S, width]` where layers of the head follow; else
/// `language.<next layer>` `[S, width]`.
pub fn language(
    net: &mut Net<'_>,
    model: &Model,
    grids: &[(usize, usize)],
    layers: Range<usize>,
) -> Result<(String, Value), Error> {
    let language = &model.language;
    let images = rows_of(grids);
    let width = Dim::Fixed(language.width);
    let length = Dim::Symbol("S".to_owned());
    let (mut x, positions) = if layers.start == 0 {
        let text = net.float_input("text_rows", &[Dim::Symbol("T".to_owned()), width.clone()])?;
        let image = net.float_input("image_rows", &[Dim::Fixed(images), width])?;
        let positions = net.graph.input("positions", DType::I32, &[length])?;
        let rows = net.graph.concat(&[&text, &image], 0)?;
        (net.graph.gather(&rows, &positions)?, positions)
    } else {
        let x = net.float_input(&between(layers.start), &[length.clone(), width])?;
        (x, net.graph.input("positions", DType::I32, &[length])?)
    };
    let mut deepstack = Vec::new();
    for tap in taps(model, &layers) {
        let rows = net.float_input(&vision::deepstack(tap), &fixed([images, language.width]))?;
        deepstack.push((tap, rows));
    }
    if layers.start == 0 {
        net.tap("inputs_embeds", &x)?;
    }
    let most = net.options.text[2] + images;
    let sequence = Sequence { counted: &positions, most, attended: None, grids, deepstack: &deepstack };
    x = decoder(net, model, &x, sequence, layers.clone())?;
    if layers.end < language.layers {
        return Ok((between(layers.end), x));
    }
    if model.head.fusion.is_some() {
        return Ok(("backbone_features".to_owned(), x));
    }
    net.tap("backbone_features", &x)?;
    Ok(("vl_embs".to_owned(), vlln(net, model, &x)?))
}

/// Rows of images of these grids.
pub(crate) fn rows_of(grids: &[(usize, usize)]) -> usize {
    grids.iter().map(|(high, wide)| high * wide).sum()
}

/// Numbers of the rows of the vision tower that decoder layers `layers` add: layer `k` adds those with the number `k`.
pub(crate) fn taps(model: &Model, layers: &Range<usize>) -> Range<usize> {
    let end = model.vision.deepstack.len().min(layers.end);
    layers.start.min(end)..end
}

/// Name of the tensor `[S, width]` passed between stages before decoder layer `layer`.
pub fn between(layer: usize) -> String {
    format!("language.{layer}")
}

/// The sequence of [`decoder`].
#[derive(Clone, Copy)]
pub struct Sequence<'a> {
    /// A tensor `[S]` whose size is the sequence's.
    pub counted: &'a Value,
    /// Most rows.
    pub most: usize,
    /// INT32 `[S]`, 0 where a row is padding that none attends to; `None` where none is.
    pub attended: Option<&'a Value>,
    /// Rows and columns of tokens of each image, in order.
    pub grids: &'a [(usize, usize)],
    /// Rows of all images that a layer adds to its output, with the layer's number.
    pub deepstack: &'a [(usize, Value)],
}

/// Decoder layers `layers` on `[S, width]`, after the last the final norm where the head takes the rows behind it.
pub fn decoder(
    net: &mut Net<'_>,
    model: &Model,
    x: &Value,
    sequence: Sequence<'_>,
    layers: Range<usize>,
) -> Result<Value, Error> {
    let language = &model.language;
    let name = model.family.weights.decoder;
    let count = net.graph.count(sequence.counted)?;
    let mask = causal_mask(net, &count, &sequence)?;
    let images = model.family.prompt.images;
    let positions = match images {
        Some(places) => places.positions(sequence.grids, sequence.most),
        None => (0..sequence.most).map(|place| [place; 3]).collect(),
    };
    let rotation = net.rotation(language, &count, &positions)?;
    if images.is_some() {
        debug_positions(net, &count, &positions, &rotation)?;
    }
    let mut x = x.clone();
    for index in layers.clone() {
        x = net.part(format!("layers.{index}"), |net| layer(net, (language, name), &x, index, &rotation, &mask))?;
        net.tap(&format!("llm_layer{index}"), &x)?;
        let added = sequence.deepstack.iter().find(|(layer, _)| *layer == index);
        if let Some(((_, rows), places)) = added.zip(images) {
            let places = places.rows(sequence.grids.iter().map(|(high, wide)| high * wide));
            x =
                net.part(format!("deepstack.{index}"), |net| add_at(net, &x, rows, &places, (&count, sequence.most)))?;
            net.tap(&format!("llm_layer{index}_after_deepstack"), &x)?;
        }
    }
    if layers.end < language.layers || !language.final_norm {
        return Ok(x);
    }
    net.rms_norm(&x, &format!("{name}.norm"), language.width, language.eps)
}

/// Positions `[3, S]` and the table of the rotation for comparison.
fn debug_positions(
    net: &mut Net<'_>,
    count: &Value,
    positions: &[[usize; 3]],
    rotation: &Rotation,
) -> Result<(), Error> {
    if !net.options.debug_outputs {
        return Ok(());
    }
    net.tap("llm_cos", &rotation.cos)?;
    net.tap("llm_sin", &rotation.sin)?;
    let mut axes = Vec::new();
    for axis in 0..3 {
        let places: Vec<i32> =
            positions.iter().map(|position| i32::try_from(position[axis]).unwrap_or(i32::MAX)).collect();
        let table = net.graph.table_i32(&format!("position_ids.{axis}"), &places)?;
        let ids = net.graph.gather(&table, count)?;
        axes.push(net.graph.reshape(&ids, &[Dim::Fixed(1), count.dims()[0].clone()])?);
    }
    let ids = net.graph.concat(&axes.iter().collect::<Vec<_>>(), 0)?;
    net.graph.output("position_ids", &ids)
}

/// `x` `[S, width]` with `rows` added at `places`. `count` counts its rows, of which there are at most so many.
fn add_at(
    net: &mut Net<'_>,
    x: &Value,
    rows: &Value,
    places: &[usize],
    (count, most): (&Value, usize),
) -> Result<Value, Error> {
    // Row 0 is added where no image is.
    let mut table = vec![0_i32; most];
    for (row, place) in (1..).zip(places) {
        if let Some(entry) = table.get_mut(*place) {
            *entry = row;
        }
    }
    let table = net.graph.table_i32("image_places", &table)?;
    let index = net.graph.gather(&table, count)?;
    let width = match rows.dim(1) {
        Some(Dim::Fixed(width)) => *width,
        _ => 0,
    };
    let none = net.place(&Weight::computed(&format!("zeros[1x{width}]"), &[1, width], &vec![0.0; width]))?;
    let rows = net.graph.concat(&[&none, rows], 0)?;
    let spread = net.graph.gather(&rows, &index)?;
    net.graph.add(x, &spread)
}

/// The head's norm on `[S, width]`; nothing in a model without it.
pub fn vlln(net: &mut Net<'_>, model: &Model, features: &Value) -> Result<Value, Error> {
    if !model.head.vlln {
        return Ok(features.clone());
    }
    net.layer_norm(features, "action_head.vlln", model.language.width, VLLN_EPS)
}

/// Rows `[S, width]` of tokens `ids` (INT32 `[S]`) from the embedding; those of the token `image` are the image rows
/// `[images, width]` in their order. `most`: most tokens.
pub(crate) fn embed(
    net: &mut Net<'_>,
    model: &Model,
    ids: &Value,
    image_rows: &Value,
    image: i32,
    most: usize,
) -> Result<Value, Error> {
    let (language, name) = (&model.language, model.family.weights.decoder);
    let table = net.weight(&format!("{name}.embed_tokens.weight"), &[language.vocab, language.width])?;
    let text = net.graph.gather(&table, ids)?;
    let (image, one, zero) = (net.graph.scalar_i32(image)?, net.graph.scalar_i32(1)?, net.graph.scalar_i32(0)?);
    let is_image = net.graph.equal(ids, &image)?;
    let marks = net.graph.choose(&is_image, &one, &zero)?;
    let seen = running_sum(net, &marks, most)?;
    // Of a text token too, which then takes no row: one that there is.
    let before = net.graph.shift(&seen, -1)?;
    let some = net.graph.greater(&seen, &zero)?;
    let row = net.graph.choose(&some, &before, &zero)?;
    let images = net.graph.gather(image_rows, &row)?;
    let is_image = net.graph.reshape(&is_image, &[ids.dims()[0].clone(), Dim::Fixed(1)])?;
    net.graph.choose(&is_image, &images, &text)
}

/// Sums `[n]` of the INT32 `x` `[n]` up to each place, `n` at most `most`: by doubling, in whole numbers whatever
/// precision a builder chooses. TensorRT before 10 has no CumSum of integers.
fn running_sum(net: &mut Net<'_>, x: &Value, most: usize) -> Result<Value, Error> {
    let places = net.graph.count(x)?;
    let zero = net.graph.scalar_i32(0)?;
    let first = net.graph.reshape(&zero, &[Dim::Fixed(1)])?;
    let mut sum = x.clone();
    let mut width = 1;
    while width < most {
        // Place i of `padded` is place i - 1 of `sum`, and 0 before its start.
        let padded = net.graph.concat(&[&first, &sum], 0)?;
        let back = net.graph.shift(&places, 1 - i32::try_from(width).unwrap_or(i32::MAX))?;
        let inside = net.graph.greater(&back, &zero)?;
        let back = net.graph.choose(&inside, &back, &zero)?;
        let earlier = net.graph.gather(&padded, &back)?;
        sum = net.graph.add(&sum, &earlier)?;
        width *= 2;
    }
    Ok(sum)
}

/// `[S, S]`: 0 where a row may look, the type's lowest half otherwise.
fn causal_mask(net: &mut Net<'_>, count: &Value, length: &Sequence<'_>) -> Result<Value, Error> {
    let dim = count.dims()[0].clone();
    let start = net.graph.start();
    let queries = net.graph.reshape(count, &[dim.clone(), Dim::Fixed(1)])?;
    // A place that is not attended to is later than all.
    let keys = match length.attended {
        None => count.clone(),
        Some(attended) => {
            let (zero, never) = (net.graph.scalar_i32(0)?, net.graph.scalar_i32(i32::MAX)?);
            let attended = net.graph.greater(attended, &zero)?;
            net.graph.choose(&attended, count, &never)?
        }
    };
    let keys = net.graph.reshape(&keys, &[Dim::Fixed(1), dim])?;
    let later = net.graph.greater(&keys, &queries)?;
    let (hidden, visible) = net.hidden_and_visible()?;
    let mask = net.graph.choose(&later, &hidden, &visible)?;
    Ok(if length.attended.is_none() { net.graph.piece(start, Meaning::CausalMask, mask) } else { mask })
}

fn layer(
    net: &mut Net<'_>,
    (language, decoder): (&Language, &str),
    x: &Value,
    index: usize,
    rotation: &Rotation,
    mask: &Value,
) -> Result<Value, Error> {
    let Language { width, mlp, eps, .. } = *language;
    let name = format!("{decoder}.layers.{index}");
    let normed = net.rms_norm(x, &format!("{name}.input_layernorm"), width, eps)?;
    let mixed =
        net.part("attention", |net| attention(net, language, &normed, &format!("{name}.self_attn"), rotation, mask))?;
    let x = net.graph.add(x, &mixed)?;
    let normed = net.rms_norm(&x, &format!("{name}.post_attention_layernorm"), width, eps)?;
    let rows = net.linears(&normed, &format!("{name}.mlp"), &[("gate_proj", mlp), ("up_proj", mlp)], width, false)?;
    let gate = net.graph.silu(&rows[0])?;
    let inner = net.graph.mul(&gate, &rows[1])?;
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

    let parts = [("q_proj", query_heads), ("k_proj", key_heads), ("v_proj", key_heads)];
    let parts = parts.map(|(part, heads)| (part, heads.count * head_dim));
    let rows = net.linears(x, name, &parts, width, false)?;
    let q = net.norm_and_rotate(&rows[0], query_heads, (&format!("{name}.q_norm"), eps), rotation)?;
    let k = net.norm_and_rotate(&rows[1], key_heads, (&format!("{name}.k_norm"), eps), rotation)?;
    let v = net.split_heads(&rows[2], key_heads)?;
    let mixed = net.attention(&q, &k, &v, query_heads, Some(mask))?;
    net.linear(&mixed, &format!("{name}.o_proj"), language.heads * head_dim, width, false)
}
