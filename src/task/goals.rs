//! Goals of an action and their states, as `action_msgs` defines them. Knows no middleware.

use std::collections::VecDeque;

use vla_base::time::Stamp;

/// Results that are kept for clients that ask late.
const KEPT: usize = 32;
/// Requests for the result of one goal that may wait.
const WAITING: usize = 16;

/// Identity of a goal, a UUID.
pub(super) type GoalId = [u8; 16];

/// State of a goal; the numbers are those of `action_msgs/GoalStatus`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i8)]
pub(super) enum Status {
    /// Accepted; waits for the tasks before it.
    Accepted = 1,
    /// Runs.
    Executing = 2,
    /// Runs, and a client asked for its end.
    Canceling = 3,
    /// Ended as it should: the time was over.
    Succeeded = 4,
    /// Ended because a client asked.
    Canceled = 5,
    /// Ended for another reason.
    Aborted = 6,
}

impl Status {
    /// Whether the goal has ended.
    pub(super) const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Canceled | Self::Aborted)
    }

    const fn can_be_cancelled(self) -> bool {
        matches!(self, Self::Accepted | Self::Executing)
    }
}

/// Which goals a client wants to end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Cancelled {
    /// These, which are now canceling.
    Goals(Vec<GoalId>),
    /// There is no goal of this identity.
    Unknown,
    /// It has ended already.
    Ended,
}

/// A result with the state that the goal ended in, and the requests that wait for it.
pub(super) struct Ended<R, W> {
    /// For each of `waiting`.
    pub status: Status,
    /// The result.
    pub result: R,
    /// Requests that came before the end.
    pub waiting: Vec<W>,
}

struct Goal<R, W> {
    id: GoalId,
    accepted: Stamp,
    status: Status,
    result: Option<R>,
    waiting: Vec<W>,
}

/// The goals. `R` is the result, `W` a request for it.
pub(super) struct Goals<R, W>(VecDeque<Goal<R, W>>);

impl<R, W> Default for Goals<R, W> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<R: Clone, W> Goals<R, W> {
    /// Adds a goal. False when there is one of this identity.
    pub(super) fn accept(&mut self, id: GoalId, accepted: Stamp) -> bool {
        if self.status(&id).is_some() {
            return false;
        }
        self.0.push_back(Goal { id, accepted, status: Status::Accepted, result: None, waiting: Vec::new() });
        true
    }

    /// State of a goal.
    pub(super) fn status(&self, id: &GoalId) -> Option<Status> {
        self.0.iter().find(|goal| goal.id == *id).map(|goal| goal.status)
    }

    /// An accepted goal begins.
    pub(super) fn begin(&mut self, id: &GoalId) {
        if let Some(goal) = self.find(id).filter(|goal| goal.status == Status::Accepted) {
            goal.status = Status::Executing;
        }
    }

    /// A goal ends in a terminal state. `None` when it has ended before, or is unknown.
    pub(super) fn end(&mut self, id: &GoalId, status: Status, result: R) -> Option<Ended<R, W>> {
        let goal = self.find(id).filter(|goal| !goal.status.is_terminal())?;
        goal.status = status;
        goal.result = Some(result.clone());
        let waiting = std::mem::take(&mut goal.waiting);
        let ended = self.0.iter().filter(|goal| goal.status.is_terminal()).count();
        if ended > KEPT
            && let Some(oldest) = self.0.iter().position(|goal| goal.status.is_terminal())
        {
            self.0.remove(oldest);
        }
        Some(Ended { status, result, waiting })
    }

    /// A request for a result. Returns it with the result when the goal has ended, with `None` when there is no such goal or too many
    /// wait; keeps it until the end of the goal otherwise.
    pub(super) fn ask(&mut self, id: &GoalId, request: W) -> Option<(W, Option<(Status, R)>)> {
        let Some(goal) = self.find(id) else { return Some((request, None)) };
        if let Some(result) = &goal.result {
            return Some((request, Some((goal.status, result.clone()))));
        }
        if goal.waiting.len() >= WAITING {
            return Some((request, None));
        }
        goal.waiting.push(request);
        None
    }

    /// A request to cancel, with the meaning of `action_msgs/CancelGoal`: one goal by identity; those accepted up to `until`; both; or,
    /// with neither, all. Goals that wait or run are canceling afterwards.
    pub(super) fn cancel(&mut self, id: &GoalId, until: Stamp) -> Cancelled {
        let (by_id, by_time) = (*id != GoalId::default(), until != Stamp::default());
        if by_id && !by_time {
            match self.status(id) {
                None => return Cancelled::Unknown,
                Some(status) if status.is_terminal() => return Cancelled::Ended,
                Some(_) => {}
            }
        }
        let is_meant = |goal: &Goal<R, W>| match (by_id, by_time) {
            (false, false) => true,
            (_, true) if goal.accepted <= until => true,
            _ => goal.id == *id,
        };
        let meant = self.0.iter_mut().filter(|goal| is_meant(goal) && goal.status.can_be_cancelled());
        Cancelled::Goals(
            meant
                .map(|goal| {
                    goal.status = Status::Canceling;
                    goal.id
                })
                .collect(),
        )
    }

    /// Identity, time of acceptance and state of each goal, oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = (GoalId, Stamp, Status)> + '_ {
        self.0.iter().map(|goal| (goal.id, goal.accepted, goal.status))
    }

    fn find(&mut self, id: &GoalId) -> Option<&mut Goal<R, W>> {
        self.0.iter_mut().find(|goal| goal.id == *id)
    }
}

#[cfg(test)]
mod tests;
