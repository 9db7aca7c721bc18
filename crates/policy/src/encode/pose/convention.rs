//! How a robot's pose becomes the one that a policy was trained on.

use nalgebra::{Quaternion, Rotation3, UnitQuaternion, Vector3};

use super::EulerOrder;
use crate::observation::Pose;
use vla_messages::QUATERNION_TOLERANCE;

/// The convention of an input: fixed rotations, the order of Euler angles, and which of the two quaternions of a rotation is meant.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PoseConvention {
    /// Turns the frame that the pose is in: `base * pose`. Position and orientation.
    pub base: UnitQuaternion<f64>,
    /// Turns the tool in its place: `pose * tool`. Orientation only.
    pub tool: UnitQuaternion<f64>,
    /// Order of roll, pitch and yaw.
    pub euler: EulerOrder,
    /// Of the two quaternions `q` and `-q` of a rotation the one nearer to this is given; the rotation vector is its. `w` first, as
    /// nalgebra orders it.
    pub near: Quaternion<f64>,
}

impl Default for PoseConvention {
    /// The pose as it is; quaternions with a `w` that is not negative, so that rotation vectors are no longer than pi.
    fn default() -> Self {
        let (base, tool) = (UnitQuaternion::identity(), UnitQuaternion::identity());
        Self { base, tool, euler: EulerOrder::RPY, near: Quaternion::identity() }
    }
}

/// Numbers that are no rotation.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error(
    "expected a rotation as [roll, pitch, yaw] in rad (extrinsic xyz) or as a unit quaternion [x, y, z, w], found {found:?}"
)]
pub struct BadRotation {
    /// The numbers.
    pub found: Vec<f64>,
}

impl PoseConvention {
    /// A rotation of a parameter: none, `[roll, pitch, yaw]` or `[x, y, z, w]`.
    ///
    /// # Errors
    /// Another number of values, values that are not finite, a quaternion whose length is not 1.
    pub fn rotation(values: &[f64]) -> Result<UnitQuaternion<f64>, BadRotation> {
        let refused = || BadRotation { found: values.to_vec() };
        if values.iter().any(|value| !value.is_finite()) {
            return Err(refused());
        }
        match *values {
            [] => Ok(UnitQuaternion::identity()),
            [roll, pitch, yaw] => Ok(UnitQuaternion::from_euler_angles(roll, pitch, yaw)),
            [x, y, z, w] => {
                let quaternion = Quaternion::new(w, x, y, z);
                let unit = (quaternion.norm() - 1.0).abs() <= QUATERNION_TOLERANCE;
                if unit { Ok(UnitQuaternion::from_quaternion(quaternion)) } else { Err(refused()) }
            }
            _ => Err(refused()),
        }
    }

    /// Whether poses keep their position and orientation.
    pub fn keeps_poses(&self) -> bool {
        [self.base, self.tool].iter().all(|rotation| *rotation == UnitQuaternion::identity())
    }

    /// The robot's pose as the policy's.
    pub fn apply(&self, pose: &Pose) -> Pose {
        if self.keeps_poses() {
            return *pose;
        }
        let [x, y, z, w] = pose.orientation;
        let orientation = UnitQuaternion::from_quaternion(Quaternion::new(w, x, y, z));
        let position = self.base * Vector3::from(pose.position);
        let q = self.base * orientation * self.tool;
        Pose { position: position.into(), orientation: [q.i, q.j, q.k, q.w] }
    }

    /// The rotations of base and tool as matrices: [`Self::apply`] on a position and a rotation matrix.
    pub fn matrices(&self) -> [Rotation3<f64>; 2] {
        [self.base, self.tool].map(|rotation| rotation.to_rotation_matrix())
    }

    /// The nearer of a quaternion and its negative, x, y, z, w.
    pub(super) fn nearer(&self, quaternion: [f64; 4]) -> [f64; 4] {
        let [x, y, z, w] = quaternion;
        let dot = self.near.dot(&Quaternion::new(w, x, y, z));
        if dot < 0.0 { quaternion.map(|value| -value) } else { quaternion }
    }
}
