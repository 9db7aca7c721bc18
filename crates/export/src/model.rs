//! Sizes and switches of a model, the parameters of the network functions.

use std::collections::BTreeMap;

use crate::family::Family;
use vla_base::tensor::DType;

/// Vision tower and the projector behind it.
#[derive(Clone, PartialEq, Debug)]
pub struct Vision {
    /// Channels of a patch token.
    pub width: usize,
    /// Channels inside the MLP.
    pub mlp: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Patch side in pixels.
    pub patch: usize,
    /// Side of the square table of learned positions.
    pub table: usize,
    /// Epsilon of its LayerNorms.
    pub eps: f32,
    /// Layers whose output the first layers of the language model take too, ascending.
    pub deepstack: Vec<usize>,
}

/// Qwen3 decoder, as far as the policy uses it.
#[derive(Clone, PartialEq, Debug)]
pub struct Language {
    /// Channels of a token.
    pub width: usize,
    /// Channels inside the MLP.
    pub mlp: usize,
    /// Layers used; a checkpoint contains no others.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Epsilon of its RMSNorms.
    pub eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Rotary pairs that turn by time, height and width, for a model with positions on three axes.
    pub rope_section: Option<[usize; 3]>,
    /// Rows of the token embedding.
    pub vocab: usize,
    /// Whether the head takes the rows behind the final norm.
    pub final_norm: bool,
}

/// Action head: encoders, AlternateVLDiT, decoder.
#[derive(Clone, PartialEq, Debug)]
pub struct Head {
    /// Channels of a state or action token.
    pub width: usize,
    /// Channels inside state encoder and decoder, and of the DiT's output.
    pub hidden: usize,
    /// Output channels of the DiT.
    pub output: usize,
    /// Attention heads.
    pub heads: usize,
    /// Channels of a head; `heads * head_dim == width`.
    pub head_dim: usize,
    /// Blocks of the DiT.
    pub blocks: usize,
    /// Whether cross-attention blocks attend to text or images, else to all rows.
    pub alternate: bool,
    /// Every so many cross-attention blocks one attends to text, the others to images.
    pub text_every: usize,
    /// Rows of an action chunk.
    pub horizon: usize,
    /// Columns of a state.
    pub state_dims: usize,
    /// Columns of an action.
    pub action_dims: usize,
    /// Embodiments whose encoder and decoder weights the checkpoint holds.
    pub embodiments: usize,
    /// Rows of the action position table; `None` when positions are not added.
    pub positions: Option<usize>,
    /// Buckets of the flow's time axis.
    pub timestep_buckets: usize,
    /// Whether there is a LayerNorm between language model and head.
    pub vlln: bool,
    /// Self-attention layers behind it.
    pub fusion: Option<Fusion>,
}

/// Self-attention layers over all rows of the language model (`vl_self_attention`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fusion {
    /// Layers.
    pub layers: usize,
    /// Attention heads; `heads * head_dim` is the language model's width.
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Rows of the table of sinusoids that every layer adds to what it attends with; `None` where it adds none.
    pub sinusoids: Option<usize>,
}

/// What a DiT block attends to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attends {
    /// The rows of the text tokens.
    Text,
    /// The rows of the image tokens.
    Image,
    /// The rows of all tokens.
    All,
    /// State and action tokens.
    Own,
}

impl Head {
    /// Attention target of block `index`: odd blocks attend to their own tokens, even ones alternate between text and images where
    /// the model does so.
    pub fn attends(&self, index: usize) -> Attends {
        if index % 2 == 1 {
            Attends::Own
        } else if !self.alternate {
            Attends::All
        } else if index.is_multiple_of(2 * self.text_every) {
            Attends::Text
        } else {
            Attends::Image
        }
    }

    /// Channels inside the feed-forward parts of the DiT.
    pub(crate) fn feed_forward(&self) -> usize {
        4 * self.width
    }
}

/// A whole model.
#[derive(Clone, PartialEq, Debug)]
pub struct Model {
    /// The release.
    pub family: &'static Family,
    /// Vision tower.
    pub vision: Vision,
    /// Language model.
    pub language: Language,
    /// Action head.
    pub head: Head,
}

impl Model {
    /// GR00T N1.6 as released. The language model's own release has more layers; the checkpoint holds the first 16.
    pub fn n1d6() -> Self {
        (crate::family::N1D6.released)()
    }

    /// GR00T N1.7 as released, with the first 16 layers of the language model.
    pub fn n1d7() -> Self {
        (crate::family::N1D7.released)()
    }
}

/// How the rotary frequencies enter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RopeFrequencies {
    /// Rounded to bf16, as NVIDIA's runtime does when it casts the model.
    #[default]
    Bf16,
    /// Single precision, as trained under autocast.
    Exact,
}

/// Which patches a patch attends to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum VisionAttention {
    /// Patches of the same image, as in NVIDIA's code with FlashAttention.
    #[default]
    PerImage,
    /// Patches of all images, as in forks with another attention kernel.
    CrossView,
}

/// One camera's place in the vision stage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Name of the camera.
    pub camera: String,
    /// Width of its pixels in pixels, a multiple of two patches.
    pub width: usize,
    /// Height of its pixels in pixels, a multiple of two patches.
    pub height: usize,
    /// Images of it: frames of so many times.
    pub images: usize,
}

/// Switches of an export.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// Element type of weights and activations; what the host writes and reads and the action update stay f32.
    pub dtype: DType,
    /// Stages whose weights and activations have another element type.
    pub dtype_of: BTreeMap<String, DType>,
    /// Rotary frequencies.
    pub rope: RopeFrequencies,
    /// Scope of the vision attention.
    pub attention: VisionAttention,
    /// Denoising step counts that get their constants.
    pub steps: Vec<u32>,
    /// Row of the embodiment in the per-embodiment weights.
    pub embodiment: usize,
    /// Text tokens in a prompt, template included: fewest, most usual, most.
    pub text: [usize; 3],
    /// Most blocks of vision, language and step in one stage; `None` keeps each in one.
    pub blocks_per_engine: Option<usize>,
    /// Whether products of one input with several weights (queries, keys and values) are one product.
    pub stacked_projections: bool,
    /// Whether inner tensors become outputs too, for comparison with a reference.
    pub debug_outputs: bool,
}

impl Options {
    /// Element type of a stage's weights and activations.
    pub fn dtype_of(&self, stage: &str) -> DType {
        self.dtype_of.get(stage).copied().unwrap_or(self.dtype)
    }
}
