//! The three services and two topics of the action `~/run`.

use futures::channel::mpsc::Receiver;
use r2r::action_msgs::msg::GoalStatusArray;
use r2r::action_msgs::srv::CancelGoal;
use r2r::vla_trt::action::Run;
use r2r::{Node, Publisher, QosProfile, ServiceRequest, WrappedServiceTypeSupport};

use crate::call_queue::Intake;
use crate::error::Error;

/// Calls that the middleware keeps for the node's next spin.
const CALLS: usize = 100;

/// A call of one of the services.
pub(super) type GoalCall = ServiceRequest<Run::SendGoal::Service>;
pub(super) type CancelCall = ServiceRequest<CancelGoal::Service>;
pub(super) type ResultCall = ServiceRequest<Run::GetResult::Service>;

/// The endpoints, created but not yet served.
pub(crate) struct TaskEndpoints {
    pub(super) goals: Receiver<GoalCall>,
    pub(super) cancels: Receiver<CancelCall>,
    pub(super) results: Receiver<ResultCall>,
    pub(super) feedback: Publisher<Run::FeedbackMessage>,
    pub(super) status: Publisher<GoalStatusArray>,
}

impl TaskEndpoints {
    /// Creates the endpoints with the names and QoS that rcl_action gives them.
    ///
    /// # Errors
    /// When the middleware refuses a name.
    pub(crate) fn create(node: &mut Node, intake: &mut Intake) -> Result<Self, Error> {
        Ok(Self {
            goals: service::<Run::SendGoal::Service>(node, intake, "~/run/_action/send_goal")?,
            cancels: service::<CancelGoal::Service>(node, intake, "~/run/_action/cancel_goal")?,
            results: service::<Run::GetResult::Service>(node, intake, "~/run/_action/get_result")?,
            feedback: topic(node, "~/run/_action/feedback", QosProfile::default())?,
            status: topic(node, "~/run/_action/status", QosProfile::default().keep_last(1).transient_local())?,
        })
    }
}

fn service<S: WrappedServiceTypeSupport + 'static>(
    node: &mut Node,
    intake: &mut Intake,
    name: &'static str,
) -> Result<Receiver<ServiceRequest<S>>, Error> {
    let calls = node.create_service::<S>(name, QosProfile::services_default().keep_last(CALLS));
    Ok(intake.queue(name, calls.map_err(|e| Error::endpoint("service", name, e))?))
}

fn topic<T: r2r::WrappedTypesupport>(node: &mut Node, name: &str, qos: QosProfile) -> Result<Publisher<T>, Error> {
    node.create_publisher(name, qos).map_err(|e| Error::endpoint("topic", name, e))
}
