//! A client of one action, over the services and topics that an action consists of.
//!
//! r2r's own action client keeps a feedback channel of every goal for ever, and searches them all for each message: with several
//! goals a second that grows without bound.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use r2r::action_msgs::msg::GoalInfo;
use r2r::action_msgs::srv::CancelGoal;
use r2r::unique_identifier_msgs::msg::UUID;
use r2r::{Client, Node, QosProfile, WrappedActionTypeSupport, WrappedServiceTypeSupport};

use super::presence::Presence;
use crate::error::Error;

/// Time between two looks at the motion and the server.
pub(super) const TICK: Duration = Duration::from_millis(20);
/// Longest wait for the answer to a goal.
pub(super) const ANSWER: Duration = Duration::from_secs(1);
/// Time after a goal that was refused or failed before the next is tried.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// The identity of a goal.
pub(super) type GoalId = [u8; 16];

/// How a goal ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Succeeded,
    Canceled,
    Aborted,
    /// A status that no ended goal has.
    Other(i8),
}

impl End {
    /// Numbers of `action_msgs/GoalStatus`.
    fn of(status: i8) -> Self {
        match status {
            4 => Self::Succeeded,
            5 => Self::Canceled,
            6 => Self::Aborted,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded => f.write_str("succeeded"),
            Self::Canceled => f.write_str("canceled"),
            Self::Aborted => f.write_str("aborted"),
            Self::Other(status) => write!(f, "ended with status {status}"),
        }
    }
}

/// Whether the server accepted a goal.
pub(super) type Answer = (GoalId, Result<bool, r2r::Error>);
/// How a goal ended, with the action's result.
pub(super) type Outcome<T> = (GoalId, Result<(End, <T as WrappedActionTypeSupport>::Result), r2r::Error>);

type RequestOf<S> = <S as WrappedServiceTypeSupport>::Request;

/// The client. Requests are written at once and wait for nothing; their futures end with the server's response.
pub(super) struct ActionClient<T: WrappedActionTypeSupport + 'static> {
    send: Client<T::SendGoal>,
    result: Client<T::GetResult>,
    cancel: Client<CancelGoal::Service>,
    feedback: BoxStream<'static, (GoalId, T::Feedback)>,
    /// Makes the identities of this client's goals differ from others'.
    salt: u64,
    /// Goals that were sent.
    goals: u64,
}

impl<T> ActionClient<T>
where
    T: WrappedActionTypeSupport + 'static,
    T::Feedback: Send,
    T::FeedbackMessage: Send,
{
    /// Creates the client of an action, as `rcl_action` names its parts.
    ///
    /// # Errors
    /// When the middleware refuses the name.
    pub(super) fn create(node: &mut Node, action: &str) -> Result<Self, Error>
    where
        T::SendGoal: 'static,
        T::GetResult: 'static,
        T::FeedbackMessage: 'static,
    {
        let failed = |e| Error::endpoint("action", action, e);
        let service = |part: &str| (format!("{action}/_action/{part}"), QosProfile::services_default());
        let ((send, qos), (result, qos_result), (cancel, qos_cancel)) =
            (service("send_goal"), service("get_result"), service("cancel_goal"));
        let feedback = node
            .subscribe::<T::FeedbackMessage>(&format!("{action}/_action/feedback"), QosProfile::default())
            .map_err(failed)?;
        Ok(Self {
            send: node.create_client::<T::SendGoal>(&send, qos).map_err(failed)?,
            result: node.create_client::<T::GetResult>(&result, qos_result).map_err(failed)?,
            cancel: node.create_client::<CancelGoal::Service>(&cancel, qos_cancel).map_err(failed)?,
            feedback: feedback
                .map(|message| {
                    let (id, feedback) = T::destructure_feedback_msg(message);
                    (goal_id(&id), feedback)
                })
                .boxed(),
            salt: RandomState::new().build_hasher().finish(),
            goals: 0,
        })
    }

    /// Looks whether the server is there and has answered.
    pub(super) fn look(&self, presence: &mut Presence) {
        presence.look(&self.send, || self.greet());
    }

    /// Asks to cancel goal 0, which is never sent: a server answers that it does not know it. The middleware tells the server of the
    /// parts of this client in the order in which they were created, so that a server that knows `cancel` knows `send`.
    fn greet(&self) -> Option<BoxFuture<'static, bool>> {
        let goal_info = GoalInfo { goal_id: uuid(self.identity(0)), ..GoalInfo::default() };
        // Fails only when the node has ended.
        let response = self.cancel.request(&CancelGoal::Request { goal_info }).ok()?;
        Some(response.map(|response| response.is_ok()).boxed())
    }

    fn identity(&self, goal: u64) -> GoalId {
        let mut id = GoalId::default();
        let (first, last) = id.split_at_mut(8);
        first.copy_from_slice(&self.salt.to_le_bytes());
        last.copy_from_slice(&goal.to_be_bytes());
        id
    }

    /// Sends a goal.
    ///
    /// # Errors
    /// When the middleware refuses the request.
    pub(super) fn send(&mut self, goal: T::Goal) -> Result<(GoalId, BoxFuture<'static, Answer>), r2r::Error>
    where
        RequestOf<T::SendGoal>: Send,
        <T::SendGoal as WrappedServiceTypeSupport>::Response: Send,
    {
        self.goals += 1;
        let id = self.identity(self.goals);
        let response = self.send.request(&T::make_goal_request_msg(uuid(id), goal))?;
        let answer = response.map(move |response| (id, response.map(|r| T::destructure_goal_response_msg(r).0)));
        Ok((id, answer.boxed()))
    }

    /// Asks for the end of a goal that was accepted.
    ///
    /// # Errors
    /// When the middleware refuses the request.
    pub(super) fn result(&self, id: GoalId) -> Result<BoxFuture<'static, Outcome<T>>, r2r::Error>
    where
        T::Result: Send,
        <T::GetResult as WrappedServiceTypeSupport>::Response: Send,
    {
        let response = self.result.request(&T::make_result_request_msg(uuid(id)))?;
        let ended = response.map(move |response| {
            let ended = response.map(|response| {
                let (status, result) = T::destructure_result_response_msg(response);
                (End::of(status), result)
            });
            (id, ended)
        });
        Ok(ended.boxed())
    }

    /// Asks the server to cancel a goal. Whether it did shows in the goal's end.
    ///
    /// # Errors
    /// When the middleware refuses the request.
    pub(super) fn cancel(&self, id: GoalId) -> Result<(), r2r::Error> {
        let goal_info = GoalInfo { goal_id: uuid(id), ..GoalInfo::default() };
        // The response is not waited for: dropping its future drops nothing else.
        self.cancel.request(&CancelGoal::Request { goal_info }).map(drop)
    }

    /// The next feedback of any goal of this action, other clients' included.
    pub(super) async fn feedback(&mut self) -> Option<(GoalId, T::Feedback)> {
        self.feedback.next().await
    }
}

fn uuid(id: GoalId) -> UUID {
    UUID { uuid: id.to_vec() }
}

fn goal_id(id: &UUID) -> GoalId {
    id.uuid.as_slice().try_into().unwrap_or_default()
}
