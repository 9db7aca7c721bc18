//! The action head's part of `config.json`.

use super::keys::Keys;
use crate::family::Family;
use crate::model::{Fusion, Head};

/// Rows of the vendor's sinusoidal table.
const SINUSOIDS: usize = 512;

/// The action head of a family, on rows of `tokens` channels.
pub(super) fn head(keys: &mut Keys<'_>, family: &Family, tokens: usize) -> Head {
    let width = keys.size("input_embedding_dim", Some(1536));
    let positions = keys.flag("add_pos_embed", true, &[true, false]);
    let table = keys.size("max_seq_len", Some(1024));
    let (heads, head_dim, blocks, output) =
        keys.nested("diffusion_model_cfg", false, |keys| dit(keys, family.config.blocks));
    let horizon = keys.size("action_horizon", Some(family.config.horizon));
    let alternates: &[bool] = if family.config.plain_dit { &[true, false] } else { &[true] };
    keys.check(width == heads * head_dim && width.is_multiple_of(2), "input_embedding_dim", || {
        format!("expected num_attention_heads times attention_head_dim ({heads} * {head_dim}), even, found {width}")
    });
    keys.check(!positions || horizon <= table, "action_horizon", || {
        format!("expected at most max_seq_len ({table}), found {horizon}")
    });
    let history = keys.size("state_history_length", Some(1));
    keys.check(history == 1, "state_history_length", || {
        format!("expected 1, found {history}; a history of states is not computed here")
    });
    Head {
        width,
        hidden: keys.size("hidden_size", Some(1024)),
        output,
        heads,
        head_dim,
        blocks,
        alternate: keys.flag("use_alternate_vl_dit", true, alternates),
        text_every: keys.size("attend_text_every_n_blocks", Some(2)),
        horizon,
        state_dims: keys.size("max_state_dim", Some(family.config.dims)),
        action_dims: keys.size("max_action_dim", Some(family.config.dims)),
        embodiments: keys.size("max_num_embodiments", Some(32)),
        positions: positions.then_some(table),
        timestep_buckets: keys.size("num_timestep_buckets", Some(1000)),
        vlln: keys.flag("use_vlln", true, &[true, false]),
        fusion: if family.config.fusion { fusion(keys, tokens) } else { None },
    }
}

/// Heads, their width, blocks and output width. Where the object is absent its default is the vendor's dataclass's; where
/// it is there, what it leaves out is the default of the vendor's network, another one.
fn dit(keys: &mut Keys<'_>, blocks: usize) -> (usize, usize, usize, usize) {
    let given = keys.given();
    if given {
        for (key, expected, network) in
            [("interleave_self_attention", "true", "false"), ("positional_embeddings", "null", "sinusoidal")]
        {
            keys.check(keys.get(key).is_some(), key, || {
                format!("expected {expected}, found nothing, which the vendor's network takes for {network}")
            });
        }
    }
    keys.flag("interleave_self_attention", true, &[true]);
    keys.is("norm_type", "ada_norm");
    keys.is("activation_fn", "gelu-approximate");
    keys.flag("attention_bias", true, &[true]);
    keys.flag("norm_elementwise_affine", false, &[false]);
    keys.number("norm_eps", Some(1e-5), &[1e-5]);
    keys.null("positional_embeddings");
    let default = |dataclass, network| Some(if given { network } else { dataclass });
    let heads = keys.size("num_attention_heads", default(32, 8));
    let head_dim = keys.size("attention_head_dim", default(48, 64));
    (heads, head_dim, keys.layers("num_layers", default(blocks, 12)), keys.size("output_dim", default(1024, 26)))
}

/// The self-attention layers between language model and head; `None` where the object is absent or names no layers. What else it leaves
/// out is the default of the vendor's network.
fn fusion(keys: &mut Keys<'_>, tokens: usize) -> Option<Fusion> {
    const KEY: &str = "vl_self_attention_cfg";
    if keys.get(KEY).is_none_or(serde_json::Value::is_null) {
        return None;
    }
    keys.nested(KEY, true, |keys| {
        // The vendor's code reads no number as no layers before its network could take its own default.
        if keys.given() && keys.get("num_layers").is_none_or(|layers| layers.as_u64() == Some(0)) {
            return None;
        }
        keys.is("activation_fn", "gelu-approximate");
        keys.flag("attention_bias", true, &[true]);
        let positions = match keys.get("positional_embeddings") {
            None => Some("sinusoidal".to_owned()),
            Some(_) => keys.text("positional_embeddings"),
        };
        let sinusoidal = positions.as_deref() == Some("sinusoidal");
        keys.check(sinusoidal || positions.is_none(), "positional_embeddings", || {
            format!("expected null or sinusoidal, found {}", positions.unwrap_or_default())
        });
        let rows = keys.size("max_num_positional_embeddings", Some(SINUSOIDS));
        let heads = keys.size("num_attention_heads", Some(8));
        let head_dim = keys.size("attention_head_dim", Some(64));
        keys.check(heads * head_dim == tokens, "num_attention_heads", || {
            format!("expected heads of {head_dim} channels (attention_head_dim) that make backbone_embedding_dim ({tokens}), found {heads}")
        });
        let layers = keys.layers("num_layers", None);
        Some(Fusion { layers, heads, head_dim, sinusoids: sinusoidal.then_some(rows) })
    })
}
