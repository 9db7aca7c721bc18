//! The demo's `processor_config.json` and `statistics.json` in the vendor's schema.

use serde_json::{Map, Value, json};

use super::{CAMERAS, EMBODIMENT, KEYS, ROWS};
use crate::Family;

/// Joint ranges of one arm of the sample bag's robot, rad: waist, shoulder, elbow, forearm roll, wrist angle, wrist
/// rotate.
const ARM: [(f64, f64); 6] = [(-0.8, 0.8), (-1.8, 0.2), (0.6, 1.6), (-1.3, 1.3), (-2.1, 0.6), (-1.3, 1.3)];
/// Range of a gripper: 0 closed, 1 open.
const GRIPPER: [(f64, f64); 1] = [(0.0, 1.0)];
/// How far an arm joint moves at most from row to row, rad.
const STRIDE: f64 = 0.004;
/// Share of a frame that the evaluation transform keeps.
pub(crate) const CROP: f64 = 0.95;

/// A state or action key in the processor's files.
pub(crate) struct KeyFiles {
    /// Its name.
    pub(crate) name: String,
    /// Whether its actions are relative to the state.
    pub(crate) relative: bool,
    /// Whether it is the pose of an end effector: `x y z` in m and two rows of the rotation matrix.
    pub(crate) pose: bool,
    /// Range of each value.
    pub(crate) ranges: Vec<(f64, f64)>,
}

/// A pose that is no motion, in the format `XYZ_ROT6D`.
const NO_MOTION: [f64; 9] = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0];

/// What `processor_config.json` and `statistics.json` are written from.
pub(crate) struct ProcessorFiles {
    /// Cameras, in the policy's order.
    pub(crate) cameras: Vec<String>,
    /// State keys, in the policy's order.
    pub(crate) state: Vec<KeyFiles>,
    /// Action keys, in the policy's order.
    pub(crate) action: Vec<KeyFiles>,
    /// How far a joint of a relative key moves at most from row to row, rad.
    pub(crate) stride: f64,
}

impl ProcessorFiles {
    /// The demo's: arms relative, grippers absolute.
    pub(crate) fn demo() -> Self {
        let keys = || {
            let key = |(name, _): (&str, usize)| {
                let relative = name.ends_with("_arm");
                KeyFiles {
                    name: name.to_owned(),
                    relative,
                    pose: false,
                    ranges: if relative { ARM.to_vec() } else { GRIPPER.to_vec() },
                }
            };
            KEYS.into_iter().map(key).collect()
        };
        Self { cameras: CAMERAS.map(str::to_owned).to_vec(), state: keys(), action: keys(), stride: STRIDE }
    }

    /// `processor_config.json` with the vendor's evaluation transform.
    pub(crate) fn processor_config(&self, family: &Family, shortest_edge: usize) -> Value {
        let policy = family.policy;
        let modality = |keys: Vec<&str>, deltas: Vec<usize>, actions: Value| {
            json!({"delta_indices": deltas, "modality_keys": keys, "sin_cos_embedding_keys": null,
                   "mean_std_embedding_keys": null, "action_configs": actions})
        };
        let action = |key: &KeyFiles| {
            let rep = if key.relative { "RELATIVE" } else { "ABSOLUTE" };
            let (kind, format) = if key.pose { ("EEF", "XYZ_ROT6D") } else { ("NON_EEF", "DEFAULT") };
            json!({"rep": rep, "type": kind, "format": format, "state_key": null})
        };
        let actions: Vec<Value> = self.action.iter().map(action).collect();
        let cameras = self.cameras.iter().map(String::as_str).collect();
        let modalities = json!({
            "video": modality(cameras, vec![0], Value::Null),
            "state": modality(names(&self.state), vec![0], Value::Null),
            "action": modality(names(&self.action), (0..ROWS).collect(), json!(actions)),
            "language": modality(vec!["annotation.human.task_description"], vec![0], Value::Null),
        });
        json!({
            "processor_class": policy.processor_class,
            "processor_kwargs": {
                "modality_configs": {EMBODIMENT.0: modalities},
                "image_crop_size": null,
                "image_target_size": null,
                "use_albumentations": true,
                "random_rotation_angle": null,
                "color_jitter_params": null,
                "shortest_image_edge": shortest_edge,
                "crop_fraction": CROP,
                "model_name": family.config.model_name,
                "model_type": policy.model_type,
                "formalize_language": true,
                "max_state_dim": family.demo.dims,
                "max_action_dim": family.demo.dims,
                "max_action_horizon": family.demo.horizon,
                "use_percentiles": false,
                "clip_outliers": true,
                "apply_sincos_state_encoding": true,
                "use_relative_action": true,
            }
        })
    }

    /// `statistics.json`: absolute ranges of every key, and per row the range of the motion of relative ones.
    pub(crate) fn statistics(&self) -> Value {
        let absolute = |keys: &[KeyFiles]| -> Map<String, Value> {
            let one = |key: &KeyFiles| {
                (key.name.clone(), entry(&key.ranges, |lo, hi, share| json!(round(lo + share * (hi - lo)))))
            };
            keys.iter().map(one).collect()
        };
        let relative = self.action.iter().filter(|key| key.relative);
        let relative: Map<String, Value> =
            relative.map(|key| (key.name.clone(), per_row(&key.no_motion(), self.stride))).collect();
        json!({EMBODIMENT.0: {
            "state": absolute(&self.state), "action": absolute(&self.action), "relative_action": relative
        }})
    }
}

impl KeyFiles {
    /// The values of a relative action that moves nothing.
    fn no_motion(&self) -> Vec<f64> {
        if self.pose { NO_MOTION.to_vec() } else { vec![0.0; self.ranges.len()] }
    }
}

fn names(keys: &[KeyFiles]) -> Vec<&str> {
    keys.iter().map(|key| key.name.as_str()).collect()
}

fn entry(ranges: &[(f64, f64)], at: impl Fn(f64, f64, f64) -> Value) -> Value {
    let each = |share: f64| ranges.iter().map(|(lo, hi)| at(*lo, *hi, share)).collect::<Vec<Value>>();
    let deviation: Vec<f64> = ranges.iter().map(|(lo, hi)| round((hi - lo) / 4.0)).collect();
    json!({"min": each(0.0), "max": each(1.0), "mean": each(0.5), "std": deviation, "q01": each(0.01), "q99": each(0.99)})
}

/// `[rows, values]` of a range around `centre` that widens by `stride` with every row.
fn per_row(centre: &[f64], stride: f64) -> Value {
    let row = |row: usize, at: f64| centre.iter().map(|value| round(value + at * stride * row as f64)).collect();
    let around = |at: f64| (1..=ROWS).map(|index| row(index, at)).collect::<Vec<Vec<f64>>>();
    let table = |at: f64| json!(around(at));
    let deviation = (1..=ROWS).map(|row| vec![round(0.5 * stride * row as f64); centre.len()]).collect::<Vec<_>>();
    json!({"min": table(-1.0), "max": table(1.0), "mean": table(0.0), "std": deviation, "q01": table(-0.98), "q99": table(0.98)})
}

/// To a tenth of a milliradian, so that the file reads well.
fn round(value: f64) -> f64 {
    // Adding 0 turns -0 into 0.
    (value * 1e4).round() / 1e4 + 0.0
}
