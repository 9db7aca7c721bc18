//! Keys of a checkpoint's processor files that this build does not compute with, and the values with which that is right.
//!
//! NVIDIA's trainers and their derivatives save what their own version knows. A key of this table with a harmless value
//! changes nothing at inference; with another value, and any key that neither the table nor the checks know, the file is
//! refused by that key. `docs/checkpoints.md` prints the table.

use serde_json::Value;

/// An object of `processor_config.json`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// `processor_kwargs`.
    Kwargs,
    /// `modality_configs.<embodiment>`.
    Embodiment,
    /// `modality_configs.<embodiment>.<modality>`.
    Modality,
    /// `modality_configs.<embodiment>.action.action_configs[i]`.
    ActionConfig,
}

/// Values with which a key changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Harmless {
    /// Every value.
    Any,
    /// What switches it off in Python: false, null, 0, an empty text, list or object.
    Off,
}

/// A key that is passed over with a harmless value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownKey {
    /// Where it is found.
    pub place: Place,
    /// The key.
    pub key: &'static str,
    /// With which values.
    pub values: Harmless,
    /// What it does, and so why these values change nothing.
    pub why: &'static str,
    /// Versions of the vendor's code, by commit of NVIDIA/Isaac-GR00T, where that was read.
    pub source: &'static str,
}

const REMOVED: &str = "NVIDIA's internal trainer; its scripts/patch_checkpoint.py removes the key (2d1e82f)";
const TACTILE: &str = "N1.7 (1852a8c)";
const REPLACED: &str = "N1.6 (4e62473), N1.7 (1852a8c); saved by derivatives only";

/// Every such key.
pub const KNOWN_KEYS: &[KnownKey] = &[
    kwargs("random_rotation_angle", Harmless::Any, "augmentation of training images", "N1.6 (4e62473), N1.7 (1852a8c)"),
    kwargs("color_jitter_params", Harmless::Any, "augmentation of training images", "N1.6 (4e62473), N1.7 (1852a8c)"),
    kwargs(
        "extra_augmentation_config",
        Harmless::Any,
        "augmentation of training images",
        "N1.6 (2ce7543), N1.7 (1852a8c); read, not saved",
    ),
    kwargs("state_dropout_prob", Harmless::Any, "chance that training drops the state", "N1.7 (2a7748b)"),
    kwargs("state_gaussian_noise_std", Harmless::Any, "noise on the state in training", REMOVED),
    kwargs("random_history_crop", Harmless::Any, "augmentation of training images", REMOVED),
    kwargs("do_human_interpolation", Harmless::Any, "resampling of training data", REMOVED),
    kwargs("interpolation_steps", Harmless::Any, "resampling of training data", REMOVED),
    kwargs("human_embodiment_tags", Harmless::Any, "resampling of training data", REMOVED),
    kwargs(
        "vlm_backend",
        Harmless::Any,
        "which Python class loads the backbone; config.json gives the network",
        REMOVED,
    ),
    kwargs("vlm_model_path", Harmless::Any, "where Python finds the backbone; --tokenizer gives it here", REMOVED),
    kwargs("eagle_path", Harmless::Any, "where Python finds the backbone; --tokenizer gives it here", REMOVED),
    kwargs("use_tactile", Harmless::Off, "on: a part of the state is read by a tactile encoder", TACTILE),
    kwargs("tactile_state_keys", Harmless::Any, "read only with use_tactile", TACTILE),
    kwargs("tactile_input_shape", Harmless::Any, "read only with use_tactile", TACTILE),
    kwargs("tactile_embed_dim", Harmless::Any, "read only with use_tactile", TACTILE),
    kwargs("statistics", Harmless::Any, "replaced by statistics.json when the processor is loaded", REPLACED),
    kwargs(
        "embodiment_id_mapping",
        Harmless::Any,
        "replaced by embodiment_id.json when the processor is loaded",
        REPLACED,
    ),
    kwargs("transformers_loading_kwargs", Harmless::Any, "how Python loads the tokenizer", REPLACED),
    KnownKey {
        place: Place::Embodiment,
        key: "rl_info",
        values: Harmless::Any,
        why: "columns for reinforcement learning; the policy reads video, state, action and language only",
        source: "N1.7 (376ba89)",
    },
    modality("exclude_state", "on: the network gets zeros for the state", "N1.7 (2a7748b), internal trainer"),
    modality("normalization_mode", "on: another normalisation of the modality", REMOVED),
    modality("normalize_rotation", "on: rotations are normalised too", REMOVED),
];

const fn kwargs(key: &'static str, values: Harmless, why: &'static str, source: &'static str) -> KnownKey {
    KnownKey { place: Place::Kwargs, key, values, why, source }
}

const fn modality(key: &'static str, why: &'static str, source: &'static str) -> KnownKey {
    KnownKey { place: Place::Modality, key, values: Harmless::Off, why, source }
}

impl Place {
    /// Path of the object in the file.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Kwargs => "processor_kwargs",
            Self::Embodiment => "modality_configs.TAG",
            Self::Modality => "modality_configs.TAG.MODALITY",
            Self::ActionConfig => "modality_configs.TAG.action.action_configs[i]",
        }
    }
}

impl Harmless {
    /// Whether `value` is one of them.
    pub fn contains(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Any, _) | (Self::Off, Value::Null | Value::Bool(false)) => true,
            (Self::Off, Value::Bool(true)) => false,
            (Self::Off, Value::Number(number)) => number.as_f64() == Some(0.0),
            (Self::Off, Value::String(text)) => text.is_empty(),
            (Self::Off, Value::Array(list)) => list.is_empty(),
            (Self::Off, Value::Object(object)) => object.is_empty(),
        }
    }

    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Off => "off: false, null, 0 or empty",
        }
    }
}

impl KnownKey {
    /// The key of this name in an object of the file.
    pub fn find(place: Place, key: &str) -> Option<&'static Self> {
        KNOWN_KEYS.iter().find(|known| known.place == place && known.key == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_documentation_prints_every_key_with_its_values() {
        let page = include_str!("../../../../docs/checkpoints.md");
        let row = |key: &KnownKey| {
            format!("| `{}` | `{}` | {} | {} | {} |", key.place.path(), key.key, key.values.text(), key.why, key.source)
        };
        let rows: Vec<String> = KNOWN_KEYS.iter().map(row).collect();
        let printed: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("| `processor_kwargs` ") || line.starts_with("| `modality_configs."))
            .collect();
        assert_eq!(printed, rows, "docs/checkpoints.md should have\n{}", rows.join("\n"));
    }

    #[test]
    fn no_key_is_there_twice() {
        for (index, key) in KNOWN_KEYS.iter().enumerate() {
            assert!(
                !KNOWN_KEYS[..index].iter().any(|other| (other.place, other.key) == (key.place, key.key)),
                "{key:?}"
            );
        }
    }

    #[test]
    fn off_is_what_python_takes_for_false() {
        for off in [json!(null), json!(false), json!(0), json!(0.0), json!(""), json!([]), json!({})] {
            assert!(Harmless::Off.contains(&off) && Harmless::Any.contains(&off), "{off}");
        }
        for on in [json!(true), json!(1), json!(-0.5), json!("off"), json!([0]), json!({"a": null})] {
            assert!(!Harmless::Off.contains(&on) && Harmless::Any.contains(&on), "{on}");
        }
    }
}
