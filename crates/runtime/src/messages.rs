//! A chunk and its plan as ROS messages, written into buffers that are reused.

use vla_base::time::{Span, Stamp};
use vla_messages::{ActionChunkMessage, JointTrajectoryMessage, TrajectoryPoint};
use vla_motion::{Chunk, Error, MotionPlan, SAMPLE_PERIOD, Scheduled};

/// Fields of an `ActionChunk` that are not part of the chunk itself.
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

/// Writes a chunk into a reused `vla_trt/ActionChunk`. It has all rows; `late_rows` counts those that are late at publication.
///
/// # Errors
/// [`Error::Shape`] for a chunk whose values do not fill its rows and columns.
pub fn write_action_chunk(
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

/// A `trajectory_msgs/JointTrajectory` that is filled again for every plan.
#[derive(Debug, Default)]
pub struct TrajectoryBuffer {
    message: JointTrajectoryMessage,
    plan_sequence: u64,
    /// Points of longer trajectories before, kept for their buffers.
    spare: Vec<TrajectoryPoint>,
}

impl TrajectoryBuffer {
    /// The trajectory filled last.
    pub fn message(&self) -> &JointTrajectoryMessage {
        &self.message
    }

    /// [`MotionPlan::sequence`] of the plan filled in last; 0 before the first.
    pub fn plan_sequence(&self) -> u64 {
        self.plan_sequence
    }

    /// Writes the samples of `plan` after `now`, or after the plan was made. Times count from the message's stamp: they are above
    /// zero and strictly increasing, and the last point is at rest.
    pub fn fill(&mut self, plan: &MotionPlan, now: Stamp) {
        let now = now.max(plan.created_at());
        self.plan_sequence = plan.sequence();
        let points = plan.points_after(now);
        self.resize(points.len());
        let message = &mut self.message;
        message.stamp = now;
        message.frame_id.clear();
        set_all(&mut message.joint_names, plan.names().iter().map(String::as_str));
        for (point, out) in points.zip(&mut message.points) {
            let from_start = point.at - now;
            // A plan that is over already (a stop of a robot at rest) is due at once, not in the past.
            out.time_from_start = if from_start > Span::ZERO { from_start } else { SAMPLE_PERIOD };
            out.positions.clear();
            out.positions.extend_from_slice(point.positions);
            out.velocities.clear();
            out.velocities.extend_from_slice(point.velocities);
        }
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

/// Writes a trajectory of `joints` alone, in their order and with the same times, into a reused message. A joint that the trajectory
/// lacks is left out.
pub fn select_joints(trajectory: &JointTrajectoryMessage, joints: &[String], out: &mut JointTrajectoryMessage) {
    let index = |joint: &String| trajectory.joint_names.iter().position(|name| name == joint);
    let found = || joints.iter().filter_map(|joint| Some((joint.as_str(), index(joint)?)));
    out.stamp = trajectory.stamp;
    set(&mut out.frame_id, &trajectory.frame_id);
    set_all(&mut out.joint_names, found().map(|(joint, _)| joint));
    out.points.resize_with(trajectory.points.len(), TrajectoryPoint::default);
    for (point, out) in trajectory.points.iter().zip(&mut out.points) {
        out.time_from_start = point.time_from_start;
        out.positions.clear();
        out.velocities.clear();
        for (_, index) in found() {
            out.positions.extend(point.positions.get(index));
            out.velocities.extend(point.velocities.get(index));
        }
    }
}

fn set(out: &mut String, text: &str) {
    out.clear();
    out.push_str(text);
}

fn set_all<'a>(out: &mut Vec<String>, texts: impl Iterator<Item = &'a str> + Clone) {
    out.resize_with(texts.clone().count(), String::new);
    out.iter_mut().zip(texts).for_each(|(out, text)| set(out, text));
}

#[cfg(test)]
mod tests;
