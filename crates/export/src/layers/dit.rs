//! AlternateVLDiT: its blocks, and the whole of it as one network with the vendor's inputs.

use super::Net;
use super::attention::Heads;
use super::step_constants::{TIME_CHANNELS, dit_times};
use crate::model::{Attends, Head};
use crate::onnx::Value;
use crate::weights::Weight;
use crate::{Error, Model};
use vla_base::tensor::Dim;

/// Prefix of the DiT's weights.
pub(crate) const DIT: &str = "action_head.model";
/// Epsilon of the norms inside the blocks.
const BLOCK_EPS: f32 = 1e-5;
/// Epsilon of the norm before the output projection.
const OUTPUT_EPS: f32 = 1e-6;

/// Adaptive gain `1 + scale` and shift of a norm.
pub enum Modulation<'a> {
    /// Row `row` of a table and the next one.
    Rows {
        /// `[rows, width]`
        table: &'a Value,
        /// Row of the gain.
        row: usize,
    },
    /// `[1, width]` each.
    Values {
        /// `1 + scale`
        gain: Value,
        /// shift
        shift: Value,
    },
}

/// Where the keys and values of a block come from.
pub enum Keys<'a> {
    /// The block's own tokens.
    Own,
    /// Made before: `[1, heads, rows, head_dim]` each.
    Made(&'a Value, &'a Value),
    /// Rows `[rows, channels]` of another network, and what a mask adds to their scores.
    Rows {
        /// The rows.
        rows: &'a Value,
        /// Their channels.
        channels: usize,
        /// `[1, rows]`
        mask: &'a Value,
    },
}

/// One block on `[tokens, width]`.
pub fn block(
    net: &mut Net<'_>,
    head: &Head,
    x: &Value,
    index: usize,
    modulation: &Modulation<'_>,
    keys: &Keys<'_>,
) -> Result<Value, Error> {
    let name = format!("{DIT}.transformer_blocks.{index}");
    let width = head.width;
    let heads = Heads { groups: 1, count: head.heads, dim: head.head_dim };
    let normed = modulated(net, x, width, BLOCK_EPS, modulation)?;
    let mut project = |rows: &Value, channels: usize, parts: &[&str]| {
        let parts: Vec<_> = parts.iter().map(|part| (*part, width)).collect();
        let rows = net.linears(rows, &format!("{name}.attn1"), &parts, channels, true)?;
        rows.iter().map(|rows| net.split_heads(rows, heads)).collect::<Result<Vec<_>, _>>()
    };
    let mixed = match keys {
        Keys::Made(k, v) => {
            let q = project(&normed, width, &["to_q"])?;
            net.attention(&q[0], k, v, heads, None)?
        }
        Keys::Own => {
            let own = project(&normed, width, &["to_q", "to_k", "to_v"])?;
            net.attention(&own[0], &own[1], &own[2], heads, None)?
        }
        Keys::Rows { rows, channels, mask } => {
            let q = project(&normed, width, &["to_q"])?;
            let made = project(rows, *channels, &["to_k", "to_v"])?;
            net.attention(&q[0], &made[0], &made[1], heads, Some(mask))?
        }
    };
    let out = net.linear(&mixed, &format!("{name}.attn1.to_out.0"), width, width, true)?;
    let x = net.graph.add(x, &out)?;
    let normed = net.plain_norm(&x, width, BLOCK_EPS)?;
    let names = ["ff.net.0.proj", "ff.net.2"].map(|layer| format!("{name}.{layer}"));
    let x = net.feed_forward(&x, &normed, [&names[0], &names[1]], (width, head.feed_forward()))?;
    net.tap(&format!("block{index}"), &x)?;
    Ok(x)
}

/// `norm(x) * (1 + scale) + shift`
fn modulated(
    net: &mut Net<'_>,
    x: &Value,
    width: usize,
    eps: f32,
    modulation: &Modulation<'_>,
) -> Result<Value, Error> {
    let normed = net.plain_norm(x, width, eps)?;
    let (gain, shift) = match modulation {
        Modulation::Rows { table, row } => (net.graph.row(table, *row)?, net.graph.row(table, *row + 1)?),
        Modulation::Values { gain, shift } => (gain.clone(), shift.clone()),
    };
    let scaled = net.graph.mul(&normed, &gain)?;
    net.graph.add(&scaled, &shift)
}

/// Output projection of `[tokens, width]` to `[tokens, output]`.
pub(crate) fn project_out(
    net: &mut Net<'_>,
    head: &Head,
    x: &Value,
    modulation: &Modulation<'_>,
) -> Result<Value, Error> {
    let normed = modulated(net, x, head.width, OUTPUT_EPS, modulation)?;
    net.linear(&normed, &format!("{DIT}.proj_out_2"), head.width, head.output, true)
}

/// What the whole DiT reads.
pub struct Inputs {
    /// State and action tokens `[tokens, width]`.
    pub tokens: Value,
    /// `[S, channels]`
    pub vl_embs: Value,
    /// Time bucket, INT32 `[1]`.
    pub timestep: Value,
    /// INT32 `[S]`: 1 for the rows of images.
    pub image_mask: Value,
    /// INT32 `[S]`: 0 for padding.
    pub attention_mask: Value,
}

/// The whole DiT: `[tokens, output]`.
pub fn dit(net: &mut Net<'_>, model: &Model, inputs: &Inputs) -> Result<Value, Error> {
    let head = &model.head;
    let embedded = net.part("timestep_encoder", |net| embed_time(net, head, &inputs.timestep))?;
    let (text, image) = net.part("masks", |net| masks(net, inputs))?;
    let all =
        if head.alternate { None } else { Some(net.part("masks.all", |net| mask_of(net, &inputs.attention_mask))?) };
    let mut x = inputs.tokens.clone();
    for index in 0..head.blocks {
        x = net.part(format!("block.{index}"), |net| {
            let name = format!("{DIT}.transformer_blocks.{index}.norm1.linear");
            // Scale first in the blocks, shift first at the output.
            let [scale, shift] = halves(net, head, &embedded, &name)?;
            let modulation = Modulation::Values { gain: gain(net, &scale)?, shift };
            let mask = match head.attends(index) {
                Attends::Text => Some(&text),
                Attends::Image => Some(&image),
                Attends::All => all.as_ref(),
                Attends::Own => None,
            };
            let rows = |mask| Keys::Rows { rows: &inputs.vl_embs, channels: model.language.width, mask };
            block(net, head, &x, index, &modulation, &mask.map_or(Keys::Own, rows))
        })?;
    }
    net.part("output", |net| {
        let [shift, scale] = halves(net, head, &embedded, &format!("{DIT}.proj_out_1"))?;
        let modulation = Modulation::Values { gain: gain(net, &scale)?, shift };
        project_out(net, head, &x, &modulation)
    })
}

/// `silu(temb)` `[1, width]` of a time bucket.
fn embed_time(net: &mut Net<'_>, head: &Head, timestep: &Value) -> Result<Value, Error> {
    const NAME: &str = "action_head.model.timestep_encoder.timestep_embedder";
    let times = dit_times(head.timestep_buckets);
    let times = net.place(&Weight::computed("dit.times", &[head.timestep_buckets, TIME_CHANNELS], &times))?;
    let time = net.graph.gather(&times, timestep)?;
    let inner = net.linear(&time, &format!("{NAME}.linear_1"), TIME_CHANNELS, head.width, true)?;
    let inner = net.graph.silu(&inner)?;
    let temb = net.linear(&inner, &format!("{NAME}.linear_2"), head.width, head.width, true)?;
    if net.options.debug_outputs {
        let row = net.graph.reshape(&temb, &[Dim::Fixed(head.width)])?;
        net.tap("temb", &row)?;
    }
    net.graph.silu(&temb)
}

/// Both halves `[1, width]` of a linear layer on the embedded time.
fn halves(net: &mut Net<'_>, head: &Head, embedded: &Value, name: &str) -> Result<[Value; 2], Error> {
    let both = net.linear(embedded, name, head.width, 2 * head.width, true)?;
    let part = |net: &mut Net<'_>, at: usize| net.graph.slice(&both, 1, at * head.width, (at + 1) * head.width);
    Ok([part(net, 0)?, part(net, 1)?])
}

fn gain(net: &mut Net<'_>, scale: &Value) -> Result<Value, Error> {
    let one = net.graph.scalar(1.0, scale.dtype())?;
    net.graph.add(scale, &one)
}

/// What is added to the scores of rows that are no padding, `[1, S]`.
fn mask_of(net: &mut Net<'_>, attended: &Value) -> Result<Value, Error> {
    let zero = net.graph.scalar_i32(0)?;
    let counts = net.graph.greater(attended, &zero)?;
    let (hidden, visible) = net.hidden_and_visible()?;
    let mask = net.graph.choose(&counts, &visible, &hidden)?;
    net.graph.reshape(&mask, &[Dim::Fixed(1), counts.dims()[0].clone()])
}

/// What is added to the scores of text rows and of image rows, `[1, S]` each.
fn masks(net: &mut Net<'_>, inputs: &Inputs) -> Result<(Value, Value), Error> {
    let (image, attended) = (&inputs.image_mask, &inputs.attention_mask);
    let zero = net.graph.scalar_i32(0)?;
    let is_text = net.graph.greater(attended, image)?;
    let both = net.graph.mul(attended, image)?;
    let is_image = net.graph.greater(&both, &zero)?;
    let (hidden, visible) = net.hidden_and_visible()?;
    let mut mask = |counts: &Value| {
        let mask = net.graph.choose(counts, &visible, &hidden)?;
        net.graph.reshape(&mask, &[Dim::Fixed(1), counts.dims()[0].clone()])
    };
    Ok((mask(&is_text)?, mask(&is_image)?))
}
