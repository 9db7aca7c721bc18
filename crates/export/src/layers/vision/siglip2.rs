//! SigLIP2 with learned positions, pixel unshuffle and the projector `mlp1` (GR00T N1.6).

use super::{DebugNames, Tower, ViewGroup};
use crate::layers::attention::Heads;
use crate::layers::rope::Rotation;
use crate::layers::{Net, fixed};
use crate::model::Vision;
use crate::onnx::Value;
use crate::position_table::resize_bilinear;
use crate::weights::Weight;
use crate::{Error, Model};

/// The tower.
pub(crate) static TOWER: Tower = Tower {
    embed,
    rotation: |_, _, _| Ok(None),
    layer,
    finish: |net, vision, x| net.layer_norm(x, &format!("{NAMES}.post_layernorm"), vision.width, vision.eps),
    project: ("mlp1", project),
    tap: |_, _, _, _, x| Ok(x.clone()),
    debug: DebugNames { embedded: "vit_embeddings", layer: "vit_layer", last: "vit_out", rows: None },
    vendor_order: |_, _, x| Ok(x.clone()),
};

const NAMES: &str = "backbone.model.vision_model.vision_model";
/// Epsilon of the LayerNorm in `mlp1` (PyTorch's default).
const PROJECTOR_EPS: f32 = 1e-5;

/// Patch embedding plus positions: `[views, 3, h, w]` to `[views * patches, width]`. A patch is flattened as (row,
/// column, channel). Not a convolution, which opset 17 does not have in bf16.
fn embed(net: &mut Net<'_>, vision: &Vision, group: &ViewGroup, pixels: &Value) -> Result<Value, Error> {
    let Vision { width, patch, .. } = *vision;
    let (high, wide) = group.grid(vision);
    let cells = net.graph.reshape(pixels, &fixed([group.views, 3, high, patch, wide, patch]))?;
    let cells = net.graph.transpose(&cells, &[0, 2, 4, 3, 5, 1])?;
    let patches = net.graph.reshape(&cells, &fixed([group.views * high * wide, patch * patch * 3]))?;
    let tokens =
        net.linear(&patches, &format!("{NAMES}.embeddings.patch_embedding"), patch * patch * 3, width, true)?;

    let table = net.weights.get(&format!("{NAMES}.embeddings.position_embedding.weight"))?;
    let table = table.shaped(&[vision.table * vision.table, width])?.to_f32();
    let positions = resize_bilinear(&table, (vision.table, vision.table), width, (high, wide));
    let name = format!("positions[{high}x{wide}]");
    let positions = net.place(&Weight::computed(&name, &[high * wide, width], &positions))?;
    let tokens = net.graph.reshape(&tokens, &fixed([group.views, high * wide, width]))?;
    let tokens = net.graph.add(&tokens, &positions)?;
    net.graph.reshape(&tokens, &fixed([group.views * high * wide, width]))
}

fn layer(
    net: &mut Net<'_>,
    vision: &Vision,
    x: &Value,
    index: usize,
    groups: usize,
    _: Option<&Rotation>,
) -> Result<Value, Error> {
    let Vision { width, mlp, heads, eps, .. } = *vision;
    let name = format!("{NAMES}.encoder.layers.{index}");
    let heads = Heads { groups, count: heads, dim: width / heads };
    let normed = net.layer_norm(x, &format!("{name}.layer_norm1"), width, eps)?;
    let parts = ["q_proj", "k_proj", "v_proj"].map(|part| (part, width));
    let rows = net.linears(&normed, &format!("{name}.self_attn"), &parts, width, true)?;
    let by_head = rows.iter().map(|rows| net.split_heads(rows, heads)).collect::<Result<Vec<_>, _>>()?;
    let mixed = net.attention(&by_head[0], &by_head[1], &by_head[2], heads, None)?;
    let out = net.linear(&mixed, &format!("{name}.self_attn.out_proj"), width, width, true)?;
    let x = net.graph.add(x, &out)?;
    let normed = net.layer_norm(&x, &format!("{name}.layer_norm2"), width, eps)?;
    let names = ["mlp.fc1", "mlp.fc2"].map(|layer| format!("{name}.{layer}"));
    net.feed_forward(&x, &normed, [&names[0], &names[1]], (width, mlp))
}

/// Pixel unshuffle by 2 (channel `c * 4 + row * 2 + column` of the cell) and `mlp1`: `[patches, width]` to
/// `[rows, language width]`.
fn project(net: &mut Net<'_>, model: &Model, group: &ViewGroup, x: &Value) -> Result<Value, Error> {
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
