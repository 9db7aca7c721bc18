//! `processor_config.json` and `statistics.json` as typed: the vendor's schema without meaning.
//!
//! A key that the schema does not have is refused by name: newer and derived processors add keys that change what is
//! computed. Only kinds of statistics may be unknown, since nothing is computed from those. A key that is absent takes the
//! default of the vendor's class. [`super::check`] gives it meaning.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::on_use::{Number, OnUse};

/// A JSON object in file order, refusing a key that comes twice (a plain map would keep the last silently).
#[derive(Clone, Debug)]
pub(super) struct Keyed<T>(pub Vec<(String, T)>);

impl<T> Keyed<T> {
    pub(crate) fn get(&self, key: &str) -> Option<&T> {
        self.0.iter().find(|(held, _)| held == key).map(|(_, value)| value)
    }

    /// The keys, for a message.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        if names.is_empty() { "none".into() } else { names.join(", ") }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Keyed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Keyed<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keyed<T>, A::Error> {
                let mut entries: Vec<(String, T)> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if entries.iter().any(|(held, _)| *held == key) {
                        return Err(A::Error::custom(format!("key '{key}' is given twice")));
                    }
                    let value = map.next_value()?;
                    entries.push((key, value));
                }
                Ok(Keyed(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// `processor_config.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub processor_class: String,
    pub processor_kwargs: RawKwargs,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKwargs {
    /// Those of other embodiments are never read.
    pub modality_configs: Keyed<OnUse<RawModalities>>,
    #[serde(default)]
    pub image_crop_size: Option<[usize; 2]>,
    #[serde(default)]
    pub image_target_size: Option<[usize; 2]>,
    #[serde(default)]
    pub use_albumentations: bool,
    /// Training only.
    #[serde(default, rename = "random_rotation_angle")]
    pub _random_rotation_angle: Option<IgnoredAny>,
    /// Training only.
    #[serde(default, rename = "color_jitter_params")]
    pub _color_jitter_params: Option<IgnoredAny>,
    #[serde(default = "defaults::shortest_image_edge")]
    pub shortest_image_edge: Option<usize>,
    #[serde(default = "defaults::crop_fraction")]
    pub crop_fraction: Option<f64>,
    #[serde(default = "defaults::model_name")]
    pub model_name: String,
    #[serde(default = "defaults::model_type")]
    pub model_type: String,
    #[serde(default = "defaults::yes")]
    pub formalize_language: bool,
    #[serde(default = "defaults::max_dim")]
    pub max_state_dim: usize,
    #[serde(default = "defaults::max_dim")]
    pub max_action_dim: usize,
    #[serde(default = "defaults::max_action_horizon")]
    pub max_action_horizon: usize,
    #[serde(default)]
    pub use_percentiles: bool,
    #[serde(default = "defaults::yes")]
    pub clip_outliers: bool,
    #[serde(default)]
    pub apply_sincos_state_encoding: bool,
    #[serde(default)]
    pub use_relative_action: bool,
}

/// What the vendor's processor class takes for a key that the file does not have.
mod defaults {
    pub(crate) fn shortest_image_edge() -> Option<usize> {
        Some(512)
    }
    pub(crate) fn crop_fraction() -> Option<f64> {
        Some(0.95)
    }
    pub(crate) fn model_name() -> String {
        super::super::MODEL_NAME.into()
    }
    pub(crate) fn model_type() -> String {
        super::super::MODEL_TYPE.into()
    }
    pub(crate) fn yes() -> bool {
        true
    }
    pub(crate) fn max_dim() -> usize {
        29
    }
    pub(crate) fn max_action_horizon() -> usize {
        40
    }
}

/// The modalities of one embodiment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawModalities {
    pub video: Option<RawModality>,
    pub state: Option<RawModality>,
    pub action: Option<RawModality>,
    pub language: Option<RawModality>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawModality {
    pub delta_indices: Vec<i64>,
    pub modality_keys: Vec<String>,
    #[serde(default)]
    pub sin_cos_embedding_keys: Option<Vec<String>>,
    #[serde(default)]
    pub mean_std_embedding_keys: Option<Vec<String>>,
    #[serde(default)]
    pub action_configs: Option<Vec<RawActionConfig>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawActionConfig {
    pub rep: Representation,
    #[serde(rename = "type")]
    pub kind: ActionType,
    pub format: ActionFormat,
    #[serde(default)]
    pub state_key: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Representation {
    Relative,
    Absolute,
    Delta,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum ActionType {
    Eef,
    NonEef,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub(super) enum ActionFormat {
    #[serde(rename = "DEFAULT")]
    Default,
    #[serde(rename = "XYZ_ROT6D")]
    XyzRot6d,
    #[serde(rename = "XYZ_ROTVEC")]
    XyzRotvec,
}

/// `statistics.json`: embodiment tag to statistics.
pub(super) type RawStatistics = Keyed<OnUse<RawEmbodiment>>;

/// The statistics of one embodiment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEmbodiment {
    #[serde(default = "no_keys")]
    pub state: Keyed<OnUse<RawValues<Vec<Number>>>>,
    #[serde(default = "no_keys")]
    pub action: Keyed<OnUse<RawValues<Vec<Number>>>>,
    /// One row per action step.
    #[serde(default = "no_keys")]
    pub relative_action: Keyed<OnUse<RawValues<Vec<Vec<Number>>>>>,
}

fn no_keys<T>() -> Keyed<T> {
    Keyed(Vec::new())
}

/// The statistics of one key. `T` is `[width]`, or `[rows, width]` for relative actions.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RawValues<T> {
    pub min: T,
    pub max: T,
    pub mean: T,
    pub std: T,
    #[serde(default = "none")]
    pub q01: Option<T>,
    #[serde(default = "none")]
    pub q99: Option<T>,
}

fn none<T>() -> Option<T> {
    None
}
