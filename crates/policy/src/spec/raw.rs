//! `policy.yaml` as typed: serde structures without meaning. [`super`] checks them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::processor::DeltaRows;
use vla_base::tensor::{DType, Dim};

/// A YAML mapping in file order, refusing a key that comes twice (a plain map would keep the last silently).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Named<T>(pub Vec<(String, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Named<T> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut entries: Vec<(String, T)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if entries.iter().any(|(held, _)| *held == name) {
                        return Err(A::Error::custom(format!("key '{name}' is given twice")));
                    }
                    let value = map.next_value()?;
                    entries.push((name, value));
                }
                Ok(Named(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// Without a history.
fn newest_only() -> Vec<i64> {
    vec![0]
}

#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub format: u32,
    pub name: String,
    pub fingerprint: String,
    #[serde(default)]
    pub random_weights: bool,
    pub cameras: Vec<String>,
    #[serde(default)]
    pub blank_views: Vec<String>,
    #[serde(default = "newest_only")]
    pub video_history: Vec<i64>,
    pub state: Named<usize>,
    #[serde(default = "newest_only")]
    pub state_history: Vec<i64>,
    pub action: RawAction,
    pub instruction: RawInstruction,
    pub processor: RawProcessor,
    pub denoise: RawDenoise,
    #[serde(default)]
    pub accuracy: RawAccuracy,
    pub stages: Vec<RawStage>,
}

#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAction {
    pub step_s: f64,
    pub horizon: usize,
    pub rows: usize,
    pub dims: usize,
    pub keys: Named<usize>,
    #[serde(default)]
    pub deltas: Named<DeltaRows>,
}

#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInstruction {
    pub tokenizer: String,
    pub template: String,
    pub max_tokens: usize,
    #[serde(default)]
    pub embedding: Option<RawEmbedding>,
}

#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEmbedding {
    pub file: String,
    pub tensor: String,
}

#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProcessor {
    pub config: String,
    pub statistics: String,
    pub embodiment: String,
    #[serde(default)]
    pub embodiment_id: Option<i32>,
    #[serde(default)]
    pub letterbox: Option<bool>,
}

#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDenoise {
    pub steps: Vec<u32>,
    pub default: u32,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAccuracy {
    pub output_cosine: Option<f64>,
    pub stage_cosine: Named<f64>,
    pub action_cosine: Option<f64>,
    pub action_rad: Option<f64>,
}

#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStage {
    pub name: String,
    pub onnx: String,
    #[serde(default)]
    pub supplied: Option<String>,
    #[serde(default)]
    pub precision: Option<String>,
    #[serde(default)]
    pub repeat: Option<String>,
    #[serde(default)]
    pub inputs: Named<RawInput>,
    #[serde(default)]
    pub outputs: Named<RawOutput>,
    #[serde(default)]
    pub profile: Named<[usize; 3]>,
    #[serde(default)]
    pub rename: Named<String>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawInput {
    pub dtype: Option<DType>,
    pub dims: Option<Vec<Dim>>,
    pub constants: Option<String>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawOutput {
    pub dtype: Option<DType>,
    pub dims: Option<Vec<Dim>>,
    pub feeds: Option<String>,
}
