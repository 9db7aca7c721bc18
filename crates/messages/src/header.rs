//! `std_msgs/Header`.

use super::cdr::Reader;
use super::error::Error;
use super::transforms::TfMessageView;
use vla_base::time::Stamp;

/// A borrowed `std_msgs/Header`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HeaderView<'a> {
    /// When the data were taken, ROS time of the sender.
    pub stamp: Stamp,
    /// Coordinate frame.
    pub frame_id: &'a str,
}

/// The stamp of any message that starts with a `std_msgs/Header`; nothing behind it is read.
///
/// # Errors
/// [`Error::Encapsulation`], [`Error::Truncated`] or [`Error::Nanoseconds`], naming `type_name`.
pub fn header_stamp(type_name: &str, bytes: &[u8]) -> Result<Stamp, Error> {
    Reader::new(type_name, bytes)?.stamp("header.stamp")
}

/// The stamp of a message of any type that is an input: that of its header; of transforms the newest of them, zero when there is none.
///
/// # Errors
/// As [`header_stamp`]; for transforms those of [`TfMessageView::parse`].
pub fn sample_stamp(type_name: &str, bytes: &[u8]) -> Result<Stamp, Error> {
    if type_name != TfMessageView::TYPE {
        return header_stamp(type_name, bytes);
    }
    let stamps = TfMessageView::parse(bytes)?.transforms().map(|transform| transform.header.stamp);
    Ok(stamps.max().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_of_transforms_is_the_newest() {
        let transform = |nanos| crate::TransformView {
            header: HeaderView { stamp: Stamp::from_nanos(nanos), frame_id: "base" },
            child_frame_id: "tool",
            translation: [0.0; 3],
            rotation: [0.0, 0.0, 0.0, 1.0],
        };
        let stamp = |transforms: &[crate::TransformView<'_>]| {
            sample_stamp(TfMessageView::TYPE, &crate::write::tf_message(transforms)).map(Stamp::nanos)
        };
        assert_eq!(stamp(&[transform(5), transform(9), transform(7)]), Ok(9));
        assert_eq!(stamp(&[]), Ok(0));
        let header = HeaderView { stamp: Stamp::from_nanos(4), frame_id: "" };
        let text = crate::write::joint_state(header, &["a"], &[0.0], &[], &[]);
        assert_eq!(sample_stamp("sensor_msgs/msg/JointState", &text).map(Stamp::nanos), Ok(4));
    }

    #[test]
    fn the_stamp_is_read_without_looking_further() {
        let bytes = [0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 9, 0xff];
        assert_eq!(header_stamp("a/B", &bytes), Ok(Stamp::from_nanos(2_000_000_009)));
        let error = header_stamp("a/B", &bytes[..10]).expect_err("cut");
        assert!(error.to_string().starts_with("a/B: `header.stamp` at byte 8 needs 4 bytes, found 2"), "{error}");
    }
}
