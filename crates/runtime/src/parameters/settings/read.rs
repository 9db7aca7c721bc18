//! From parameter values to settings, one by one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{
    EngineSettings, LimitsFrom, MemorySettings, OutputSettings, RecordSettings, Settings, StageSettings, TaskSettings,
};
use crate::parameters::description::RobotDescription;
use crate::parameters::shape::PolicyShape;
use crate::parameters::table::{Param, engines, inputs, motion, node, record};
use ros2_parameters::{Error, Origin, Problems, Store, hint};
use vla_base::time::Span;
use vla_policy::encode::pose::PoseMap;
use vla_policy::observation::{FrameHistory, FrameOptions, InputKind, InputRule, InputSpec, JointMap, Rules};

mod joint_inputs;
mod key_maps;
mod motion_settings;
mod outputs;
mod poses;
mod qos;

/// Reads everything; what is missing is reported and empty in the settings.
pub(super) fn read(store: &Store, shape: &PolicyShape, description: &RobotDescription) -> (Settings, Problems) {
    let mut reader = Reader { store, problems: Problems::default() };
    let (mut state, mut poses) = (Vec::new(), Vec::new());
    for (key, width) in &shape.state {
        match reader.state(key, *width) {
            StateSource::Joints(map) => state.push(map),
            StateSource::Pose(map) => poses.push(map),
        }
    }
    reader.pose_conventions(&mut poses);
    let raw_outputs = reader.raw_outputs();
    let (mut action, mut column_keys) = (Vec::new(), Vec::new());
    for (key, width) in &shape.action_keys {
        match shape.eef_action(key) {
            Some(eef) => action.extend(reader.eef_action(eef, *width)),
            None if reader.is_column(key, &raw_outputs, &state) => column_keys.push(key.clone()),
            None => action.push(reader.action(key, *width, &state)),
        }
    }
    let history = reader.state_history(shape);
    let inputs = reader.inputs(shape, &state, &action, &poses, history.first().copied().unwrap_or_default());
    let (inputs, per_input): (Vec<InputSpec>, Vec<InputRule>) = inputs.into_iter().unzip();
    let policy = reader.policy();
    let given = reader.limits(&action);
    let description = &joint_inputs::prefixed(description, &inputs, &given, &state);
    let continuous = joint_inputs::continuous(&given, &state, description);
    let (limits, limit_warnings) = match description.merge(&given) {
        Ok(merged) => (Ok(Arc::new(merged.limits)), merged.warnings),
        Err(error) => (Err(error), Vec::new()),
    };
    let outputs = reader.outputs(raw_outputs, shape, &action);
    let settings = Settings {
        outputs,
        column_keys,
        engine: reader.engine(&policy, shape),
        policy,
        memory: reader.memory(),
        inputs,
        qos: reader.subscription_qos(),
        blank_views: shape.cameras.iter().filter(|view| reader.get_of(&inputs::CAMERA_BLANK, view)).cloned().collect(),
        rules: Rules { state_history: history, continuous, ..reader.rules(per_input) },
        encode_threads: reader.get(&engines::ENCODE_THREADS),
        encode_device: reader.get(&engines::ENCODE_DEVICE),
        enable_topic: reader.get(&inputs::ENABLE_TOPIC),
        limits,
        limit_warnings,
        limits_from: reader.limits_from(),
        allow_unlimited: reader.get(&motion::ALLOW_UNLIMITED),
        motion: reader.motion(),
        rtc_frozen: reader.get(&motion::RTC_FROZEN),
        rtc_overlap: reader.get(&motion::RTC_OVERLAP),
        stop_after: reader.get(&motion::STOP_AFTER),
        command: reader.command(),
        realtime_priority: reader.get(&motion::REALTIME_PRIORITY),
        state,
        poses,
        action,
        deltas: reader.deltas(shape),
        instruction: reader.get(&node::INSTRUCTION),
        rate_hz: reader.get(&node::RATE_HZ),
        seed: reader.get(&node::SEED),
        denoise_steps: reader.get(&node::DENOISE_STEPS),
        step: reader.get(&node::STEP),
        frame_id: reader.get(&node::FRAME_ID),
        log_shapes: reader.get(&node::LOG_SHAPES),
        log_level: reader.get(&node::LOG_LEVEL),
        use_sim_time: reader.get(&node::USE_SIM_TIME),
        autostart: reader.get(&node::AUTOSTART),
        task: TaskSettings {
            required: reader.get(&node::TASK_REQUIRED),
            second_goal: reader.get(&node::TASK_SECOND_GOAL),
        },
        record: reader.record(),
    };
    (settings, reader.problems)
}

/// Where limits come from besides the parameters; problems with it are for [`read`] to report.
pub(super) fn limits_source(store: &Store) -> LimitsFrom {
    Reader { store, problems: Problems::default() }.limits_from()
}

/// What gives a state key.
enum StateSource {
    Joints(JointMap),
    Pose(PoseMap),
}

struct Reader<'a> {
    store: &'a Store,
    problems: Problems,
}

impl Reader<'_> {
    fn record(&mut self) -> Option<RecordSettings> {
        let path = self.get(&record::PATH);
        let (max_bytes, max_file_bytes) = (self.get(&record::MAX_BYTES), self.get(&record::MAX_FILE_BYTES));
        if !path.is_empty() && max_file_bytes > max_bytes / 2 {
            let names = [record::MAX_FILE_BYTES.name, record::MAX_BYTES.name].map(str::to_owned).into();
            let what = format!(
                "a file may have {max_file_bytes} bytes, expected at most half of the {max_bytes} of all recordings"
            );
            self.problems.push(Error::Conflict { names, what });
        }
        (!path.is_empty()).then(|| RecordSettings {
            path: path.into(),
            max_bytes,
            max_file_bytes,
            max_file: self.get(&record::MAX_FILE),
            queue_bytes: self.get(&record::QUEUE_BYTES),
        })
    }

    fn policy(&mut self) -> PathBuf {
        let path = self.get(&node::POLICY);
        if path.is_empty() {
            let needs = "give the folder of a policy bundle, such as -p policy:=out/demo/policy".to_owned();
            self.problems.push(Error::Missing { name: node::POLICY.name.to_owned(), needs });
        }
        path.into()
    }

    fn engine(&mut self, policy: &Path, shape: &PolicyShape) -> EngineSettings {
        let mut stages = BTreeMap::new();
        for stage in &shape.stages {
            let settings = StageSettings {
                path: self.get_of(&engines::PATH, stage).map(|path| policy.join(path)),
                allow_unverified: self.get_of(&engines::ALLOW_UNVERIFIED, stage),
                allow_inaccurate: self.get_of(&engines::ALLOW_INACCURATE, stage),
            };
            stages.insert(stage.clone(), settings);
        }
        EngineSettings {
            kind: self.get(&engines::KIND),
            threads: self.get(&engines::THREADS).max(1),
            cuda_graph: self.get(&engines::CUDA_GRAPH),
            integer_kernels: self.get(&engines::INTEGER_KERNELS),
            max_restarts: self.get(&engines::MAX_RESTARTS),
            load_order: Some(self.get(&engines::LOAD_ORDER)).filter(|order| !order.is_empty()),
            stages,
        }
    }

    fn memory(&mut self) -> MemorySettings {
        MemorySettings {
            budget_mib: self.get(&engines::BUDGET_MIB),
            reserve_mib: self.get(&engines::RESERVE_MIB),
            count_available: self.get(&engines::COUNT_AVAILABLE),
            release_host_copy: self.get(&engines::RELEASE_HOST_COPY),
        }
    }

    /// Times before the observation's at which the policy takes the state as well, the longest first.
    fn state_history(&mut self, shape: &PolicyShape) -> Vec<Span> {
        let step: Span = self.get(&node::STEP);
        shape.state_history.iter().filter(|steps| **steps < 0).map(|steps| step.times(-steps)).collect()
    }

    /// Each input with its rule. `earliest`: how far back the policy takes the state.
    fn inputs(
        &mut self,
        shape: &PolicyShape,
        state: &[JointMap],
        action: &[JointMap],
        poses: &[PoseMap],
        earliest: Span,
    ) -> Vec<(InputSpec, InputRule)> {
        let mut all = Vec::with_capacity(shape.cameras.len() + poses.len() + 2);
        for camera in &shape.cameras {
            if self.get_of(&inputs::CAMERA_BLANK, camera) {
                continue;
            }
            let prefix = format!("inputs.cameras.{camera}");
            let kind = InputKind::Camera { transport: self.get_of(&inputs::CAMERA_TRANSPORT, camera) };
            let topic = self.get_of(&inputs::CAMERA_TOPIC, camera);
            let rule =
                InputRule { stuck_after: self.get_of(&inputs::CAMERA_STUCK_AFTER, camera), ..self.rule(&prefix) };
            let frames = FrameOptions {
                encoding: self.get_of(&inputs::CAMERA_ENCODING, camera),
                exif: self.get_of(&inputs::CAMERA_EXIF, camera),
            };
            let stamp_from = self.get_of(&inputs::STAMP, &prefix);
            let history = FrameHistory::new(&shape.video_history, shape.step);
            all.push((InputSpec { stamp_from, frames, history, ..InputSpec::new(camera, kind, [topic]) }, rule));
        }
        // The oldest frame that is allowed, and the earliest state from there.
        let oldest_frame = all.iter().map(|(_, rule)| rule.max_age).max().unwrap_or_default();
        let keep = Span::from_nanos(oldest_frame.nanos().saturating_add(earliest.nanos()));
        if let Some(joints) = self.joint_states(state, action, keep) {
            let rule = InputRule { stuck_after: self.get(&inputs::JOINTS_STUCK_AFTER), ..self.rule("inputs.joints") };
            all.push((joints, rule));
        }
        all.extend(self.poses(poses, keep));
        // An instruction has no stamp: its rule only keeps the indices aligned.
        let topic = self.get(&inputs::INSTRUCTION_TOPIC);
        all.push((InputSpec::new("instruction", InputKind::Instruction, [topic]), InputRule::age(Span::ZERO, true)));
        all
    }

    fn rules(&mut self, per_input: Vec<InputRule>) -> Rules {
        Rules {
            per_input,
            max_skew: self.get(&inputs::MAX_SKEW),
            on_violation: self.get(&inputs::ON_VIOLATION),
            future_tolerance: self.get(&inputs::FUTURE_TOLERANCE),
            enable_max_age: self.get(&inputs::ENABLE_MAX_AGE),
            pairing: self.get(&inputs::PAIRING),
            ..Rules::default()
        }
    }

    fn rule(&mut self, prefix: &str) -> InputRule {
        InputRule {
            max_age: self.get_of(&inputs::MAX_AGE, prefix),
            required: self.get_of(&inputs::REQUIRED, prefix),
            stuck_after: Span::ZERO,
        }
    }

    /// A parameter that exists once.
    fn get<T: Default>(&mut self, parameter: &Param<T>) -> T {
        self.get_of(parameter, "")
    }

    /// A parameter of one camera, key, joint, ...
    ///
    /// A store of this policy's declarations has every name with its type and an allowed value. Another one is reported by name, and no
    /// settings are made.
    fn get_of<T: Default>(&mut self, parameter: &Param<T>, instance: &str) -> T {
        let name = parameter.name_of(instance);
        let value = self.store.get(&name).filter(|value| parameter.has_type(value));
        let error = match value {
            None => Error::Unknown { origin: Origin::Unnamed, hint: hint(&name, self.store.names()), name },
            Some(value) => match parameter.convert(value) {
                Some(converted) => return converted,
                None => {
                    let rule = format!("expected {}", parameter.expected());
                    Error::Refused { origin: Origin::Unnamed, name, value: value.clone(), rule }
                }
            },
        };
        self.problems.push(error);
        T::default()
    }
}
