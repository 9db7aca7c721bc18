//! From predicted rows to joint values and poses.
//!
//! Every row of a relative key refers to the raw state of the observation of the prediction. Cumulative deltas start from it,
//! and each row continues the previous one.

use std::ops::Range;

use super::processor::{ActionKey, Conversion, DeltaRows, PoseFormat, Processor};

mod inverse;
mod normalise;
pub(crate) mod pose;

use normalise::Scaling;
use pose::{LONGEST, Pose};

/// Why predictions cannot be decoded.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// A slice does not fit.
    #[error("{what}: expected {expected} values, found {found}; use the lengths of the policy's processor")]
    Length {
        /// Whose length.
        what: &'static str,
        /// Values that there should be.
        expected: usize,
        /// Values found.
        found: usize,
    },
    /// The processor's tables or references do not fit the key.
    #[error("action key '{key}': expected {expected}, found {found}; use the checkpoint's own processor files")]
    Key {
        /// The key.
        key: String,
        /// What would fit.
        expected: String,
        /// What there is.
        found: String,
    },
    /// The meaning of the key's delta rows is not given.
    #[error(
        "action key '{key}': expected the meaning of its delta rows (cumulative or from_state), found none; set action.{key}.delta"
    )]
    Delta {
        /// The key.
        key: String,
    },
    /// The reference pose has no rotation.
    #[error(
        "action key '{key}': expected a reference pose with a rotation, found one whose two rows are zero or parallel, whose \
         matrix has no positive determinant, or whose values are not finite; check the pose or joint state of the key"
    )]
    Reference {
        /// The key.
        key: String,
    },
    /// A predicted pose has no rotation.
    #[error(
        "action key '{key}', row {row}: expected a pose with a rotation, found one whose two rows are zero or parallel, whose \
         matrix has no positive determinant, or whose values are not finite; the prediction cannot be used"
    )]
    Rotation {
        /// The key.
        key: String,
        /// Row of the chunk.
        row: usize,
    },
}

/// Decodes one chunk after another. Allocates nothing after [`Self::new`].
pub struct ActionDecoder {
    keys: Vec<Key>,
    /// Rows used of a prediction.
    rows: usize,
    /// Columns of a prediction.
    dims: usize,
    /// Values of a decoded row.
    width: usize,
    /// Values of the raw state.
    state: usize,
    /// One row of the widest key.
    physical: Vec<f64>,
    /// What its deltas have added up to so far.
    sum: Vec<f64>,
}

struct Key {
    name: String,
    /// Columns of a predicted row.
    from: Range<usize>,
    /// Columns of a decoded row.
    to: Range<usize>,
    scaling: Scaling,
    reference: Reference,
}

/// Ranges of the raw state.
enum Reference {
    None,
    Added(Range<usize>),
    /// To which every row adds.
    Start(Range<usize>),
    Frame {
        columns: Range<usize>,
        /// Of the reference and of predictions.
        predicted: PoseFormat,
        /// Of decoded poses.
        format: PoseFormat,
    },
}

/// The pose that predicted poses are relative to.
struct Frame {
    pose: Pose,
    /// Format of predictions.
    predicted: PoseFormat,
    /// Format of decoded poses.
    format: PoseFormat,
}

impl ActionDecoder {
    /// The decoder of a policy's processor.
    ///
    /// # Errors
    /// [`DecodeError::Key`] and [`DecodeError::Length`] when the processor's parts do not fit each other.
    pub fn new(processor: &Processor) -> Result<Self, DecodeError> {
        let (mut from, mut to) = (0, 0);
        let mut keys = Vec::with_capacity(processor.action.len());
        for key in &processor.action {
            let columns = from..from + key.width;
            let out = to..to + key.decoded_width();
            (from, to) = (columns.end, out.end);
            keys.push(Key::new(processor, key, columns, out)?);
        }
        let dims = processor.max_action_dim;
        if from > dims || dims == 0 {
            return Err(DecodeError::Length { what: "max_action_dim", expected: from.max(1), found: dims });
        }
        let widest = processor.action.iter().map(|key| key.width).max().unwrap_or_default();
        let (rows, state) = (processor.rows(), processor.state_width());
        Ok(Self { keys, rows, dims, width: to, state, physical: vec![0.0; widest], sum: vec![0.0; widest] })
    }

    /// Whether the key's rows are poses composed to 4x4 matrices, row-major.
    pub fn gives_matrices(&self, key: &str) -> bool {
        let found = self.keys.iter().find(|held| held.name == key);
        found.is_some_and(|key| matches!(key.reference, Reference::Frame { format: PoseFormat::Matrix, .. }))
    }

    /// Each key with its columns of a predicted and of a decoded row, in model order.
    pub(crate) fn layout(&self) -> impl Iterator<Item = (&str, Range<usize>, Range<usize>)> {
        self.keys.iter().map(|key| (key.name.as_str(), key.from.clone(), key.to.clone()))
    }

    /// `actions`: `[horizon, max_action_dim]`, of which the first rows and columns are used. `raw_state`: what the state
    /// encoder was given for the same observation. `out`: `[rows, values of a decoded row]`, keys in model order.
    ///
    /// A prediction that is no number stays so.
    ///
    /// # Errors
    /// [`DecodeError::Length`] when a slice has another length, [`DecodeError::Reference`] and
    /// [`DecodeError::Rotation`] for a pose that is none; `out` is then meaningless.
    pub fn decode(&mut self, actions: &[f32], raw_state: &[f32], out: &mut [f32]) -> Result<(), DecodeError> {
        self.decode_after(&[], actions, raw_state, out)
    }

    /// As [`Self::decode`], for a chunk that begins with the decoded rows `kept`: cumulative deltas after them go on from the last
    /// of those, whatever their own predictions add up to.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_after(
        &mut self,
        kept: &[f32],
        actions: &[f32],
        raw_state: &[f32],
        out: &mut [f32],
    ) -> Result<(), DecodeError> {
        self.check(actions.len(), raw_state.len(), out.len())?;
        if self.width == 0 {
            return Ok(());
        }
        for key in &self.keys {
            let physical = &mut self.physical[..key.from.len()];
            let sum = &mut self.sum[..key.from.len()];
            key.start(raw_state, sum);
            let frame = key.frame(raw_state)?;
            for (row, (predicted, decoded)) in
                actions.chunks_exact(self.dims).zip(out.chunks_exact_mut(self.width)).enumerate()
            {
                key.scaling.apply(row, &predicted[key.from.clone()], physical);
                if matches!(key.reference, Reference::Start(_)) {
                    let row = row * self.width;
                    match kept.get(row + key.to.start..row + key.to.end) {
                        Some(kept) => sum.iter_mut().zip(kept).for_each(|(sum, &value)| *sum = f64::from(value)),
                        None => sum.iter_mut().zip(&*physical).for_each(|(sum, value)| *sum += value),
                    }
                    physical.copy_from_slice(sum);
                }
                key.convert(row, physical, frame.as_ref(), raw_state, &mut decoded[key.to.clone()])?;
            }
        }
        Ok(())
    }

    fn check(&self, actions: usize, raw_state: usize, out: usize) -> Result<(), DecodeError> {
        if !actions.is_multiple_of(self.dims) || actions / self.dims < self.rows {
            let expected = self.rows.saturating_mul(self.dims);
            return Err(DecodeError::Length {
                what: "predicted actions (or more whole rows)",
                expected,
                found: actions,
            });
        }
        let decoded = self.rows.saturating_mul(self.width);
        for (what, expected, found) in [("raw state", self.state, raw_state), ("decoded actions", decoded, out)] {
            if expected != found {
                return Err(DecodeError::Length { what, expected, found });
            }
        }
        Ok(())
    }
}

impl Key {
    fn new(processor: &Processor, key: &ActionKey, from: Range<usize>, to: Range<usize>) -> Result<Self, DecodeError> {
        let unfit = |expected: String, found: String| DecodeError::Key { key: key.name.clone(), expected, found };
        let (rows, width) = (processor.rows(), key.width);
        let scaling = Scaling::new(&key.scaling, rows, width)
            .map_err(|found| unfit(format!("statistics of {width} or {rows} x {width} values"), found.to_string()))?;
        let columns = |index: usize| {
            let state = processor.state.get(index).filter(|state| state.width == width);
            let state = state.ok_or_else(|| {
                let keys: Vec<_> = processor.state.iter().map(|key| format!("{}: {}", key.name, key.width)).collect();
                unfit(format!("a state key of {width} values at {index}"), keys.join(", "))
            })?;
            let start = processor.state.iter().take(index).map(|key| key.width).sum::<usize>();
            Ok(start..start + state.width)
        };
        let reference = match key.conversion {
            Conversion::Absolute => Reference::None,
            Conversion::AddState { state } => Reference::Added(columns(state)?),
            Conversion::Delta { state, rows } => match rows {
                Some(DeltaRows::FromState) => Reference::Added(columns(state)?),
                Some(DeltaRows::Cumulative) => Reference::Start(columns(state)?),
                None => return Err(DecodeError::Delta { key: key.name.clone() }),
            },
            Conversion::ComposePose { predicted, .. } if width != predicted.width() => {
                return Err(unfit(format!("{} values of a pose", predicted.width()), width.to_string()));
            }
            Conversion::ComposePose { state, predicted, format } => {
                Reference::Frame { columns: columns(state)?, predicted, format }
            }
        };
        Ok(Self { name: key.name.clone(), from, to, scaling, reference })
    }

    /// Where the sum of cumulative deltas begins.
    fn start(&self, raw_state: &[f32], sum: &mut [f64]) {
        if let Reference::Start(columns) = &self.reference {
            sum.iter_mut().zip(&raw_state[columns.clone()]).for_each(|(sum, &value)| *sum = f64::from(value));
        }
    }

    /// The pose that predicted poses are relative to.
    fn frame(&self, raw_state: &[f32]) -> Result<Option<Frame>, DecodeError> {
        let Reference::Frame { columns, predicted, format } = &self.reference else { return Ok(None) };
        let mut values = [0.0; LONGEST];
        values.iter_mut().zip(&raw_state[columns.clone()]).for_each(|(slot, &value)| *slot = f64::from(value));
        let pose = values.get(..columns.len()).and_then(|values| Pose::from_values(*predicted, values));
        let pose = pose.ok_or_else(|| DecodeError::Reference { key: self.name.clone() })?;
        Ok(Some(Frame { pose, predicted: *predicted, format: *format }))
    }

    fn convert(
        &self,
        row: usize,
        physical: &[f64],
        frame: Option<&Frame>,
        raw_state: &[f32],
        out: &mut [f32],
    ) -> Result<(), DecodeError> {
        if let Some(Frame { pose: reference, predicted, format }) = frame {
            let pose = Pose::from_values(*predicted, physical);
            let pose = pose.ok_or_else(|| DecodeError::Rotation { key: self.name.clone(), row })?;
            pose.in_frame_of(reference).write(*format, out);
        } else if let Reference::Added(columns) = &self.reference {
            for ((slot, value), &reference) in out.iter_mut().zip(physical).zip(&raw_state[columns.clone()]) {
                *slot = (value + f64::from(reference)) as f32;
            }
        } else {
            out.iter_mut().zip(physical).for_each(|(slot, &value)| *slot = value as f32);
        }
        Ok(())
    }
}
