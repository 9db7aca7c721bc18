//! One cycle of operation: observation in, messages out. The node's inference thread and `vla-trt replay` both call
//! [`Session::cycle`], so what differs between them is only where bytes and time come from.

use std::sync::Arc;

use crate::chunk::{
    self, Chunk, ClampReport, Limit, Limits, Mode, NewChunk, Publication, TrajectoryBuffer, WatchdogState,
};
use crate::engine::{Admission, Launch};
use crate::message::{ActionChunkMessage, JointTrajectoryMessage};
use crate::observation::{self, Inputs, JointMap, Observation, OnViolation, StateReader, Violation};
use crate::parameters::Settings;
use crate::policy::{self, Guide, LoadOptions, Policy, PolicySpec, Progress, Timings};
use crate::time::Stamp;

mod control;

pub use control::{Control, MotionStatus, Watched};

/// What one cycle came to.
#[derive(Debug)]
pub enum Outcome<'s> {
    /// A new chunk, ready to be published.
    Published(Published<'s>),
    /// The same observation, instruction, seed and step count as the last chunk's: nothing to infer.
    Unchanged,
    /// The observation breaks a rule; `stop` is to be published when the rule says so and a joint state is known.
    Violation {
        /// Every breach.
        violation: Violation,
        /// What the settings ask for.
        action: OnViolation,
        /// The way to rest, on entering a hold or a stop.
        stop: Option<&'s JointTrajectoryMessage>,
        /// Number of the stop's plan: a greater one is newer.
        plan: u64,
    },
    /// Stopped by a violation or the watchdog; [`Session::resume`] ends it.
    Stopped,
    /// The policy failed or its chunk must not be published.
    Refused(Refusal),
}

/// A chunk on its way out.
#[derive(Debug)]
pub struct Published<'s> {
    /// The whole chunk with its identity.
    pub chunk: &'s ActionChunkMessage,
    /// The rows that are still to come, as a controller takes them: the joints. `None` when the policy moves none.
    pub trajectory: Option<&'s JointTrajectoryMessage>,
    /// Number of its plan: a greater one is newer.
    pub plan: u64,
    /// Where the time went.
    pub timings: &'s Timings,
    /// Values of this chunk that were clamped to a limit.
    pub clamped: u64,
    /// What it was inferred from.
    pub observation: &'s Observation,
}

/// Why a cycle had no chunk to publish although its observation was good.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Encode, engines or decode failed.
    #[error("{0}")]
    Policy(#[from] policy::Error),
    /// NaN or infinity in the output, or every row late.
    #[error("{0}")]
    Chunk(#[from] chunk::Error),
}

impl Refusal {
    /// Whether every later cycle fails too until the policy is loaded again.
    pub fn is_sticky(&self) -> bool {
        matches!(self, Self::Policy(error) if error.is_sticky())
    }
}

/// A session could not start, or its settings do not fit the policy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Loading the policy.
    #[error(transparent)]
    Policy(#[from] policy::Error),
    /// Limits of a joint that the policy does not command.
    #[error(transparent)]
    Limits(#[from] chunk::Error),
    /// The joints of the actions.
    #[error(transparent)]
    Joints(#[from] observation::Error),
}

impl Error {
    /// Whether the engines were refused because they do not fit into the memory that they may take.
    pub fn does_not_fit(&self) -> bool {
        matches!(self, Self::Policy(error) if error.does_not_fit())
    }
}

/// How the settings have a policy loaded.
pub fn load_options(settings: &Settings) -> LoadOptions {
    let stages = &settings.engine.stages;
    LoadOptions {
        engine: settings.engine.kind,
        load_order: settings.engine.load_order.clone(),
        stage_files: stages.iter().filter_map(|(name, s)| Some((name.clone(), s.path.clone()?))).collect(),
        allow_unverified: stages.iter().filter(|(_, s)| s.allow_unverified).map(|(name, _)| name.clone()).collect(),
        allow_inaccurate: stages.iter().filter(|(_, s)| s.allow_inaccurate).map(|(name, _)| name.clone()).collect(),
        state: settings.state.clone(),
        poses: settings.poses.clone(),
        action: settings.action.clone(),
        denoise_steps: settings.denoise_steps,
        threads: settings.engine.threads,
        launch: if settings.engine.cuda_graph { Launch::Graph } else { Launch::StepByStep },
        release_host_copy: settings.memory.release_host_copy,
        admission: Admission {
            budget: settings.memory.budget_mib.map(|mib| mib << 20),
            reserve: settings.memory.reserve_mib << 20,
            count_available: settings.memory.count_available,
        },
    }
}

/// The policy with everything that one cycle needs, all of it reused.
pub struct Session {
    policy: Policy,
    observation: Observation,
    chunk: Chunk,
    timings: Timings,
    clamped: ClampReport,
    limits: Limits,
    /// Positions of the commanded joints, from which motion starts.
    positions: StateReader,
    start: Vec<f64>,
    control: Arc<Control>,
    /// Rows that were promised, for rtc.
    promised: Vec<f32>,
    message: ActionChunkMessage,
    trajectory: TrajectoryBuffer,
    last: Option<Inferred>,
    sequence: u64,
}

/// What the last chunk was inferred from, to recognise a cycle that would repeat it.
#[derive(PartialEq)]
struct Inferred {
    stamps: Vec<Stamp>,
    instruction: Arc<str>,
    seed: u64,
    steps: u32,
}

impl Inferred {
    fn is(&self, observation: &Observation, settings: &Settings) -> bool {
        self.seed == settings.seed
            && self.steps == settings.denoise_steps
            && self.instruction == observation.instruction
            && self.stamps.iter().copied().eq(observation.identity().map(|(_, stamp)| stamp))
    }
}

impl Session {
    /// Loads the policy as the settings say and starts a session with it.
    ///
    /// # Errors
    /// [`Error`] naming the file, stage, tensor or joint; nothing stays loaded.
    pub fn load(spec: PolicySpec, settings: &Settings, progress: &mut dyn FnMut(Progress)) -> Result<Self, Error> {
        Self::load_with(spec, settings, load_options(settings), progress)
    }

    /// As [`Self::load`], the policy loaded in a way of its own.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(
        spec: PolicySpec,
        settings: &Settings,
        options: LoadOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, Error> {
        let mut session = Self::new(Policy::load(spec, options, progress)?)?;
        session.apply(settings)?;
        Ok(session)
    }

    /// A session that has published nothing yet.
    ///
    /// # Errors
    /// [`observation::Error`] when a joint of the policy's actions is named twice.
    pub fn new(policy: Policy) -> Result<Self, observation::Error> {
        let chunk = policy.new_chunk();
        let joints: Vec<String> = chunk.joints(&chunk.names).cloned().collect();
        let control = Arc::new(Control::new(joints.as_slice().into()));
        let positions = StateReader::new(&[JointMap::identity("action", joints)])?;
        Ok(Self {
            limits: Limits::default(),
            chunk,
            policy,
            start: vec![0.0; positions.width()],
            positions,
            control,
            promised: Vec::new(),
            observation: Observation::default(),
            timings: Timings::default(),
            clamped: ClampReport::default(),
            message: ActionChunkMessage::default(),
            trajectory: TrajectoryBuffer::default(),
            last: None,
            sequence: 0,
        })
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The motion, for whoever watches it or streams commands.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Goes on with the motion of an earlier session of the same joints: a robot that was stopped stays so.
    pub fn adopt(&mut self, control: &Arc<Control>) {
        if control.joints() == self.control.joints() {
            self.control = Arc::clone(control);
        }
    }

    /// Whether a violation with `on_violation: stop`, or the watchdog, holds publication back.
    pub fn is_stopped(&self) -> bool {
        self.control.state() == WatchdogState::Stopped
    }

    /// Ends a stop at ROS time `now`; true when there was one. The next motion needs inputs from after the stop, and starts from
    /// where the joints are.
    pub fn resume(&mut self, now: Stamp) -> bool {
        self.last = None;
        self.control.resume(now)
    }

    /// Takes over settings that changed. Call it before the next cycle.
    ///
    /// # Errors
    /// [`chunk::Error`] when a limit names a joint that the policy does not command; nothing has changed then.
    pub fn apply(&mut self, settings: &Settings) -> Result<(), chunk::Error> {
        let limits = settings.limits.iter().map(|l| Limit { joint: &l.joint, min: l.min, max: l.max });
        let limits = Limits::new(&self.chunk.names, limits)?;
        self.control.apply(settings)?;
        self.limits = limits;
        self.chunk.step = settings.step;
        self.policy.log_shapes(settings.log_shapes);
        Ok(())
    }

    /// Runs one cycle at ROS time `now`. `published_at` is asked once the chunk is ready: in the node it reads the
    /// clock, in a replay it adds the assumed latency. `force` infers also when nothing changed.
    pub fn cycle(
        &mut self,
        now: Stamp,
        inputs: &Inputs,
        settings: &Settings,
        force: bool,
        published_at: &mut dyn FnMut() -> Stamp,
    ) -> Outcome<'_> {
        if self.control.poll(now, settings) == WatchdogState::Stopped {
            return Outcome::Stopped;
        }
        if let Err(violation) = inputs.assemble_into(now, &settings.rules, &mut self.observation) {
            return self.violated(now, settings, violation);
        }
        if !force && self.last.as_ref().is_some_and(|last| last.is(&self.observation, settings)) {
            return Outcome::Unchanged;
        }
        match self.infer(now, settings, published_at) {
            Ok(clamped) => Outcome::Published(Published {
                chunk: &self.message,
                trajectory: Some(self.trajectory.message()).filter(|_| !self.start.is_empty()),
                plan: self.trajectory.plan(),
                timings: &self.timings,
                clamped,
                observation: &self.observation,
            }),
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    fn infer(
        &mut self,
        now: Stamp,
        settings: &Settings,
        published_at: &mut dyn FnMut() -> Stamp,
    ) -> Result<u64, Refusal> {
        // Also a refused inference counts as done: the same observation would be refused again.
        self.remember(settings);
        self.timings.reset();
        let frozen = self.run_policy(settings)?;
        chunk::finite(&self.chunk)?;
        let clamped = self.limits.clamp(&mut self.chunk, &mut self.clamped)?;
        let published = published_at();
        let scheduled = chunk::schedule(&self.chunk, published)?;
        let measured = self.read_positions();
        let new = NewChunk {
            chunk: &self.chunk,
            now: published,
            clamped,
            measured: measured.then_some(self.start.as_slice()),
            frozen,
        };
        self.control.take(&new, scheduled.late_rows, settings, &mut self.trajectory)?;
        self.sequence += 1;
        let publication = Publication {
            sequence: self.sequence,
            frame_id: &settings.frame_id,
            inference_latency: published - now,
            policy_fingerprint: &self.policy.spec().fingerprint,
        };
        chunk::action_chunk_message(&self.chunk, &scheduled, &publication, &mut self.message)?;
        Ok(clamped)
    }

    fn remember(&mut self, settings: &Settings) {
        let observation = &self.observation;
        let stamps = observation.identity().map(|(_, stamp)| stamp);
        match &mut self.last {
            Some(last) => {
                last.stamps.clear();
                last.stamps.extend(stamps);
                last.instruction = Arc::clone(&observation.instruction);
                (last.seed, last.steps) = (settings.seed, settings.denoise_steps);
            }
            None => {
                self.last = Some(Inferred {
                    stamps: stamps.collect(),
                    instruction: Arc::clone(&observation.instruction),
                    seed: settings.seed,
                    steps: settings.denoise_steps,
                });
            }
        }
    }

    /// Infers into the chunk; under rtc with the rows that were promised. Returns how many rows of it are frozen and ramped.
    fn run_policy(&mut self, settings: &Settings) -> Result<(usize, usize), policy::Error> {
        let (frozen, ramped) = match settings.motion.mode {
            Mode::Rtc => {
                let covered = self.control.promised(self.observation.stamp, &self.chunk, &mut self.promised);
                let (frozen, ramped) = self.control.frozen(settings, self.chunk.step);
                let frozen = frozen.min(covered);
                (frozen, ramped.min(covered - frozen))
            }
            _ => (0, 0),
        };
        let overlap = frozen + ramped;
        let guide = Guide { previous: &self.promised, frozen, overlap };
        self.policy.infer_guided(
            &self.observation,
            settings.seed,
            settings.denoise_steps,
            Some(&guide).filter(|_| overlap > 0),
            &mut self.chunk,
            &mut self.timings,
        )?;
        Ok((frozen, ramped))
    }

    /// Where the observation saw the joints that are moved; false when it did not see all of them.
    fn read_positions(&mut self) -> bool {
        let Some(joints) = self.observation.joints.as_ref().filter(|_| !self.start.is_empty()) else { return false };
        let read = self.positions.read_positions(&joints.bytes, &mut self.start);
        read.inspect_err(|error| tracing::debug!("the joints' positions are not known: {error}")).is_ok()
    }

    fn violated(&mut self, now: Stamp, settings: &Settings, violation: Violation) -> Outcome<'_> {
        let action = match settings.rules.on_violation {
            // Nothing moves before the first chunk: inputs that are still starting are no reason to stop.
            OnViolation::Stop if self.control.state() == WatchdogState::Idle => OnViolation::Skip,
            action => action,
        };
        let watched = self.control.violated(now, action, &violation, settings, &mut self.trajectory);
        let stop = watched.stop.then(|| self.trajectory.message());
        Outcome::Violation { violation, action, stop, plan: self.trajectory.plan() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine;

    #[test]
    fn only_a_lost_device_asks_for_the_engines_to_be_loaded_again() {
        let refusal = |error| Refusal::from(policy::Error::Engine(error));
        assert!(refusal(engine::Error::DeviceLost { reason: "error 700".into() }).is_sticky());
        let passing = engine::Error::Device { action: "reading".into(), reason: "busy".into() };
        assert!(!refusal(passing).is_sticky());
        assert!(!Refusal::from(policy::Error::NoTensorrt).is_sticky());
    }
}
