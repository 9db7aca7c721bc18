//! Commands of joints: `sensor_msgs/JointState` or `std_msgs/Float64MultiArray`.

use std::sync::Arc;

use r2r::{Node, PublisherUntyped, QosProfile};

use super::{Commands, RestOwed};
use crate::error::Error;
use vla_base::time::Stamp;
use vla_messages::{HeaderView, write};
use vla_motion::{MotionPlan, WatchdogState};
use vla_runtime::parameters::CommandKind;
use vla_runtime::session::Control;

/// The topic, with its reused buffers.
pub(super) struct JointCommands {
    publisher: PublisherUntyped,
    kind: CommandKind,
    /// Joints of the message, in its order; `None`: all of the motion.
    joints: Option<Arc<[String]>>,
    /// Index of each in the plan of these names.
    indices: Vec<usize>,
    names: Arc<[String]>,
    /// Of the whole plan.
    positions: Vec<f64>,
    velocities: Vec<f64>,
    /// Of the message.
    selected: (Vec<f64>, Vec<f64>),
    rest: RestOwed,
    bytes: Vec<u8>,
}

impl JointCommands {
    /// Creates the topic.
    ///
    /// # Errors
    /// When the middleware refuses the name.
    pub(super) fn create(
        node: &mut Node,
        name: &str,
        kind: CommandKind,
        joints: Option<&[String]>,
    ) -> Result<Self, Error> {
        let type_name = match kind {
            CommandKind::JointState => "sensor_msgs/msg/JointState",
            CommandKind::MultiArray => "std_msgs/msg/Float64MultiArray",
        };
        let publisher = node.create_publisher_untyped(name, type_name, QosProfile::default().keep_last(1));
        let publisher = publisher.map_err(|e| Error::endpoint("topic", name, e))?;
        let joints = joints.map(Into::into);
        let (indices, names, positions, velocities, selected, rest, bytes) = Default::default();
        Ok(Self { publisher, kind, joints, indices, names, positions, velocities, selected, rest, bytes })
    }

    /// Samples the plan; false before its first sample.
    fn sample(&mut self, plan: &MotionPlan, now: Stamp) -> bool {
        let width = plan.names().len();
        self.positions.resize(width, 0.0);
        self.velocities.resize(width, 0.0);
        // Before its first sample: the clock was set back, and the watchdog discards this plan.
        if !plan.sample(now, &mut self.positions, &mut self.velocities) {
            return false;
        }
        if !Arc::ptr_eq(&self.names, plan.names()) {
            self.names.clone_from(plan.names());
            let joints = self.joints.get_or_insert_with(|| Arc::clone(&self.names));
            let index = |joint: &String| self.names.iter().position(|name| name == joint);
            self.indices = joints.iter().filter_map(index).collect();
        }
        let select = |values: &[f64], out: &mut Vec<f64>| {
            out.clear();
            out.extend(self.indices.iter().filter_map(|index| values.get(*index)));
        };
        select(&self.positions, &mut self.selected.0);
        select(&self.velocities, &mut self.selected.1);
        true
    }
}

impl Commands for JointCommands {
    /// Nothing before the first chunk. After a stop has ended one command at rest, which a follower of velocities needs, then nothing.
    fn send(&mut self, control: &Control, now: Stamp) -> Result<(), r2r::Error> {
        let Some(plan) = control.plan() else { return Ok(()) };
        // Idle with a plan: resumed while the robot was still coming to rest.
        let silent = now > plan.end() && matches!(control.state(), WatchdogState::Stopped | WatchdogState::Idle);
        if !self.rest.is_due(silent) {
            return Ok(());
        }
        if !self.sample(&plan, now) {
            return Ok(());
        }
        let (positions, velocities) = &self.selected;
        match self.kind {
            CommandKind::JointState => {
                let header = HeaderView { stamp: now, frame_id: "" };
                let names = self.joints.as_deref().unwrap_or_default();
                write::joint_state_into(&mut self.bytes, header, names, positions, velocities, &[]);
            }
            CommandKind::MultiArray => write::float64_multi_array_into(&mut self.bytes, positions),
        }
        self.rest.sent(now, plan.end());
        self.publisher.publish_raw(&self.bytes)
    }
}
