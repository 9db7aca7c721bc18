//! Choosing by measurement.

use super::{Key, Split, Tactic, Tactics};
use crate::kernels::{Limits, resident};
use crate::launch::{ByteTile, Element, Follows, TensorTile, Tile};

/// Most parts of a product.
const MOST_PARTS: [u32; 6] = [1, 2, 3, 4, 6, 8];
/// Rows above which a product fills the device by itself: it is not divided into more than two parts.
const MANY_ROWS: i32 = 256;
/// The library's candidates of a division that are measured to choose the division; all are of the chosen one.
const FIRST: usize = 8;
/// Channels of a part are a multiple of this, for the wide loads of the library.
const CHANNELS: u32 = 8;

/// What measures on a device.
pub trait Measure {
    /// Why nothing more can be measured, as when the device is lost.
    type Error;

    /// What the device lets our own kernel have.
    fn limits(&self) -> Limits;

    /// Algorithms that the library offers for a product, its own first choice first. None: the library does not compute it so.
    ///
    /// # Errors
    /// [`Self::Error`]
    fn algorithms(&mut self, key: &Key, split: Split) -> Result<Vec<Vec<u8>>, Self::Error>;

    /// Median microseconds of the product and what follows it, with weights that come from memory and not from a cache; `None`
    /// when the algorithm, or our own kernel with such a tile, does not run.
    ///
    /// # Errors
    /// [`Self::Error`]
    fn time(&mut self, key: &Key, split: Split, algorithm: &[u8]) -> Result<Option<f64>, Self::Error>;
}

/// Divisions that are worth measuring, fewest parts first: one where the result is a value or the factors have 8 bits, else those that
/// what follows can add.
pub fn splits(key: &Key) -> Vec<Split> {
    if key.follows == Follows::Value || key.eight_bits {
        return vec![Split::WHOLE];
    }
    let from = u32::try_from(key.from).unwrap_or_default();
    let few = |parts: u32| parts <= 2 || key.rows <= MANY_ROWS;
    let divides = |parts: &u32| *parts == 1 || few(*parts) && from.is_multiple_of(parts * CHANNELS);
    let types: &[bool] = if key.element == Element::F32 { &[false] } else { &[false, true] };
    let of = |parts| types.iter().map(move |single| Split::parts(parts, *single));
    MOST_PARTS.into_iter().filter(divides).flat_map(of).collect()
}

/// Divisions of our own kernels that are worth measuring: those that occupy the device about once, or are divided least.
pub(super) fn tiles(key: &Key, limits: Limits) -> Vec<Split> {
    let halves = key.element != Element::F32;
    if !(halves && key.transposed && key.rows <= Tile::ROWS && key.to % 8 == 0 && key.to > 0) {
        return Vec::new();
    }
    let parts: &[u32] = match (key.follows, key.eight_bits) {
        (Follows::Value, _) => &[1],
        (_, true) => &[1, 2, 4],
        (_, false) => &[1, 2, 4, 8],
    };
    let mut splits = Vec::new();
    for parts in parts {
        for tile in if key.eight_bits { byte_tiles(limits) } else { tensor_tiles(key.from, *parts, limits) } {
            let (outputs, cluster) = tile.blocks();
            let blocks = key.to.unsigned_abs().div_ceil(outputs) * cluster * parts;
            let split = Split { parts: *parts, single: false, tile: Some(tile) };
            let enough = blocks * 2 >= limits.multiprocessors;
            let resident = resident(tile, key.from, *parts, limits);
            let not_too_many = cluster * parts == 1 || blocks <= limits.multiprocessors * (resident + 1);
            if enough && not_too_many && resident > 0 && split.fitting(key) == split {
                splits.push(split);
            }
        }
    }
    splits
}

fn byte_tiles(limits: Limits) -> Vec<Tile> {
    let clusters: &[u32] = if limits.clusters { &[1, 2, 4] } else { &[1] };
    let mut tiles = Vec::new();
    for (out_warps, channel_warps) in ByteTile::WARPS {
        let of = |cluster: &u32, resident| ByteTile { out_warps, channel_warps, cluster: *cluster, resident };
        tiles.extend(clusters.iter().flat_map(|cluster| [1, 2].map(|resident| Tile::Bytes(of(cluster, resident)))));
    }
    tiles
}

/// With rings up to the first that holds all channels of a block.
fn tensor_tiles(from: i32, parts: u32, limits: Limits) -> Vec<Tile> {
    if !limits.warpgroups {
        return Vec::new();
    }
    let mut tiles = Vec::new();
    for outputs in TensorTile::OUTPUTS {
        for cluster in TensorTile::CLUSTERS {
            for stages in TensorTile::STAGES {
                let tile = TensorTile { outputs, cluster, stages };
                tiles.push(Tile::Tensor(tile));
                if stages * tile.depth() * parts >= from.unsigned_abs() {
                    break;
                }
            }
        }
    }
    tiles
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

/// The fastest division by the first candidates of each, then the fastest candidate of that division.
fn fastest<M: Measure>(key: &Key, measure: &mut M) -> Result<Option<Tactic>, M::Error> {
    let mut best = None;
    let mut rest = Vec::new();
    for split in splits(key).into_iter().chain(tiles(key, measure.limits())) {
        let mut algorithms = if split.tile.is_some() { vec![Vec::new()] } else { measure.algorithms(key, split)? };
        let more = algorithms.split_off(algorithms.len().min(FIRST));
        if faster(key, split, algorithms, &mut best, measure)? {
            rest = more;
        }
    }
    if let Some(Tactic { split, .. }) = best {
        faster(key, split, rest, &mut best, measure)?;
    }
    Ok(best)
}

/// Measures candidates; whether one of them is the best now.
fn faster<M: Measure>(
    key: &Key,
    split: Split,
    algorithms: Vec<Vec<u8>>,
    best: &mut Option<Tactic>,
    measure: &mut M,
) -> Result<bool, M::Error> {
    let mut found = false;
    for algorithm in algorithms {
        let time = measure.time(key, split, &algorithm)?;
        let Some(microseconds) = time.filter(|time| time.is_finite() && *time > 0.0) else { continue };
        if best.as_ref().is_none_or(|best| microseconds < best.microseconds) {
            *best = Some(Tactic { split, algorithm, microseconds });
            found = true;
        }
    }
    Ok(found)
}
