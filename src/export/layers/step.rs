//! One denoising step: action encoder, AlternateVLDiT, decoder and the Euler update, all that is constant hoisted.

use std::ops::Range;

use super::attention::Heads;
use super::hoist::{ActionFold, ModulationRows};
use super::{Net, fixed};
use crate::export::model::{Attends, Head};
use crate::export::onnx::Value;
use crate::export::weights::Weight;
use crate::export::{Error, Model};
use crate::tensor::{DType, Dim};

const DIT: &str = "action_head.model";
/// Epsilon of the norms inside the blocks.
const BLOCK_EPS: f32 = 1e-5;
/// Epsilon of the norm before the output projection.
const OUTPUT_EPS: f32 = 1e-6;

/// DiT blocks `blocks` of the step stage; `images` is the number of image rows. Inputs: `k<i>` and `v<i>` of its
/// cross-attention blocks and `modulation` `[rows, width]` (this step's constants). From the first block on: `actions`
/// `[horizon, dims]` f32 and `state_features` `[1, width]`, else what the stage before gives. To the last: `actions`,
/// `dt` `[1]` and `strength` `[horizon]` f32, and `next_actions` `[horizon, dims]` f32:
/// `actions + dt * strength * velocity`; else `step.<next block>` `[1 + horizon, width]`.
pub fn step(net: &mut Net<'_>, model: &Model, images: usize, blocks: Range<usize>) -> Result<(String, Value), Error> {
    let head = &model.head;
    let inner = |block: usize| format!("step.{block}");
    let (first, last) = (blocks.start == 0, blocks.end == head.blocks);
    let actions = match first || last {
        true => Some(net.graph.input("actions", DType::F32, &fixed([head.horizon, head.action_dims]))?),
        false => None,
    };
    let cross = cross_inputs(net, head, images, &blocks)?;
    let entering = match first {
        true => net.float_input("state_features", &fixed([1, head.width]))?,
        false => net.float_input(&inner(blocks.start), &fixed([1 + head.horizon, head.width]))?,
    };
    let rows = ModulationRows::of(head);
    let modulation = net.float_input("modulation", &fixed([rows.total(), head.width]))?;
    let euler = match (last, &actions) {
        (true, Some(actions)) => {
            let dt = net.graph.input("dt", DType::F32, &fixed([1]))?;
            let strength = net.graph.input("strength", DType::F32, &fixed([head.horizon]))?;
            Some([actions.clone(), dt, strength])
        }
        _ => None,
    };
    let mut x = match (first, &actions) {
        (true, Some(actions)) => {
            let tokens = net.part("action_encoder", |net| encode(net, head, &rows, actions, &modulation))?;
            let x = net.graph.concat(&[&entering, &tokens], 0)?;
            net.tap("sa_embs", &x)?;
            x
        }
        _ => entering,
    };
    for index in blocks.clone() {
        let pair = cross.iter().find(|(block, ..)| *block == index).map(|(_, k, v)| (k, v));
        x = net.part(format!("block.{index}"), |net| block(net, head, &rows, &x, index, &modulation, pair))?;
    }
    match euler {
        Some(euler) => Ok(("next_actions".to_owned(), update(net, head, &rows, &x, &modulation, &euler)?)),
        None => Ok((inner(blocks.end), x)),
    }
}

/// The Euler update of `[actions, dt, strength]` with the velocity that the tokens `x` hold.
fn update(
    net: &mut Net<'_>,
    head: &Head,
    rows: &ModulationRows,
    x: &Value,
    modulation: &Value,
    [actions, dt, strength]: &[Value; 3],
) -> Result<Value, Error> {
    let velocity = net.part("output", |net| velocity(net, head, rows, x, modulation))?;
    let velocity = net.graph.cast(&velocity, DType::F32);
    net.tap("velocity", &velocity)?;
    let strength = net.graph.reshape(strength, &fixed([head.horizon, 1]))?;
    let rate = net.graph.mul(&strength, dt)?;
    let change = net.graph.mul(&velocity, &rate)?;
    net.graph.add(actions, &change)
}

/// Keys and values by block.
fn cross_inputs(
    net: &mut Net<'_>,
    head: &Head,
    images: usize,
    blocks: &Range<usize>,
) -> Result<Vec<(usize, Value, Value)>, Error> {
    let mut pairs = Vec::new();
    for index in blocks.clone() {
        let rows = match head.attends(index) {
            Attends::Text => Dim::Symbol("T".to_owned()),
            Attends::Image => Dim::Fixed(images),
            Attends::Own => continue,
        };
        let dims = [Dim::Fixed(1), Dim::Fixed(head.heads), rows, Dim::Fixed(head.head_dim)];
        let (k, v) = (net.float_input(&format!("k{index}"), &dims)?, net.float_input(&format!("v{index}"), &dims)?);
        pairs.push((index, k, v));
    }
    Ok(pairs)
}

/// `silu(a M + m_i) W3 + (b3 + positions)`: `[horizon, dims]` to `[horizon, width]`.
fn encode(
    net: &mut Net<'_>,
    head: &Head,
    rows: &ModulationRows,
    actions: &Value,
    modulation: &Value,
) -> Result<Value, Error> {
    let fold = ActionFold::compute(net.weights, head, net.options.embodiment)?;
    let actions = net.graph.cast(actions, net.options.dtype);
    let matrix = net.place(&Weight::computed("action_encoder.fold", &[head.action_dims, head.width], &fold.matrix))?;
    let shift = net.graph.row(modulation, rows.action())?;
    let inner = net.graph.gemm(&actions, &matrix, Some(&shift), false)?;
    let inner = net.graph.silu(&inner)?;
    let weight = net.embodiment_weight("action_head.action_encoder.W3.W", &[head.width, head.width])?;
    let bias = net.place(&Weight::computed("action_encoder.bias", &[head.horizon, head.width], &fold.bias))?;
    net.graph.gemm(&inner, &weight, Some(&bias), false)
}

fn block(
    net: &mut Net<'_>,
    head: &Head,
    rows: &ModulationRows,
    x: &Value,
    index: usize,
    modulation: &Value,
    cross: Option<(&Value, &Value)>,
) -> Result<Value, Error> {
    let name = format!("{DIT}.transformer_blocks.{index}");
    let width = head.width;
    let heads = Heads { groups: 1, count: head.heads, dim: head.head_dim };
    let normed = modulated(net, x, width, BLOCK_EPS, modulation, rows.block(index))?;
    let mut project = |part: &str| {
        let rows = net.linear(&normed, &format!("{name}.attn1.{part}"), width, width, true)?;
        net.to_heads(&rows, heads)
    };
    let q = project("to_q")?;
    let mixed = match cross {
        Some((k, v)) => net.attention(&q, k, v, heads, None)?,
        None => {
            let (k, v) = (project("to_k")?, project("to_v")?);
            net.attention(&q, &k, &v, heads, None)?
        }
    };
    let out = net.linear(&mixed, &format!("{name}.attn1.to_out.0"), width, width, true)?;
    let x = net.graph.add(x, &out)?;
    let normed = net.plain_norm(&x, width, BLOCK_EPS)?;
    let inner = net.linear(&normed, &format!("{name}.ff.net.0.proj"), width, head.feed_forward(), true)?;
    let inner = net.graph.gelu_tanh(&inner)?;
    let out = net.linear(&inner, &format!("{name}.ff.net.2"), head.feed_forward(), width, true)?;
    let x = net.graph.add(&x, &out)?;
    net.tap(&format!("block{index}"), &x)?;
    Ok(x)
}

/// `norm(x) * (1 + scale) + shift`; `row` holds `1 + scale`, the next row `shift`.
fn modulated(
    net: &mut Net<'_>,
    x: &Value,
    width: usize,
    eps: f32,
    modulation: &Value,
    row: usize,
) -> Result<Value, Error> {
    let normed = net.plain_norm(x, width, eps)?;
    let (gain, shift) = (net.graph.row(modulation, row)?, net.graph.row(modulation, row + 1)?);
    let scaled = net.graph.mul(&normed, &gain)?;
    net.graph.add(&scaled, &shift)
}

/// Output projection and decoder on the action rows; what they make of the state row nobody reads.
fn velocity(
    net: &mut Net<'_>,
    head: &Head,
    rows: &ModulationRows,
    x: &Value,
    modulation: &Value,
) -> Result<Value, Error> {
    let actions = net.graph.slice(x, 0, 1, 1 + head.horizon)?;
    let normed = modulated(net, &actions, head.width, OUTPUT_EPS, modulation, rows.output())?;
    let features = net.linear(&normed, &format!("{DIT}.proj_out_2"), head.width, head.output, true)?;
    let inner = net.embodiment_linear(&features, "action_head.action_decoder.layer1", head.output, head.hidden)?;
    let inner = net.graph.relu(&inner);
    net.embodiment_linear(&inner, "action_head.action_decoder.layer2", head.hidden, head.action_dims)
}
