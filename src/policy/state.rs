//! Joint state to the `state` tensor, and the raw state that relative actions refer to.

use super::encode::state::StateEncoder;
use super::processor::Processor;
use super::{Error, PolicySpec};
use crate::observation::{JointMap, JointSample, StateReader};
use crate::tensor::{DType, HostTensor};

/// Reads joints by name, maps them to the model's units, normalises them.
pub(super) struct State {
    reader: StateReader,
    encoder: StateEncoder,
    /// State in model units and order, before normalisation.
    raw: Vec<f32>,
    /// `[1, max_state_dim]`
    tensor: HostTensor,
}

impl State {
    /// `maps`: the joints of each state key, in model order.
    pub fn new(spec: &PolicySpec, processor: &Processor, maps: Vec<JointMap>) -> Result<Self, Error> {
        for ((key, width), map) in spec.state.iter().zip(&maps) {
            if map.key != *key || map.joints.len() != *width {
                return Err(Error::Joints(format!(
                    "state key '{key}' has {width} joints in the policy; state.{}.joints gives {}",
                    map.key,
                    map.joints.len()
                )));
            }
        }
        if maps.len() != spec.state.len() {
            return Err(Error::Joints(format!("expected {} state keys, found {}", spec.state.len(), maps.len())));
        }
        let width = maps.iter().map(|map| map.joints.len()).sum();
        let encoder = StateEncoder::new(processor)?;
        let dims = [1, processor.max_state_dim];
        let tensor = HostTensor::zeros(DType::F32, &dims).ok_or(Error::Internal("f32 zeros"))?;
        Ok(Self { reader: StateReader::new(&maps)?, encoder, raw: vec![0.0; width], tensor })
    }

    /// State in model units, keys in model order.
    pub fn raw(&self) -> &[f32] {
        &self.raw
    }

    /// The tensor.
    pub fn tensor(&self) -> &HostTensor {
        &self.tensor
    }

    /// Reads one joint state.
    pub fn encode(&mut self, sample: &JointSample) -> Result<(), Error> {
        self.reader.read(&sample.bytes, &mut self.raw)?;
        self.encoder.encode(&self.raw, self.tensor.as_f32_mut().unwrap_or_default())?;
        Ok(())
    }

    /// Takes the state in model units, keys in model order.
    pub fn encode_raw(&mut self, raw: &[f32]) -> Result<(), Error> {
        self.encoder.encode(raw, self.tensor.as_f32_mut().unwrap_or_default())?;
        self.raw.clear();
        self.raw.extend_from_slice(raw);
        Ok(())
    }
}
