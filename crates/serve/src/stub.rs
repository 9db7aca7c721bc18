//! A policy and a model for tests: the actions are computed from what the model was given.

use crate::observation::{Observation, Start};
use crate::{ActionKey, Description, Failure, Model};

/// Two cameras, two keys of the state, an action of joints and one of a pose.
pub(crate) fn policy() -> Description {
    let modalities = serde_json::json!({
        "video": {"delta_indices": [0], "modality_keys": ["front", "wrist"], "action_configs": null},
        "state": {"delta_indices": [0], "modality_keys": ["arm", "hand"]},
        "action": {"delta_indices": [0, 1, 2], "modality_keys": ["arm", "pose"]},
        "language": {"delta_indices": [0], "modality_keys": ["task"]},
    });
    let serde_json::Value::Object(modalities) = modalities else { panic!("an object") };
    let key = |name: &str, width, matrix| ActionKey { name: name.into(), width, matrix };
    Description {
        name: "stub".into(),
        cameras: vec!["front".into(), "wrist".into()],
        frames: 1,
        state: vec![("arm".into(), 3), ("hand".into(), 1)],
        samples: 1,
        actions: vec![key("arm", 3, false), key("pose", 16, true)],
        rows: 3,
        language: "task".into(),
        noise: [4, 5],
        modalities,
    }
}

/// Rows of each action: the state, then numbers.
#[derive(Default)]
pub(crate) struct Stub {
    pub(crate) frames: Vec<(usize, usize, Vec<u8>)>,
    pub(crate) state: Vec<f32>,
    pub(crate) instruction: String,
    pub(crate) start: String,
    pub(crate) resets: Vec<Option<u64>>,
    pub(crate) answered: usize,
    /// The next inference fails.
    pub(crate) failure: Option<Failure>,
}

impl Model for Stub {
    fn infer(&mut self, observation: Observation<'_>, actions: &mut Vec<f32>) -> Result<(), Failure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let Observation { frames, state, instruction, start } = observation;
        self.frames = frames.iter().map(|frame| (frame.width, frame.height, frame.data.to_vec())).collect();
        self.state = state.to_vec();
        self.instruction = instruction.to_owned();
        self.start = match start {
            Start::Next => "next".to_owned(),
            Start::Seed(seed) => format!("seed {seed}"),
            Start::Noise(values) => format!("noise {values:?}"),
        };
        self.answered += 1;
        actions.clear();
        for row in 0..3 {
            actions.extend(state.iter().take(3).map(|value| value + row as f32));
            actions.extend((0..16).map(|value| (100 * row + value) as f32));
        }
        Ok(())
    }

    fn reset(&mut self, seed: Option<u64>) {
        self.resets.push(seed);
    }
}
