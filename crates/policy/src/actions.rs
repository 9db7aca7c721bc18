//! Action tensors of a policy: the denoising loop's inputs, and the way between predictions and chunk columns.

use vla_base::tensor::HostTensor;
use vla_motion::Chunk;

use super::columns::Columns;
use super::decode::ActionDecoder;
use super::prefix::{PrefixRows, guidance_weight};
use super::spec::{ActionSpec, PolicySpec};
use super::{ActionPrefix, Error};

/// Host tensors of the denoising loop.
pub(super) struct ActionInputs {
    /// `actions`: where the loop starts, `[horizon, dims]`.
    initial: HostTensor,
    /// `strength`: guidance weight of each row, `[horizon]`.
    weights: HostTensor,
    embodiment: Option<HostTensor>,
    /// Of the current inference, in the model's units.
    prefix: PrefixRows,
}

impl ActionInputs {
    pub(super) fn new(spec: &PolicySpec, columns: usize) -> Result<Self, Error> {
        let ActionSpec { horizon, dims, rows, .. } = spec.action;
        let filled = |dims: &[usize], value| {
            let values = vec![value; dims.iter().product()];
            HostTensor::from_f32(dims, values).ok_or(Error::Internal("as many values as elements"))
        };
        let embodiment = spec.processor.embodiment_id.and_then(|id| HostTensor::from_i32(&[1], vec![id]));
        let (initial, weights) = (filled(&[horizon, dims], 0.0)?, filled(&[horizon], 1.0)?);
        Ok(Self { initial, weights, embodiment, prefix: PrefixRows::new(rows, columns) })
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&HostTensor> {
        match name {
            "actions" => Some(&self.initial),
            "strength" => Some(&self.weights),
            "embodiment_id" => self.embodiment.as_ref(),
            _ => None,
        }
    }

    /// The first `rows` rows of the prefix, in the model's units.
    pub(super) fn prefix(&self, rows: usize) -> &[f32] {
        self.prefix.first(rows)
    }

    /// Sets the start of the loop: noise, and over it the prefix, encoded relative to `raw_state`. Columns without an action
    /// key keep their noise.
    pub(super) fn set(
        &mut self,
        noise: impl FnOnce(&mut [f32]) -> Result<(), Error>,
        prefix: Option<&ActionPrefix<'_>>,
        raw_state: &[f32],
        codec: &mut ActionCodec,
    ) -> Result<(), Error> {
        let actions = self.initial.as_f32_mut().unwrap_or_default();
        noise(actions)?;
        self.prefix.clear();
        if let Some(prefix) = prefix {
            let rows = self.prefix.copy_from(prefix)?;
            codec.columns.to_model(rows);
            codec.decoder.encode_after(prefix.frozen, rows, raw_state, actions)?;
        }
        let (frozen, overlap) = prefix.map_or((0, 0), |prefix| (prefix.frozen, prefix.overlap));
        for (row, weight) in self.weights.as_f32_mut().unwrap_or_default().iter_mut().enumerate() {
            *weight = guidance_weight(row, frozen, overlap);
        }
        Ok(())
    }
}

/// Converts predictions to chunk columns, and chunk columns to predictions.
pub(super) struct ActionCodec {
    pub(super) decoder: ActionDecoder,
    pub(super) columns: Columns,
}

impl ActionCodec {
    /// Decodes predicted actions into a chunk whose first rows are those of `prefix` (in the model's units).
    pub(super) fn decode(
        &mut self,
        prefix: &[f32],
        predicted: &HostTensor,
        raw_state: &[f32],
        chunk: &mut Chunk,
    ) -> Result<(), Error> {
        chunk.values.resize(chunk.rows * chunk.names.len(), 0.0);
        let predicted = predicted.as_f32().unwrap_or_default();
        self.decoder.decode_after(prefix, predicted, raw_state, &mut chunk.values)?;
        self.columns.to_joints(&mut chunk.values);
        Ok(())
    }
}
