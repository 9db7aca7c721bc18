//! What a policy takes and gives, as the protocols describe it.

use serde_json::Value;

use vla_policy::{Policy, PolicySpec};

use crate::Error;

/// Names and sizes of a policy's inputs and outputs.
#[derive(Clone, PartialEq, Debug)]
pub struct Description {
    /// Name of the policy.
    pub name: String,
    /// Names of the views, in the policy's order.
    pub cameras: Vec<String>,
    /// Frames of each view.
    pub frames: usize,
    /// State keys with their widths, in the policy's order.
    pub state: Vec<(String, usize)>,
    /// Samples of the state.
    pub samples: usize,
    /// Action keys, in the policy's order.
    pub actions: Vec<ActionKey>,
    /// Rows of a chunk.
    pub rows: usize,
    /// Key of the instruction.
    pub language: String,
    /// Rows and columns of the initial noise.
    pub noise: [usize; 2],
    /// The modalities as the vendor's processor configures them: `video`, `state`, `action`, `language`.
    pub modalities: serde_json::Map<String, Value>,
}

/// One group of actions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActionKey {
    /// The key.
    pub name: String,
    /// Values in a row.
    pub width: usize,
    /// A row is a pose as a 4x4 matrix.
    pub matrix: bool,
}

impl Description {
    /// Of a loaded policy.
    ///
    /// # Errors
    /// [`Error::Modalities`] when the processor's configuration names no modalities of the policy's embodiment.
    pub fn of(policy: &Policy) -> Result<Self, Error> {
        let spec = policy.spec();
        let modalities = modalities(spec)?;
        let language = modalities.get("language").and_then(|language| language.get("modality_keys")?.get(0)?.as_str());
        let language = language.unwrap_or("task").to_owned();
        let action = |(name, width): &(String, usize)| ActionKey {
            name: name.clone(),
            width: *width,
            matrix: policy.gives_matrices(name),
        };
        Ok(Self {
            name: spec.name.clone(),
            cameras: spec.cameras.clone(),
            frames: spec.video_history.len(),
            state: spec.state.clone(),
            samples: spec.state_history.len(),
            actions: spec.action.keys.iter().map(action).collect(),
            rows: spec.action.rows,
            language,
            noise: [spec.action.horizon, spec.action.dims],
            modalities,
        })
    }

    /// Values of one sample of the state.
    pub(crate) fn state_width(&self) -> usize {
        self.state.iter().map(|(_, width)| width).sum()
    }

    /// Values of one row of actions.
    pub(crate) fn action_width(&self) -> usize {
        self.actions.iter().map(|key| key.width).sum()
    }

    /// The values of each action key, from those of all: row by row.
    pub(crate) fn by_key<'d>(&'d self, actions: &'d [f32]) -> impl Iterator<Item = (&'d ActionKey, Vec<f32>)> {
        let mut start = 0;
        self.actions.iter().map(move |key| {
            let columns = start..start + key.width;
            start = columns.end;
            let rows = actions.chunks_exact(self.action_width().max(1));
            (key, rows.flat_map(|row| row.get(columns.clone()).unwrap_or_default()).copied().collect())
        })
    }
}

fn modalities(spec: &PolicySpec) -> Result<serde_json::Map<String, Value>, Error> {
    let path = &spec.processor.config;
    let fail = |reason: String| Error::Modalities { path: path.clone(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    let mut config: Value = serde_json::from_str(&text).map_err(|error| fail(error.to_string()))?;
    let embodiment = &spec.processor.embodiment;
    let key = ["processor_kwargs", "modality_configs", embodiment];
    let found = key.iter().try_fold(&mut config, |value, key| value.get_mut(*key)).map(Value::take);
    match found {
        Some(Value::Object(modalities)) => Ok(modalities),
        _ => Err(fail(format!("expected modality_configs.{embodiment}, found none"))),
    }
}
