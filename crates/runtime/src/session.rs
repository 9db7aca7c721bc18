//! One cycle of operation: observation in, messages out. The node's inference thread and `vla-trt replay` both call
//! [`Session::cycle`]; they differ only in the source of bytes and time.

use std::fmt::Display;
use std::sync::Arc;

use crate::messages::{Publication, TrajectoryBuffer, write_action_chunk};
use crate::parameters::Settings;
use vla_base::time::{Span, Stamp};
use vla_messages::ActionChunkMessage;
use vla_motion::{Chunk, ClampCounts, NewChunk, TransitionMode, WatchdogState, schedule};
use vla_policy::observation;
use vla_policy::observation::{Inputs, Observation, OnViolation, StateReader, Violation};
use vla_policy::{ActionPrefix, LoadOptions, Policy, PolicySpec, Progress, Timings};

mod control;
mod options;
mod outcome;
mod refusal;
mod resume;
mod stuck;

pub use control::{Braked, Control, MotionStatus, WatchReport};
pub use options::load_options;
pub use outcome::{BrakeResponse, CycleOutcome, PublishedChunk};
pub use refusal::{Refusal, RefusalKind};
pub use resume::ResumeError;

/// Why a session did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Loading the policy.
    #[error(transparent)]
    Policy(#[from] vla_policy::Error),
    /// The joints of the actions.
    #[error(transparent)]
    Joints(#[from] observation::Error),
}

impl Error {
    /// Whether the engines do not fit into their memory budget.
    pub fn does_not_fit(&self) -> bool {
        matches!(self, Self::Policy(error) if error.does_not_fit())
    }

    /// Whether every later load fails too, whatever files and live parameters change.
    pub fn needs_restart(&self) -> bool {
        matches!(self, Self::Policy(error) if error.needs_restart())
    }
}

/// The policy with the buffers of one cycle, all of them reused.
pub struct Session {
    policy: Policy,
    observation: Observation,
    chunk: Chunk,
    timings: Timings,
    /// Values of the last chunk that were clamped to position limits.
    clamped: ClampCounts,
    /// Reads the positions of the moved joints.
    positions: StateReader,
    /// Positions in the observation, as the driver published them; empty when one is missing.
    observed_positions: Vec<f64>,
    /// Newest measured positions, at which motion starts.
    start_positions: Vec<f64>,
    /// Assumed time from the inputs to publication, in a replay.
    assumed_latency: Span,
    control: Arc<Control>,
    /// Committed rows of the trajectory before, the action prefix for rtc.
    committed_rows: Vec<f32>,
    message: ActionChunkMessage,
    trajectory: TrajectoryBuffer,
    last_inferred: Option<InferenceKey>,
    /// Every input has arrived once since the start: from then on a missing one is a violation.
    inputs_complete: bool,
    sequence: u64,
}

/// Identity of the last inference, to recognise a cycle that would repeat it.
#[derive(PartialEq)]
struct InferenceKey {
    stamps: Vec<Stamp>,
    instruction: Arc<str>,
    seed: u64,
    steps: u32,
}

impl InferenceKey {
    fn matches(&self, observation: &Observation, settings: &Settings) -> bool {
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

    /// As [`Self::load`], with other options.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with(
        spec: PolicySpec,
        settings: &Settings,
        options: LoadOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, Error> {
        let mut session = Self::new(crate::devices::load_policy(spec, options, progress)?)?;
        session.apply(settings);
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
        let positions = StateReader::of_joints(&joints);
        Ok(Self {
            chunk,
            policy,
            observed_positions: Vec::with_capacity(positions.width()),
            start_positions: vec![0.0; positions.width()],
            positions,
            assumed_latency: Span::ZERO,
            control,
            committed_rows: Vec::new(),
            observation: Observation::default(),
            timings: Timings::default(),
            clamped: ClampCounts::default(),
            message: ActionChunkMessage::default(),
            trajectory: TrajectoryBuffer::default(),
            last_inferred: None,
            inputs_complete: false,
            sequence: 0,
        })
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The motion, shared with watchdog and command stream.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Continues the motion of an earlier session when the joints are the same. A stopped robot stays stopped in any case.
    pub fn continue_motion(&mut self, control: &Arc<Control>) {
        if control.joints() == self.control.joints() {
            self.control = Arc::clone(control);
            self.control.policy_reloaded();
        } else {
            self.control.inherit_stop(control);
        }
    }

    /// Starts again as a session that has seen and published nothing: without motion, measured positions and action prefix. For
    /// recordings that follow each other and have nothing to do with each other. Policy, limits and the count of chunks stay.
    pub fn restart(&mut self) {
        self.control = Arc::new(self.control.restarted());
        self.observation = Observation::default();
        self.observed_positions.clear();
        self.committed_rows.clear();
        self.last_inferred = None;
        self.inputs_complete = false;
    }

    /// A new session with the same policy, whose first chunk has the number 1.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn renewed(self) -> Result<Self, observation::Error> {
        Self::new(self.policy)
    }

    /// Sets the time by which publication is later than the inputs in a replay, which offers no input in between. Motion then starts
    /// at positions that are older by it.
    pub fn assume_latency(&mut self, latency: Span) {
        self.assumed_latency = latency;
    }

    /// Whether the robot is stopped until [`Session::resume`].
    pub fn is_stopped(&self) -> bool {
        self.control.state() == WatchdogState::Stopped
    }

    /// Applies settings that changed. Call it before the next cycle. Settings were checked as a whole when they were made, so it cannot
    /// fail.
    pub fn apply(&mut self, settings: &Settings) {
        self.control.apply(settings);
        self.chunk.step = settings.step;
        self.policy.log_shapes(settings.log_shapes);
    }

    /// Runs one cycle at ROS time `now`. `published_at` returns the time of publication once the chunk is ready: the node
    /// reads the clock, a replay adds the assumed latency. `force` infers also when nothing changed.
    pub fn cycle(
        &mut self,
        now: Stamp,
        inputs: &Inputs,
        settings: &Settings,
        force: bool,
        published_at: &mut dyn FnMut() -> Stamp,
    ) -> CycleOutcome<'_> {
        self.control.read_joint_states(inputs);
        if self.control.poll(now, settings) == WatchdogState::Stopped {
            return CycleOutcome::Stopped;
        }
        if let Some((violation, braked)) = self.control.take_turn_jump(now, settings, &mut self.trajectory) {
            let brake = self.braked(violation.action(&settings.rules), braked);
            return CycleOutcome::Violation { violation, brake };
        }
        if let Err(violation) = inputs.assemble_into(now, &settings.rules, &mut self.observation) {
            return self.violated(now, settings, violation);
        }
        self.inputs_complete = true;
        if let Err(violation) = self.control.check_joints(now) {
            return self.violated(now, settings, violation);
        }
        if !force && self.last_inferred.as_ref().is_some_and(|last| last.matches(&self.observation, settings)) {
            return CycleOutcome::Unchanged;
        }
        match self.infer(now, inputs, settings, published_at) {
            Ok(moves) => CycleOutcome::Published(PublishedChunk {
                chunk: &self.message,
                trajectory: moves.then(|| self.trajectory.message()),
                plan_sequence: self.trajectory.plan_sequence(),
                timings: &self.timings,
                clamped: &self.clamped,
                observation: &self.observation,
            }),
            // The inference took time: the brake starts at the present time.
            Err(Refusal::NotEnabled(violation)) => self.violated(published_at(), settings, violation),
            Err(refusal) => self.refused(published_at(), settings, refusal),
        }
    }

    /// Infers and writes the chunk's message; true when its joints move and the trajectory is to be published, too.
    fn infer(
        &mut self,
        now: Stamp,
        inputs: &Inputs,
        settings: &Settings,
        published_at: &mut dyn FnMut() -> Stamp,
    ) -> Result<bool, Refusal> {
        // A refused inference counts as done, too: the same observation would be refused again.
        self.remember(settings);
        self.timings.reset();
        self.read_positions();
        let frozen = self.run_policy(settings)?;
        self.chunk.check_finite()?;
        self.control.unwrap(&mut self.chunk, &self.observed_positions);
        self.control.limits()?.clamp(&mut self.chunk, &mut self.clamped)?;
        let published = published_at();
        inputs.check_enable(published, &settings.rules).map_err(Refusal::NotEnabled)?;
        let scheduled = schedule(&self.chunk, published)?;
        // Since the observation newer positions may have arrived.
        self.control.read_joint_states(inputs);
        let measured_at = published - self.assumed_latency;
        let measured = self.control.measured(measured_at, settings, &mut self.start_positions);
        let new = NewChunk {
            chunk: &self.chunk,
            now: published,
            clamped: self.clamped.total,
            measured: measured.then_some(self.start_positions.as_slice()),
            frozen,
        };
        let accepted = self.control.accept_chunk(&new, scheduled.late_rows, settings, &mut self.trajectory);
        let moves = accepted.map_err(|error| match error {
            vla_motion::Error::NoStart { .. } => self.no_start(measured_at, settings),
            other => other,
        })?;
        self.sequence += 1;
        let publication = Publication {
            sequence: self.sequence,
            frame_id: &settings.frame_id,
            inference_latency: published - now,
            policy_fingerprint: &self.policy.spec().fingerprint,
        };
        write_action_chunk(&self.chunk, &scheduled, &publication, &mut self.message)?;
        Ok(moves)
    }

    fn remember(&mut self, settings: &Settings) {
        let observation = &self.observation;
        let stamps = observation.identity().map(|(_, stamp)| stamp);
        match &mut self.last_inferred {
            Some(last) => {
                last.stamps.clear();
                last.stamps.extend(stamps);
                last.instruction = Arc::clone(&observation.instruction);
                (last.seed, last.steps) = (settings.seed, settings.denoise_steps);
            }
            None => {
                self.last_inferred = Some(InferenceKey {
                    stamps: stamps.collect(),
                    instruction: Arc::clone(&observation.instruction),
                    seed: settings.seed,
                    steps: settings.denoise_steps,
                });
            }
        }
    }

    /// Infers into the chunk; under rtc with the committed rows as an action prefix. Returns the numbers of frozen and of ramped rows.
    fn run_policy(&mut self, settings: &Settings) -> Result<(usize, usize), vla_policy::Error> {
        let (frozen, ramped) = match settings.motion.mode {
            TransitionMode::Rtc => {
                let (observed_at, step) = (self.observation.stamp, self.chunk.step);
                let covered =
                    self.control.committed_rows(observed_at, step, &self.observed_positions, &mut self.committed_rows);
                let (frozen, ramped) = self.control.frozen(settings, self.chunk.step);
                let frozen = frozen.min(covered);
                (frozen, ramped.min(covered - frozen))
            }
            _ => (0, 0),
        };
        let overlap = frozen + ramped;
        let prefix = ActionPrefix { previous: &self.committed_rows, frozen, overlap };
        self.policy.infer_with_prefix(
            &self.observation,
            settings.seed,
            settings.denoise_steps,
            Some(&prefix).filter(|_| overlap > 0),
            &mut self.chunk,
            &mut self.timings,
        )?;
        Ok((frozen, ramped))
    }

    /// Motion cannot start: a joint's position is not known.
    fn no_start(&self, now: Stamp, settings: &Settings) -> vla_motion::Error {
        let (joints, found) = (self.control.joints().join(", "), self.control.why_unmeasured(now, settings));
        vla_motion::Error::NoStart { joints, found }
    }

    /// Reads the observed positions of the moved joints; leaves none when one is missing.
    fn read_positions(&mut self) {
        self.observed_positions.clear();
        let Some(joints) = self.observation.joints.as_ref().filter(|_| !self.start_positions.is_empty()) else {
            return;
        };
        self.observed_positions.resize(self.start_positions.len(), 0.0);
        if let Err(error) = self.positions.read_positions(joints, &mut self.observed_positions) {
            tracing::debug!("the observation lacks positions of moved joints: {error}");
            self.observed_positions.clear();
        }
    }

    fn violated(&mut self, now: Stamp, settings: &Settings, violation: Violation) -> CycleOutcome<'_> {
        let starts = !self.inputs_complete || violation.is_of_switch();
        self.inputs_complete |= !violation.is_of_start();
        if starts && violation.is_of_start() && !self.control.is_armed() {
            return CycleOutcome::Waiting(violation);
        }
        let brake = self.brake(now, violation.action(&settings.rules), &violation, settings);
        CycleOutcome::Violation { violation, brake }
    }

    fn refused(&mut self, now: Stamp, settings: &Settings, refusal: Refusal) -> CycleOutcome<'_> {
        let action = match refusal.kind() {
            RefusalKind::Violation => settings.rules.on_violation,
            RefusalKind::Superseded | RefusalKind::Failure => OnViolation::Skip,
        };
        let brake = self.brake(now, action, &refusal, settings);
        CycleOutcome::Refused { refusal, brake }
    }

    fn brake(
        &mut self,
        now: Stamp,
        action: OnViolation,
        reason: &dyn Display,
        settings: &Settings,
    ) -> BrakeResponse<'_> {
        let braked = self.control.brake(now, action, reason, settings, &mut self.trajectory);
        self.braked(action, braked)
    }

    fn braked(&self, action: OnViolation, braked: Braked) -> BrakeResponse<'_> {
        BrakeResponse {
            action: if braked == Braked::NotNeeded { OnViolation::Skip } else { action },
            braked,
            stop: braked.must_publish().then(|| self.trajectory.message()),
            plan_sequence: self.trajectory.plan_sequence(),
        }
    }
}
