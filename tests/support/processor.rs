//! A small processor_config.json and statistics.json of the vendor's schema.

use serde_json::{Value, json};

/// Two cameras; an arm of 2 joints, relative, and a gripper of 1, absolute; 3 action rows.
pub fn config() -> Value {
    let modality = |deltas: &[i64], keys: &[&str]| {
        json!({"delta_indices": deltas, "modality_keys": keys, "sin_cos_embedding_keys": null,
               "mean_std_embedding_keys": null, "action_configs": null})
    };
    let mut action = modality(&[0, 1, 2], &["arm", "gripper"]);
    action["action_configs"] = json!([
        {"rep": "RELATIVE", "type": "NON_EEF", "format": "DEFAULT", "state_key": null},
        {"rep": "ABSOLUTE", "type": "NON_EEF", "format": "DEFAULT", "state_key": null},
    ]);
    json!({"processor_class": "Gr00tN1d6Processor", "processor_kwargs": {
        "modality_configs": {"robot": {
            "video": modality(&[0], &["top", "wrist"]),
            "state": modality(&[0], &["arm", "gripper"]),
            "action": action,
            "language": modality(&[0], &["task"]),
        }},
        "image_crop_size": null, "image_target_size": null, "use_albumentations": true,
        "random_rotation_angle": null, "color_jitter_params": {"brightness": 0.3}, "shortest_image_edge": 256,
        "crop_fraction": 0.95, "model_name": "nvidia/Eagle-Block2A-2B-v2", "model_type": "eagle",
        "formalize_language": true, "max_state_dim": 128, "max_action_dim": 128, "max_action_horizon": 50,
        "use_percentiles": false, "clip_outliers": true, "apply_sincos_state_encoding": true,
        "use_relative_action": true,
    }})
}

/// The same of GR00T N1.7.
pub fn config_n1d7() -> Value {
    let mut config = config();
    config["processor_class"] = json!("Gr00tN1d7Processor");
    let kwargs = &mut config["processor_kwargs"];
    kwargs["model_name"] = json!("nvidia/Cosmos-Reason2-2B");
    kwargs["model_type"] = json!("qwen");
    for key in ["letter_box_transform", "exclude_state", "use_mean_std"] {
        kwargs[key] = json!(false);
    }
    kwargs["state_dropout_prob"] = json!(0.0);
    config
}

/// What goes with [`config`] and [`config_n1d7`].
pub fn statistics() -> Value {
    let values =
        |min: Value, max: Value| json!({"min": min, "max": max, "mean": min, "std": max, "q01": min, "q99": max});
    let (arm, gripper) = (values(json!([-1.5, -2]), json!([1.5, 2])), values(json!([0]), json!([0.05])));
    let row = |scale: f64| json!([scale, 2.0 * scale]);
    let relative = values(json!([row(-0.1), row(-0.2), row(-0.3)]), json!([row(0.1), row(0.2), row(0.3)]));
    json!({"robot": {
        "state": {"arm": arm, "gripper": gripper},
        "action": {"arm": arm, "gripper": gripper},
        "relative_action": {"arm": relative},
    }})
}
