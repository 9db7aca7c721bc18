//! Qwen3-VL's vision tower: rotary positions beside learned ones, mergers of 2x2 patches, and rows that the language model's first
//! layers take (GR00T N1.7).
//!
//! Formulas: transformers 4.57.3, `models/qwen3_vl/modeling_qwen3_vl.py`. There patches lie in groups of 2x2; here they lie row by
//! row and the mergers form the groups, which gives the same numbers: attention is per image, and a patch's position comes from tables.

use half::bf16;

use super::{DebugNames, Tower, ViewGroup};
use crate::layers::attention::Heads;
use crate::layers::rope::Rotation;
use crate::layers::{Net, fixed};
use crate::model::{RopeFrequencies, Vision};
use crate::onnx::Value;
use crate::position_table::interpolate_corners;
use crate::weights::Weight;
use crate::{Error, Model};
use vla_base::tensor::{DType, Dim};

/// The tower.
pub(crate) static TOWER: Tower = Tower {
    embed,
    rotation,
    layer,
    finish: |_, _, x| Ok(x.clone()),
    project: ("merger", |net, model, group, x| merge(net, model, group, x, "merger", Norm::EachPatch)),
    tap: |net, model, group, tap, x| {
        merge(net, model, group, x, &format!("deepstack_merger_list.{tap}"), Norm::EachGroup)
    },
    debug: DebugNames { embedded: "vit_embeddings", layer: "vit_layer", last: "vit_out", rows: Some("image_embeds") },
    vendor_order,
};

const NAMES: &str = "backbone.model.model.visual";
/// Base of the rotary frequencies.
const THETA: f32 = 10_000.0;

/// What the norm of a merger takes for a row.
#[derive(Clone, Copy)]
enum Norm {
    EachPatch,
    EachGroup,
}

/// Patch embedding plus positions: `[images, 3, h, w]` to `[images * patches, width]`. A patch is flattened as (channel, row,
/// column). The kernel spans two frames and a single frame stands for both, so its two halves are added up.
fn embed(net: &mut Net<'_>, vision: &Vision, group: &ViewGroup, pixels: &Value) -> Result<Value, Error> {
    let Vision { width, patch, .. } = *vision;
    let (high, wide) = group.grid(vision);
    let inputs = 3 * patch * patch;
    let cells = net.graph.reshape(pixels, &fixed([group.views, 3, high, patch, wide, patch]))?;
    let cells = net.graph.transpose(&cells, &[0, 2, 4, 1, 3, 5])?;
    let patches = net.graph.reshape(&cells, &fixed([group.views * high * wide, inputs]))?;
    let name = format!("{NAMES}.patch_embed.proj");
    let kernel = net.weights.get(&format!("{name}.weight"))?.shaped(&[width, 3, 2, patch, patch])?.to_f32();
    let folded = Weight::computed(&format!("{name}.weight.folded"), &[width, inputs], &fold(&kernel, patch * patch));
    let (weight, bias) = (net.place(&folded)?, net.weight(&format!("{name}.bias"), &[width])?);
    let tokens = net.graph.gemm(&patches, &weight, Some(&bias), true)?;
    tap(net, group, vision, "vit_patch", &tokens)?;

    let table = net.weights.get(&format!("{NAMES}.pos_embed.weight"))?;
    let table = table.shaped(&[vision.table * vision.table, width])?;
    let positions = interpolate_corners(&table.to_f32(), vision.table, width, (high, wide), rounding(table.dtype));
    let name = format!("positions[{high}x{wide}]");
    let positions = net.place(&Weight::computed(&name, &[high * wide, width], &positions))?;
    tap_of_image(net, group, vision, "vit_positions", &positions)?;
    let tokens = net.graph.reshape(&tokens, &fixed([group.views, high * wide, width]))?;
    let tokens = net.graph.add(&tokens, &positions)?;
    net.graph.reshape(&tokens, &fixed([group.views * high * wide, width]))
}

/// A tensor of one group for comparison, where there is only this group.
fn tap(net: &mut Net<'_>, group: &ViewGroup, vision: &Vision, name: &str, x: &Value) -> Result<(), Error> {
    if !net.options.debug_outputs || group.input.contains('.') {
        return Ok(());
    }
    let ordered = vendor_order(net, (vision, group), x)?;
    net.tap(name, &ordered)
}

/// As [`tap`], of a tensor `[patches, channels]` that is the same for every image.
fn tap_of_image(net: &mut Net<'_>, group: &ViewGroup, vision: &Vision, name: &str, x: &Value) -> Result<(), Error> {
    if !net.options.debug_outputs {
        return Ok(());
    }
    let all = net.graph.concat(&vec![x; group.views], 0)?;
    tap(net, group, vision, name, &all)
}

/// `[out, channels, 2, area]` to `[out, channels * area]`, the two added up.
fn fold(kernel: &[f32], area: usize) -> Vec<f32> {
    let pairs = kernel.chunks_exact(2 * area).map(|pair| pair.split_at(area));
    pairs.flat_map(|(first, second)| first.iter().zip(second).map(|(a, b)| a + b)).collect()
}

/// How the weights of an interpolation are rounded: to the type of the table.
fn rounding(dtype: DType) -> fn(f32) -> f32 {
    match dtype {
        DType::BF16 => |weight| bf16::from_f32(weight).to_f32(),
        DType::F16 => |weight| half::f16::from_f32(weight).to_f32(),
        _ => |weight| weight,
    }
}

/// The rotation of the patches of an image, `[patches, head_dim]`: the first half of a head's pairs turns by the patch's row, the
/// second by its column.
fn rotation(net: &mut Net<'_>, vision: &Vision, group: &ViewGroup) -> Result<Option<Rotation>, Error> {
    let (high, wide) = group.grid(vision);
    let dim = vision.width / vision.heads;
    let rounded = net.options.rope == RopeFrequencies::Bf16;
    let frequencies = frequencies(dim / 2, rounded);
    let angle = |place: usize, frequency: f32| {
        let angle = place as f32 * frequency;
        if rounded { bf16::from_f32(angle).to_f32() } else { angle }
    };
    let turn = |angle: f32, function: fn(f64) -> f64| {
        let value = function(f64::from(angle)) as f32;
        if rounded { bf16::from_f32(value).to_f32() } else { value }
    };
    let mut table = |name: &str, function: fn(f64) -> f64| {
        let mut table = Vec::with_capacity(high * wide * dim);
        for place in 0..high * wide {
            let of = |place: usize| frequencies.iter().map(move |frequency| turn(angle(place, *frequency), function));
            let half: Vec<f32> = of(place / wide).chain(of(place % wide)).collect();
            table.extend_from_slice(&half);
            table.extend_from_slice(&half);
        }
        net.place(&Weight::computed(&format!("{name}[{high}x{wide}]"), &[high * wide, dim], &table))
    };
    let (cos, sin) = (table("vision_cos", f64::cos)?, table("vision_sin", f64::sin)?);
    tap_of_image(net, group, vision, "vit_cos", &cos)?;
    tap_of_image(net, group, vision, "vit_sin", &sin)?;
    Ok(Some(Rotation { cos, sin }))
}

/// `theta^(-2i / channels)` for half as many pairs.
fn frequencies(channels: usize, rounded: bool) -> Vec<f32> {
    let frequency = |i: usize| 1.0 / f64::from(THETA).powf(f64::from((2 * i) as f32 / channels as f32)) as f32;
    let exact = (0..channels / 2).map(frequency);
    exact.map(|exact| if rounded { bf16::from_f32(exact).to_f32() } else { exact }).collect()
}

fn layer(
    net: &mut Net<'_>,
    vision: &Vision,
    x: &Value,
    index: usize,
    groups: usize,
    rotation: Option<&Rotation>,
) -> Result<Value, Error> {
    let Vision { width, mlp, heads, eps, .. } = *vision;
    let name = format!("{NAMES}.blocks.{index}");
    let heads = Heads { groups, count: heads, dim: width / heads };
    let normed = net.layer_norm(x, &format!("{name}.norm1"), width, eps)?;
    let rows = net.linear(&normed, &format!("{name}.attn.qkv"), width, 3 * width, true)?;
    let rows = net.graph.split(&rows, 1, &[width; 3])?;
    let mut by_head = rows.iter().map(|rows| net.split_heads(rows, heads)).collect::<Result<Vec<_>, _>>()?;
    if let Some(rotation) = rotation {
        for turned in by_head.iter_mut().take(2) {
            *turned = net.rotate(turned, rotation)?;
        }
    }
    let mixed = net.attention(&by_head[0], &by_head[1], &by_head[2], heads, None)?;
    let out = net.linear(&mixed, &format!("{name}.attn.proj"), width, width, true)?;
    let x = net.graph.add(x, &out)?;
    let normed = net.layer_norm(&x, &format!("{name}.norm2"), width, eps)?;
    let names = ["mlp.linear_fc1", "mlp.linear_fc2"].map(|layer| format!("{name}.{layer}"));
    net.feed_forward(&x, &normed, [&names[0], &names[1]], (width, mlp))
}

/// Groups of 2x2 patches to rows of the language model: `[patches, width]` to `[rows, language width]`. Channel
/// `(row * 2 + column) * width + c` of a group is channel `c` of one of its patches.
fn merge(
    net: &mut Net<'_>,
    model: &Model,
    group: &ViewGroup,
    x: &Value,
    name: &str,
    norm: Norm,
) -> Result<Value, Error> {
    let (name, eps) = (format!("{NAMES}.{name}"), model.vision.eps);
    let (width, out) = (model.vision.width, model.language.width);
    let x = match norm {
        Norm::EachPatch => net.layer_norm(x, &format!("{name}.norm"), width, eps)?,
        Norm::EachGroup => x.clone(),
    };
    let x = vendor_order(net, (&model.vision, group), &x)?;
    let rows = net.graph.reshape(&x, &fixed([group.rows(&model.vision), 4 * width]))?;
    let rows = match norm {
        Norm::EachPatch => rows,
        Norm::EachGroup => net.layer_norm(&rows, &format!("{name}.norm"), 4 * width, eps)?,
    };
    let inner = net.linear(&rows, &format!("{name}.linear_fc1"), 4 * width, 4 * width, true)?;
    let inner = net.graph.gelu_erf(&inner)?;
    net.linear(&inner, &format!("{name}.linear_fc2"), 4 * width, out, true)
}

/// Patches `[patches, channels]` in the vendor's order: groups of 2x2 row by row, in each its patches row by row.
fn vendor_order(net: &mut Net<'_>, (vision, group): (&Vision, &ViewGroup), x: &Value) -> Result<Value, Error> {
    let (high, wide) = group.grid(vision);
    let channels = x.dims().get(1).cloned().unwrap_or(Dim::Fixed(vision.width));
    let cells = [group.views, high / 2, 2, wide / 2, 2].map(Dim::Fixed);
    let cells = net.graph.reshape(x, &[&cells[..], std::slice::from_ref(&channels)].concat())?;
    let cells = net.graph.transpose(&cells, &[0, 1, 3, 2, 4, 5])?;
    net.graph.reshape(&cells, &[Dim::Fixed(group.patches(vision)), channels])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_frames_of_a_kernel_are_added_up() {
        // Two channels of two pixels in two frames.
        assert_eq!(fold(&[1.0, 2.0, 10.0, 20.0, 3.0, 4.0, 30.0, 40.0], 2), [11.0, 22.0, 33.0, 44.0]);
    }

    #[test]
    fn frequencies_fall_from_one() {
        let exact = frequencies(32, false);
        assert_eq!((exact.len(), exact[0]), (16, 1.0));
        assert!((exact[15] - 10_000_f32.powf(-30.0 / 32.0)).abs() < 1e-8);
        assert!(frequencies(32, true).iter().zip(&exact).any(|(rounded, exact)| rounded != exact));
    }
}
