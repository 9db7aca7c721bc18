//! Parts of a pose by name.

use std::str::FromStr;

use nalgebra::{Matrix3, Quaternion, UnitQuaternion};

use super::PoseConvention;
use crate::observation::Pose;

/// Names of the values of a pose, in their order in [`Values`]. ROS reads a bare `y` in YAML as true, so positions have a `p`.
const NAMES: [&str; 24] = [
    "px", "py", "pz", "roll", "pitch", "yaw", "qx", "qy", "qz", "qw", "rx", "ry", "rz", "r00", "r01", "r02", "r10",
    "r11", "r12", "r20", "r21", "r22", "zero", "one",
];

const SHORT: [(&str, &str); 3] = [("x", "px"), ("y", "py"), ("z", "pz")];

/// Every value that a pose can give.
pub(super) type Values = [f64; NAMES.len()];

/// A part of a pose that a state key can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PosePart {
    name: &'static str,
    places: &'static [usize],
}

impl PosePart {
    /// `x y z` in m.
    pub const POSITION: Self = Self::new("position", &[0, 1, 2]);
    /// `roll pitch yaw` in rad: angles about x, y and z, in the order of the input's Euler convention.
    pub const RPY: Self = Self::new("rpy", &[3, 4, 5]);
    /// Quaternion `x y z w`.
    pub const QUATERNION_XYZW: Self = Self::new("quaternion_xyzw", &[6, 7, 8, 9]);
    /// Quaternion `w x y z`.
    pub const QUATERNION_WXYZ: Self = Self::new("quaternion_wxyz", &[9, 6, 7, 8]);
    /// Rotation vector: axis times angle in rad. Not Euler angles.
    pub const ROTVEC: Self = Self::new("rotvec", &[10, 11, 12]);
    /// The first two rows of the rotation matrix, `r00 r01 r02 r10 r11 r12`.
    pub const ROT6D: Self = Self::new("rot6d", &[13, 14, 15, 16, 17, 18]);
    /// The first two columns of the rotation matrix, `r00 r10 r20 r01 r11 r21`.
    pub const ROT6D_COLUMNS: Self = Self::new("rot6d_columns", &[13, 16, 19, 14, 17, 20]);

    /// The homogeneous matrix, row by row: `r00 r01 r02 x`, ..., `0 0 0 1`.
    pub const MATRIX: Self = Self::new("matrix", &[13, 14, 15, 0, 16, 17, 18, 1, 19, 20, 21, 2, 22, 22, 22, 23]);

    const GROUPS: [Self; 8] = [
        Self::POSITION,
        Self::RPY,
        Self::QUATERNION_XYZW,
        Self::QUATERNION_WXYZ,
        Self::ROTVEC,
        Self::ROT6D,
        Self::ROT6D_COLUMNS,
        Self::MATRIX,
    ];

    const fn new(name: &'static str, places: &'static [usize]) -> Self {
        Self { name, places }
    }

    /// Every part: single values (`px`, `roll`, `qw`, `rx`, `r00`, `zero`, `one`, ...), then groups of them.
    pub fn all() -> impl Iterator<Item = Self> {
        const PLACES: [usize; NAMES.len()] = {
            let (mut places, mut at) = ([0; NAMES.len()], 0);
            while at < places.len() {
                places[at] = at;
                at += 1;
            }
            places
        };
        NAMES.iter().zip(PLACES.chunks(1)).map(|(name, places)| Self::new(name, places)).chain(Self::GROUPS)
    }

    /// The word used in parameters.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Number of values.
    pub const fn width(&self) -> usize {
        self.places.len()
    }

    pub(super) const fn places(&self) -> &'static [usize] {
        self.places
    }
}

impl FromStr for PosePart {
    type Err = String;

    /// `x`, `y` and `z` stand for `px`, `py` and `pz`.
    fn from_str(word: &str) -> Result<Self, String> {
        let word = SHORT.iter().find(|(short, _)| *short == word).map_or(word, |(_, name)| name);
        Self::all().find(|part| part.name == word).ok_or_else(|| {
            let names: Vec<_> = Self::all().map(|part| part.name).collect();
            format!("expected parts of a pose ({}), found '{word}'", names.join(", "))
        })
    }
}

pub(super) fn name_of(place: usize) -> &'static str {
    NAMES.get(place).copied().unwrap_or_default()
}

/// The values of a pose to which the convention's rotations were applied.
pub(super) fn values_of(pose: &Pose, convention: &PoseConvention) -> Values {
    let ([x, y, z], [qx, qy, qz, qw]) = (pose.position, convention.nearer(pose.orientation));
    // Unit already; dividing by the length again would change the last bits.
    let m: Matrix3<f64> = *UnitQuaternion::new_unchecked(Quaternion::new(qw, qx, qy, qz)).to_rotation_matrix().matrix();
    let [roll, pitch, yaw] = convention.euler.angles(&m);
    let [rx, ry, rz] = rotation_vector([qx, qy, qz, qw]);
    [
        x, y, z, roll, pitch, yaw, qx, qy, qz, qw, rx, ry, rz, m.m11, m.m12, m.m13, m.m21, m.m22, m.m23, m.m31, m.m32,
        m.m33, 0.0, 1.0,
    ]
}

/// Axis times angle, the angle within [0, pi] where w is not negative, up to 2 pi where it is.
fn rotation_vector([x, y, z, w]: [f64; 4]) -> [f64; 3] {
    let sin = (x * x + y * y + z * z).sqrt();
    if sin == 0.0 {
        return [0.0; 3];
    }
    let angle = 2.0 * sin.atan2(w);
    [x, y, z].map(|value| value / sin * angle)
}
