//! Releases of the model as values: what differs between their networks and checkpoints, each in one place.
//!
//! The rest of this crate asks a [`Family`] and never which one it is. docs/families.md says what a new one needs.

use std::fmt;

use serde_json::Value;

use crate::checkpoint::keys::Keys;
use crate::inventory::{List, Outlines};
use crate::layers::vision::Tower;
use crate::model::{Language, Model, Vision};

mod n1d6;
mod n1d7;

pub use n1d6::N1D6;
pub use n1d7::N1D7;

/// Every release that is served, the oldest first.
pub const FAMILIES: [&Family; 2] = [&N1D6, &N1D7];

/// A release of the model.
pub struct Family {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its behaviour before and behind the networks.
    pub policy: &'static vla_policy::Family,
    /// `config.json`.
    pub config: ConfigFamily,
    /// The backbone's own configuration.
    pub backbone: BackboneFamily,
    /// Names of the backbone's weights, and its vision tower.
    pub weights: WeightFamily,
    /// The prompt.
    pub prompt: PromptFamily,
    /// Rows of the per-embodiment weights by tag, for tags that a checkpoint's file leaves out.
    pub embodiments: &'static [(&'static str, usize)],
    /// Layouts that it can be cut into.
    pub layouts: &'static [&'static str],
    /// Whether forks of it exist whose patches attend to those of all images.
    pub cross_view: bool,
    /// The released sizes, with the language layers that a checkpoint has.
    pub released: fn() -> Model,
    /// Sizes and tokens of its demo policy.
    pub demo: DemoFamily,
}

/// What `config.json` calls a family, and the defaults of the vendor's dataclass.
pub struct ConfigFamily {
    /// `model_type`.
    pub model_type: &'static str,
    /// `backbone_model_type`.
    pub backbone_type: &'static str,
    /// `model_name`, for checkpoints that are made here.
    pub model_name: &'static str,
    /// `select_layer`: language layers that are used.
    pub select_layer: usize,
    /// `action_horizon`.
    pub horizon: usize,
    /// `max_state_dim` and `max_action_dim`.
    pub dims: usize,
    /// `num_layers` of an absent `diffusion_model_cfg`.
    pub blocks: usize,
    /// Whether `vl_self_attention_cfg` is read.
    pub fusion: bool,
    /// Whether `use_alternate_vl_dit: false` is served.
    pub plain_dit: bool,
    /// Whether the head takes the language model's rows as its last layer leaves them, under the transformers release that the
    /// vendor names; else behind the final norm.
    pub before_norm: bool,
}

/// The backbone's `config.json`.
pub struct BackboneFamily {
    /// Its name, for people.
    pub title: &'static str,
    /// `model_type` values that such a file, or its vision tower, may have.
    pub model_types: &'static [&'static str],
    /// Layers of the language model's own release.
    pub layers: usize,
    /// Reads its sizes.
    pub(crate) read: fn(&mut Keys<'_>) -> (Vision, Language),
    /// Writes them.
    pub(crate) write: fn(&Model) -> Value,
}

/// The backbone's weights.
pub struct WeightFamily {
    /// Prefix of the vision tower's, which no other family has.
    pub vision: &'static str,
    /// Prefix of the language model's.
    pub decoder: &'static str,
    /// The vision tower.
    pub tower: &'static Tower,
    /// Adds the vision tower's.
    pub(crate) list: fn(&mut List, &Model),
    /// Weights of a checkpoint that inference never reads.
    pub(crate) unread: fn(&Model) -> Outlines,
}

/// The prompt of a family.
pub struct PromptFamily {
    /// `prompt.json`.
    pub template: fn() -> Value,
    /// Where the images are, for a model whose images come before the instruction: their places do not depend on it.
    pub images: Option<ImagePlaces>,
}

/// Tokens of a prompt that begins with its images.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImagePlaces {
    /// Tokens before the first image's own.
    pub lead: usize,
    /// Tokens of an image before its rows.
    pub open: usize,
    /// Tokens of an image behind its rows.
    pub close: usize,
}

/// The demo policy of a family.
pub struct DemoFamily {
    /// Vision tower and language model; the argument is the vocabulary.
    pub(crate) sizes: fn(usize) -> (Vision, Language),
    /// Rows of the model's chunk.
    pub horizon: usize,
    /// Columns of states and actions.
    pub dims: usize,
    /// Layers between language model and head.
    pub fusion: usize,
    /// Shorter image edge in pixels.
    pub(crate) shortest_edge: usize,
    /// Tokens that are never split.
    pub(crate) special: &'static [&'static str],
    /// Gains of weights by the end of their name.
    pub(crate) gains: &'static [(&'static str, f64)],
    /// The released sizes with few blocks.
    pub(crate) mid: fn() -> Model,
}

impl Family {
    /// The family whose `config.json` says this `model_type`.
    pub fn of_model_type(model_type: &str) -> Option<&'static Self> {
        FAMILIES.into_iter().find(|family| family.config.model_type == model_type)
    }

    /// The family called this on the command line.
    pub fn named(name: &str) -> Option<&'static Self> {
        FAMILIES.into_iter().find(|family| family.name == name)
    }

    /// The family whose vision tower's weights are among these.
    pub(crate) fn of_weights<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<&'static Self> {
        names.find_map(|name| FAMILIES.into_iter().find(|family| name.starts_with(family.weights.vision)))
    }

    /// Name of its release, for people.
    pub fn title(&self) -> &'static str {
        self.policy.title
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl ImagePlaces {
    /// Place of every image row in the sequence, for images of these numbers of rows.
    pub fn rows(&self, images: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let (mut at, mut places) = (self.lead, Vec::new());
        for rows in images {
            at += self.open;
            places.extend(at..at + rows);
            at += rows + self.close;
        }
        places
    }

    /// Time, height and width of the first `most` places of the sequence, for images of these grids (rows and columns of tokens).
    /// Text counts on in all three; an image that starts at `p` has the time `p`, heights `p + row` and widths `p + column`, and the
    /// text behind it goes on at `p + max(rows, columns)`.
    pub fn positions(&self, grids: &[(usize, usize)], most: usize) -> Vec<[usize; 3]> {
        let (mut next, mut places) = (0, Vec::with_capacity(most));
        let text = |places: &mut Vec<[usize; 3]>, next: &mut usize, count: usize| {
            for _ in 0..count {
                places.push([*next; 3]);
                *next += 1;
            }
        };
        text(&mut places, &mut next, self.lead);
        for &(rows, columns) in grids {
            text(&mut places, &mut next, self.open);
            places.extend((0..rows * columns).map(|at| [next, next + at / columns, next + at % columns]));
            next += rows.max(columns);
            text(&mut places, &mut next, self.close);
        }
        let rest = most.saturating_sub(places.len());
        text(&mut places, &mut next, rest);
        places.truncate(most);
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_positions_follow_the_images() {
        let places = ImagePlaces { lead: 2, open: 1, close: 1 };
        assert_eq!(places.rows([2, 1]), [3, 4, 7]);
        let expected = [[0; 3], [1; 3], [2; 3], [3, 3, 3], [3, 3, 4], [5; 3], [6; 3], [7; 3], [8; 3], [9; 3], [10; 3]];
        assert_eq!(places.positions(&[(1, 2), (1, 1)], 11), expected);
        assert_eq!(places.positions(&[(1, 2), (1, 1)], 4), expected[..4]);
    }

    #[test]
    fn families_differ_in_what_they_are_recognised_by() {
        for (index, family) in FAMILIES.into_iter().enumerate() {
            assert_eq!(Family::of_model_type(family.config.model_type), Some(family));
            assert_eq!(Family::named(family.name), Some(family));
            let weight = format!("{}.x", family.weights.vision);
            assert_eq!(Family::of_weights([weight.as_str()].into_iter()), Some(family));
            for other in &FAMILIES[..index] {
                assert_ne!(family.policy.processor_class, other.policy.processor_class);
            }
        }
    }
}
