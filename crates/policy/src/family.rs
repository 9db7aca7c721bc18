//! Model families: what differs between the vendor's models before and after the networks.
//!
//! A family is a value. Code asks it for a rule or a number and never which family it is, so another family is a file with
//! one static and a line in [`Family::all`].

use crate::encode::prompt::TextRules;
use crate::processor::{Framing, ImageTransformSpec, PoseFormat, SmartResize};

mod n1d6;
mod n1d7;

pub use n1d6::N1D6;
pub use n1d7::N1D7;

/// A family of models that this build encodes for and decodes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Family {
    /// Name for people, such as `GR00T N1.6`.
    pub title: &'static str,
    /// `processor_class` of `processor_config.json`.
    pub processor_class: &'static str,
    /// `model_name` of the processor: the backbone.
    pub model_name: ModelName,
    /// `model_type` of the processor.
    pub model_type: &'static str,
    /// Value of `shortest_image_edge` where the file does not have it.
    pub shortest_image_edge: usize,
    /// Value of `max_action_horizon` where the file does not have it.
    pub max_action_horizon: usize,
    /// The last step of the image transform, and tokens of an image.
    pub smart_resize: SmartResize,
    /// Side of a patch in pixels, where the vendor's processor gives the sizes of images in patches (`image_grid_thw`).
    pub grid_patch: Option<usize>,
    /// How relative poses of an end effector are predicted.
    pub relative_poses: RelativePoses,
    /// Keys of the processor that switch something in some families only.
    pub switches: Switches,
    /// Texts that a processor of this family reads as the place of an image or video.
    pub image_places: ImagePlaces,
    /// Name that the vendor's code has for the rows of images behind the vision tower.
    pub image_rows: &'static str,
}

/// The backbones that a family's processor accepts as `model_name`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ModelName {
    /// The names; the first is the default of the vendor's class.
    pub names: &'static [&'static str],
    /// A path that contains one of the names is accepted, too.
    pub within_paths: bool,
}

impl ModelName {
    /// Whether `name` is one of them.
    pub fn accepts(&self, name: &str) -> bool {
        self.names.iter().any(|known| *known == name || self.within_paths && name.contains(known))
    }
}

/// How a relative action of an end effector is predicted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelativePoses {
    /// As position and 6D rotation, whatever the format in which the absolute pose is written.
    Rot6d,
    /// In the key's format.
    AsFormat,
}

impl RelativePoses {
    /// What the predictions of a key with this format are.
    pub const fn predicted(self, format: PoseFormat) -> PoseFormat {
        match self {
            Self::Rot6d => PoseFormat::Rot6d,
            Self::AsFormat => format,
        }
    }
}

/// What keys of the processor do when they are true.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Switches {
    /// `exclude_state` replaces the state with zeros. Else it is refused.
    pub exclude_state: bool,
    /// `use_mean_std` is stored and not read. Else it is refused.
    pub ignores_use_mean_std: bool,
    /// `use_albumentations: false` selects the transform of torchvision that is computed here. Else it is refused.
    pub torchvision_transform: bool,
}

/// Texts in an instruction that stand for an image or video.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImagePlaces {
    /// Special tokens, besides the prompt's own token of an image row.
    pub tokens: &'static [&'static str],
    /// `<image-N>` and `<video-N>` are placeholders.
    pub numbered: bool,
}

impl Family {
    /// Every family.
    pub fn all() -> impl Iterator<Item = &'static Self> + Clone {
        [&N1D6, &N1D7].into_iter()
    }

    /// The family of a processor by its class.
    pub fn of_processor_class(class: &str) -> Option<&'static Self> {
        Self::all().find(|family| family.processor_class == class)
    }

    /// The classes of all families, for messages.
    pub fn processor_classes() -> String {
        let classes: Vec<String> =
            Self::all().map(|family| format!("'{}' ({})", family.processor_class, family.title)).collect();
        classes.join(" or ")
    }

    /// How instructions are read, with or without the vendor's clean-up.
    pub const fn text_rules(&self, normalise: bool) -> TextRules {
        TextRules { normalise, image_places: self.image_places }
    }

    /// The image transform of this family with these two numbers, without letterbox.
    pub const fn image(&self, shortest_edge: usize, crop_fraction: f64) -> ImageTransformSpec {
        let framing = Framing::ShortestEdge { edge: shortest_edge, crop: crop_fraction };
        ImageTransformSpec { letterbox: false, framing, smart_resize: self.smart_resize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_found_by_its_processor_class_and_no_other() {
        for family in Family::all() {
            assert_eq!(Family::of_processor_class(family.processor_class), Some(family));
            assert!(family.model_name.names.iter().all(|name| family.model_name.accepts(name)));
        }
        assert_eq!(Family::of_processor_class("Gr00tN1d5Processor"), None);
        assert!(Family::processor_classes().contains("'Gr00tN1d7Processor' (GR00T N1.7)"));
    }

    #[test]
    fn a_backbone_may_be_a_path_where_the_vendor_accepts_one() {
        assert!(N1D7.model_name.accepts("/models/nvidia/Cosmos-Reason2-2B"));
        assert!(N1D7.model_name.accepts("Qwen/Qwen3-VL-2B-Instruct"));
        assert!(!N1D7.model_name.accepts("nvidia/Eagle-Block2A-2B-v2"));
        assert!(!N1D6.model_name.accepts("/models/nvidia/Eagle-Block2A-2B-v2"));
    }
}
