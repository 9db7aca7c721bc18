//! What the denoising steps share: keys and values of every cross-attention block, and the state token.
//!
//! A masked softmax over all tokens equals a softmax over the gathered ones, so text and image rows are gathered once
//! and no block needs a mask.

use super::attention::Heads;
use super::{Net, actions};
use crate::model::Attends;
use crate::onnx::Value;
use crate::{Error, Model};
use vla_base::tensor::{DType, Dim};

/// Outputs of the context stage, named: `k<i>` and `v<i>` `[1, heads, rows, head_dim]` of each cross-attention block
/// `i`, and `state_features` `[1, width]`.
pub(crate) fn context(net: &mut Net<'_>, model: &Model, images: usize) -> Result<Vec<(String, Value)>, Error> {
    let (head, tokens) = (&model.head, model.language.width);
    let symbol = |name: &str| Dim::Symbol(name.to_owned());
    let vl_embs = net.float_input("vl_embs", &[symbol("S"), Dim::Fixed(tokens)])?;
    let text_index = net.graph.input("text_index", DType::I32, &[symbol("T")])?;
    let image_index = net.graph.input("image_index", DType::I32, &[Dim::Fixed(images)])?;
    let state = net.float_input("state", &[Dim::Fixed(1), Dim::Fixed(head.state_dims)])?;

    let text = net.graph.gather(&vl_embs, &text_index)?;
    let image = net.graph.gather(&vl_embs, &image_index)?;
    let heads = Heads { groups: 1, count: head.heads, dim: head.head_dim };
    let mut outputs = Vec::new();
    for index in 0..head.blocks {
        let rows = match head.attends(index) {
            Attends::Text => &text,
            Attends::Image => &image,
            Attends::All => &vl_embs,
            Attends::Own => continue,
        };
        for (short, part) in [("k", "to_k"), ("v", "to_v")] {
            let value = net.part(format!("block.{index}"), |net| {
                let name = format!("action_head.model.transformer_blocks.{index}.attn1.{part}");
                let value = net.linear(rows, &name, tokens, head.width, true)?;
                net.split_heads(&value, heads)
            })?;
            outputs.push((format!("{short}{index}"), value));
        }
    }
    outputs.push(("state_features".to_owned(), actions::encode_state(net, head, &state)?));
    Ok(outputs)
}
