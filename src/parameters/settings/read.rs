//! From parameter values to settings, one by one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{EngineSettings, JointLimit, MemorySettings, Settings, StageSettings};
use crate::engine::EngineKind;
use crate::observation::{InputKind, InputRule, InputSpec, JointMap, OnViolation, Rules, Transport};
use crate::parameters::error::{Error, Origin, Problems};
use crate::parameters::nearest::hint;
use crate::parameters::shape::PolicyShape;
use crate::parameters::store::Store;
use crate::parameters::value::Value;
use crate::time::Span;

/// Reads everything; what is missing is reported and stands empty in the settings.
pub(super) fn read(store: &Store, shape: &PolicyShape) -> (Settings, Problems) {
    let mut reader = Reader { store, problems: Problems::default() };
    let state: Vec<JointMap> = shape.state.iter().map(|(key, width)| reader.state(key, *width)).collect();
    let action: Vec<JointMap> =
        shape.action_keys.iter().map(|(key, width)| reader.action(key, *width, &state)).collect();
    let policy = reader.policy();
    let settings = Settings {
        engine: reader.engine(&policy, shape),
        policy,
        memory: reader.memory(),
        inputs: reader.inputs(shape),
        rules: reader.rules(shape),
        limits: reader.limits(&action),
        state,
        action,
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
            stages.insert(stage.clone(), StageSettings { path, allow_unverified });
        }
        let threads = usize::try_from(self.count("engine.threads")).unwrap_or(1).max(1);
        let max_restarts = u32::try_from(self.count("engine.max_restarts")).unwrap_or(u32::MAX);
        EngineSettings { kind, threads, max_restarts, load_order, stages }
    }

    fn memory(&mut self) -> MemorySettings {
        let budget_mib = Some(self.count("memory.budget_mib")).filter(|&mib| mib > 0);
        MemorySettings { budget_mib, reserve_mib: self.count("memory.reserve_mib") }
    }

    fn inputs(&mut self, shape: &PolicyShape) -> Vec<InputSpec> {
        let mut inputs: Vec<InputSpec> = Vec::with_capacity(shape.cameras.len() + 2);
        for camera in &shape.cameras {
            let transport = match self.text(&format!("inputs.cameras.{camera}.transport")).as_str() {
                "compressed" => Transport::Compressed,
                _ => Transport::Raw,
            };
            let topic = self.text(&format!("inputs.cameras.{camera}.topic"));
            inputs.push(InputSpec { name: camera.clone(), topic, kind: InputKind::Camera { transport } });
        }
        let topic = self.text("inputs.joints.topic");
        inputs.push(InputSpec { name: "joints".to_owned(), topic, kind: InputKind::Joints });
        let topic = self.text("inputs.instruction.topic");
        inputs.push(InputSpec { name: "instruction".to_owned(), topic, kind: InputKind::Instruction });
        inputs
    }

    fn rules(&mut self, shape: &PolicyShape) -> Rules {
        let mut per_input: Vec<InputRule> =
            shape.cameras.iter().map(|camera| self.rule(&format!("inputs.cameras.{camera}"))).collect();
        per_input.push(self.rule("inputs.joints"));
        // An instruction has no stamp: its rule only keeps the places aligned.
        per_input.push(InputRule { max_age: Span::ZERO, required: true });
        Rules {
            per_input,
            max_skew: Span::from_millis(self.double("inputs.max_skew_ms")),
            on_violation: match self.text("inputs.on_violation").as_str() {
                "hold" => OnViolation::Hold,
                "stop" => OnViolation::Stop,
                _ => OnViolation::Skip,
            },
            future_tolerance: Span::from_millis(self.double("inputs.future_tolerance_ms")),
        }
    }

    fn rule(&mut self, prefix: &str) -> InputRule {
        InputRule {
            max_age: Span::from_millis(self.double(&format!("{prefix}.max_age_ms"))),
            required: self.flag(&format!("{prefix}.required")),
        }
    }

    fn state(&mut self, key: &str, width: usize) -> JointMap {
        let name = format!("state.{key}.joints");
        let joints = self.texts(&name);
        if joints.is_empty() && width > 0 {
            let needs = format!(
                "list the {width} joints of the state '{key}' by their names in sensor_msgs/JointState, in the policy's order"
            );
            self.problems.push(Error::Missing { name, needs });
        }
        JointMap {
            key: key.to_owned(),
            joints,
            scale: self.doubles(&format!("state.{key}.scale"), width, 1.0),
            offset: self.doubles(&format!("state.{key}.offset"), width, 0.0),
        }
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

    fn limits(&mut self, action: &[JointMap]) -> Vec<JointLimit> {
        let mut limits: Vec<JointLimit> = Vec::new();
        for joint in action.iter().flat_map(|map| &map.joints) {
            if limits.iter().any(|limit| limit.joint == *joint) {
                continue;
            }
            limits.push(JointLimit {
                joint: joint.clone(),
                min: Some(self.double(&format!("limits.{joint}.min"))).filter(|&bound| bound != f64::NEG_INFINITY),
                max: Some(self.double(&format!("limits.{joint}.max"))).filter(|&bound| bound != f64::INFINITY),
            });
        }
        limits
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
