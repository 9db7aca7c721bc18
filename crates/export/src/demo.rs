//! The demo policy: a release's shape in small, with seeded weights, its own tokenizer and statistics, and the same
//! bytes every time.

pub mod bundle;
pub mod carry;
pub mod statistics;
pub mod tokenizer;
pub mod weights;

use super::View;
use super::family::{Family, N1D6};
use super::model::{Fusion, Head, Model};

/// Cameras in view order.
pub const CAMERAS: [&str; 3] = ["top", "left_wrist", "right_wrist"];
/// State and action keys with their widths.
pub const KEYS: [(&str, usize); 4] = [("left_arm", 6), ("left_gripper", 1), ("right_arm", 6), ("right_gripper", 1)];
/// Embodiment tag, and its row in the per-embodiment weights.
pub const EMBODIMENT: (&str, usize) = ("new_embodiment", 10);
/// Rows of the chunk of N1.6's.
pub const HORIZON: usize = 50;
/// Rows of it that are used.
pub const ROWS: usize = 16;
/// Columns of states and actions of N1.6's.
pub const DIMS: usize = 128;
/// Denoising step counts that have constants.
pub const STEPS: [u32; 4] = [1, 2, 4, 8];
/// Seconds between rows.
pub const STEP_S: f64 = 0.02;
/// Text tokens of a prompt: fewest, usual, most.
pub const TEXT: [usize; 3] = [16, 64, 192];

/// Used action columns.
pub fn used_columns() -> usize {
    KEYS.iter().map(|(_, width)| width).sum()
}

/// Sizes of N1.6's; `vocab` is the tokenizer's.
pub fn model(vocab: usize) -> Model {
    model_of(&N1D6, vocab)
}

/// Sizes of a family's.
pub fn model_of(family: &'static Family, vocab: usize) -> Model {
    model_for(family, used_columns(), vocab)
}

/// As [`model_of`], with an action head as wide as `columns` used action columns need: each takes two of the hidden units ([`carry`]),
/// and as many are left to the seeded rest of the head.
pub(crate) fn model_for(family: &'static Family, columns: usize, vocab: usize) -> Model {
    let times = columns.div_ceil(24).max(1);
    let (vision, language) = (family.demo.sizes)(vocab);
    let (heads, head_dim) = (language.heads, language.head_dim);
    let fusion = Fusion { layers: family.demo.fusion, heads, head_dim, sinusoids: None };
    Model {
        family,
        vision,
        language,
        head: Head {
            width: 96 * times,
            hidden: 96 * times,
            output: 96 * times,
            heads: 6 * times,
            head_dim: 16,
            blocks: 4,
            alternate: true,
            text_every: 2,
            horizon: family.demo.horizon,
            state_dims: family.demo.dims,
            action_dims: family.demo.dims,
            embodiments: EMBODIMENT.1 + 1,
            positions: Some(64),
            timestep_buckets: 1000,
            vlln: true,
            fusion: (fusion.layers > 0).then_some(fusion),
        },
    }
}

/// What the vendor's transform makes of any 4:3 camera for N1.6's.
pub fn views() -> Vec<View> {
    CAMERAS.iter().map(|camera| View { camera: (*camera).to_owned(), width: 140, height: 112, images: 1 }).collect()
}
