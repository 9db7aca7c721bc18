//! The way from message bytes to a chunk's messages allocates nothing after warm-up.
//!
//! Counted by the allocator itself, on the thread under test; on every thread where others work for it. Not counted: the reference count that `Bytes` makes
//! when a message is shared for the first time (here before the count, in the node with the message itself).

use vla_trt_tests::demo;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use vla_base::time::{Span, Stamp};
use vla_messages::{ActionChunkMessage, HeaderView, TransformView, write};
use vla_motion::{
    Chunk, ClampCounts, JointLimits, Motion, MotionLimits, MotionSettings, NewChunk, TransitionMode, schedule,
};
use vla_policy::decode::ActionDecoder;
use vla_policy::encode::pose::{PoseConvention, PoseLayout};
use vla_policy::encode::state::StateEncoder;
use vla_policy::family::N1D6;
use vla_policy::observation::{
    InputKind, InputRule, InputSpec, Inputs, JointMap, JointNames, JointSample, Observation, OnViolation, Pairing,
    Rules, StateReader, Transport,
};
use vla_policy::processor::{
    ActionKey, ActionScaling, Conversion, ImageTransformSpec, PoseFormat, Processor, StateEncoding, StateKey,
};
use vla_recorder::{Options, Qos, RecordedTopic, Recorder};
use vla_runtime::messages::{Publication, TrajectoryBuffer, write_action_chunk};
use vla_runtime::session::Control;

mod cameras;

thread_local! {
    // `const`: reading it allocates nothing, so the allocator may.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Of all threads. Each test has a process of its own under nextest; elsewhere those that read it would count each other's.
static ALL_ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn count() {
    ALLOCATIONS.with(|count| count.set(count.get() + 1));
    ALL_ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
}

struct Counting;

// SAFETY: every call goes on to the system allocator with its arguments unchanged; counting touches a thread-local
// `Cell` that needs neither allocation nor destruction.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

const STEP: Span = Span::from_nanos(20_000_000);
const PERIOD: i64 = 100_000_000;
const NAMES: [&str; 4] = ["waist", "elbow", "wrist", "finger"];

/// Everything that the node keeps from inference to inference.
struct Loop {
    inputs: Inputs,
    rules: Rules,
    observation: Observation,
    reader: StateReader,
    newest: JointSample,
    state: [f32; 4],
    layout: PoseLayout,
    poses: [[f32; 9]; 2],
    chunk: Chunk,
    bounds: MotionLimits,
    clamped: ClampCounts,
    message: ActionChunkMessage,
    motion: Motion,
    command: ([f64; 4], [f64; 4]),
    trajectory: TrajectoryBuffer,
    bytes: Vec<u8>,
}

impl Loop {
    fn new(pairing: Pairing, state_history: Vec<Span>) -> Self {
        let spec = |name: &str, kind| InputSpec::new(name, kind, [format!("/{name}")]);
        let camera = |name| spec(name, InputKind::Camera { transport: Transport::Raw });
        let names: Vec<String> = NAMES.iter().map(ToString::to_string).collect();
        let joints = JointNames { read: names.clone(), moved: names.clone(), ..JointNames::default() };
        let joints = InputSpec { joints, ..spec("joints", InputKind::Joints) };
        let pose = InputSpec { frame_id: "base".into(), ..spec("eef", InputKind::Pose) };
        let tf = InputSpec {
            frame_id: "base".into(),
            child_frame_id: "tool".into(),
            ..InputSpec::new("tool", InputKind::Transform, ["/tf", "/tf_static"])
        };
        let inputs = Inputs::new(vec![camera("top"), camera("wrist"), joints, pose, tf]);
        let mount = write::tf_message(&[transform(stamp(0), "hand", "tool")]);
        inputs.offer(5, mount.into(), stamp(0)).expect("a static transform");
        inputs.set_instruction("pick up the cube");
        let mut columns = names.clone();
        columns.extend((0..9).map(|index| format!("eef.{index}")));
        let elbow = JointLimits { velocity: 1.0, acceleration: 8.0, ..JointLimits::default() };
        let limited = NAMES.iter().map(|joint| (*joint, JointLimits { min: -0.2, max: 0.2, ..JointLimits::default() }));
        let bounds = MotionLimits::new(&names, limited.chain([("elbow", elbow)])).expect("valid bounds");
        let mut motion = Motion::new(names.as_slice().into());
        motion.set_limits(bounds.clone());
        Self {
            inputs,
            rules: Rules {
                per_input: vec![InputRule::age(Span::from_nanos(PERIOD), true); 5],
                max_skew: Span::from_nanos(PERIOD),
                on_violation: OnViolation::Skip,
                future_tolerance: STEP,
                enable_max_age: Span::ZERO,
                pairing,
                state_history,
                continuous: vec![NAMES[2].to_owned()].into(),
            },
            observation: Observation::default(),
            motion,
            command: Default::default(),
            reader: StateReader::new(&[JointMap::identity("arm", names)]).expect("a valid map"),
            newest: JointSample::default(),
            state: [0.0; 4],
            layout: PoseLayout::of_width(9).expect("a layout"),
            poses: [[0.0; 9]; 2],
            bounds,
            chunk: Chunk {
                names: columns.into(),
                poses: std::iter::once(4..13).collect(),
                rows: 16,
                step: STEP,
                seed: 1,
                ..Chunk::default()
            },
            clamped: ClampCounts::default(),
            message: ActionChunkMessage::default(),
            trajectory: TrajectoryBuffer::default(),
            bytes: Vec::new(),
        }
    }

    /// One turn, up to the bytes that are published. The chunk stands in for what inference leaves in it.
    fn turn(&mut self, sequence: u64, messages: &[Bytes; 5]) {
        let stamp = stamp(sequence);
        for (input, bytes) in messages.iter().enumerate() {
            self.inputs.offer(input, bytes.clone(), stamp + STEP).expect("a good message");
        }
        // As the watch thread does.
        let checked = self.inputs.check(stamp + STEP, &self.rules);
        if sequence < 3 && checked.is_err() {
            // The history does not reach back yet.
            return;
        }
        checked.expect("fresh inputs");
        assert!(self.inputs.read_joints(&mut self.newest));
        self.inputs.assemble_into(stamp + STEP, &self.rules, &mut self.observation).expect("fresh inputs");
        for earlier in &self.observation.history {
            self.reader.read(earlier.joints.as_ref().expect("a joint state"), &mut self.state).expect("all joints");
        }
        let joints = self.observation.joints.as_ref().expect("a joint state");
        self.reader.read(joints, &mut self.state).expect("all joints");
        let turned = PoseConvention {
            tool: PoseConvention::rotation(&[0.0, 0.0, 1.0]).expect("a rotation"),
            ..PoseConvention::default()
        };
        for (sample, values) in self.observation.poses.iter().zip(&mut self.poses) {
            self.layout.write(&sample.pose, &turned, values);
        }

        let chunk = &mut self.chunk;
        chunk.observation_stamp = self.observation.stamp;
        chunk.inputs.clear();
        chunk.inputs.extend(self.observation.identity().map(|(name, stamp)| (name.clone(), stamp)));
        chunk.values.clear();
        for row in 0..16 {
            chunk.values.extend((0..4).map(|i| self.state[i] + (4 * row + i) as f32 / 100.0));
            chunk.values.extend(self.poses[0]);
        }

        chunk.check_finite().expect("finite values");
        self.bounds.clamp(chunk, &mut self.clamped).expect("its own limits");
        // Another number of late rows every turn, so that trajectories shrink and grow.
        let late = STEP.times((sequence % 13) as i64);
        let scheduled = schedule(chunk, stamp + late).expect("rows in time");
        let publication =
            Publication { sequence, frame_id: "", inference_latency: late, policy_fingerprint: "sha256:0123" };
        write_action_chunk(chunk, &scheduled, &publication, &mut self.message).expect("a whole chunk");
        // Every mode in turn, and a hold now and then.
        let mode = [
            TransitionMode::Replace,
            TransitionMode::Blend,
            TransitionMode::Ensemble,
            TransitionMode::Ensemble,
            TransitionMode::Rtc,
        ][(sequence / 3 % 5) as usize];
        let settings = MotionSettings { mode, ..MotionSettings::default() };
        let measured = self.state.map(f64::from);
        let (now, measured) = (stamp + late, Some(&measured[..]));
        let new = NewChunk { chunk, now, clamped: 0, measured, frozen: (3, 4) };
        self.trajectory.fill(self.motion.plan_chunk(&new, &settings).expect("a plan"), now);
        if sequence.is_multiple_of(7) {
            let stop = self.motion.hold(now + STEP, &settings).expect("a finite stop").expect("a plan");
            self.trajectory.fill(stop, now + STEP);
        }
        let plan = self.motion.plan().expect("a plan");
        assert!(plan.sample(now + STEP, &mut self.command.0, &mut self.command.1));
        let trajectory = self.trajectory.message();
        assert!(!trajectory.points.is_empty());
        assert_eq!((trajectory.joint_names.len(), self.message.names.len()), (4, 13));
        trajectory.write(&mut self.bytes);
        self.message.write(&mut self.bytes);
    }
}

fn stamp(sequence: u64) -> Stamp {
    Stamp::from_nanos((sequence as i64 + 1) * PERIOD)
}

fn transform<'a>(stamp: Stamp, frame_id: &'a str, child_frame_id: &'a str) -> TransformView<'a> {
    let header = HeaderView { stamp, frame_id };
    TransformView { header, child_frame_id, translation: [0.1, 0.2, 0.3], rotation: [0.0, 0.0, 0.6, 0.8] }
}

fn messages(sequence: u64) -> [Bytes; 5] {
    let stamp = stamp(sequence);
    let header = HeaderView { stamp, frame_id: "base" };
    let image = || write::image(header, 4, 2, "rgb8", 12, &[7; 24]);
    let joints = write::joint_state(header, &NAMES, &[0.1, -0.1, 0.0, 0.05], &[], &[]);
    let pose = write::pose_stamped(header, [0.1, 0.2, 0.3], [0.0, 0.0, 0.6, 0.8]);
    let tf = write::tf_message(&[transform(stamp, "base", "arm"), transform(stamp, "arm", "hand")]);
    let messages = [image(), image(), joints, pose, tf].map(Bytes::from);
    // The first clone makes the shared reference count.
    messages.iter().for_each(|bytes| drop(bytes.clone()));
    messages
}

#[test]
fn a_turn_of_the_loop_allocates_nothing_after_warm_up() {
    turns_allocate_nothing(Loop::new(Pairing::Newest, Vec::new()));
}

#[test]
fn a_turn_with_states_of_the_pictures_time_and_of_earlier_ones_allocates_nothing_after_warm_up() {
    let history = [210, 100].map(|ms| Span::from_nanos(ms * 1_000_000));
    turns_allocate_nothing(Loop::new(Pairing::Frame, history.into()));
}

#[test]
fn a_turn_that_is_recorded_allocates_nothing_after_warm_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let topic = |name: &str| RecordedTopic {
        name: name.to_owned(),
        type_name: "std_msgs/msg/String".to_owned(),
        schema: "string data\n",
        qos: Qos::RELIABLE,
        kept: 0,
    };
    let options = Options {
        folder: dir.path().to_owned(),
        node: "vla_trt".to_owned(),
        max_bytes: 1 << 30,
        max_file_bytes: 1 << 29,
        max_file: Span::from_nanos(i64::MAX),
    };
    let topics = ["/in", "/chunk", "/trajectory"].map(topic).to_vec();
    let (recorder, thread) = Recorder::start(options, topics, 1 << 20).expect("started");
    let mut node = Loop::new(Pairing::Newest, Vec::new());
    let mut output = recorder.output();
    let arriving: Vec<[Bytes; 5]> = (0..3000).map(messages).collect();
    let mut turn = |number: u64, messages: &[Bytes; 5]| {
        messages.iter().for_each(|message| recorder.message(0, stamp(number), message));
        node.turn(number, messages);
        output.record(1, stamp(number), |bytes| node.message.write(bytes));
        output.record(2, stamp(number), |bytes| node.trajectory.message().write(bytes));
        // A robot takes longer for a turn; here the buffers come back first.
        std::thread::sleep(std::time::Duration::from_micros(50));
    };
    let mut turns = (0..).zip(&arriving);
    turns.by_ref().take(15 * 13 * 7).for_each(|(number, messages)| turn(number, messages));
    let steady = allocations_of(|| turns.for_each(|(number, messages)| turn(number, messages)));
    assert_eq!(steady, 0, "allocations");
    thread.stop();
    while !thread.is_finished() {
        std::thread::yield_now();
    }
    let status = recorder.status();
    assert!(status.written > 10_000, "{status:?}");
}

fn turns_allocate_nothing(mut node: Loop) {
    // Once through every meeting of mode (15 turns), late rows (13) and hold (7).
    const WARM_UP: u64 = 15 * 13 * 7;
    let arriving: Vec<[Bytes; 5]> = (0..3000).map(messages).collect();
    let mut turns = (0..).zip(&arriving);
    let warming = allocations_of(|| turns.by_ref().take(WARM_UP as usize).for_each(|(n, m)| node.turn(n, m)));
    assert!(warming > 0, "the counter counts");
    let steady = allocations_of(|| turns.for_each(|(n, m)| node.turn(n, m)));
    assert_eq!(steady, 0, "allocations in {} turns", arriving.len() - WARM_UP as usize);
    assert!(node.clamped.total > 0, "the last chunk was clamped");
}

#[test]
fn a_look_of_the_watch_thread_at_new_joint_states_allocates_nothing() {
    let policy = demo::policy();
    let limited = demo::settings(policy.path(), &[]).joint_names();
    let limited: Vec<String> = limited.iter().map(|joint| format!("limits.{joint}.velocity:=1.0")).collect();
    let settings = demo::settings(policy.path(), &limited.iter().map(String::as_str).collect::<Vec<_>>());
    let (names, inputs) = (settings.joint_names(), Inputs::new(settings.inputs.clone()));
    let control = Control::new(names.as_slice().into());
    control.apply(&settings);
    let (rows, at) = (40, |ms: i64| Stamp::from_nanos(ms * 1_000_000));
    let chunk = Chunk {
        names: names.as_slice().into(),
        rows,
        values: (0..rows).flat_map(|row| vec![row as f32 / 1000.0; names.len()]).collect(),
        observation_stamp: at(1000),
        step: STEP,
        ..Chunk::default()
    };
    let (standing, mut out) = (vec![0.0; names.len()], TrajectoryBuffer::default());
    let measured = Some(standing.as_slice());
    let new = NewChunk { chunk: &chunk, now: at(1000), clamped: 0, measured, frozen: (0, 0) };
    control.accept_chunk(&new, 0, &settings, &mut out).expect("a plan");
    let joints = inputs.specs().iter().position(|spec| spec.kind == InputKind::Joints).expect("joints");
    let name: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut look = |ms: i64| {
        let header = HeaderView { stamp: at(ms), frame_id: "" };
        let bytes = write::joint_state(header, &name, &standing, &[], &[]);
        inputs.offer(joints, bytes.into(), at(ms)).expect("a good message");
        let mut braked = Default::default();
        let allocations =
            allocations_of(|| braked = control.watch(at(ms), &inputs, &settings, &mut out).braked.entered());
        assert!(!braked, "it follows");
        allocations
    };
    look(1010);
    assert_eq!((1020..1300).step_by(10).map(&mut look).sum::<u64>(), 0);
    assert!(control.state().is_moving());
}

#[test]
fn state_encoder_and_action_decoder_allocate_nothing() {
    let pose = Conversion::ComposePose { state: 0, predicted: PoseFormat::Rot6d, format: PoseFormat::Rotvec };
    let scaling = ActionScaling::Range { low: vec![-1.0; 9], high: vec![1.0; 9] };
    let processor = Processor {
        family: &N1D6,
        embodiment: "robot".into(),
        cameras: vec!["top".into()],
        state: vec![StateKey { name: "pose".into(), width: 9, encoding: StateEncoding::SinCos }],
        state_deltas: vec![0],
        video_deltas: vec![0],
        exclude_state: false,
        clip_state: true,
        action: vec![ActionKey { name: "pose".into(), width: 9, scaling, conversion: pose, eef: None }],
        action_deltas: (0..16).collect(),
        max_state_dim: 128,
        max_action_dim: 128,
        max_action_horizon: 50,
        image: N1D6.image(256, 0.95),
        normalise_text: true,
    };
    let mut encoder = StateEncoder::new(&processor).expect("an encoder");
    let mut decoder = ActionDecoder::new(&processor).expect("a decoder");
    let raw = [0.1, 0.2, 0.3, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    let (mut state, actions, mut decoded) = ([0.0; 128], vec![0.1; 50 * 128], vec![0.0; 16 * 6]);
    let mut actions: Vec<f32> = (0..).zip(actions).map(|(i, x): (i32, f32)| x * (i % 7) as f32).collect();
    let allocations = allocations_of(|| {
        for _ in 0..3 {
            encoder.encode(&raw, &mut state).expect("encodes");
            decoder.decode(&actions, &raw, &mut decoded).expect("decodes");
            decoder.encode(&decoded, &raw, &mut actions).expect("encodes");
        }
    });
    assert_eq!(allocations, 0);
}
