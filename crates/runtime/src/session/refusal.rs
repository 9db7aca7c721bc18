//! Why a cycle published no chunk although its observation kept the rules, and what that means for the motion.

use vla_policy::observation::Violation;

/// Why a cycle published no chunk.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Encode, engines or decode failed.
    #[error("{0}")]
    Policy(#[from] vla_policy::Error),
    /// The chunk must not be published, or must not move the robot.
    #[error("{0}")]
    Chunk(#[from] vla_motion::Error),
    /// The operator released the enable switch during the inference.
    #[error("{0}")]
    NotEnabled(Violation),
}

/// What a refusal means for the motion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalKind {
    /// The inputs or the result of the inference cannot be used: `inputs.on_violation` decides.
    Violation,
    /// The motion was stopped, held or ended during the inference. Not a fault of the chunk.
    Superseded,
    /// The machine failed or was too slow. The plan in force ends at rest by itself, and the watchdog reacts to the missing chunk.
    Failure,
}

impl Refusal {
    /// Whether every later cycle fails too until the policy is loaded again.
    pub fn is_sticky(&self) -> bool {
        matches!(self, Self::Policy(error) if error.is_sticky())
    }

    /// Its meaning for the motion.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::NotEnabled(_) => RefusalKind::Violation,
            Self::Policy(error) => of_policy(error),
            Self::Chunk(error) => of_chunk(error),
        }
    }
}

fn of_policy(error: &vla_policy::Error) -> RefusalKind {
    use vla_policy::Error as E;
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

fn of_chunk(error: &vla_motion::Error) -> RefusalKind {
    use vla_motion::Error as E;
    match error {
        E::Stopped | E::Ending | E::Suspended { .. } | E::BeforeHold { .. } | E::SetBack { .. } => {
            RefusalKind::Superseded
        }
        // Late, or nothing may move yet.
        E::WhollyLate { .. } | E::FromFuture { .. } | E::NoDescription { .. } => RefusalKind::Failure,
        _ => RefusalKind::Violation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vla_base::time::Stamp;

    #[test]
    fn only_a_lost_device_asks_for_the_engines_to_be_loaded_again() {
        let refusal = |error| Refusal::from(vla_policy::Error::Engine(error));
        assert!(refusal(vla_engines::Error::DeviceLost { source: "error 700".into() }).is_sticky());
        let passing = vla_engines::Error::Device { action: "reading".into(), source: "busy".into() };
        assert!(!refusal(passing).is_sticky());
        assert!(!Refusal::from(vla_policy::Error::NoTensorrt).is_sticky());
    }

    #[test]
    fn what_cannot_be_used_is_a_violation_and_a_machine_that_fails_or_a_stop_meanwhile_is_none() {
        let of = |error: vla_policy::Error| Refusal::from(error).kind();
        assert_eq!(of(vla_policy::Error::Joints(vla_policy::observation::Error::NoSample)), RefusalKind::Violation);
        assert_eq!(of(vla_policy::Error::InstructionTooLong { max: 8, found: 9 }), RefusalKind::Violation);
        let camera = vla_policy::Error::Camera { camera: "top".into(), reason: "no JPEG".into() };
        assert_eq!(of(camera), RefusalKind::Violation);
        let lost = vla_engines::Error::DeviceLost { source: "error 700".into() };
        assert_eq!(of(lost.into()), RefusalKind::Failure);
        let of = |error: vla_motion::Error| Refusal::from(error).kind();
        assert_eq!(
            of(vla_motion::Error::NotFinite { row: 0, joint: "a".into(), value: f32::NAN }),
            RefusalKind::Violation
        );
        assert_eq!(
            of(vla_motion::Error::NoStart { joints: "a".into(), found: "none of `a`".into() }),
            RefusalKind::Violation
        );
        assert_eq!(of(vla_motion::Error::Ending), RefusalKind::Superseded);
        assert_eq!(of(vla_motion::Error::Suspended { reason: "inactive".into() }), RefusalKind::Superseded);
        let (observation, held) = (Stamp::default(), Stamp::default());
        assert_eq!(of(vla_motion::Error::BeforeHold { observation, held }), RefusalKind::Superseded);
    }
}
