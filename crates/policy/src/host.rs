//! Host tensors: everything but pixels that the stages read, by name.

use super::actions::{ActionCodec, ActionInputs};
use super::observation::Observation;
use super::spec::PolicySpec;
use super::state::State;
use super::text::Text;
use super::{ActionPrefix, Error, noise, views};
use vla_base::tensor::{DType, Dim, HostTensor, TensorSpec};

/// The host tensors that a stage may read.
pub(super) fn host_specs(spec: &PolicySpec) -> Vec<TensorSpec> {
    let symbol = |name: &str| Dim::Symbol(name.into());
    let fixed = |n: usize| Dim::Fixed(n);
    let tensor = |name: &str, dtype, dims: Vec<Dim>| TensorSpec { name: name.into(), dtype, dims };
    let mut offered = views::offered(spec);
    offered.extend([
        tensor("text_rows", DType::F32, vec![symbol("text tokens"), symbol("embedding")]),
        tensor("positions", DType::I32, vec![symbol("tokens")]),
        tensor("text_index", DType::I32, vec![symbol("text tokens")]),
        tensor("image_index", DType::I32, vec![symbol("image tokens")]),
        tensor("input_ids", DType::I32, vec![symbol("tokens")]),
        tensor("attention_mask", DType::I32, vec![symbol("tokens")]),
        tensor("image_mask", DType::I32, vec![symbol("tokens")]),
        tensor("backbone_attention_mask", DType::I32, vec![symbol("tokens")]),
        tensor("state", DType::F32, vec![fixed(spec.state_history.len()), symbol("state")]),
        tensor("actions", DType::F32, vec![fixed(spec.action.horizon), fixed(spec.action.dims)]),
        tensor("strength", DType::F32, vec![fixed(spec.action.horizon)]),
    ]);
    offered.extend(spec.processor.embodiment_id.map(|_| tensor("embodiment_id", DType::I32, vec![fixed(1)])));
    offered
}

/// Host tensors, allocated once and encoded for each inference.
pub(super) struct HostInputs {
    pub(super) text: Text,
    pub(super) state: State,
    pub(super) actions: ActionInputs,
}

/// The host tensors of one inference. Exists only after all of them were encoded.
#[derive(Clone, Copy)]
pub(super) struct Encoded<'h>(&'h HostInputs);

impl HostInputs {
    /// Encodes the instruction, the state and the start of the denoising loop.
    ///
    /// # Errors
    /// [`Error`] naming the joint, pose or prefix that cannot be encoded.
    pub(super) fn encode(
        &mut self,
        observation: &Observation,
        seed: u64,
        prefix: Option<&ActionPrefix<'_>>,
        codec: &mut ActionCodec,
    ) -> Result<Encoded<'_>, Error> {
        self.text.set(&observation.instruction)?;
        let raw_state = self.state.encode(observation)?;
        let identity = observation.identity().map(|(name, stamp)| (name.as_ref(), stamp));
        let noise = |values: &mut [f32]| {
            noise::fill(values, seed, identity);
            Ok(())
        };
        self.actions.set(noise, prefix, raw_state, codec)?;
        Ok(Encoded(self))
    }

    /// As [`Self::encode`], from values instead of an observation.
    ///
    /// # Errors
    /// As [`Self::encode`]; [`Error::Noise`] when the noise has another length.
    pub(super) fn encode_values(
        &mut self,
        instruction: &str,
        state: &[f32],
        noise: &[f32],
        codec: &mut ActionCodec,
    ) -> Result<Encoded<'_>, Error> {
        self.text.set(instruction)?;
        let raw_state = self.state.encode_raw(state)?;
        let copy = |values: &mut [f32]| {
            if values.len() != noise.len() {
                return Err(Error::Noise { expected: values.len(), found: noise.len() });
            }
            values.copy_from_slice(noise);
            Ok(())
        };
        self.actions.set(copy, None, raw_state, codec)?;
        Ok(Encoded(self))
    }

    /// As [`Self::encode`], with an empty instruction and zeros, for warming up.
    ///
    /// # Errors
    /// [`Error`] of the tokenizer and the prompt.
    pub(super) fn encode_empty(&mut self) -> Result<Encoded<'_>, Error> {
        self.text.set("")?;
        Ok(Encoded(self))
    }
}

impl<'h> Encoded<'h> {
    /// A tensor by its name.
    pub(super) fn tensor(self, name: &str) -> Option<&'h HostTensor> {
        let HostInputs { text, state, actions } = self.0;
        match name {
            "state" => Some(state.tensor()),
            _ => actions.tensor(name).or_else(|| text.tensor(name)),
        }
    }

    /// Tensors of the instruction.
    pub(super) fn text(self) -> impl Iterator<Item = (&'static str, &'h HostTensor)> {
        self.0.text.tensors()
    }

    /// The state before normalisation, in model units and order.
    pub(super) fn raw_state(self) -> &'h [f32] {
        self.0.state.raw()
    }

    /// The first `rows` rows of the action prefix, in model units.
    pub(super) fn prefix(self, rows: usize) -> &'h [f32] {
        self.0.actions.prefix(rows)
    }
}
