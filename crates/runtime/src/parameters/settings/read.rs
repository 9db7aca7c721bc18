//! From parameter values to settings, one by one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{EngineSettings, LimitsFrom, MemorySettings, Settings, StageSettings};
use crate::parameters::description::RobotDescription;
use crate::parameters::shape::{EefAction, PolicyShape};
use ros2_parameters::Store;
use ros2_parameters::Value;
use ros2_parameters::hint;
use ros2_parameters::{Error, Origin, Problems};
use vla_base::time::Span;
use vla_engines::EngineKind;
use vla_policy::encode::pose::PoseLayout;
use vla_policy::observation::{
    InputKind, InputRule, InputSpec, JointMap, JointNames, OnViolation, PoseMap, Rules, StampSource, Transport,
};
use vla_policy::processor::DeltaRows;

mod motion;

/// Reads everything; what is missing is reported and stands empty in the settings.
pub(super) fn read(store: &Store, shape: &PolicyShape, description: &RobotDescription) -> (Settings, Problems) {
    let mut reader = Reader { store, problems: Problems::default() };
    let (mut state, mut poses) = (Vec::new(), Vec::new());
    for (key, width) in &shape.state {
        match reader.state(key, *width) {
            Source::Joints(map) => state.push(map),
            Source::Pose(map) => poses.push(map),
        }
    }
    let mut action = Vec::new();
    for (key, width) in &shape.action_keys {
        match shape.eef_action(key) {
            Some(eef) => action.extend(reader.eef_action(eef, *width)),
            None => action.push(reader.action(key, *width, &state)),
        }
    }
    let joints = JointNames { read: joint_names(&state), moved: joint_names(&action) };
    let inputs = reader.inputs(shape, joints, &poses);
    let (inputs, per_input) = inputs.into_iter().unzip();
    let policy = reader.policy();
    let given = reader.limits(&action);
    let (limits, limit_warnings) = match description.merge(&given) {
        Ok(merged) => (Ok(Arc::new(merged.limits)), merged.warnings),
        Err(error) => (Err(error), Vec::new()),
    };
    let settings = Settings {
        engine: reader.engine(&policy, shape),
        policy,
        memory: reader.memory(),
        inputs,
        rules: reader.rules(per_input),
        enable_topic: Some(reader.text("inputs.enable.topic")).filter(|topic| !topic.is_empty()),
        limits,
        limit_warnings,
        limits_from: reader.limits_from(),
        allow_unlimited: reader.flag("motion.allow_unlimited"),
        motion: reader.motion(),
        rtc_frozen: Some(reader.size("handover.rtc_frozen")).filter(|&rows| rows > 0),
        rtc_overlap: reader.size("handover.rtc_overlap"),
        stop_after: reader.stop_after(),
        command: reader.command(),
        realtime_priority: u8::try_from(reader.count("realtime.priority")).unwrap_or_default(),
        state,
        poses,
        action,
        deltas: reader.deltas(shape),
        instruction: reader.text("instruction"),
        rate_hz: reader.double("rate_hz"),
        seed: reader.count("seed"),
        denoise_steps: u32::try_from(reader.count("denoise.steps")).unwrap_or(u32::MAX),
        step: Span::from_seconds(reader.double("action.step_s")),
        frame_id: reader.text("frame_id"),
        log_shapes: reader.flag("log_shapes"),
        log_level: reader.text("log_level"),
        use_sim_time: reader.flag("use_sim_time"),
    };
    (settings, reader.problems)
}

/// Where limits come from besides the parameters; problems with it are for [`read`] to report.
pub(super) fn limits_source(store: &Store) -> LimitsFrom {
    Reader { store, problems: Problems::default() }.limits_from()
}

/// What gives a state key.
enum Source {
    Joints(JointMap),
    Pose(PoseMap),
}

/// Joints of all keys.
fn joint_names(maps: &[JointMap]) -> Vec<String> {
    maps.iter().flat_map(|map| &map.joints).cloned().collect()
}

struct Reader<'a> {
    store: &'a Store,
    problems: Problems,
}

impl Reader<'_> {
    fn policy(&mut self) -> PathBuf {
        let path = self.text("policy");
        if path.is_empty() {
            let needs = "give the folder of a policy bundle, such as -p policy:=out/demo/policy".to_owned();
            self.problems.push(Error::Missing { name: "policy".to_owned(), needs });
        }
        path.into()
    }

    fn engine(&mut self, policy: &Path, shape: &PolicyShape) -> EngineSettings {
        let kind = match self.text("engine.kind").as_str() {
            "tensorrt" => EngineKind::Tensorrt,
            _ => EngineKind::Onnx,
        };
        let load_order = Some(self.texts("engines.load_order")).filter(|order| !order.is_empty());
        let mut stages = BTreeMap::new();
        for stage in &shape.stages {
            let path = self.text(&format!("engines.{stage}.path"));
            let path = (!path.is_empty()).then(|| policy.join(path));
            let allow_unverified = self.flag(&format!("engines.{stage}.allow_unverified"));
            let allow_inaccurate = self.flag(&format!("engines.{stage}.allow_inaccurate"));
            stages.insert(stage.clone(), StageSettings { path, allow_unverified, allow_inaccurate });
        }
        let threads = usize::try_from(self.count("engine.threads")).unwrap_or(1).max(1);
        let cuda_graph = self.flag("engine.cuda_graph");
        let max_restarts = u32::try_from(self.count("engine.max_restarts")).unwrap_or(u32::MAX);
        EngineSettings { kind, threads, cuda_graph, max_restarts, load_order, stages }
    }

    fn memory(&mut self) -> MemorySettings {
        let budget_mib = Some(self.count("memory.budget_mib")).filter(|&mib| mib > 0);
        MemorySettings {
            budget_mib,
            reserve_mib: self.count("memory.reserve_mib"),
            count_available: self.flag("memory.count_available"),
            release_host_copy: self.flag("memory.release_host_copy"),
        }
    }

    /// Each input with its rule.
    fn inputs(&mut self, shape: &PolicyShape, joints: JointNames, poses: &[PoseMap]) -> Vec<(InputSpec, InputRule)> {
        let mut inputs = Vec::with_capacity(shape.cameras.len() + poses.len() + 2);
        for camera in &shape.cameras {
            let prefix = format!("inputs.cameras.{camera}");
            let transport = match self.text(&format!("{prefix}.transport")).as_str() {
                "compressed" => Transport::Compressed,
                _ => Transport::Raw,
            };
            let spec = self.input(camera, &prefix, InputKind::Camera { transport });
            inputs.push((spec, self.stuck_rule(&prefix)));
        }
        if joints != JointNames::default() {
            let spec = InputSpec { joints, ..self.input("joints", "inputs.joints", InputKind::Joints) };
            inputs.push((spec, self.stuck_rule("inputs.joints")));
        }
        for (index, PoseMap { input, .. }) in poses.iter().enumerate() {
            // Several keys may take one pose.
            if poses.iter().take(index).any(|before| before.input == *input) {
                continue;
            }
            let prefix = format!("inputs.poses.{input}");
            let frame_id = self.text(&format!("{prefix}.frame_id"));
            let spec = InputSpec { frame_id, ..self.input(input, &prefix, InputKind::Pose) };
            inputs.push((spec, self.rule(&prefix)));
        }
        // An instruction has no stamp: its rule only keeps the places aligned.
        let spec = self.input("instruction", "inputs.instruction", InputKind::Instruction);
        inputs.push((spec, InputRule::age(Span::ZERO, true)));
        inputs
    }

    fn input(&mut self, name: &str, prefix: &str, kind: InputKind) -> InputSpec {
        let topic = self.text(&format!("{prefix}.topic"));
        let stamp_from = match kind.is_stamped().then(|| self.text(&format!("{prefix}.stamp"))).as_deref() {
            Some("arrival") => StampSource::Arrival,
            _ => StampSource::Header,
        };
        let (name, frame_id, joints) = (name.to_owned(), String::new(), JointNames::default());
        InputSpec { name, topic, kind, frame_id, joints, stamp_from }
    }

    fn rules(&mut self, per_input: Vec<InputRule>) -> Rules {
        Rules {
            per_input,
            max_skew: Span::from_millis(self.double("inputs.max_skew_ms")),
            on_violation: match self.text("inputs.on_violation").as_str() {
                "hold" => OnViolation::Hold,
                "stop" => OnViolation::Stop,
                _ => OnViolation::Skip,
            },
            future_tolerance: Span::from_millis(self.double("inputs.future_tolerance_ms")),
            enable_max_age: Span::from_millis(self.double("inputs.enable.max_age_ms")),
        }
    }

    /// As [`Self::rule`], for inputs that can get stuck.
    fn stuck_rule(&mut self, prefix: &str) -> InputRule {
        let stuck_after = Span::from_millis(self.double(&format!("{prefix}.stuck_after_ms")));
        InputRule { stuck_after, ..self.rule(prefix) }
    }

    fn rule(&mut self, prefix: &str) -> InputRule {
        InputRule {
            max_age: Span::from_millis(self.double(&format!("{prefix}.max_age_ms"))),
            required: self.flag(&format!("{prefix}.required")),
            stuck_after: Span::ZERO,
        }
    }

    fn state(&mut self, key: &str, width: usize) -> Source {
        let [name, pose] = ["joints", "pose"].map(|field| format!("state.{key}.{field}"));
        let (joints, input) = (self.texts(&name), self.text(&pose));
        let layout = PoseLayout::of_width(width);
        if !input.is_empty() {
            if layout.is_none() {
                let what = format!(
                    "{pose} is '{input}', but the state '{key}' has {width} values and a pose gives {}; list its joints in {name}",
                    PoseLayout::WIDTHS
                );
                self.conflict(&[&pose], what);
            }
            if !joints.is_empty() {
                let what =
                    format!("{name} and {pose} are both given; the state '{key}' comes from joints or from a pose");
                self.conflict(&[&name, &pose], what);
            }
            self.no_factors("state", key, width, "comes from a pose, in m and rad");
            return Source::Pose(PoseMap { key: key.to_owned(), input });
        }
        if joints.is_empty() && width > 0 {
            let mut needs = format!(
                "list the {width} joints of the state '{key}' by their names in sensor_msgs/JointState, in the policy's order"
            );
            if layout.is_some() {
                needs += &format!("; or, if it is an end effector's, name its pose in {pose}");
            }
            self.problems.push(Error::Missing { name, needs });
        }
        Source::Joints(JointMap {
            key: key.to_owned(),
            joints,
            scale: self.doubles(&format!("state.{key}.scale"), width, 1.0),
            offset: self.doubles(&format!("state.{key}.offset"), width, 0.0),
        })
    }

    /// What the rows of each key of deltas are.
    fn deltas(&mut self, shape: &PolicyShape) -> BTreeMap<String, DeltaRows> {
        let mut all = BTreeMap::new();
        for (key, _) in &shape.deltas {
            let name = format!("action.{key}.delta");
            match self.text(&name).parse() {
                Ok(rows) => drop(all.insert(key.clone(), rows)),
                Err(_) => {
                    let needs = format!(
                        "the action '{key}' predicts deltas (rep: DELTA), and policy.yaml does not say what a row is: set \
                         cumulative (row i = state + rows 0 to i) or from_state (row i = state + row i), as the data set was made"
                    );
                    self.problems.push(Error::Missing { name, needs });
                }
            }
        }
        all
    }

    /// An end effector's action: a pose, unless it was given joints.
    fn eef_action(&mut self, eef: &EefAction, width: usize) -> Option<JointMap> {
        let (key, name) = (&eef.key, format!("action.{}.joints", eef.key));
        if self.texts(&name).is_empty() {
            self.no_factors("action", key, width, "is an end effector's and moves no joints");
            return None;
        }
        if eef.relative {
            let what = format!(
                "{name} is given, but the action '{key}' is relative to a pose of the state (RELATIVE, EEF): its values are \
                 {}, which no joint takes; take {name} away",
                eef.columns.join(", ")
            );
            self.conflict(&[&name], what);
            return None;
        }
        Some(self.action(key, width, &[]))
    }

    /// Factors and offsets are for joints: given for a pose, in m and rad, they are meant for something else. `why` says so.
    fn no_factors(&mut self, group: &str, key: &str, width: usize, why: &str) {
        for (field, neutral) in [("scale", 1.0), ("offset", 0.0)] {
            let name = format!("{group}.{key}.{field}");
            let given = self.numbers(&name);
            if !given.is_empty() && given != vec![neutral; width] {
                let what = format!("{name} is given, but the {group} '{key}' {why}; take {name} away");
                self.conflict(&[&name], what);
            }
        }
    }

    fn conflict(&mut self, names: &[&str], what: String) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.problems.push(Error::Conflict { names, what });
    }

    fn action(&mut self, key: &str, width: usize, state: &[JointMap]) -> JointMap {
        let of_state = state.iter().find(|map| map.key == key);
        let name = format!("action.{key}.joints");
        let mut joints = self.texts(&name);
        if joints.is_empty() && width > 0 {
            match of_state {
                // What the state key lacks was reported there.
                Some(map) if map.joints.len() == width || map.joints.is_empty() => joints = map.joints.clone(),
                _ => {
                    let needs = format!("list the {width} joints that the action '{key}' moves, in the policy's order");
                    self.problems.push(Error::Missing { name, needs });
                }
            }
        }
        let like_state = |values: &[f64]| (values.len() == width).then(|| values.to_vec());
        let scale = of_state.and_then(|map| like_state(&map.scale)).unwrap_or_else(|| vec![1.0; width]);
        let offset = of_state.and_then(|map| like_state(&map.offset)).unwrap_or_else(|| vec![0.0; width]);
        JointMap {
            key: key.to_owned(),
            joints,
            scale: Some(self.numbers(&format!("action.{key}.scale")))
                .filter(|given| !given.is_empty())
                .unwrap_or(scale),
            offset: Some(self.numbers(&format!("action.{key}.offset")))
                .filter(|given| !given.is_empty())
                .unwrap_or(offset),
        }
    }

    /// Numbers as many as the key is wide; an empty list stands for all the same.
    fn doubles(&mut self, name: &str, width: usize, otherwise: f64) -> Vec<f64> {
        Some(self.numbers(name)).filter(|given| !given.is_empty()).unwrap_or_else(|| vec![otherwise; width])
    }

    fn text(&mut self, name: &str) -> String {
        self.get(name, |value| if let Value::String(v) = value { Some(v.clone()) } else { None })
    }

    fn texts(&mut self, name: &str) -> Vec<String> {
        self.get(name, |value| if let Value::StringArray(v) = value { Some(v.clone()) } else { None })
    }

    fn double(&mut self, name: &str) -> f64 {
        self.get(name, |value| if let Value::Double(v) = value { Some(*v) } else { None })
    }

    fn numbers(&mut self, name: &str) -> Vec<f64> {
        self.get(name, |value| if let Value::DoubleArray(v) = value { Some(v.clone()) } else { None })
    }

    fn count(&mut self, name: &str) -> u64 {
        self.get(name, |value| if let Value::Integer(v) = value { u64::try_from(*v).ok() } else { None })
    }

    fn flag(&mut self, name: &str) -> bool {
        self.get(name, |value| if let Value::Bool(v) = value { Some(*v) } else { None })
    }

    /// A store of this policy's declarations has every name in its type; one of another policy does not.
    fn get<T: Default>(&mut self, name: &str, read: impl Fn(&Value) -> Option<T>) -> T {
        if let Some(value) = self.store.get(name).and_then(read) {
            return value;
        }
        let hint = hint(name, self.store.names());
        self.problems.push(Error::Unknown { origin: Origin::Unnamed, name: name.to_owned(), hint });
        T::default()
    }
}
