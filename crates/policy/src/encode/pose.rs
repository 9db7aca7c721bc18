//! The pose of an end effector to the values of a state key.

use std::fmt;

use crate::observation::Pose;

mod convention;
mod euler;
mod part;

pub use convention::{BadRotation, PoseConvention};
pub use euler::EulerOrder;
pub use part::PosePart;

use part::{Values, values_of};

/// A state key that a pose gives: which input, which of its values, and by which convention.
#[derive(Clone, PartialEq, Debug)]
pub struct PoseMap {
    /// Key in the policy, e.g. `left_eef`.
    pub key: String,
    /// Name of the input.
    pub input: String,
    /// Its values, in the key's order. Empty: the key's width decides ([`PoseLayout::of_width`]).
    pub parts: Vec<PosePart>,
    /// Of the input.
    pub convention: PoseConvention,
}

/// The values of a pose that a state key holds, in its order. The vendor's files do not say which they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoseLayout {
    /// Places among all values of a pose.
    places: Vec<usize>,
}

impl PoseLayout {
    /// The widths that have a layout, for messages.
    pub const WIDTHS: &str = "3 (x, y, z), 6 (x, y, z and rotation vector), 9 (x, y, z and two rows of the rotation matrix) or 16 (4x4 matrix)";

    /// The layout of a key of `width` values whose parts are not named: 3 are `position`, 6 `position` and `rotvec`, 9 `position` and
    /// `rot6d`, 16 `matrix`: what relative actions of an end effector refer to.
    ///
    /// A width of 7 (position and quaternion) is not among them: in which order the quaternion was trained is written nowhere.
    pub fn of_width(width: usize) -> Option<Self> {
        let parts: &[PosePart] = match width {
            3 => &[PosePart::POSITION],
            6 => &[PosePart::POSITION, PosePart::ROTVEC],
            9 => &[PosePart::POSITION, PosePart::ROT6D],
            16 => &[PosePart::MATRIX],
            _ => return None,
        };
        Some(Self::of_parts(parts))
    }

    /// These parts, one after the other.
    pub fn of_parts(parts: &[PosePart]) -> Self {
        Self { places: parts.iter().flat_map(|part| part.places().iter().copied()).collect() }
    }

    /// The layout of a key; `None` when its parts have another width, or are not named and its width has no layout of its own.
    pub fn of(parts: &[PosePart], width: usize) -> Option<Self> {
        if parts.is_empty() {
            return Self::of_width(width);
        }
        Some(Self::of_parts(parts)).filter(|layout| layout.width() == width)
    }

    /// Number of values.
    pub fn width(&self) -> usize {
        self.places.len()
    }

    /// Writes a pose; as many values as the layout has and `out` holds.
    pub fn write(&self, pose: &Pose, convention: &PoseConvention, out: &mut [f32]) {
        let values: Values = values_of(&convention.apply(pose), convention);
        for (slot, place) in out.iter_mut().zip(&self.places) {
            *slot = values.get(*place).copied().unwrap_or_default() as f32;
        }
    }
}

impl fmt::Display for PoseLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.places.iter().enumerate() {
            write!(f, "{}{}", if index > 0 { ", " } else { "" }, part::name_of(*place))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
