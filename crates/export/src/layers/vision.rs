//! SigLIP2 vision tower, pixel unshuffle and the projector `mlp1`: pixels in, rows for the language model out.

use std::ops::Range;

use super::attention::Heads;
use super::{Net, fixed};
use crate::model::{Vision, VisionAttention};
use crate::onnx::Value;
use crate::position_table::resize_bilinear;
use crate::weights::Weight;
use crate::{Error, Model};

const TOWER: &str = "backbone.model.vision_model.vision_model";
/// Epsilon of the LayerNorm in `mlp1` (PyTorch's default).
const PROJECTOR_EPS: f32 = 1e-5;

/// Views of one size, stacked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ViewGroup {
    /// Name of the input.
    pub input: String,
    /// Number of images: one a view, or several with frames of several times.
    pub views: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

impl ViewGroup {
    /// Patches along height and width.
    fn grid(&self, vision: &Vision) -> (usize, usize) {
        (self.height / vision.patch, self.width / vision.patch)
    }

    /// Patches of all these views.
    pub fn patches(&self, vision: &Vision) -> usize {
        let (high, wide) = self.grid(vision);
        self.views * high * wide
    }

    /// Number of rows of these views for the language model.
    pub fn rows(&self, vision: &Vision) -> usize {
        let (high, wide) = self.grid(vision);
        self.views * (high / 2) * (wide / 2)
    }
}

/// Encoder layers `layers` of the vision stage. From the first on: one input a group, `[views, 3, height, width]` in
/// -1..1, else what the stage before gives. To the last: `image_rows` `[rows, language width]` of all views in order,
/// else `vision.<next layer>.<input>` `[patches, width]` of each group.
pub fn vision(
    net: &mut Net<'_>,
    model: &Model,
    groups: &[ViewGroup],
    layers: Range<usize>,
) -> Result<Vec<(String, Value)>, Error> {
    let end = layers.end;
    let encoded = tower(net, model, groups, layers)?;
    if end < model.vision.layers {
        return Ok(groups.iter().map(|group| between(end, group)).zip(encoded).collect());
    }
    let all = join(net, &encoded)?;
    net.tap("vit_out", &all)?;
    let mut rows = Vec::new();
    for (group, x) in groups.iter().zip(&encoded) {
        rows.push(net.part(format!("mlp1.{}", group.input), |net| project(net, model, group, x))?);
    }
    Ok(vec![("image_rows".to_owned(), join(net, &rows)?)])
}

/// Name of the tensor passed between stages before encoder layer `layer`.
pub fn between(layer: usize, group: &ViewGroup) -> String {
    format!("vision.{layer}.{}", group.input)
}

/// Patch embedding and encoder layers `layers`, with the last the norm behind it: `[patches, width]` of each group.
/// Inputs as in [`vision`].
pub fn tower(
    net: &mut Net<'_>,
    model: &Model,
    groups: &[ViewGroup],
    layers: Range<usize>,
) -> Result<Vec<Value>, Error> {
    let patches: Vec<usize> = groups.iter().map(|group| group.patches(&model.vision)).collect();
    let mut embedded = Vec::new();
    for (group, patches) in groups.iter().zip(&patches) {
        if layers.start > 0 {
            let name = between(layers.start, group);
            embedded.push(net.float_input(&name, &fixed([*patches, model.vision.width]))?);
            continue;
        }
        let pixels = net.float_input(&group.input, &fixed([group.views, 3, group.height, group.width]))?;
        embedded
            .push(net.part(format!("embeddings.{}", group.input), |net| embed(net, &model.vision, group, &pixels))?);
    }
    if layers.start == 0 {
        tap(net, "vit_embeddings", &embedded)?;
    }
    let mut inner: Vec<Vec<Value>> = Vec::new();
    if net.options.attention == VisionAttention::CrossView {
        let all = join(net, &embedded)?;
        let (encoded, each) = encode(net, &model.vision, &all, 1, &layers)?;
        embedded = if groups.len() == 1 { vec![encoded] } else { net.graph.split(&encoded, 0, &patches)? };
        inner.push(each);
    } else {
        for (group, x) in groups.iter().zip(&mut embedded) {
            let (encoded, each) =
                net.part(group.input.clone(), |net| encode(net, &model.vision, x, group.views, &layers))?;
            *x = encoded;
            inner.push(each);
        }
    }
    for (at, layer) in layers.enumerate() {
        let views: Vec<Value> = inner.iter().filter_map(|each| each.get(at).cloned()).collect();
        tap(net, &format!("vit_layer{layer}"), &views)?;
    }
    Ok(embedded)
}

/// [`Net::tap`] of all views joined; nothing is joined when no inner tensor is asked for.
fn tap(net: &mut Net<'_>, name: &str, views: &[Value]) -> Result<(), Error> {
    if !net.options.debug_outputs {
        return Ok(());
    }
    let all = join(net, views)?;
    net.tap(name, &all)
}

fn join(net: &mut Net<'_>, values: &[Value]) -> Result<Value, Error> {
    match values {
        [one] => Ok(one.clone()),
        many => net.graph.concat(&many.iter().collect::<Vec<_>>(), 0),
    }
}

/// Patch embedding plus positions: `[views, 3, h, w]` to `[views * patches, width]`. A patch is flattened as (row,
/// column, channel). Not a convolution, which opset 17 does not have in bf16.
fn embed(net: &mut Net<'_>, vision: &Vision, group: &ViewGroup, pixels: &Value) -> Result<Value, Error> {
    let Vision { width, patch, .. } = *vision;
    let (high, wide) = group.grid(vision);
    let cells = net.graph.reshape(pixels, &fixed([group.views, 3, high, patch, wide, patch]))?;
    let cells = net.graph.transpose(&cells, &[0, 2, 4, 3, 5, 1])?;
    let patches = net.graph.reshape(&cells, &fixed([group.views * high * wide, patch * patch * 3]))?;
    let tokens =
        net.linear(&patches, &format!("{TOWER}.embeddings.patch_embedding"), patch * patch * 3, width, true)?;

    let table = net.weights.get(&format!("{TOWER}.embeddings.position_embedding.weight"))?;
    let table = table.shaped(&[vision.table * vision.table, width])?.to_f32();
    let positions = resize_bilinear(&table, (vision.table, vision.table), width, (high, wide));
    let name = format!("positions[{high}x{wide}]");
    let positions = net.place(&Weight::computed(&name, &[high * wide, width], &positions))?;
    let tokens = net.graph.reshape(&tokens, &fixed([group.views, high * wide, width]))?;
    let tokens = net.graph.add(&tokens, &positions)?;
    net.graph.reshape(&tokens, &fixed([group.views * high * wide, width]))
}

/// Encoder layers and, after the last, the norm, on `[groups * patches, width]`. Returns the result and each layer's output.
fn encode(
    net: &mut Net<'_>,
    vision: &Vision,
    x: &Value,
    groups: usize,
    layers: &Range<usize>,
) -> Result<(Value, Vec<Value>), Error> {
    let (mut x, mut each) = (x.clone(), Vec::new());
    for index in layers.clone() {
        x = net.part(format!("layers.{index}"), |net| layer(net, vision, &x, index, groups))?;
        each.push(x.clone());
    }
    if layers.end == vision.layers {
        x = net.layer_norm(&x, &format!("{TOWER}.post_layernorm"), vision.width, vision.eps)?;
    }
    Ok((x, each))
}

fn layer(net: &mut Net<'_>, vision: &Vision, x: &Value, index: usize, groups: usize) -> Result<Value, Error> {
    let Vision { width, mlp, heads, eps, .. } = *vision;
    let name = format!("{TOWER}.encoder.layers.{index}");
    let heads = Heads { groups, count: heads, dim: width / heads };
    let normed = net.layer_norm(x, &format!("{name}.layer_norm1"), width, eps)?;
    let parts = ["q_proj", "k_proj", "v_proj"].map(|part| (part, width));
    let rows = net.linears(&normed, &format!("{name}.self_attn"), &parts, width, true)?;
    let by_head = rows.iter().map(|rows| net.split_heads(rows, heads)).collect::<Result<Vec<_>, _>>()?;
    let mixed = net.attention(&by_head[0], &by_head[1], &by_head[2], heads, None)?;
    let out = net.linear(&mixed, &format!("{name}.self_attn.out_proj"), width, width, true)?;
    let x = net.graph.add(x, &out)?;
    let normed = net.layer_norm(&x, &format!("{name}.layer_norm2"), width, eps)?;
    let inner = net.linear(&normed, &format!("{name}.mlp.fc1"), width, mlp, true)?;
    let inner = net.graph.gelu_tanh(&inner)?;
    let out = net.linear(&inner, &format!("{name}.mlp.fc2"), mlp, width, true)?;
    net.graph.add(&x, &out)
}

/// Pixel unshuffle by 2 (channel `c * 4 + row * 2 + column` of the cell) and `mlp1`: `[patches, width]` to
/// `[rows, language width]`.
pub fn project(net: &mut Net<'_>, model: &Model, group: &ViewGroup, x: &Value) -> Result<Value, Error> {
    const NAME: &str = "backbone.model.mlp1";
    let (channels, width) = (model.vision.width, model.language.width);
    let (high, wide) = group.grid(&model.vision);
    let cells = net.graph.reshape(x, &fixed([group.views, high / 2, 2, wide / 2, 2, channels]))?;
    let cells = net.graph.transpose(&cells, &[0, 1, 3, 5, 2, 4])?;
    let rows = net.graph.reshape(&cells, &fixed([group.rows(&model.vision), 4 * channels]))?;
    let normed = net.layer_norm(&rows, &format!("{NAME}.0"), 4 * channels, PROJECTOR_EPS)?;
    let inner = net.linear(&normed, &format!("{NAME}.1"), 4 * channels, width, true)?;
    let inner = net.graph.gelu_erf(&inner)?;
    net.linear(&inner, &format!("{NAME}.3"), width, width, true)
}
