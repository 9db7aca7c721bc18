//! Checkpoints of LeRobot: its `groot` policy is GR00T N1.5 (lerobot 0.4 and 0.5) or N1.7 (0.6), in weights with the prefix
//! `_groot_model.` and with processors of its own (`policy_preprocessor.json`), whose normalisation is not the vendor's files'.

use std::path::Path;

use serde_json::Value;

use super::read;
use crate::Error;

/// Largest configuration that is looked into.
const CONFIG_BYTES: u64 = 1 << 20;
/// LeRobot's name of its GR00T policy.
const GROOT: &str = "groot";

/// Refuses a checkpoint that LeRobot wrote. It names its policies in `type`; transformers, which the vendor's trainer uses, in
/// `model_type`.
///
/// # Errors
/// [`Error::LeRobot`].
pub(super) fn check(dir: &Path) -> Result<(), Error> {
    let Some(config) = json(&dir.join("config.json")) else { return Ok(()) };
    let kind = config.get("type").and_then(Value::as_str).filter(|_| config.get("model_type").is_none());
    let Some(kind) = kind else { return Ok(()) };
    let data_set = json(&dir.join("train_config.json"));
    let data_set = data_set.as_ref().and_then(|train| train.get("dataset")?.get("repo_id")?.as_str());
    let (network, advice) = if kind == GROOT {
        (network(&config).to_owned(), advice(data_set))
    } else {
        (format!("LeRobot's policy {kind}"), "only GR00T N1.6 and N1.7 can be exported".to_owned())
    };
    Err(Error::LeRobot { dir: dir.to_path_buf(), kind: kind.to_owned(), network, advice })
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&read(path, CONFIG_BYTES)?).ok()
}

/// Which GR00T a `groot` policy has, by the base model that it was trained from, else by the sizes that the versions write.
fn network(config: &Value) -> &'static str {
    const N1_5: &str = "GR00T N1.5 (lerobot 0.4 and 0.5)";
    const N1_7: &str = "GR00T N1.7 (lerobot 0.6)";
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let names = [text("model_version"), text("base_model_path")];
    let of = |version: [&str; 3]| names.iter().any(|name| version.iter().any(|version| name.contains(version)));
    match config.get("max_state_dim").and_then(Value::as_u64) {
        _ if of(["n1.7", "n1d7", "n1_7"]) => N1_7,
        _ if of(["n1.5", "n1d5", "n1_5"]) => N1_5,
        Some(132) => N1_7,
        Some(64) => N1_5,
        _ => "GR00T N1.5 or N1.7",
    }
}

fn advice(data_set: Option<&str>) -> String {
    let data_set = data_set.map(|name| format!(" ({name})")).unwrap_or_default();
    format!(
        "LeRobot keeps its processor in files of its own, which are not converted here. Train GR00T N1.7 on the same data \
         set{data_set} with NVIDIA's Isaac-GR00T (a data set of LeRobot's version 3 first through its \
         scripts/lerobot_conversion/convert_v3_to_v2.py), and export what it writes:\n  \
         python gr00t/experiment/launch_finetune.py --base-model-path nvidia/GR00T-N1.7-3B --dataset-path DATA_SET \
         --embodiment-tag NEW_EMBODIMENT --modality-config-path MODALITIES.py --output-dir RUN\n  \
         vla-trt export --checkpoint RUN/checkpoint-N ..."
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_network_is_known_by_base_model_version_and_sizes() {
        for (config, network_of) in [
            (json!({"base_model_path": "nvidia/GR00T-N1.5-3B", "max_state_dim": 64}), "N1.5"),
            (json!({"base_model_path": null, "max_state_dim": 132}), "N1.7"),
            (json!({"base_model_path": "me/tuned", "model_version": "n1.7"}), "N1.7"),
            (json!({"base_model_path": "me/tuned", "max_state_dim": 64}), "N1.5"),
            (json!({}), "N1.5 or N1.7"),
        ] {
            assert!(network(&config).contains(network_of), "{config}: {}", network(&config));
        }
    }
}
