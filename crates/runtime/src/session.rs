//! One cycle of operation: observation in, messages out. The node's inference thread and `vla-trt replay` both call
//! [`Session::cycle`], so what differs between them is only where bytes and time come from.

use std::fmt::Display;
use std::sync::Arc;

use crate::parameters::Settings;
use vla_base::time::{Span, Stamp};
use vla_engines::{Admission, Launch};
use vla_messages::{ActionChunkMessage, JointTrajectoryMessage};
use vla_motion as chunk;
use vla_motion::{Chunk, Clamped, Mode, NewChunk, Publication, TrajectoryBuffer, WatchdogState};
use vla_policy as policy;
use vla_policy::observation;
use vla_policy::observation::{Inputs, Observation, OnViolation, StateReader, Violation};
use vla_policy::{ActionPrefix, LoadOptions, Policy, PolicySpec, Progress, Timings};

mod control;
mod refusal;
mod resume;
mod stuck;

pub use control::{Braked, Control, MotionStatus, Watched};
pub use refusal::{Refusal, RefusalKind};
pub use resume::NotWell;

/// What one cycle came to.
#[derive(Debug)]
pub enum Outcome<'s> {
    /// A new chunk, ready to be published.
    Published(Published<'s>),
    /// The same observation, instruction, seed and step count as the last chunk's: nothing to infer.
    Unchanged,
    /// Nothing moves yet, and not every input has come since the start, or the operator has not enabled the robot: no fault.
    Waiting(Violation),
    /// The observation breaks a rule.
    Violation {
        /// Every breach.
        violation: Violation,
        /// How the motion follows.
        brake: Brake<'s>,
    },
    /// Stopped by a violation, the watchdog or the operator; [`Session::resume`] ends it.
    Stopped,
    /// The policy failed or its chunk must not be published.
    Refused {
        /// Why.
        refusal: Refusal,
        /// How the motion follows, which it does where the refusal is a violation.
        brake: Brake<'s>,
    },
}

/// How the motion follows a violation.
#[derive(Debug)]
pub struct Brake<'s> {
    /// What was done: what the settings ask for, or `skip` where there was nothing to brake.
    pub action: OnViolation,
    /// What it came to.
    pub braked: Braked,
    /// The way to rest, to be published.
    pub stop: Option<&'s JointTrajectoryMessage>,
    /// Number of the stop's plan: a greater one is newer.
    pub plan: u64,
}

/// A chunk on its way out.
#[derive(Debug)]
pub struct Published<'s> {
    /// The whole chunk with its identity.
    pub chunk: &'s ActionChunkMessage,
    /// The rows that are still to come, as a controller takes them: the joints. `None` when the policy moves none, and when none
    /// may move ([`MotionStatus::forbidden`]).
    pub trajectory: Option<&'s JointTrajectoryMessage>,
    /// Number of its plan: a greater one is newer.
    pub plan: u64,
    /// Where the time went.
    pub timings: &'s Timings,
    /// Values of this chunk that were clamped to a limit.
    pub clamped: &'s Clamped,
    /// What it was inferred from.
    pub observation: &'s Observation,
}

/// A session could not start, or its settings do not fit the policy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Loading the policy.
    #[error(transparent)]
    Policy(#[from] policy::Error),
    /// The joints of the actions.
    #[error(transparent)]
    Joints(#[from] observation::Error),
}

impl Error {
    /// Whether the engines were refused because they do not fit into the memory that they may take.
    pub fn does_not_fit(&self) -> bool {
        matches!(self, Self::Policy(error) if error.does_not_fit())
    }

    /// Whether every later load fails too, whatever files and live parameters become meanwhile.
    pub fn needs_restart(&self) -> bool {
        matches!(self, Self::Policy(error) if error.needs_restart())
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
        deltas: settings.deltas.clone(),
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
    /// Values of the last chunk that were brought inside position limits.
    clamped: Clamped,
    /// Reads the positions of the moved joints.
    positions: StateReader,
    /// Those of the observation, as the driver published them; empty when it lacks one.
    seen: Vec<f64>,
    /// The newest ones, at which motion starts.
    start: Vec<f64>,
    /// Part of the time to publication during which no input can arrive.
    assumed_latency: Span,
    control: Arc<Control>,
    /// Rows that were promised, for rtc.
    promised: Vec<f32>,
    message: ActionChunkMessage,
    trajectory: TrajectoryBuffer,
    last: Option<Inferred>,
    /// Every input has come once since the start: from then on a missing one is a violation.
    complete: bool,
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
            seen: Vec::with_capacity(positions.width()),
            start: vec![0.0; positions.width()],
            positions,
            assumed_latency: Span::ZERO,
            control,
            promised: Vec::new(),
            observation: Observation::default(),
            timings: Timings::default(),
            clamped: Clamped::default(),
            message: ActionChunkMessage::default(),
            trajectory: TrajectoryBuffer::default(),
            last: None,
            complete: false,
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

    /// Goes on with the motion of an earlier session, when it is of the same joints. A robot that was stopped stays so in any case.
    pub fn adopt(&mut self, control: &Arc<Control>) {
        if control.joints() == self.control.joints() {
            self.control = Arc::clone(control);
            self.control.loaded();
        } else {
            self.control.inherit_stop(control);
        }
    }

    /// Publication is assumed to be so much later than the inputs, as in a replay, which offers no input in between. Motion then
    /// starts at positions that are as much older.
    pub fn assume_latency(&mut self, latency: Span) {
        self.assumed_latency = latency;
    }

    /// Whether a violation with `on_violation: stop`, or the watchdog, holds publication back.
    pub fn is_stopped(&self) -> bool {
        self.control.state() == WatchdogState::Stopped
    }

    /// Takes over settings that changed. Call it before the next cycle. Settings were checked as a whole when they were made, so
    /// each of them can be taken over.
    pub fn apply(&mut self, settings: &Settings) {
        self.control.apply(settings);
        self.chunk.step = settings.step;
        self.policy.log_shapes(settings.log_shapes);
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
        self.control.sense(inputs);
        if self.control.poll(now, settings) == WatchdogState::Stopped {
            return Outcome::Stopped;
        }
        if let Some((violation, braked)) = self.control.turned(now, settings, &mut self.trajectory) {
            let brake = self.braked(violation.action(&settings.rules), braked);
            return Outcome::Violation { violation, brake };
        }
        if let Err(violation) = inputs.assemble_into(now, &settings.rules, &mut self.observation) {
            return self.violated(now, settings, violation);
        }
        self.complete = true;
        if let Err(violation) = self.control.check_joints(now) {
            return self.violated(now, settings, violation);
        }
        if !force && self.last.as_ref().is_some_and(|last| last.is(&self.observation, settings)) {
            return Outcome::Unchanged;
        }
        match self.infer(now, inputs, settings, published_at) {
            Ok(moves) => Outcome::Published(Published {
                chunk: &self.message,
                trajectory: moves.then(|| self.trajectory.message()),
                plan: self.trajectory.plan(),
                timings: &self.timings,
                clamped: &self.clamped,
                observation: &self.observation,
            }),
            // The inference took its time: what brakes, brakes from now on.
            Err(Refusal::NotEnabled(violation)) => self.violated(published_at(), settings, violation),
            Err(refusal) => self.refused(published_at(), settings, refusal),
        }
    }

    /// Makes the chunk's message; true when its joints move, and the trajectory is to be published too.
    fn infer(
        &mut self,
        now: Stamp,
        inputs: &Inputs,
        settings: &Settings,
        published_at: &mut dyn FnMut() -> Stamp,
    ) -> Result<bool, Refusal> {
        // Also a refused inference counts as done: the same observation would be refused again.
        self.remember(settings);
        self.timings.reset();
        self.read_positions();
        let frozen = self.run_policy(settings)?;
        chunk::finite(&self.chunk)?;
        self.control.unwrap(&mut self.chunk, &self.seen);
        self.control.bounds()?.clamp(&mut self.chunk, &mut self.clamped)?;
        let published = published_at();
        inputs.check_enable(published, &settings.rules).map_err(Refusal::NotEnabled)?;
        let scheduled = chunk::schedule(&self.chunk, published)?;
        // The observation is older by the time of the inference: the newest positions are nearer to where the joints are.
        self.control.sense(inputs);
        let sensed = published - self.assumed_latency;
        let measured = self.control.measured(sensed, settings, &mut self.start);
        let new = NewChunk {
            chunk: &self.chunk,
            now: published,
            clamped: self.clamped.total,
            measured: measured.then_some(self.start.as_slice()),
            frozen,
        };
        let taken = self.control.take(&new, scheduled.late_rows, settings, &mut self.trajectory);
        let moves = taken.map_err(|error| match error {
            chunk::Error::NoStart { .. } => self.no_start(sensed, settings),
            other => other,
        })?;
        self.sequence += 1;
        let publication = Publication {
            sequence: self.sequence,
            frame_id: &settings.frame_id,
            inference_latency: published - now,
            policy_fingerprint: &self.policy.spec().fingerprint,
        };
        chunk::action_chunk_message(&self.chunk, &scheduled, &publication, &mut self.message)?;
        Ok(moves)
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
                let (seen, step) = (self.observation.stamp, self.chunk.step);
                let covered = self.control.promised(seen, step, &self.seen, &mut self.promised);
                let (frozen, ramped) = self.control.frozen(settings, self.chunk.step);
                let frozen = frozen.min(covered);
                (frozen, ramped.min(covered - frozen))
            }
            _ => (0, 0),
        };
        let overlap = frozen + ramped;
        let prefix = ActionPrefix { previous: &self.promised, frozen, overlap };
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

    /// Motion cannot start, since it is not known where the joints are.
    fn no_start(&self, now: Stamp, settings: &Settings) -> chunk::Error {
        let (joints, found) = (self.control.joints().join(", "), self.control.why_unmeasured(now, settings));
        chunk::Error::NoStart { joints, found }
    }

    /// Reads where the observation has the joints that are moved; leaves none when it lacks one of them.
    fn read_positions(&mut self) {
        self.seen.clear();
        let Some(joints) = self.observation.joints.as_ref().filter(|_| !self.start.is_empty()) else { return };
        self.seen.resize(self.start.len(), 0.0);
        if let Err(error) = self.positions.read_positions(joints, &mut self.seen) {
            tracing::debug!("the joints' positions are not known: {error}");
            self.seen.clear();
        }
    }

    fn violated(&mut self, now: Stamp, settings: &Settings, violation: Violation) -> Outcome<'_> {
        let starts = !self.complete || violation.is_of_switch();
        self.complete |= !violation.is_of_start();
        if starts && violation.is_of_start() && !self.control.is_armed() {
            return Outcome::Waiting(violation);
        }
        let brake = self.brake(now, violation.action(&settings.rules), &violation, settings);
        Outcome::Violation { violation, brake }
    }

    fn refused(&mut self, now: Stamp, settings: &Settings, refusal: Refusal) -> Outcome<'_> {
        let action = match refusal.kind() {
            RefusalKind::Violation => settings.rules.on_violation,
            RefusalKind::Superseded | RefusalKind::Failure => OnViolation::Skip,
        };
        let brake = self.brake(now, action, &refusal, settings);
        Outcome::Refused { refusal, brake }
    }

    fn brake(&mut self, now: Stamp, action: OnViolation, reason: &dyn Display, settings: &Settings) -> Brake<'_> {
        let braked = self.control.brake(now, action, reason, settings, &mut self.trajectory);
        self.braked(action, braked)
    }

    fn braked(&self, action: OnViolation, braked: Braked) -> Brake<'_> {
        Brake {
            action: if braked == Braked::NotNeeded { OnViolation::Skip } else { action },
            braked,
            stop: braked.must_publish().then(|| self.trajectory.message()),
            plan: self.trajectory.plan(),
        }
    }
}
