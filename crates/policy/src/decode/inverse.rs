//! From joint values and poses back to the predictions that decode to them.

use super::{ActionDecoder, DecodeError, Frame, Key, Pose, Reference};

impl ActionDecoder {
    /// The other way round: `decoded` `[n, values of a decoded row]`, in the model's units and expressed against `raw_state`
    /// into the first `n` rows of `actions` `[horizon, max_action_dim]`. Columns that no key has stay as they are. A value
    /// that the key's scaling cannot reach becomes the nearest that it can; of cumulative deltas the rows after it make up for
    /// what is missing.
    ///
    /// # Errors
    /// [`DecodeError::Length`] when a slice has another length or holds more rows than are used of a prediction,
    /// [`DecodeError::Reference`] and [`DecodeError::Rotation`] for a pose that is none; `actions` is then meaningless.
    pub fn encode(&mut self, decoded: &[f32], raw_state: &[f32], actions: &mut [f32]) -> Result<(), DecodeError> {
        self.encode_after(0, decoded, raw_state, actions)
    }

    /// As [`Self::encode`], for a chunk that keeps its first `kept` rows as they are decoded: cumulative deltas after them have
    /// nothing to make up for.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_after(
        &mut self,
        kept: usize,
        decoded: &[f32],
        raw_state: &[f32],
        actions: &mut [f32],
    ) -> Result<(), DecodeError> {
        let most = self.rows.saturating_mul(self.width);
        if self.width == 0 || !decoded.len().is_multiple_of(self.width) || decoded.len() > most {
            return Err(DecodeError::Length {
                what: "rows of actions (or fewer whole rows)",
                expected: most,
                found: decoded.len(),
            });
        }
        self.check(actions.len(), raw_state.len(), most)?;
        for key in &self.keys {
            let physical = &mut self.physical[..key.from.len()];
            let sum = &mut self.sum[..key.from.len()];
            key.start(raw_state, sum);
            let frame = key.frame(raw_state)?;
            let rows = decoded.chunks_exact(self.width).zip(actions.chunks_exact_mut(self.dims));
            for (row, (decoded, predicted)) in rows.enumerate() {
                let decoded = &decoded[key.to.clone()];
                key.unconvert(row, decoded, frame.as_ref(), raw_state, physical)?;
                let predicted = &mut predicted[key.from.clone()];
                if matches!(key.reference, Reference::Start(_)) {
                    physical.iter_mut().zip(&*sum).for_each(|(value, sum)| *value -= sum);
                    key.scaling.invert(row, physical, predicted);
                    if row < kept {
                        sum.iter_mut().zip(decoded).for_each(|(sum, &value)| *sum = f64::from(value));
                        continue;
                    }
                    key.scaling.apply(row, predicted, physical);
                    sum.iter_mut().zip(&*physical).for_each(|(sum, value)| *sum += value);
                } else {
                    key.scaling.invert(row, physical, predicted);
                }
            }
        }
        Ok(())
    }
}

impl Key {
    /// Absolute values to what they are relative to their reference.
    fn unconvert(
        &self,
        row: usize,
        decoded: &[f32],
        frame: Option<&Frame>,
        raw_state: &[f32],
        physical: &mut [f64],
    ) -> Result<(), DecodeError> {
        if let Some(Frame { pose: reference, predicted, format }) = frame {
            let pose = Pose::read(*format, decoded);
            let pose = pose.ok_or_else(|| DecodeError::Rotation { key: self.name.clone(), row })?;
            let relative = pose.relative_to(reference).to_values(*predicted);
            physical.iter_mut().zip(relative).for_each(|(slot, value)| *slot = value);
        } else if let Reference::Added(columns) = &self.reference {
            for ((slot, &value), &reference) in physical.iter_mut().zip(decoded).zip(&raw_state[columns.clone()]) {
                *slot = f64::from(value) - f64::from(reference);
            }
        } else {
            physical.iter_mut().zip(decoded).for_each(|(slot, &value)| *slot = f64::from(value));
        }
        Ok(())
    }
}
