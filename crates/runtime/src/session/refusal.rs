//! Why a cycle had no chunk to publish although its observation kept the rules, and what that means for the motion.

use vla_motion as chunk;
use vla_policy as policy;
use vla_policy::observation::Violation;

/// Why a cycle had no chunk to publish.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Encode, engines or decode failed.
    #[error("{0}")]
    Policy(#[from] policy::Error),
    /// The chunk must not be published, or must not move the robot.
    #[error("{0}")]
    Chunk(#[from] chunk::Error),
    /// The operator let go of the enable switch while it was inferred.
    #[error("{0}")]
    NotEnabled(Violation),
}

/// What a refusal means for the motion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalKind {
    /// What was inferred from is not fit to be used, or what came out is not: `inputs.on_violation` says what follows.
    Violation,
    /// Nothing is wrong with it, but the motion was stopped, held or ended while it was inferred.
    Superseded,
    /// The machine failed or was too slow. The plan in force ends at rest by itself, and the watchdog sees that no chunk comes.
    Failure,
}

impl Refusal {
    /// Whether every later cycle fails too until the policy is loaded again.
    pub fn is_sticky(&self) -> bool {
        matches!(self, Self::Policy(error) if error.is_sticky())
    }

    /// What it means for the motion.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::NotEnabled(_) => RefusalKind::Violation,
            Self::Policy(error) => of_policy(error),
            Self::Chunk(error) => of_chunk(error),
        }
    }
}

fn of_policy(error: &policy::Error) -> RefusalKind {
    use policy::Error as E;
    match error {
        E::Encode(_)
        | E::Decode(_)
        | E::Camera { .. }
        | E::Cameras { .. }
        | E::Joints(_)
        | E::Pose { .. }
        | E::InstructionTooLong { .. } => RefusalKind::Violation,
        // Engines, and what a load has checked.
        _ => RefusalKind::Failure,
    }
}

fn of_chunk(error: &chunk::Error) -> RefusalKind {
    use chunk::Error as E;
    match error {
        E::Stopped | E::Ending | E::BeforeHold { .. } | E::SetBack { .. } => RefusalKind::Superseded,
        // Late, or nothing may move yet.
        E::WhollyLate { .. } | E::FromFuture { .. } | E::NoDescription { .. } => RefusalKind::Failure,
        _ => RefusalKind::Violation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vla_base::time::Stamp;
    use vla_engines as engine;

    #[test]
    fn only_a_lost_device_asks_for_the_engines_to_be_loaded_again() {
        let refusal = |error| Refusal::from(policy::Error::Engine(error));
        assert!(refusal(engine::Error::DeviceLost { source: "error 700".into() }).is_sticky());
        let passing = engine::Error::Device { action: "reading".into(), source: "busy".into() };
        assert!(!refusal(passing).is_sticky());
        assert!(!Refusal::from(policy::Error::NoTensorrt).is_sticky());
    }

    #[test]
    fn what_cannot_be_used_is_a_violation_and_a_machine_that_fails_or_a_stop_meanwhile_is_none() {
        let of = |error: policy::Error| Refusal::from(error).kind();
        assert_eq!(of(policy::Error::Joints("left_elbow is missing".into())), RefusalKind::Violation);
        assert_eq!(of(policy::Error::InstructionTooLong { max: 8, found: 9 }), RefusalKind::Violation);
        let camera = policy::Error::Camera { camera: "top".into(), reason: "no JPEG".into() };
        assert_eq!(of(camera), RefusalKind::Violation);
        let lost = engine::Error::DeviceLost { source: "error 700".into() };
        assert_eq!(of(lost.into()), RefusalKind::Failure);
        let of = |error: chunk::Error| Refusal::from(error).kind();
        assert_eq!(of(chunk::Error::NotFinite { row: 0, joint: "a".into(), value: f32::NAN }), RefusalKind::Violation);
        assert_eq!(
            of(chunk::Error::NoStart { joints: "a".into(), found: "none of `a`".into() }),
            RefusalKind::Violation
        );
        assert_eq!(of(chunk::Error::Ending), RefusalKind::Superseded);
        let (observation, held) = (Stamp::default(), Stamp::default());
        assert_eq!(of(chunk::Error::BeforeHold { observation, held }), RefusalKind::Superseded);
    }
}
