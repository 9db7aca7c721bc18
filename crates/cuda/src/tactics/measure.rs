//! Choosing by measurement.

use super::{Key, Split, Tactic, Tactics};
use crate::launch::{Element, Follows};

/// Most parts of a product.
const MOST_PARTS: [u32; 6] = [1, 2, 3, 4, 6, 8];
/// Channels of a part are a multiple of this, for the wide loads of the library.
const CHANNELS: u32 = 8;

/// What measures on a device.
pub trait Measure {
    /// Why nothing more can be measured, as when the device is lost.
    type Error;

    /// Algorithms that the library offers for a product, its own first choice first. None: the library does not compute it so.
    ///
    /// # Errors
    /// [`Self::Error`]
    fn algorithms(&mut self, key: &Key, split: Split) -> Result<Vec<Vec<u8>>, Self::Error>;

    /// Median microseconds of the product and what follows it, with weights that come from memory and not from a cache; `None`
    /// when the algorithm does not run.
    ///
    /// # Errors
    /// [`Self::Error`]
    fn time(&mut self, key: &Key, split: Split, algorithm: &[u8]) -> Result<Option<f64>, Self::Error>;
}

/// Divisions that are worth measuring, fewest parts first: one where the result is a value, else those that what follows can add.
pub fn splits(key: &Key) -> Vec<Split> {
    if key.follows == Follows::Value {
        return vec![Split::WHOLE];
    }
    let from = u32::try_from(key.from).unwrap_or_default();
    let divides = |parts: &u32| *parts == 1 || from.is_multiple_of(parts * CHANNELS);
    let types: &[bool] = if key.element == Element::F32 { &[false] } else { &[false, true] };
    let of = |parts| types.iter().map(move |single| Split { parts, single: *single });
    MOST_PARTS.into_iter().filter(divides).flat_map(of).collect()
}

impl Tactics {
    /// Measures products that have no choice yet and keeps the fastest of each; of equal ones the first. The keys for which nothing
    /// runs.
    ///
    /// # Errors
    /// Those of `measure`; what was chosen before stays.
    pub fn measure<M: Measure>(
        &mut self,
        keys: impl IntoIterator<Item = Key>,
        measure: &mut M,
    ) -> Result<Vec<Key>, M::Error> {
        let mut without = Vec::new();
        for key in keys {
            if self.chosen.contains_key(&key) || without.contains(&key) {
                continue;
            }
            match fastest(&key, measure)? {
                Some(tactic) => self.insert(key, tactic),
                None => without.push(key),
            }
        }
        Ok(without)
    }
}

fn fastest<M: Measure>(key: &Key, measure: &mut M) -> Result<Option<Tactic>, M::Error> {
    let mut best: Option<Tactic> = None;
    for split in splits(key) {
        for algorithm in measure.algorithms(key, split)? {
            let time = measure.time(key, split, &algorithm)?;
            let Some(microseconds) = time.filter(|time| time.is_finite() && *time > 0.0) else { continue };
            if best.as_ref().is_none_or(|best| microseconds < best.microseconds) {
                best = Some(Tactic { split, algorithm, microseconds });
            }
        }
    }
    Ok(best)
}
