//! `processor_config.json` and `statistics.json` as typed: the vendor's schema without meaning.
//!
//! Objects keep their entries as JSON until [`super::check`] takes the keys that it knows; so each problem has its key, and what
//! the exported embodiment does not use is never read.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::on_use::{Number, OnUse};

/// A JSON object in file order, refusing a key that comes twice (a plain map would keep the last silently).
#[derive(Clone, Debug)]
pub(super) struct Keyed<T>(pub Vec<(String, T)>);

/// An object whose values are read when they are used.
pub(super) type Entries = Keyed<OnUse<Value>>;

impl<T> Keyed<T> {
    pub(crate) fn get(&self, key: &str) -> Option<&T> {
        self.0.iter().find(|(held, _)| held == key).map(|(_, value)| value)
    }

    /// The keys, for a message.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        if names.is_empty() { "none".into() } else { names.join(", ") }
    }

    fn insert<E: Error>(&mut self, key: String, value: impl FnOnce() -> Result<T, E>) -> Result<(), E> {
        if self.get(&key).is_some() {
            return Err(twice(&key));
        }
        self.0.push((key, value()?));
        Ok(())
    }
}

fn twice<E: Error>(key: &str) -> E {
    E::custom(format!("key '{key}' is given twice"))
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Keyed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Keyed<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keyed<T>, A::Error> {
                let mut entries = Keyed(Vec::new());
                while let Some(key) = map.next_key()? {
                    entries.insert(key, || map.next_value())?;
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}

/// `processor_config.json`. The vendor's code reads these two keys and no other.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RawConfig {
    pub processor_class: String,
    pub processor_kwargs: RawKwargs,
}

/// `processor_kwargs`.
#[derive(Clone, Debug)]
pub(super) struct RawKwargs {
    /// Tag to modalities.
    pub modality_configs: Keyed<OnUse<Entries>>,
    /// All other keys.
    pub rest: Entries,
}

impl<'de> Deserialize<'de> for RawKwargs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const CONFIGS: &str = "modality_configs";
        struct Kwargs;
        impl<'de> Visitor<'de> for Kwargs {
            type Value = RawKwargs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the processor's arguments")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawKwargs, A::Error> {
                let (mut configs, mut rest) = (None, Keyed(Vec::new()));
                while let Some(key) = map.next_key::<String>()? {
                    if key != CONFIGS {
                        rest.insert(key, || map.next_value())?;
                    } else if configs.replace(map.next_value()?).is_some() {
                        return Err(twice(CONFIGS));
                    }
                }
                let modality_configs = configs.ok_or_else(|| A::Error::missing_field(CONFIGS))?;
                Ok(RawKwargs { modality_configs, rest })
            }
        }
        deserializer.deserialize_map(Kwargs)
    }
}

/// One modality of an embodiment.
#[derive(Clone, Debug)]
pub(super) struct RawModality {
    pub delta_indices: Vec<i64>,
    pub modality_keys: Vec<String>,
    pub sin_cos_embedding_keys: Vec<String>,
    pub mean_std_embedding_keys: Vec<String>,
    pub action_configs: Option<Vec<RawActionConfig>>,
}

/// How the rows of one action key are represented.
#[derive(Clone, Debug)]
pub(super) struct RawActionConfig {
    pub rep: Representation,
    pub kind: ActionType,
    pub format: ActionFormat,
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

/// The statistics of one embodiment. Other groups are not read.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct RawEmbodiment {
    #[serde(default)]
    pub state: Option<RawGroup<Vec<Number>>>,
    #[serde(default)]
    pub action: Option<RawGroup<Vec<Number>>>,
    /// One row per action step.
    #[serde(default)]
    pub relative_action: Option<RawGroup<Vec<Vec<Number>>>>,
}

/// Key to statistics.
pub(super) type RawGroup<T> = Keyed<OnUse<RawValues<T>>>;

/// The statistics of one key, by kind. `T` is `[width]`, or `[rows, width]` for relative actions.
pub(super) type RawValues<T> = Keyed<OnUse<T>>;
