//! `geometry_msgs/PoseStamped`.

use super::cdr::Reader;
use super::error::Error;
use super::header::HeaderView;
use super::pose::Fields;

const FIELDS: Fields = Fields { position: "pose.position", orientation: "pose.orientation" };

/// A borrowed `geometry_msgs/PoseStamped`, as sent: [`checked`](Self::checked) makes a pose of it that can be used.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PoseStampedView<'a> {
    /// Stamp, and the frame that the pose is in.
    pub header: HeaderView<'a>,
    /// x, y, z in m.
    pub position: [f64; 3],
    /// Quaternion x, y, z, w.
    pub orientation: [f64; 4],
}

impl<'a> PoseStampedView<'a> {
    /// Name of the type.
    pub const TYPE: &'static str = "geometry_msgs/msg/PoseStamped";

    /// Reads a message in place. Any numbers are taken.
    ///
    /// # Errors
    /// Not plain CDR, truncated, or a frame that is not UTF-8.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(Self::TYPE, bytes)?;
        let header = reader.header()?;
        let (position, orientation) = FIELDS.read(&mut reader)?;
        Ok(Self { header, position, orientation })
    }

    /// The same pose with finite numbers and a quaternion of length 1.
    ///
    /// A length within [`QUATERNION_TOLERANCE`](super::QUATERNION_TOLERANCE) of 1 is rounding, and is taken out. Any other is refused, above all zero:
    /// such a message has no orientation, and scaling it up would make one.
    ///
    /// # Errors
    /// [`Error::NotFinite`], [`Error::Quaternion`].
    pub fn checked(self) -> Result<Self, Error> {
        let orientation = FIELDS.check(Self::TYPE, &self.position, &self.orientation)?;
        Ok(Self { orientation, ..self })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::QUATERNION_TOLERANCE;
    use crate::cdr::Writer;
    use crate::write;
    use vla_base::time::Stamp;

    const HEADER: HeaderView<'_> = HeaderView { stamp: Stamp::from_nanos(5), frame_id: "base_link" };

    fn view(position: [f64; 3], orientation: [f64; 4]) -> PoseStampedView<'static> {
        PoseStampedView { header: HEADER, position, orientation }
    }

    #[test]
    fn a_pose_is_read_from_either_byte_order() {
        let (position, orientation) = ([1.5, -2.0, 0.25], [0.0, 0.6, 0.0, 0.8]);
        let little = write::pose_stamped(HEADER, position, orientation);
        let mut big = Vec::new();
        let mut writer = Writer::big_endian(&mut big);
        writer.header(HEADER);
        position.iter().chain(&orientation).for_each(|value| writer.f64(*value));
        for bytes in [little, big] {
            assert_eq!(PoseStampedView::parse(&bytes), Ok(view(position, orientation)));
        }
    }

    #[test]
    fn a_message_that_is_cut_anywhere_is_refused_with_its_field() {
        let bytes = write::pose_stamped(HEADER, [1.0; 3], [0.0, 0.0, 0.0, 1.0]);
        for length in 0..bytes.len() {
            assert!(PoseStampedView::parse(&bytes[..length]).is_err(), "cut to {length} of {}", bytes.len());
        }
        let error = PoseStampedView::parse(&bytes[..bytes.len() - 8]).expect_err("cut").to_string();
        assert!(error.contains("geometry_msgs/msg/PoseStamped: `pose.orientation` at byte"), "{error}");
    }

    #[test]
    fn a_quaternion_of_another_length_and_numbers_that_are_none_are_refused_in_words() {
        let refusal = |position, orientation| view(position, orientation).checked().expect_err("refused").to_string();
        assert_eq!(
            refusal([0.0; 3], [0.0; 4]),
            "geometry_msgs/msg/PoseStamped: `pose.orientation` has length 0, expected 1 (within 0.01): it is not a rotation; \
             set x, y, z and w of a unit quaternion in the sender"
        );
        assert!(refusal([0.0; 3], [0.0, 0.0, 0.0, 1.02]).contains("has length 1.02, expected 1"));
        assert!(refusal([0.0; 3], [f64::MAX; 4]).contains("has length inf, expected 1"));
        assert_eq!(
            refusal([0.0, f64::NAN, 0.0], [0.0, 0.0, 0.0, 1.0]),
            "geometry_msgs/msg/PoseStamped: `pose.position` is NaN, expected a finite number"
        );
        assert!(refusal([0.0; 3], [0.0, f64::NEG_INFINITY, 0.0, 1.0]).contains("`pose.orientation` is -inf"));
    }

    proptest! {
        /// What is accepted has length 1 and the direction that was sent; what lies outside the tolerance is refused.
        #[test]
        fn a_quaternion_is_made_a_unit_or_refused(
            q in prop::array::uniform4(-1.0f64..1.0), length in 0.9f64..1.1, position in prop::array::uniform3(-9.0..9.0),
        ) {
            let norm = q.iter().map(|v| v * v).sum::<f64>().sqrt();
            prop_assume!(norm > 0.1);
            let sent = q.map(|v| v / norm * length);
            prop_assume!(((length - 1.0).abs() - QUATERNION_TOLERANCE).abs() > 1e-9);
            match view(position, sent).checked() {
                Ok(pose) => {
                    prop_assert!((length - 1.0).abs() < QUATERNION_TOLERANCE);
                    prop_assert_eq!(pose.position, position);
                    prop_assert!(pose.orientation.iter().zip(q).all(|(a, b)| (a - b / norm).abs() < 1e-12));
                }
                Err(error) => {
                    let refused = matches!(error, Error::Quaternion { .. });
                    prop_assert!(refused && (length - 1.0).abs() > QUATERNION_TOLERANCE, "{}", error);
                }
            }
        }
    }
}
