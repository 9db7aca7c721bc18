//! Action keys of an end effector: what their decoded values are, and how their columns are named.

use super::raw::{ActionFormat, ActionType, RawActionConfig};
use super::{ActionKey, Conversion, PoseFormat};

/// What the decoded values of a key of type EEF are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EefValues {
    /// A pose: position in m, rotation as the format says.
    Pose(PoseFormat),
    /// They leave as predicted and the processor does not say what they are: their width is not the format's.
    Unknown,
}

impl EefValues {
    /// Of a key that leaves `decoded_width` values; `None` when it is no end effector's.
    pub(super) fn of(config: Option<&RawActionConfig>, conversion: Conversion, decoded_width: usize) -> Option<Self> {
        let config = config.filter(|config| config.kind == ActionType::Eef)?;
        if let Conversion::ComposePose { format, .. } = conversion {
            return Some(Self::Pose(format));
        }
        let format = match config.format {
            ActionFormat::Default => PoseFormat::Matrix,
            ActionFormat::XyzRot6d => PoseFormat::Rot6d,
            ActionFormat::XyzRotvec => PoseFormat::Rotvec,
        };
        Some(if format.width() == decoded_width { Self::Pose(format) } else { Self::Unknown })
    }
}

impl PoseFormat {
    /// Values of a pose.
    pub const fn width(self) -> usize {
        self.columns().len()
    }

    /// What each value is. `x y z` in m, the rotation vector `rx ry rz` in rad; entries of the matrix have no unit.
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Rot6d => &["x", "y", "z", "r00", "r01", "r02", "r10", "r11", "r12"],
            Self::Rotvec => &["x", "y", "z", "rx", "ry", "rz"],
            Self::Matrix => &[
                "r00", "r01", "r02", "x", "r10", "r11", "r12", "y", "r20", "r21", "r22", "z", "m30", "m31", "m32",
                "m33",
            ],
        }
    }
}

impl ActionKey {
    /// Names of the columns of a key of an end effector: `<key>.x`, `<key>.r00`, ...; `<key>.0`, `<key>.1`, ... where the
    /// processor does not say what the values are. `None`: the key moves joints, which have names of their own.
    pub fn eef_columns(&self) -> Option<Vec<String>> {
        let name = &self.name;
        Some(match self.eef? {
            EefValues::Pose(format) => format.columns().iter().map(|column| format!("{name}.{column}")).collect(),
            EefValues::Unknown => (0..self.decoded_width()).map(|index| format!("{name}.{index}")).collect(),
        })
    }

    /// Whether predictions are poses in the frame of a pose of the state.
    pub fn is_relative_pose(&self) -> bool {
        matches!(self.conversion, Conversion::ComposePose { .. })
    }
}
