//! `sensor_msgs/JointState`.

use super::cdr::{Doubles, Reader};
use super::error::Error;
use super::header::HeaderView;

/// A borrowed `sensor_msgs/JointState`. Every name was checked when it was parsed; nothing is allocated.
///
/// The message may leave positions or velocities away, and a faulty sender may send fewer of them than names, so
/// each is asked for on its own.
#[derive(Clone, Copy, Debug)]
pub struct JointStateView<'a> {
    /// Stamp and frame.
    pub header: HeaderView<'a>,
    count: usize,
    /// Stands at the first name.
    names: Reader<'a>,
    positions: Doubles<'a>,
    velocities: Doubles<'a>,
}

impl<'a> JointStateView<'a> {
    /// Name of the type.
    pub const TYPE: &'static str = "sensor_msgs/msg/JointState";

    /// Reads a message in place.
    ///
    /// # Errors
    /// Not plain CDR, truncated, or a name that is not UTF-8.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(Self::TYPE, bytes)?;
        let header = reader.header()?;
        let count = reader.length("name", 4)?;
        let names = reader;
        for _ in 0..count {
            reader.string("name")?;
        }
        let (positions, velocities) = (reader.doubles("position")?, reader.doubles("velocity")?);
        reader.doubles("effort")?;
        Ok(Self { header, count, names, positions, velocities })
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Name `index`, empty when there are fewer. Walks the names before it; [`names`](Self::names) walks all once.
    pub fn name(&self, index: usize) -> &'a str {
        self.names().nth(index).unwrap_or_default()
    }

    /// Position `index` in rad or m, if it was sent.
    pub fn position(&self, index: usize) -> Option<f64> {
        self.positions.get(index)
    }

    /// Velocity `index` in rad/s or m/s, if it was sent.
    pub fn velocity(&self, index: usize) -> Option<f64> {
        self.velocities.get(index)
    }

    /// The names in the message's order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let mut reader = self.names;
        // `parse` has read every one of them, so none is lost here.
        (0..self.count).map_while(move |_| reader.string("name").ok())
    }

    /// The positions that were sent, rad or m.
    pub fn positions(&self) -> impl ExactSizeIterator<Item = f64> + Clone + use<'a> {
        self.positions.iter()
    }

    /// The velocities that were sent, rad/s or m/s.
    pub fn velocities(&self) -> impl ExactSizeIterator<Item = f64> + Clone + use<'a> {
        self.velocities.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::Writer;
    use crate::write;
    use vla_base::time::Stamp;

    #[test]
    fn joints_are_read_by_index_and_in_order() {
        let header = HeaderView { stamp: Stamp::from_nanos(5), frame_id: "base" };
        let bytes = write::joint_state(header, &["a", "elbow", ""], &[0.5, f64::NAN, -2.0], &[], &[1.0]);
        let view = JointStateView::parse(&bytes).expect("well-formed");
        assert_eq!((view.header, view.len(), view.is_empty()), (header, 3, false));
        assert_eq!((view.name(1), view.name(3), view.position(2), view.position(3)), ("elbow", "", Some(-2.0), None));
        assert_eq!(view.velocity(0), None);
        assert!(view.names().eq(["a", "elbow", ""]));
        assert_eq!((view.positions().len(), view.velocities().count()), (3, 0));
    }

    #[test]
    fn a_big_endian_sender_is_understood() {
        let mut bytes = Vec::new();
        let mut writer = Writer::big_endian(&mut bytes);
        writer.header(HeaderView { stamp: Stamp::from_nanos(7), frame_id: "" });
        writer.strings(&["left", "right"]);
        writer.doubles(&[1.5, -1.5]);
        writer.doubles(&[0.25, 0.0]);
        writer.doubles(&[]);
        let view = JointStateView::parse(&bytes).expect("well-formed");
        assert!(view.names().eq(["left", "right"]) && view.positions().eq([1.5, -1.5]));
        assert_eq!((view.header.stamp, view.velocity(0)), (Stamp::from_nanos(7), Some(0.25)));
    }

    #[test]
    fn fewer_positions_than_names_are_shown_as_missing() {
        let bytes = write::joint_state(HeaderView::default(), &["a", "b"], &[1.0], &[], &[]);
        let view = JointStateView::parse(&bytes).expect("well-formed");
        assert_eq!((view.len(), view.position(0), view.position(1)), (2, Some(1.0), None));
    }

    #[test]
    fn a_message_that_is_cut_anywhere_is_refused() {
        let bytes = write::joint_state(HeaderView::default(), &["a", "bc"], &[1.0, 2.0], &[3.0, 4.0], &[5.0, 6.0]);
        for length in 0..bytes.len() {
            assert!(JointStateView::parse(&bytes[..length]).is_err(), "cut to {length} of {}", bytes.len());
        }
    }
}
