//! Chunk rows in the model's normalised values.

use std::ops::Range;

use super::{Error, Policy};

/// Where the values of an action key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionKeyColumns {
    /// The key.
    pub key: String,
    /// Its columns of a chunk's row.
    pub columns: Range<usize>,
    /// Its columns of a normalised row. As many as `columns`, except for poses that are decoded to another format.
    pub normalised: Range<usize>,
}

impl Policy {
    /// The action keys in model order.
    pub fn action_keys(&self) -> Vec<ActionKeyColumns> {
        let keys = self.codec.decoder.layout();
        keys.map(|(key, normalised, columns)| ActionKeyColumns { key: key.to_owned(), columns, normalised }).collect()
    }

    /// The state of the last inference before normalisation: keys in model order, in the model's units. Relative actions refer to
    /// it.
    pub fn raw_state(&self) -> &[f32] {
        self.inputs.state.raw()
    }

    /// Normalises rows of a chunk as the action statistics of the checkpoint say: absolute rows become relative to `raw_state`
    /// first, where the key is relative. Values outside the range of their statistics become its end, as in training.
    /// `rows`: `[n, columns]`, `n` at most the rows of a chunk. `out` becomes `[n, normalised columns]`.
    ///
    /// # Errors
    /// [`Error::Decode`] for another number of values, and a pose that is none.
    pub fn normalise_actions(&mut self, raw_state: &[f32], rows: &[f32], out: &mut Vec<f32>) -> Result<(), Error> {
        let (horizon, dims) = (self.spec.action.horizon, self.spec.action.dims);
        let mut model = rows.to_vec();
        self.codec.columns.to_model(&mut model);
        let mut actions = vec![0.0; horizon.saturating_mul(dims)];
        self.codec.decoder.encode(&model, raw_state, &mut actions)?;
        let width = self.codec.decoder.layout().map(|(_, normalised, _)| normalised.end).max().unwrap_or_default();
        let count = rows.len().checked_div(self.columns().len()).unwrap_or_default();
        out.clear();
        for row in actions.chunks_exact(dims.max(1)).take(count) {
            out.extend_from_slice(row.get(..width).unwrap_or_default());
        }
        Ok(())
    }
}
