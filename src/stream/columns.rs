//! Commands that are no joints: `geometry_msgs/TwistStamped` and `geometry_msgs/PoseStamped`.

use r2r::{Node, PublisherUntyped, QosProfile};

use super::{Commands, RestOwed};
use crate::error::Error;
use vla_base::time::{Span, Stamp};
use vla_messages::{HeaderView, write};
use vla_runtime::parameters::{PoseRoute, TwistRoute};
use vla_runtime::session::Control;

/// Time in which zero velocity, or the last pose, is repeated after the plan has come to rest. Then nothing is sent, so that another
/// source may command.
const REPEATED: Span = Span::from_nanos(500_000_000);

/// Writes the value of a group at `now`; false when there is nothing to send.
fn sample(control: &Control, group: usize, now: Stamp, rest: &mut RestOwed, out: &mut [f64]) -> bool {
    let plan = control.column_plan().filter(|plan| rest.is_due(now > plan.end() + REPEATED));
    plan.is_some_and(|plan| {
        rest.sent(now, plan.end());
        plan.sample(group, now, out)
    })
}

fn publisher(node: &mut Node, name: &str, type_name: &str) -> Result<PublisherUntyped, Error> {
    let publisher = node.create_publisher_untyped(name, type_name, QosProfile::default().keep_last(1));
    publisher.map_err(|e| Error::endpoint("topic", name, e))
}

/// The velocity of a base.
pub(super) struct TwistCommands {
    publisher: PublisherUntyped,
    group: usize,
    frame_id: String,
    /// Component of each value.
    components: Vec<usize>,
    values: Vec<f64>,
    rest: RestOwed,
    bytes: Vec<u8>,
}

impl TwistCommands {
    /// Creates the topic of a route; `group` is its number among the groups of columns.
    ///
    /// # Errors
    /// When the middleware refuses the name.
    pub(super) fn create(node: &mut Node, route: &TwistRoute, group: usize) -> Result<Self, Error> {
        let (frame_id, components) = (route.frame_id.clone(), route.components.clone());
        let publisher = publisher(node, &route.topic, "geometry_msgs/msg/TwistStamped")?;
        let values = vec![0.0; components.len()];
        Ok(Self { publisher, group, frame_id, components, values, rest: RestOwed::default(), bytes: Vec::new() })
    }
}

impl Commands for TwistCommands {
    fn send(&mut self, control: &Control, now: Stamp) -> Result<(), r2r::Error> {
        if !sample(control, self.group, now, &mut self.rest, &mut self.values) {
            return Ok(());
        }
        let mut twist = [0.0; 6];
        for (component, value) in self.components.iter().zip(&self.values) {
            if let Some(slot) = twist.get_mut(*component) {
                *slot = *value;
            }
        }
        let header = HeaderView { stamp: now, frame_id: &self.frame_id };
        write::twist_stamped_into(&mut self.bytes, header, twist);
        self.publisher.publish_raw(&self.bytes)
    }
}

/// The pose of an end effector.
pub(super) struct PoseCommands {
    publisher: PublisherUntyped,
    group: usize,
    frame_id: String,
    rest: RestOwed,
    bytes: Vec<u8>,
}

impl PoseCommands {
    /// As [`TwistCommands::create`].
    ///
    /// # Errors
    /// When the middleware refuses the name.
    pub(super) fn create(node: &mut Node, route: &PoseRoute, group: usize) -> Result<Self, Error> {
        let publisher = publisher(node, &route.topic, "geometry_msgs/msg/PoseStamped")?;
        let (frame_id, rest) = (route.frame_id.clone(), RestOwed::default());
        Ok(Self { publisher, group, frame_id, rest, bytes: Vec::new() })
    }
}

impl Commands for PoseCommands {
    fn send(&mut self, control: &Control, now: Stamp) -> Result<(), r2r::Error> {
        let mut pose = [0.0; 7];
        if !sample(control, self.group, now, &mut self.rest, &mut pose) {
            return Ok(());
        }
        let [x, y, z, orientation @ ..] = pose;
        let header = HeaderView { stamp: now, frame_id: &self.frame_id };
        write::pose_stamped_into(&mut self.bytes, header, [x, y, z], orientation);
        self.publisher.publish_raw(&self.bytes)
    }
}
