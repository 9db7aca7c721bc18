//! GR00T N1.6 (NVIDIA/Isaac-GR00T, branch n1d6, read at 4e62473).

use super::{Family, ImagePlaces, ModelName, RelativePoses, Switches};
use crate::encode::resize::Filter;
use crate::processor::{ShrunkBy, SmartResize};

/// Two patches of 14 pixels.
const MULTIPLE: usize = 28;

/// GR00T N1.6: the backbone is NVIDIA's Eagle.
pub static N1D6: Family = Family {
    title: "GR00T N1.6",
    processor_class: "Gr00tN1d6Processor",
    model_name: ModelName { names: &["nvidia/Eagle-Block2A-2B-v2"], within_paths: false },
    model_type: "eagle",
    shortest_image_edge: 512,
    max_action_horizon: 40,
    smart_resize: SmartResize {
        multiple: MULTIPLE,
        least_side: MULTIPLE,
        most_side: 7000,
        least_pixels: 4 * MULTIPLE * MULTIPLE,
        most_pixels: 4096 * MULTIPLE * MULTIPLE,
        shrunk_by: ShrunkBy::RoundedArea,
        filter: Filter::PILLOW_BICUBIC,
    },
    grid_patch: None,
    relative_poses: RelativePoses::Rot6d,
    switches: Switches { exclude_state: false, ignores_use_mean_std: false, torchvision_transform: false },
    image_places: ImagePlaces { tokens: &[], numbered: true },
    image_rows: "mlp1_out",
};
