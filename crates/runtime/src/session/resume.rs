//! Ending a stop, after all checks have passed.

use super::{Refusal, Session};
use crate::parameters::Settings;
use vla_base::time::Stamp;
use vla_motion::WatchdogState;
use vla_policy::observation::{Inputs, Violation};

/// Why a resume was refused.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// An input breaks a rule.
    #[error("{0}")]
    Inputs(#[from] Violation),
    /// A trial inference was refused.
    #[error("{0}")]
    Refused(Refusal),
    /// The later request holds.
    #[error("~/stop was called during the checks")]
    StoppedAgain,
}

impl ResumeError {
    /// The refusal of the trial inference, when that was it.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Inputs(_) | Self::StoppedAgain => None,
        }
    }
}

impl Session {
    /// Ends a stop; false when there was none. The next motion needs inputs from after the stop, and starts at the measured positions.
    ///
    /// It runs every check first, among them a trial inference on the present inputs, whose chunk is discarded; none while the motion
    /// is suspended, since no chunk moves the robot then. `clock` reads ROS time.
    ///
    /// # Errors
    /// The check that failed; the stop stays then.
    pub fn resume(
        &mut self,
        inputs: &Inputs,
        settings: &Settings,
        clock: &mut dyn FnMut() -> Stamp,
    ) -> Result<bool, ResumeError> {
        let calls = self.control.stop_calls();
        if self.control.poll(clock(), settings) != WatchdogState::Stopped {
            return Ok(false);
        }
        if self.control.suspended().is_some() {
            // Nothing moves by itself afterwards, so the inputs are checked when the motion is released.
            self.last_inferred = None;
            return if self.control.resume_unless_stopped(clock(), calls) {
                Ok(true)
            } else {
                Err(ResumeError::StoppedAgain)
            };
        }
        inputs.assemble_into(clock(), &settings.rules, &mut self.observation)?;
        self.inputs_complete = true;
        self.trial_inference(settings).map_err(ResumeError::Refused)?;
        let now = clock();
        // The inference took time: check the inputs again.
        inputs.check(now, &settings.rules)?;
        self.control.check_joints(now)?;
        self.control.read_joint_states(inputs);
        if !self.start_positions.is_empty() && !self.control.measured(now, settings, &mut self.start_positions) {
            return Err(ResumeError::Refused(self.no_start(now, settings).into()));
        }
        self.last_inferred = None;
        if self.control.resume_unless_stopped(now, calls) { Ok(true) } else { Err(ResumeError::StoppedAgain) }
    }

    /// Infers on the observation, as a cycle does, without publishing the chunk.
    fn trial_inference(&mut self, settings: &Settings) -> Result<(), Refusal> {
        self.timings.reset();
        let (seed, steps) = (settings.seed, settings.denoise_steps);
        self.policy.infer(&self.observation, seed, steps, &mut self.chunk, &mut self.timings)?;
        Ok(self.chunk.check_finite()?)
    }
}
