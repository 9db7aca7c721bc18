//! The inputs, shared between the threads that receive messages and the one that runs the policy.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use super::clock::{Clock, ClockReader};
use super::enable::EnableSwitch;
use super::sample::JointSample;
use super::spec::{FrameCheck, InputKind, InputSpec, InputTopic, Rules};
use super::statistics::InputStatistics;
use super::violation::Violation;
use vla_base::time::Stamp;

mod assembly;
mod frames;
mod offer;
mod store;

use assembly::Scratch;
use frames::Frames;
use store::{JointStore, Store, lock};

/// One latest-value slot for each input, each behind a mutex. A lock is held to move a few words, never to parse, copy,
/// allocate or free a message, so topic tasks and the inference thread do not block each other; a lock-free pointer swap
/// would not keep sample and counters consistent. Share it in an `Arc`.
///
/// Call [`Inputs::assemble_into`] from one thread only, the inference thread. [`Inputs::check`] and [`Inputs::read_joints`]
/// may be called from any other thread and do not wait for an assembly.
pub struct Inputs {
    specs: Vec<InputSpec>,
    topics: Vec<InputTopic>,
    frames: Mutex<Option<Arc<FrameCheck>>>,
    /// Coordinate frames, of transforms.
    frames_of_tf: Frames,
    names: Vec<(Arc<str>, Arc<str>)>,
    stores: Vec<Store>,
    /// Whether the log has said of an input that its samples are stamped by their arrival.
    arrival_reported: Vec<AtomicBool>,
    instruction: Mutex<Option<Arc<str>>>,
    /// Instruction of the running task, before every other.
    task: Mutex<Option<Arc<str>>>,
    /// The operator's switch, where there is one.
    enable: Option<Mutex<EnableSwitch>>,
    /// The one lock taken under another (a slot's, or a scratch's).
    clock: Mutex<Clock>,
    /// Buffers and clock reader of the assembling thread.
    assembly: Mutex<(Scratch, ClockReader)>,
    /// Buffers of checks, so that a check never waits for an assembly.
    checking: Mutex<Scratch>,
}

impl Inputs {
    /// Inputs with the cameras in the policy's order. Of several inputs of kind `Joints` the first is used; without one, a pose
    /// is required. All inputs of kind `Instruction` set the same instruction.
    pub fn new(specs: Vec<InputSpec>) -> Self {
        Self {
            names: specs.iter().map(|spec| (spec.name.as_str().into(), spec.topic_list().into())).collect(),
            topics: InputTopic::of(&specs),
            stores: specs.iter().map(Store::new).collect(),
            arrival_reported: specs.iter().map(|_| AtomicBool::default()).collect(),
            instruction: Mutex::default(),
            task: Mutex::default(),
            enable: None,
            clock: Mutex::default(),
            assembly: Mutex::default(),
            checking: Mutex::default(),
            frames: Mutex::default(),
            frames_of_tf: Frames::new(&specs),
            specs,
        }
    }

    /// Allows motion only while [`Inputs::offer_enable`] receives true.
    pub fn with_enable_switch(mut self) -> Self {
        self.enable = Some(Mutex::default());
        self
    }

    /// Refuses frames whose size the policy does not accept, from now on and on arrival.
    pub fn set_frame_check(&self, check: Arc<FrameCheck>) {
        *lock(&self.frames) = Some(check);
    }

    /// The inputs as configured.
    pub fn specs(&self) -> &[InputSpec] {
        &self.specs
    }

    /// The topics of the inputs, each once. Their indices are those of [`Inputs::offer`].
    pub fn topics(&self) -> &[InputTopic] {
        &self.topics
    }

    /// Sets the instruction (from the parameter). The latest wins, from here or from a topic; the empty text removes the
    /// instruction, so that no inference is possible.
    pub fn set_instruction(&self, text: &str) {
        let mut held = lock(&self.instruction);
        if held.as_deref() != Some(text) {
            *held = Some(text.into());
        }
    }

    /// Sets the instruction of a task, which is in force until `None` is set; [`Self::set_instruction`] then takes effect again.
    pub fn set_task_instruction(&self, text: Option<Arc<str>>) {
        *lock(&self.task) = text;
    }

    /// The instruction in force, when there is one.
    pub fn instruction(&self) -> Option<Arc<str>> {
        let task = lock(&self.task).clone();
        task.or_else(|| lock(&self.instruction).clone()).filter(|text| !text.trim().is_empty())
    }

    /// Copies the newest position of every joint that the policy reads or moves, whatever its age (check the stamps). `out`
    /// stays unchanged if nothing is newer. False without an input of joint states. Takes one short lock; allocates nothing if
    /// `out` is reused.
    pub fn read_joints(&self, out: &mut JointSample) -> bool {
        let Some((joints, (name, _))) = self.joints().and_then(|at| Some((self.joint_store(at)?, self.names.get(at)?)))
        else {
            return false;
        };
        if !Arc::ptr_eq(&out.joints, &joints.index.names) {
            *out =
                JointSample { name: name.clone(), joints: Arc::clone(&joints.index.names), ..JointSample::default() };
        }
        let table = lock(&joints.table);
        table.read_into(&mut out.sequence, &mut out.readings);
        out.stamp = table.stamp().unwrap_or_default();
        true
    }

    /// Accepts a message of the enable switch that arrived at ROS time `received`.
    pub fn offer_enable(&self, on: bool, received: Stamp) {
        if let Some(enable) = &self.enable {
            lock(enable).offer(on, received);
        }
    }

    /// Last state of the enable switch; `None` without a switch.
    pub fn enable_switch(&self) -> Option<EnableSwitch> {
        self.enable.as_ref().map(|enable| *lock(enable))
    }

    /// Checks that the enable switch allows motion at `now`. Always without a switch.
    ///
    /// # Errors
    /// [`Violation`] with the state of the switch.
    pub fn check_enable(&self, now: Stamp, rules: &Rules) -> Result<(), Violation> {
        let breach = self.enable_switch().and_then(|switch| switch.check(now, rules.enable_max_age));
        breach.map_or(Ok(()), |breach| Err(Violation { at: now, breaches: vec![breach] }))
    }

    /// Counters of every input, in their order, and their rates at `now`.
    pub fn statistics(&self, now: Stamp) -> Vec<InputStatistics> {
        self.names.iter().zip(&self.stores).map(|(names, store)| store.statistics(names, now)).collect()
    }

    /// Number of times ROS time went back.
    pub fn clock_jumps(&self) -> u64 {
        lock(&self.clock).jumps()
    }

    fn joints(&self) -> Option<usize> {
        self.specs.iter().position(|spec| spec.kind == InputKind::Joints)
    }

    fn joint_store(&self, input: usize) -> Option<&JointStore> {
        match self.stores.get(input)? {
            Store::Joints(joints) => Some(joints),
            Store::Frames(_) | Store::Poses(_) | Store::Text(_) => None,
        }
    }
}

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inputs").field("specs", &self.specs).field("stores", &self.stores).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
