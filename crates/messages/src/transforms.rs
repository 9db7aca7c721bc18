//! `tf2_msgs/TFMessage` and its `geometry_msgs/TransformStamped`.

use super::cdr::Reader;
use super::error::Error;
use super::header::HeaderView;
use super::pose::Fields;

const FIELDS: Fields =
    Fields { position: "transforms.transform.translation", orientation: "transforms.transform.rotation" };
/// Stamp, lengths of two strings, seven doubles.
const SMALLEST: usize = 8 + 4 + 4 + 7 * 8;

/// One borrowed `geometry_msgs/TransformStamped`, as sent: the pose of a frame in its parent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TransformView<'a> {
    /// Stamp and parent frame.
    pub header: HeaderView<'a>,
    /// The child frame.
    pub child_frame_id: &'a str,
    /// x, y, z in m.
    pub translation: [f64; 3],
    /// Quaternion x, y, z, w.
    pub rotation: [f64; 4],
}

impl TransformView<'_> {
    /// The same transform with finite numbers and a quaternion of length 1, as
    /// [`PoseStampedView::checked`](super::PoseStampedView::checked).
    ///
    /// # Errors
    /// [`Error::NotFinite`], [`Error::Quaternion`].
    pub fn checked(self) -> Result<Self, Error> {
        let rotation = FIELDS.check(TfMessageView::TYPE, &self.translation, &self.rotation)?;
        Ok(Self { rotation, ..self })
    }
}

/// A borrowed `tf2_msgs/TFMessage`. Every transform was read once when it was parsed; nothing is allocated.
#[derive(Clone, Copy, Debug)]
pub struct TfMessageView<'a> {
    count: usize,
    /// At the first transform.
    transforms: Reader<'a>,
}

impl<'a> TfMessageView<'a> {
    /// Name of the type.
    pub const TYPE: &'static str = "tf2_msgs/msg/TFMessage";

    /// Reads a message in place. Any numbers are taken.
    ///
    /// # Errors
    /// Not plain CDR, truncated, or a frame that is not UTF-8.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(Self::TYPE, bytes)?;
        let count = reader.length("transforms", SMALLEST)?;
        let transforms = reader;
        for _ in 0..count {
            transform(&mut reader)?;
        }
        Ok(Self { count, transforms })
    }

    /// Number of transforms.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no transform.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The transforms in the message's order.
    pub fn transforms(&self) -> impl Iterator<Item = TransformView<'a>> + use<'a> {
        let mut reader = self.transforms;
        // `parse` has read every one of them, so none is lost here.
        (0..self.count).map_while(move |_| transform(&mut reader).ok())
    }
}

fn transform<'a>(reader: &mut Reader<'a>) -> Result<TransformView<'a>, Error> {
    let header = HeaderView {
        stamp: reader.stamp("transforms.header.stamp")?,
        frame_id: reader.string("transforms.header.frame_id")?,
    };
    let child_frame_id = reader.string("transforms.child_frame_id")?;
    let (translation, rotation) = FIELDS.read(reader)?;
    Ok(TransformView { header, child_frame_id, translation, rotation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::Writer;
    use crate::write;
    use vla_base::time::Stamp;

    fn some() -> [TransformView<'static>; 3] {
        let view = |nanos, frame_id, child_frame_id, x| TransformView {
            header: HeaderView { stamp: Stamp::from_nanos(nanos), frame_id },
            child_frame_id,
            translation: [x, -x, 0.5],
            rotation: [0.0, 0.6, 0.0, 0.8],
        };
        [view(5, "base", "link_1", 1.0), view(6, "link_1", "l", 2.0), view(7, "l", "", 3.0)]
    }

    #[test]
    fn transforms_are_read_in_order_from_either_byte_order() {
        let little = write::tf_message(&some());
        let mut big = Vec::new();
        let mut writer = Writer::big_endian(&mut big);
        writer.length(3);
        for view in some() {
            writer.header(view.header);
            writer.string(view.child_frame_id);
            view.translation.iter().chain(&view.rotation).for_each(|value| writer.f64(*value));
        }
        for bytes in [little, big] {
            let view = TfMessageView::parse(&bytes).expect("whole");
            assert!(view.transforms().eq(some()) && view.len() == 3 && !view.is_empty());
        }
        let none = write::tf_message(&[]);
        assert_eq!(TfMessageView::parse(&none).map(|view| view.is_empty()), Ok(true));
    }

    #[test]
    fn a_message_that_is_cut_anywhere_or_announces_too_much_is_refused() {
        let bytes = write::tf_message(&some());
        for length in 0..bytes.len() {
            assert!(TfMessageView::parse(&bytes[..length]).is_err(), "cut to {length} of {}", bytes.len());
        }
        let error = TfMessageView::parse(&[0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 2]).expect_err("refused");
        assert!(matches!(error, Error::Sequence { field: "transforms", .. }), "{error}");
    }

    #[test]
    fn a_transform_without_rotation_is_refused() {
        let [first, ..] = some();
        let error = TransformView { rotation: [0.0; 4], ..first }.checked().expect_err("no rotation");
        assert!(matches!(error, Error::Quaternion { field: "transforms.transform.rotation", .. }), "{error}");
        let error = TransformView { translation: [f64::INFINITY; 3], ..first }.checked().expect_err("not finite");
        assert!(matches!(error, Error::NotFinite { field: "transforms.transform.translation", .. }), "{error}");
        assert_eq!(first.checked(), Ok(first));
    }
}
