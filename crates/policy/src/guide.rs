//! Real-time chunking: a new chunk that goes on from the one before.
//!
//! The rows that both chunks have start from the old one's values in place of noise, and each row takes a part of the
//! velocity of its own: none where it is already promised to the robot, a growing part after it, all of it beyond
//! (GR00T N1.6, pull request 520; rate of the ramp as there). The update itself is the networks'
//! `actions + dt * strength * velocity`.

use super::{Error, Policy};

/// How fast the ramp rises.
const RATE: f32 = 6.0;

/// The rows of an earlier chunk that a new one begins with.
#[derive(Clone, Copy, Debug)]
pub struct Guide<'g> {
    /// Rows of [`vla_motion::Chunk::values`], same columns and units: absolute positions and poses. Row 0 is due when row 0
    /// of the new chunk is. At least `overlap` rows.
    pub previous: &'g [f32],
    /// First rows that the new chunk has unchanged.
    pub frozen: usize,
    /// First rows that start from `previous`, the frozen ones among them.
    pub overlap: usize,
}

/// Room for a guide's rows, made once.
pub(super) struct Guiding {
    /// Rows in the model's units.
    rows: Vec<f32>,
    /// Most rows.
    most: usize,
}

impl Guiding {
    pub fn new(rows: usize, columns: usize) -> Self {
        Self { rows: Vec::with_capacity(rows.saturating_mul(columns)), most: rows }
    }

    /// The first `rows` rows that were taken, in the model's units.
    pub fn kept(&self, rows: usize, columns: usize) -> &[f32] {
        self.rows.get(..rows.saturating_mul(columns)).unwrap_or_default()
    }

    /// The guide's overlapping rows, in the units of a chunk.
    fn take(&mut self, guide: &Guide<'_>, columns: usize) -> Result<&mut [f32], Error> {
        let Guide { previous, frozen, overlap } = *guide;
        if frozen > overlap || overlap > self.most {
            return Err(Error::Guide(format!(
                "expected at most {} overlapping rows (those of a chunk), frozen ones among them; found {frozen} frozen of \
                 {overlap}",
                self.most
            )));
        }
        let rows = previous.get(..overlap.saturating_mul(columns)).ok_or_else(|| {
            Error::Guide(format!(
                "expected {overlap} rows of {columns} values, found {} values; overlap no more rows than the chunk before \
                 still has",
                previous.len()
            ))
        })?;
        if let Some(at) = rows.iter().position(|value| !value.is_finite()) {
            return Err(Error::Guide(format!("row {}, column {} is {}", at / columns, at % columns, rows[at])));
        }
        self.rows.clear();
        self.rows.extend_from_slice(rows);
        Ok(&mut self.rows)
    }
}

impl Policy {
    /// Whether [`Policy::infer_guided`] takes a guide: whether a stage reads `strength`.
    pub fn takes_guide(&self) -> bool {
        self.host_inputs.iter().any(|spec| spec.name == "strength")
    }

    /// Puts the guide into the initial actions, which hold noise, and into the strength of each row; without one every row
    /// takes all of its velocity. The state must have been encoded. Columns that no action key has keep their noise.
    pub(super) fn guide(&mut self, guide: Option<&Guide<'_>>) -> Result<(), Error> {
        let (frozen, overlap) = guide.map_or((0, 0), |guide| (guide.frozen, guide.overlap));
        if let Some(guide) = guide {
            if !self.takes_guide() {
                return Err(Error::Guide(
                    "no stage of this policy reads 'strength', by which rows are held; export it again".to_owned(),
                ));
            }
            let rows = self.guiding.take(guide, self.columns.names.len())?;
            self.columns.to_model(rows);
            let actions = self.given.actions.as_f32_mut().unwrap_or_default();
            self.decoder.encode_after(guide.frozen, rows, self.state.raw(), actions)?;
        }
        for (row, strength) in self.given.strength.as_f32_mut().unwrap_or_default().iter_mut().enumerate() {
            *strength = part(row, frozen, overlap);
        }
        Ok(())
    }
}

/// The part of its velocity that a row takes: 0 where it is frozen, 1 beyond the overlap, between them
/// `(1 - exp(-6 u)) / (1 - exp(-6))` at evenly spaced `u`, 0 and 1 themselves being left out.
fn part(row: usize, frozen: usize, overlap: usize) -> f32 {
    if row >= overlap {
        1.0
    } else if row < frozen {
        0.0
    } else {
        let u = (row - frozen + 1) as f32 / (overlap - frozen + 1) as f32;
        (-RATE * u).exp_m1() / (-RATE).exp_m1()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_takes_nothing_while_it_is_frozen_more_and_more_in_the_overlap_and_all_beyond() {
        let parts: Vec<f32> = (0..20).map(|row| part(row, 6, 16)).collect();
        assert!(parts[..6].iter().all(|&part| part == 0.0));
        assert!(parts[16..].iter().all(|&part| part == 1.0));
        assert!(parts[5..17].windows(2).all(|pair| pair[0] < pair[1]), "{parts:?}");
        // The first interior point of 12 on [0, 1], by hand: (1 - e^(-6/11)) / (1 - e^-6).
        assert!((parts[6] - 0.421_469).abs() < 1e-5, "{}", parts[6]);
        assert!((part(0, 0, 1) - 0.952_574).abs() < 1e-5, "the middle: (1 - e^-3) / (1 - e^-6)");
        assert!((0..5).all(|row| part(row, 0, 0) == 1.0));
    }

    #[test]
    fn a_guide_of_too_few_rows_or_with_what_is_no_number_is_refused_in_words() {
        let mut guiding = Guiding::new(4, 2);
        let mut refusal = |previous: &[f32], frozen, overlap| {
            let taken = guiding.take(&Guide { previous, frozen, overlap }, 2);
            taken.err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(refusal(&[0.0; 8], 2, 4), "");
        assert_eq!(refusal(&[], 0, 0), "");
        assert!(refusal(&[0.0; 8], 3, 2).contains("found 3 frozen of 2"));
        assert!(refusal(&[0.0; 10], 0, 5).contains("at most 4 overlapping rows"));
        assert!(refusal(&[0.0; 5], 0, 3).contains("expected 3 rows of 2 values, found 5"));
        assert!(refusal(&[0.0, 0.0, 0.0, f32::NAN], 1, 2).contains("row 1, column 1 is NaN"));
    }
}
