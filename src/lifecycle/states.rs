//! States and transitions of a managed node, with the ids and labels of rcl_lifecycle's default state machine.

/// A state; the numbers are those of `lifecycle_msgs/State`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum State {
    /// Listed by rcl_lifecycle; no node is in it.
    Unknown = 0,
    /// No policy is loaded.
    Unconfigured = 1,
    /// The policy is loaded, inputs are received, nothing moves.
    Inactive = 2,
    /// The robot may move.
    Active = 3,
    /// The policy is freed for good; only the end of the process follows.
    Finalized = 4,
    /// The policy is being loaded.
    Configuring = 10,
    /// The policy is being freed.
    CleaningUp = 11,
    /// The robot is brought to rest and the policy freed.
    ShuttingDown = 12,
    /// Motion is being allowed.
    Activating = 13,
    /// The robot is brought to rest.
    Deactivating = 14,
    /// A transition or the policy failed.
    ErrorProcessing = 15,
}

impl State {
    /// Every state, in rcl_lifecycle's order.
    pub(crate) const ALL: [Self; 11] = [
        Self::Unknown,
        Self::Unconfigured,
        Self::Inactive,
        Self::Active,
        Self::Finalized,
        Self::Configuring,
        Self::CleaningUp,
        Self::ShuttingDown,
        Self::Activating,
        Self::Deactivating,
        Self::ErrorProcessing,
    ];

    /// Its number in messages.
    pub(crate) const fn id(self) -> u8 {
        self as u8
    }

    /// Its label in messages.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Unconfigured => "unconfigured",
            Self::Inactive => "inactive",
            Self::Active => "active",
            Self::Finalized => "finalized",
            Self::Configuring => "configuring",
            Self::CleaningUp => "cleaningup",
            Self::ShuttingDown => "shuttingdown",
            Self::Activating => "activating",
            Self::Deactivating => "deactivating",
            Self::ErrorProcessing => "errorprocessing",
        }
    }

    /// Whether the node stays in it until a transition is asked for.
    pub(crate) const fn is_primary(self) -> bool {
        matches!(self, Self::Unconfigured | Self::Inactive | Self::Active | Self::Finalized)
    }
}

/// A transition; the ids are those of `lifecycle_msgs/Transition`.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Transition {
    /// Its number in messages.
    pub id: u8,
    /// Its label in messages. Several have the same; start state and label together are unique.
    pub label: &'static str,
    /// State before.
    pub start: State,
    /// State after.
    pub goal: State,
}

/// Result of the work of a transition state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Done.
    Success,
    /// Not done, and nothing changed.
    Failure,
    /// The policy is lost.
    Error,
}

impl Outcome {
    const fn label(self) -> &'static str {
        match self {
            Self::Success => "transition_success",
            Self::Failure => "transition_failure",
            Self::Error => "transition_error",
        }
    }
}

const fn transition(id: u8, label: &'static str, start: State, goal: State) -> Transition {
    Transition { id, label, start, goal }
}

const SUCCESS: &str = Outcome::Success.label();
const FAILURE: &str = Outcome::Failure.label();
const ERROR: &str = Outcome::Error.label();

/// Every transition, in rcl_lifecycle's order.
pub(crate) static TRANSITIONS: [Transition; 25] = {
    use State::*;
    [
        transition(1, "configure", Unconfigured, Configuring),
        transition(10, SUCCESS, Configuring, Inactive),
        transition(11, FAILURE, Configuring, Unconfigured),
        transition(12, ERROR, Configuring, ErrorProcessing),
        transition(2, "cleanup", Inactive, CleaningUp),
        transition(20, SUCCESS, CleaningUp, Unconfigured),
        transition(21, FAILURE, CleaningUp, Inactive),
        transition(22, ERROR, CleaningUp, ErrorProcessing),
        transition(3, "activate", Inactive, Activating),
        transition(30, SUCCESS, Activating, Active),
        transition(31, FAILURE, Activating, Inactive),
        transition(32, ERROR, Activating, ErrorProcessing),
        transition(4, "deactivate", Active, Deactivating),
        transition(40, SUCCESS, Deactivating, Inactive),
        transition(41, FAILURE, Deactivating, Active),
        transition(42, ERROR, Deactivating, ErrorProcessing),
        transition(5, "shutdown", Unconfigured, ShuttingDown),
        transition(6, "shutdown", Inactive, ShuttingDown),
        transition(7, "shutdown", Active, ShuttingDown),
        transition(50, SUCCESS, ShuttingDown, Finalized),
        transition(51, FAILURE, ShuttingDown, Finalized),
        transition(52, ERROR, ShuttingDown, ErrorProcessing),
        transition(60, SUCCESS, ErrorProcessing, Unconfigured),
        transition(61, FAILURE, ErrorProcessing, Finalized),
        transition(62, ERROR, ErrorProcessing, Finalized),
    ]
};

/// Transitions that start in `state`.
pub(crate) fn available(state: State) -> impl Iterator<Item = &'static Transition> {
    TRANSITIONS.iter().filter(move |transition| transition.start == state)
}

/// The transition that a caller asks for: by label when there is one, as in rclcpp, where `ros2 service call` leaves the id at 0.
/// `None` when `state` has no such transition, and in transition states, which the node leaves by itself.
pub(crate) fn requested(state: State, id: u8, label: &str) -> Option<&'static Transition> {
    let is_it = |transition: &&Transition| {
        if label.is_empty() { transition.id == id } else { transition.label == label }
    };
    available(state).find(is_it).filter(|_| state.is_primary())
}

/// The transition with which the work of a transition state ends.
pub(crate) fn ended(state: State, outcome: Outcome) -> Option<&'static Transition> {
    available(state).find(|transition| transition.label == outcome.label())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_names_a_transition_by_id_or_by_label_and_the_label_comes_first() {
        let goal = |state, id, label| requested(state, id, label).map(|transition| (transition.id, transition.goal));
        assert_eq!(goal(State::Unconfigured, 1, ""), Some((1, State::Configuring)));
        assert_eq!(goal(State::Unconfigured, 0, "configure"), Some((1, State::Configuring)));
        assert_eq!(goal(State::Inactive, 1, "cleanup"), Some((2, State::CleaningUp)));
        // One label, three ids.
        assert_eq!(goal(State::Unconfigured, 0, "shutdown"), Some((5, State::ShuttingDown)));
        assert_eq!(goal(State::Inactive, 0, "shutdown"), Some((6, State::ShuttingDown)));
        assert_eq!(goal(State::Active, 7, ""), Some((7, State::ShuttingDown)));
    }

    #[test]
    fn what_the_state_does_not_offer_is_no_transition() {
        for (state, id, label) in [
            (State::Unconfigured, 3, ""),
            (State::Active, 3, ""),
            (State::Active, 6, ""),
            (State::Inactive, 0, "configure"),
            (State::Inactive, 0, "explode"),
            (State::Finalized, 1, ""),
            (State::Finalized, 0, "shutdown"),
            (State::Unconfigured, 0, ""),
            (State::Unconfigured, 8, ""),
            // The results of the node's own work are not the callers'.
            (State::Configuring, 10, ""),
            (State::Configuring, 0, "transition_success"),
        ] {
            assert_eq!(requested(state, id, label), None, "{state:?} {id} {label}");
        }
    }

    #[test]
    fn each_transition_state_ends_with_each_outcome_in_a_state_of_the_standard() {
        let goals = |state| {
            [Outcome::Success, Outcome::Failure, Outcome::Error]
                .map(|outcome| ended(state, outcome).map(|transition| transition.goal))
        };
        use State::*;
        for (state, expected) in [
            (Configuring, [Inactive, Unconfigured, ErrorProcessing]),
            (CleaningUp, [Unconfigured, Inactive, ErrorProcessing]),
            (Activating, [Active, Inactive, ErrorProcessing]),
            (Deactivating, [Inactive, Active, ErrorProcessing]),
            (ShuttingDown, [Finalized, Finalized, ErrorProcessing]),
            (ErrorProcessing, [Unconfigured, Finalized, Finalized]),
        ] {
            assert_eq!(goals(state), expected.map(Some), "{state:?}");
        }
        assert!(
            State::ALL.iter().filter(|state| state.is_primary()).all(|state| ended(*state, Outcome::Success).is_none())
        );
    }
}
