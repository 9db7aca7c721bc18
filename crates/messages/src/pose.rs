//! A pose as several messages send it: position and quaternion.

use super::cdr::Reader;
use super::error::Error;

/// How far the length of a quaternion may be from 1. Single precision and a few products of rotations stay far below;
/// beyond, the sender has not filled it in, or sends something else in its place.
pub const QUATERNION_TOLERANCE: f64 = 0.01;

/// Names of the two fields of a pose in its message, for errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    pub position: &'static str,
    pub orientation: &'static str,
}

impl Fields {
    /// Reads x, y, z in m and the quaternion x, y, z, w. Any numbers are taken.
    pub(super) fn read(self, reader: &mut Reader<'_>) -> Result<([f64; 3], [f64; 4]), Error> {
        let mut position = [0.0; 3];
        for value in &mut position {
            *value = reader.f64(self.position)?;
        }
        let mut orientation = [0.0; 4];
        for value in &mut orientation {
            *value = reader.f64(self.orientation)?;
        }
        Ok((position, orientation))
    }

    /// The quaternion with length 1.
    ///
    /// A length within [`QUATERNION_TOLERANCE`] of 1 is rounding, and is taken out. Any other is refused, above all zero:
    /// such a message has no orientation, and scaling it up would make one.
    ///
    /// # Errors
    /// [`Error::NotFinite`], [`Error::Quaternion`].
    pub(super) fn check(self, message: &str, position: &[f64; 3], orientation: &[f64; 4]) -> Result<[f64; 4], Error> {
        for (field, values) in [(self.position, &position[..]), (self.orientation, &orientation[..])] {
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return Err(Error::NotFinite { message: message.to_owned(), field, found: value.to_string() });
            }
        }
        let length = orientation.iter().map(|value| value * value).sum::<f64>().sqrt();
        if (length - 1.0).abs() > QUATERNION_TOLERANCE {
            let (message, field) = (message.to_owned(), self.orientation);
            return Err(Error::Quaternion { message, field, found: length.to_string() });
        }
        Ok(orientation.map(|value| value / length))
    }
}
