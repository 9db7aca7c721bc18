//! A scheduled chunk as messages, written into buffers that are reused.

use super::Chunk;
use super::error::Error;
use super::schedule::Scheduled;
use crate::message::{ActionChunkMessage, JointTrajectoryMessage, TrajectoryPoint};
use crate::time::{Span, Stamp};

/// Time given to a controller to come to rest at the position of a stop. It starts from the joint's own velocity, so
/// much less would ask for a jerk that hardware answers with a fault.
pub const STOP_WITHIN: Span = Span::from_nanos(200_000_000);

/// What an `ActionChunk` says besides the chunk itself.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Publication<'a> {
    /// Number of the chunk since the start of the node.
    pub sequence: u64,
    /// Frame of the header, that of the poses; empty for joint space.
    pub frame_id: &'a str,
    /// Wall time from observation to chunk; 0 or as given in a replay.
    pub inference_latency: Span,
    /// Fingerprint of the policy bundle.
    pub policy_fingerprint: &'a str,
}

/// Writes a chunk into a reused `vla_trt/ActionChunk`. All rows are in it; those late at publication are counted in
/// `late_rows`.
pub fn action_chunk_message(
    chunk: &Chunk,
    scheduled: &Scheduled,
    publication: &Publication<'_>,
    out: &mut ActionChunkMessage,
) -> Result<(), Error> {
    chunk.check()?;
    out.stamp = chunk.observation_stamp;
    set(&mut out.frame_id, publication.frame_id);
    out.sequence = publication.sequence;
    set_all(&mut out.input_names, chunk.inputs.iter().map(|(name, _)| name.as_ref()));
    out.input_stamps.clear();
    out.input_stamps.extend(chunk.inputs.iter().map(|(_, stamp)| *stamp));
    out.start = scheduled.start;
    out.step = chunk.step;
    set_all(&mut out.names, chunk.names.iter().map(String::as_str));
    out.horizon = u32::try_from(chunk.rows).unwrap_or(u32::MAX);
    out.values.clone_from(&chunk.values);
    out.late_rows = scheduled.late_rows;
    out.inference_latency = publication.inference_latency;
    out.seed = chunk.seed;
    set(&mut out.policy_fingerprint, publication.policy_fingerprint);
    Ok(())
}

/// A `trajectory_msgs/JointTrajectory` that is filled again for every chunk.
#[derive(Debug, Default)]
pub struct TrajectoryBuffer {
    message: JointTrajectoryMessage,
    /// Points of longer trajectories before, kept for their buffers.
    spare: Vec<TrajectoryPoint>,
}

impl TrajectoryBuffer {
    /// The trajectory filled last.
    pub fn message(&self) -> &JointTrajectoryMessage {
        &self.message
    }

    /// The rows of a chunk that are not late, as `joint_trajectory_controller` takes them. Joints only: poses of end
    /// effectors have no place in this message.
    ///
    /// The header stamp is the time of publication and `time_from_start` a row's due time from there: above zero and
    /// strictly increasing. Velocities are central differences, `(p[i+1] - p[i-1]) / (2 step)`, a dropped row still
    /// serving as the neighbour of the first kept one; with no row before, the forward difference. With velocities
    /// the controller interpolates by cubics instead of straight lines. The last velocity is zero: the controller
    /// refuses a trajectory that does not end at rest (`allow_nonzero_velocity_at_trajectory_end` is false by default
    /// since Iron), and if nothing replaces this one the robot should stop at its end.
    pub fn fill(&mut self, chunk: &Chunk, scheduled: &Scheduled) -> Result<&JointTrajectoryMessage, Error> {
        chunk.check()?;
        self.message.stamp = scheduled.now;
        self.message.frame_id.clear();
        set_all(&mut self.message.joint_names, chunk.joints(&chunk.names).map(String::as_str));
        self.resize(chunk.rows.saturating_sub(scheduled.first_row));
        for (row, point) in (scheduled.first_row..chunk.rows).zip(&mut self.message.points) {
            point.time_from_start = chunk.due(row) - scheduled.now;
            point.positions.clear();
            point.positions.extend(chunk.joints(chunk.row(row).unwrap_or_default()).copied().map(f64::from));
            velocities(chunk, row, &mut point.velocities);
        }
        Ok(&self.message)
    }

    fn resize(&mut self, points: usize) {
        while self.message.points.len() > points {
            self.spare.extend(self.message.points.pop());
        }
        while self.message.points.len() < points {
            self.message.points.push(self.spare.pop().unwrap_or_default());
        }
    }
}

/// The message that stops the robot where it is: the current position at zero velocity, within [`STOP_WITHIN`] of
/// now. Refuses a position that is missing or not finite.
pub fn stop_trajectory(names: &[String], positions: &[f64], now: Stamp) -> Result<JointTrajectoryMessage, Error> {
    for (i, joint) in names.iter().enumerate() {
        let position = positions.get(i).copied();
        if !position.is_some_and(f64::is_finite) {
            return Err(Error::StopPosition { joint: joint.clone(), position });
        }
    }
    let positions: Vec<f64> = positions.iter().copied().take(names.len()).collect();
    let velocities = vec![0.0; positions.len()];
    let point = TrajectoryPoint { positions, velocities, time_from_start: STOP_WITHIN };
    Ok(JointTrajectoryMessage { stamp: now, frame_id: String::new(), joint_names: names.to_vec(), points: vec![point] })
}

/// Velocities of the joints of one row, rad/s or m/s.
fn velocities(chunk: &Chunk, row: usize, out: &mut Vec<f64>) {
    out.clear();
    let here = chunk.row(row).unwrap_or_default();
    let Some(after) = chunk.row(row + 1) else {
        out.extend(chunk.joints(here).map(|_| 0.0));
        return;
    };
    let (before, steps) = match row.checked_sub(1).and_then(|before| chunk.row(before)) {
        Some(before) => (before, 2.0),
        None => (here, 1.0),
    };
    let seconds = steps * chunk.step.seconds();
    let pairs = chunk.joints(after).zip(chunk.joints(before));
    out.extend(pairs.map(|(after, before)| (f64::from(*after) - f64::from(*before)) / seconds));
}

fn set(out: &mut String, text: &str) {
    out.clear();
    out.push_str(text);
}

fn set_all<'a>(out: &mut Vec<String>, texts: impl Iterator<Item = &'a str> + Clone) {
    out.resize_with(texts.clone().count(), String::new);
    out.iter_mut().zip(texts).for_each(|(out, text)| set(out, text));
}
