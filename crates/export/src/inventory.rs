//! Every weight that the exported network reads, by the checkpoint's name, with its shape.

use super::model::Model;

/// Names of weights with their shapes.
pub type Outlines = Vec<(String, Vec<usize>)>;

/// Names and shapes, in the order of the data flow.
pub fn inventory(model: &Model) -> Outlines {
    let mut list = List(Vec::new());
    (model.family.weights.list)(&mut list, model);
    list.language(model);
    list.head(model);
    list.0
}

/// Weights under construction.
pub(crate) struct List(Outlines);

impl List {
    /// A weight of these dimensions.
    pub(crate) fn add(&mut self, name: impl Into<String>, dims: &[usize]) {
        self.0.push((name.into(), dims.to_vec()));
    }

    /// `nn.Linear`.
    pub(crate) fn linear(&mut self, name: &str, from: usize, to: usize, bias: bool) {
        self.add(format!("{name}.weight"), &[to, from]);
        if bias {
            self.add(format!("{name}.bias"), &[to]);
        }
    }

    /// `nn.LayerNorm`.
    pub(crate) fn norm(&mut self, name: &str, width: usize) {
        self.add(format!("{name}.weight"), &[width]);
        self.add(format!("{name}.bias"), &[width]);
    }

    /// `CategorySpecificLinear`.
    fn embodied(&mut self, name: &str, embodiments: usize, from: usize, to: usize) {
        self.add(format!("{name}.W"), &[embodiments, from, to]);
        self.add(format!("{name}.b"), &[embodiments, to]);
    }

    fn language(&mut self, model: &Model) {
        let language = &model.language;
        let (width, decoder) = (language.width, model.family.weights.decoder);
        let (queries, keys) = (language.heads * language.head_dim, language.kv_heads * language.head_dim);
        self.add(format!("{decoder}.embed_tokens.weight"), &[language.vocab, width]);
        for index in 0..language.layers {
            let layer = format!("{decoder}.layers.{index}");
            self.add(format!("{layer}.input_layernorm.weight"), &[width]);
            self.linear(&format!("{layer}.self_attn.q_proj"), width, queries, false);
            self.linear(&format!("{layer}.self_attn.k_proj"), width, keys, false);
            self.linear(&format!("{layer}.self_attn.v_proj"), width, keys, false);
            self.add(format!("{layer}.self_attn.q_norm.weight"), &[language.head_dim]);
            self.add(format!("{layer}.self_attn.k_norm.weight"), &[language.head_dim]);
            self.linear(&format!("{layer}.self_attn.o_proj"), queries, width, false);
            self.add(format!("{layer}.post_attention_layernorm.weight"), &[width]);
            self.linear(&format!("{layer}.mlp.gate_proj"), width, language.mlp, false);
            self.linear(&format!("{layer}.mlp.up_proj"), width, language.mlp, false);
            self.linear(&format!("{layer}.mlp.down_proj"), language.mlp, width, false);
        }
        if language.final_norm {
            self.add(format!("{decoder}.norm.weight"), &[width]);
        }
    }

    fn fusion_layer(&mut self, layer: &str, width: usize) {
        self.norm(&format!("{layer}.norm1"), width);
        for part in ["to_q", "to_k", "to_v", "to_out.0"] {
            self.linear(&format!("{layer}.attn1.{part}"), width, width, true);
        }
        self.norm(&format!("{layer}.norm3"), width);
        self.linear(&format!("{layer}.ff.net.0.proj"), width, 4 * width, true);
        self.linear(&format!("{layer}.ff.net.2"), 4 * width, width, true);
    }

    fn head(&mut self, model: &Model) {
        let head = &model.head;
        let (width, tokens, count) = (head.width, model.language.width, head.embodiments);
        if head.vlln {
            self.norm("action_head.vlln", tokens);
        }
        for index in 0..head.fusion.as_ref().map_or(0, |fusion| fusion.layers) {
            self.fusion_layer(&format!("action_head.vl_self_attention.transformer_blocks.{index}"), tokens);
        }
        if let Some(rows) = head.positions {
            self.add("action_head.position_embedding.weight", &[rows, width]);
        }
        self.embodied("action_head.state_encoder.layer1", count, head.state_dims, head.hidden);
        self.embodied("action_head.state_encoder.layer2", count, head.hidden, width);
        self.embodied("action_head.action_encoder.W1", count, head.action_dims, width);
        self.embodied("action_head.action_encoder.W2", count, 2 * width, width);
        self.embodied("action_head.action_encoder.W3", count, width, width);
        self.embodied("action_head.action_decoder.layer1", count, head.output, head.hidden);
        self.embodied("action_head.action_decoder.layer2", count, head.hidden, head.action_dims);
        let dit = "action_head.model";
        let time = format!("{dit}.timestep_encoder.timestep_embedder");
        self.linear(&format!("{time}.linear_1"), super::layers::step_constants::TIME_CHANNELS, width, true);
        self.linear(&format!("{time}.linear_2"), width, width, true);
        for index in 0..head.blocks {
            let block = format!("{dit}.transformer_blocks.{index}");
            let source = if index % 2 == 0 { tokens } else { width };
            self.linear(&format!("{block}.norm1.linear"), width, 2 * width, true);
            self.linear(&format!("{block}.attn1.to_q"), width, width, true);
            self.linear(&format!("{block}.attn1.to_k"), source, width, true);
            self.linear(&format!("{block}.attn1.to_v"), source, width, true);
            self.linear(&format!("{block}.attn1.to_out.0"), width, width, true);
            self.linear(&format!("{block}.ff.net.0.proj"), width, head.feed_forward(), true);
            self.linear(&format!("{block}.ff.net.2"), head.feed_forward(), width, true);
        }
        self.linear(&format!("{dit}.proj_out_1"), width, 2 * width, true);
        self.linear(&format!("{dit}.proj_out_2"), width, head.output, true);
    }
}
