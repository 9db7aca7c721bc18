//! `trajectory_msgs/JointTrajectory`.

use super::action_chunk::strings;
use super::cdr::{Reader, Writer};
use super::error::Error;
use super::header::HeaderView;
use vla_base::time::{Span, Stamp};

/// One `trajectory_msgs/JointTrajectory`, kept and refilled.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct JointTrajectoryMessage {
    /// `header.stamp`: the time from which the points count.
    pub stamp: Stamp,
    /// `header.frame_id`.
    pub frame_id: String,
    /// Joints, in the order of each point's values.
    pub joint_names: Vec<String>,
    /// Points in time.
    pub points: Vec<TrajectoryPoint>,
}

/// One `trajectory_msgs/JointTrajectoryPoint`. Accelerations and efforts are written empty and not kept.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TrajectoryPoint {
    /// rad or m.
    pub positions: Vec<f64>,
    /// rad/s or m/s.
    pub velocities: Vec<f64>,
    /// From the header's stamp.
    pub time_from_start: Span,
}

impl JointTrajectoryMessage {
    /// Name of the type.
    pub const TYPE: &'static str = "trajectory_msgs/msg/JointTrajectory";

    /// Replaces `out` by the serialized message.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.header(HeaderView { stamp: self.stamp, frame_id: &self.frame_id });
        writer.strings(&self.joint_names);
        writer.length(self.points.len());
        for point in &self.points {
            writer.doubles(&point.positions);
            writer.doubles(&point.velocities);
            writer.doubles(&[]);
            writer.doubles(&[]);
            writer.span(point.time_from_start);
        }
    }

    /// Reads a serialized message.
    ///
    /// # Errors
    /// Not plain CDR, truncated, or text that is not UTF-8.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(Self::TYPE, bytes)?;
        let header = reader.header()?;
        let joint_names = strings(&mut reader, "joint_names")?;
        // Four lengths and a duration.
        let count = reader.length("points", 24)?;
        let points = (0..count).map(|_| point(&mut reader)).collect::<Result<_, _>>()?;
        Ok(Self { stamp: header.stamp, frame_id: header.frame_id.to_owned(), joint_names, points })
    }
}

fn point(reader: &mut Reader<'_>) -> Result<TrajectoryPoint, Error> {
    let positions = reader.doubles("points.positions")?.iter().collect();
    let velocities = reader.doubles("points.velocities")?.iter().collect();
    reader.doubles("points.accelerations")?;
    reader.doubles("points.effort")?;
    Ok(TrajectoryPoint { positions, velocities, time_from_start: reader.span("points.time_from_start")? })
}
