//! The end of a stop, which only a robot that is well comes to.

use super::{Refusal, Session};
use crate::parameters::Settings;
use vla_base::time::Stamp;
use vla_motion as chunk;
use vla_motion::WatchdogState;
use vla_policy::observation::{Inputs, Violation};

/// Why a stop stays although it was asked to end.
#[derive(Debug, thiserror::Error)]
pub enum NotWell {
    /// An input breaks a rule.
    #[error("{0}")]
    Inputs(#[from] Violation),
    /// A trial inference was refused.
    #[error("{0}")]
    Refused(Refusal),
    /// The later wish holds.
    #[error("~/stop was called meanwhile")]
    StoppedAgain,
}

impl NotWell {
    /// The refusal of the trial inference, when that was it.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Inputs(_) | Self::StoppedAgain => None,
        }
    }
}

impl Session {
    /// Ends a stop; false when there was none. The next motion needs inputs from after the stop, and starts from where the joints are.
    ///
    /// All must be well for it, and only an inference can tell: one runs on the inputs of this moment, and its chunk is thrown away.
    /// `clock` reads ROS time.
    ///
    /// # Errors
    /// What is not well; the stop stays then.
    pub fn resume(
        &mut self,
        inputs: &Inputs,
        settings: &Settings,
        clock: &mut dyn FnMut() -> Stamp,
    ) -> Result<bool, NotWell> {
        let calls = self.control.stop_calls();
        if self.control.poll(clock(), settings) != WatchdogState::Stopped {
            return Ok(false);
        }
        inputs.assemble_into(clock(), &settings.rules, &mut self.observation)?;
        self.complete = true;
        self.try_out(settings).map_err(NotWell::Refused)?;
        let now = clock();
        // The inference took its time.
        inputs.check(now, &settings.rules)?;
        self.control.check_joints(now)?;
        self.control.sense(inputs);
        if !self.start.is_empty() && !self.control.measured(now, settings, &mut self.start) {
            return Err(NotWell::Refused(self.no_start(now, settings).into()));
        }
        self.last = None;
        if self.control.resume_unless_stopped(now, calls) { Ok(true) } else { Err(NotWell::StoppedAgain) }
    }

    /// An inference on the observation as every cycle's, up to where its chunk would be published.
    fn try_out(&mut self, settings: &Settings) -> Result<(), Refusal> {
        self.timings.reset();
        let (seed, steps) = (settings.seed, settings.denoise_steps);
        self.policy.infer(&self.observation, seed, steps, &mut self.chunk, &mut self.timings)?;
        Ok(chunk::finite(&self.chunk)?)
    }
}
