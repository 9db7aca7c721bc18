//! `nav_msgs/Odometry`.

use super::cdr::Reader;
use super::error::Error;
use super::header::HeaderView;
use super::pose::Fields;

const FIELDS: Fields = Fields { position: "pose.pose.position", orientation: "pose.pose.orientation" };

/// The pose of a borrowed `nav_msgs/Odometry`, as sent; covariances and twist are not read.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct OdometryView<'a> {
    /// Stamp, and the frame that the pose is in.
    pub header: HeaderView<'a>,
    /// The frame whose pose it is.
    pub child_frame_id: &'a str,
    /// x, y, z in m.
    pub position: [f64; 3],
    /// Quaternion x, y, z, w.
    pub orientation: [f64; 4],
}

impl<'a> OdometryView<'a> {
    /// Name of the type.
    pub const TYPE: &'static str = "nav_msgs/msg/Odometry";

    /// Reads a message in place. Any numbers are taken.
    ///
    /// # Errors
    /// Not plain CDR, truncated, or a frame that is not UTF-8.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(Self::TYPE, bytes)?;
        let header = reader.header()?;
        let child_frame_id = reader.string("child_frame_id")?;
        let (position, orientation) = FIELDS.read(&mut reader)?;
        Ok(Self { header, child_frame_id, position, orientation })
    }

    /// The same pose with finite numbers and a quaternion of length 1, as [`PoseStampedView::checked`](super::PoseStampedView::checked).
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
    use super::*;
    use crate::cdr::Writer;
    use crate::write;
    use vla_base::time::Stamp;

    const HEADER: HeaderView<'_> = HeaderView { stamp: Stamp::from_nanos(5), frame_id: "odom" };

    #[test]
    fn the_pose_and_both_frames_are_read_from_either_byte_order() {
        let (position, orientation) = ([1.5, -2.0, 0.25], [0.0, 0.6, 0.0, 0.8]);
        let little = write::odometry(HEADER, "base_link", position, orientation);
        let mut big = Vec::new();
        let mut writer = Writer::big_endian(&mut big);
        writer.header(HEADER);
        writer.string("base_link");
        position.iter().chain(&orientation).for_each(|value| writer.f64(*value));
        for bytes in [little, big] {
            let view = OdometryView { header: HEADER, child_frame_id: "base_link", position, orientation };
            assert_eq!(OdometryView::parse(&bytes), Ok(view));
        }
    }

    #[test]
    fn a_message_that_is_cut_in_the_pose_is_refused_with_its_field() {
        let bytes = write::odometry(HEADER, "tool", [1.0; 3], [0.0, 0.0, 0.0, 1.0]);
        let pose = bytes.len() - (36 + 6 + 36) * 8;
        for length in 0..pose {
            assert!(OdometryView::parse(&bytes[..length]).is_err(), "cut to {length}");
        }
        let error = OdometryView::parse(&bytes[..pose - 1]).expect_err("cut");
        assert!(matches!(error, Error::Truncated { field: "pose.pose.orientation", .. }), "{error}");
    }

    #[test]
    fn a_quaternion_of_length_zero_and_a_position_that_is_not_finite_are_refused() {
        let checked = |position, orientation| {
            let bytes = write::odometry(HEADER, "tool", position, orientation);
            OdometryView::parse(&bytes).expect("whole").checked().map(|view| view.orientation)
        };
        let error = checked([0.0; 3], [0.0; 4]).expect_err("no rotation");
        assert!(matches!(error, Error::Quaternion { field: "pose.pose.orientation", .. }), "{error}");
        let error = checked([f64::NAN, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]).expect_err("NaN");
        assert!(matches!(error, Error::NotFinite { field: "pose.pose.position", .. }), "{error}");
        assert_eq!(checked([0.0; 3], [0.0, 0.0, 0.0, 1.001]), Ok([0.0, 0.0, 0.0, 1.0]));
    }
}
