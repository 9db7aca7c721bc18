//! GR00T N1.7 (NVIDIA/Isaac-GR00T at 376ba89, executed).

use super::{Family, ImagePlaces, ModelName, RelativePoses, Switches};
use crate::encode::resize::Filter;
use crate::processor::{ShrunkBy, SmartResize};

/// Two patches of 16 pixels.
const MULTIPLE: usize = 32;

/// GR00T N1.7: the backbone is Cosmos-Reason2, a Qwen3-VL.
pub static N1D7: Family = Family {
    title: "GR00T N1.7",
    processor_class: "Gr00tN1d7Processor",
    model_name: ModelName { names: &["nvidia/Cosmos-Reason2-2B", "Qwen/Qwen3-VL"], within_paths: true },
    model_type: "qwen",
    shortest_image_edge: 256,
    max_action_horizon: 50,
    smart_resize: SmartResize {
        multiple: MULTIPLE,
        least_side: 0,
        most_side: usize::MAX,
        least_pixels: 65_536,
        most_pixels: 16_777_216,
        shrunk_by: ShrunkBy::Area,
        filter: Filter::TORCHVISION_BICUBIC,
    },
    grid_patch: Some(MULTIPLE / 2),
    relative_poses: RelativePoses::AsFormat,
    switches: Switches { exclude_state: true, ignores_use_mean_std: true, torchvision_transform: true },
    image_places: ImagePlaces {
        tokens: &["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"],
        numbered: false,
    },
    image_rows: "image_embeds",
};
