//! One denoising step: action encoder, AlternateVLDiT, decoder and the Euler update, with folded constants.

use std::ops::Range;

use super::actions::{self, Euler};
use super::dit::{self, Keys, Modulation};
use super::step_constants::{ActionFold, ModulationRows};
use super::{Net, fixed};
use crate::model::{Attends, Head};
use crate::onnx::Value;
use crate::{Error, Model};
use vla_base::tensor::{DType, Dim};

/// DiT blocks `blocks` of the step stage; `images` is the number of image rows. Inputs: `k<i>` and `v<i>` of its
/// cross-attention blocks and `modulation` `[rows, width]` (this step's constants). From the first block on: `actions`
/// `[horizon, dims]` f32 and `state_features` `[1, width]`, else what the stage before gives. To the last: `actions`,
/// `dt` `[1]` and `strength` `[horizon]` f32, and `next_actions` `[horizon, dims]` f32:
/// `actions + dt * strength * velocity`; else `step.<next block>` `[1 + horizon, width]`.
pub(crate) fn step(
    net: &mut Net<'_>,
    model: &Model,
    images: usize,
    blocks: Range<usize>,
) -> Result<(String, Value), Error> {
    let head = &model.head;
    let (first, last) = (blocks.start == 0, blocks.end == head.blocks);
    let actions = match first || last {
        true => Some(net.graph.input("actions", DType::F32, &fixed([head.horizon, head.action_dims]))?),
        false => None,
    };
    let cross = cross_inputs(net, head, images, &blocks)?;
    let entering = match first {
        true => net.float_input("state_features", &fixed([1, head.width]))?,
        false => net.float_input(&between(blocks.start), &fixed([1 + head.horizon, head.width]))?,
    };
    let rows = ModulationRows::of(head);
    let modulation = net.float_input("modulation", &fixed([rows.total(), head.width]))?;
    let euler = match (last, &actions) {
        (true, Some(actions)) => Some(Euler::inputs(net, head, actions.clone())?),
        _ => None,
    };
    let mut x = match (first, &actions) {
        (true, Some(actions)) => {
            let tokens = net.part("action_encoder", |net| {
                let fold = ActionFold::compute(net.weights, head, net.options.embodiment)?;
                let shift = |net: &mut Net<'_>| net.graph.row(&modulation, rows.action());
                actions::encode_actions(net, head, actions, &fold, shift)
            })?;
            let x = net.graph.concat(&[&entering, &tokens], 0)?;
            net.tap("sa_embs", &x)?;
            x
        }
        _ => entering,
    };
    for index in blocks.clone() {
        let made = cross.iter().find(|(block, ..)| *block == index);
        let keys = made.map_or(Keys::Own, |(_, k, v)| Keys::Made(k, v));
        let modulation = Modulation::Rows { table: &modulation, row: rows.block(index) };
        x = net.part(format!("block.{index}"), |net| dit::block(net, head, &x, index, &modulation, &keys))?;
    }
    match euler {
        Some(euler) => {
            let velocity = net.part("output", |net| velocity(net, head, &rows, &x, &modulation))?;
            Ok(("next_actions".to_owned(), euler.update(net, head, &velocity)?))
        }
        None => Ok((between(blocks.end), x)),
    }
}

/// Name of the tensor `[1 + horizon, width]` passed between stages before block `block`.
pub(crate) fn between(block: usize) -> String {
    format!("step.{block}")
}

/// Output projection and decoder on the action rows; the row of the state has no output.
fn velocity(
    net: &mut Net<'_>,
    head: &Head,
    rows: &ModulationRows,
    x: &Value,
    modulation: &Value,
) -> Result<Value, Error> {
    let output = Modulation::Rows { table: modulation, row: rows.output() };
    if net.options.debug_outputs {
        let features = dit::project_out(net, head, x, &output)?;
        net.tap("dit_out", &features)?;
        let decoded = actions::decode_actions(net, head, &features)?;
        net.tap("decoder_out", &decoded)?;
    }
    let x = net.graph.slice(x, 0, 1, 1 + head.horizon)?;
    let features = dit::project_out(net, head, &x, &output)?;
    actions::decode_actions(net, head, &features)
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
            Attends::All => Dim::Symbol("S".to_owned()),
            Attends::Own => continue,
        };
        let dims = [Dim::Fixed(1), Dim::Fixed(head.heads), rows, Dim::Fixed(head.head_dim)];
        let (k, v) = (net.float_input(&format!("k{index}"), &dims)?, net.float_input(&format!("v{index}"), &dims)?);
        pairs.push((index, k, v));
    }
    Ok(pairs)
}
