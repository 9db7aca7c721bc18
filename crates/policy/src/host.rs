//! The tensors that encode offers to the stages, by name.

use super::Error;
use super::spec::{ActionSpec, PolicySpec};
use super::state::State;
use super::text::Text;
use super::views;
use vla_base::tensor::{DType, Dim, HostTensor, TensorSpec, display_dims, without_batch};
use vla_engines::Symbols;

/// What encode offers to the stages.
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
        tensor("state", DType::F32, vec![fixed(1), symbol("state")]),
        tensor("actions", DType::F32, vec![fixed(spec.action.horizon), fixed(spec.action.dims)]),
        tensor("strength", DType::F32, vec![fixed(spec.action.horizon)]),
    ]);
    offered.extend(spec.processor.embodiment_id.map(|_| tensor("embodiment_id", DType::I32, vec![fixed(1)])));
    offered
}

/// Host tensors that no part of an observation makes.
pub(super) struct Given {
    /// Noise before an inference, actions after it: `[horizon, dims]`.
    pub actions: HostTensor,
    /// How much of each row's velocity is taken: `[horizon]`.
    pub strength: HostTensor,
    embodiment: Option<HostTensor>,
}

impl Given {
    pub fn new(spec: &PolicySpec) -> Result<Self, Error> {
        let ActionSpec { horizon, dims, .. } = spec.action;
        let filled = |dims: &[usize], value| {
            let values = vec![value; dims.iter().product()];
            HostTensor::from_f32(dims, values).ok_or(Error::Internal("as many values as elements"))
        };
        let embodiment = spec.processor.embodiment_id.and_then(|id| HostTensor::from_i32(&[1], vec![id]));
        Ok(Self { actions: filled(&[horizon, dims], 0.0)?, strength: filled(&[horizon], 1.0)?, embodiment })
    }

    pub fn tensor(&self, name: &str) -> Option<&HostTensor> {
        match name {
            "actions" => Some(&self.actions),
            "strength" => Some(&self.strength),
            "embodiment_id" => self.embodiment.as_ref(),
            _ => None,
        }
    }
}

/// A tensor that encode holds itself; pixels go straight to the engine.
pub(super) fn host_tensor<'t>(
    text: &'t Text,
    state: &'t State,
    given: &'t Given,
    name: &str,
) -> Option<&'t HostTensor> {
    match name {
        "state" => Some(state.tensor()),
        _ => given.tensor(name).or_else(|| text.tensor(name)),
    }
}

/// Gives the symbols of `spec` the values that `dims` have.
pub(super) fn unify(symbols: &mut Symbols, spec: &TensorSpec, dims: &[usize]) -> Result<(), Error> {
    let mismatch =
        || Error::HostShape { name: spec.name.clone(), expected: display_dims(&spec.dims), found: display_dims(dims) };
    let rank = spec.dims.len().min(dims.len());
    let expected = without_batch(&spec.dims, rank).ok_or_else(mismatch)?;
    for (dim, &n) in expected.iter().zip(without_batch(dims, rank).ok_or_else(mismatch)?) {
        match dim {
            Dim::Fixed(expected) if *expected != n => return Err(mismatch()),
            Dim::Fixed(_) => {}
            Dim::Symbol(name) => match symbols.get_mut(name) {
                Some(value) => *value = n,
                None => {
                    symbols.insert(name.clone(), n);
                }
            },
        }
    }
    Ok(())
}
