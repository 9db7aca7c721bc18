//! How products are computed: choices by measurement, and the file that keeps them.
//!
//! A product with what follows it has a [`Key`]. Its [`Tactic`] is the number and type of its parts and an algorithm of the library,
//! whose bytes are the library's own. Choices hold for one device, driver and version of the library.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::kernels::{Limits, resident};
use crate::launch::{Element, Epilogue, Follows, Product, Tile};

mod file;
mod measure;

pub use file::{FORMAT, Machine, TacticsError};
#[cfg(test)]
use measure::tiles;
pub use measure::{Measure, splits};

/// What a choice depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Element type of both factors; with `eight_bits` of the result alone.
    pub element: Element,
    /// Both factors have 8 bits and scales, and `element` is the result's type.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub eight_bits: bool,
    /// Inputs of a row.
    pub from: i32,
    /// Outputs of a row.
    pub to: i32,
    /// Whether the weight is `[to, from]`.
    pub transposed: bool,
    /// What the library applies to the result.
    pub epilogue: Epilogue,
    /// What reads the result.
    pub follows: Follows,
    /// Whether a tile's weight lies in tiles.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_tile: bool,
    /// Rows; the last field, so that keys of one product lie side by side.
    pub rows: i32,
}

impl Key {
    /// The key of a product.
    pub fn of(product: &Product) -> Self {
        let Product { element, eight_bits, rows, from, to, transposed, epilogue, follows, may_tile, .. } = *product;
        Self { element, eight_bits, from, to, transposed, epilogue, follows, rows, may_tile }
    }
}

/// How a product is divided along its channels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Split {
    /// Number of parts, at least 1.
    pub parts: u32,
    /// Whether they are in single precision.
    pub single: bool,
    /// How a kernel of ours computes the product; `None`: the library does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tile: Option<Tile>,
}

impl Split {
    /// One part in the product's element type.
    pub const WHOLE: Self = Self::parts(1, false);

    /// Parts by the library.
    pub const fn parts(parts: u32, single: bool) -> Self {
        Self { parts, single, tile: None }
    }

    /// The same with at most so many parts that they divide the product's channels; by the library where the tile does not, or is of
    /// other factors.
    #[must_use]
    pub fn fitting(self, key: &Key) -> Self {
        let from = u64::from(key.from.unsigned_abs());
        let parts = |depth: u32| {
            let most = u64::from(self.parts).min(from);
            let parts = (1..=most).rev().find(|parts| from.is_multiple_of(parts * u64::from(depth)));
            parts.map(|parts| parts as u32)
        };
        match self.tile.filter(|tile| tile.is_of_eight_bits() == key.eight_bits).and_then(|tile| parts(tile.depth())) {
            Some(parts) => Self { parts, ..self },
            None => Self { parts: parts(1).unwrap_or(1), tile: None, ..self },
        }
    }
}

/// Decides how products are divided that are followed by a kernel which adds parts.
pub trait Choose {
    /// The division of a product.
    fn split(&self, key: &Key) -> Split;
}

/// The same for all products.
impl Choose for Split {
    fn split(&self, _: &Key) -> Split {
        *self
    }
}

/// A measured choice.
#[derive(Clone, PartialEq, Debug)]
pub struct Tactic {
    /// How the product is divided.
    pub split: Split,
    /// The library's algorithm, in its own bytes; empty for our own kernel.
    pub algorithm: Vec<u8>,
    /// Median time of the product and what follows it.
    pub microseconds: f64,
}

/// Measured choices of one device.
#[derive(Clone, PartialEq, Debug)]
pub struct Tactics {
    machine: Machine,
    chosen: BTreeMap<Key, Tactic>,
}

impl Tactics {
    /// No choices yet.
    pub fn new(machine: Machine) -> Self {
        Self { machine, chosen: BTreeMap::new() }
    }

    /// The device and library that they hold for.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Number of choices.
    pub fn len(&self) -> usize {
        self.chosen.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// The choice for exactly this key.
    pub fn get(&self, key: &Key) -> Option<&Tactic> {
        self.chosen.get(key)
    }

    /// The choice for a key, else that of the nearest number of rows, at most twice or half as many: a length that was never measured
    /// is run without measuring. More rows than our own kernels take have no choice by those with fewer.
    pub fn nearest(&self, key: &Key) -> Option<&Tactic> {
        let (most, least) =
            (Key { rows: key.rows.saturating_mul(2), ..*key }, Key { rows: (key.rows + 1) / 2, ..*key });
        let takes = |tactic: &Tactic| tactic.split.tile.is_none() || key.rows <= Tile::ROWS;
        let near = self.chosen.range(least..=most).filter(|(_, tactic)| takes(tactic));
        near.min_by_key(|(found, _)| (found.rows.abs_diff(key.rows), -found.rows)).map(|(_, tactic)| tactic)
    }

    /// The algorithm for a product of a plan, if one was measured for its division. The library may still refuse it (other rows,
    /// other alignment); then its own first choice is as good as any.
    pub fn algorithm(&self, product: &Product) -> Option<&[u8]> {
        let split = Split::parts(u32::try_from(product.parts).ok()?, product.single);
        let key = Key::of(product);
        let tactic = self.nearest(&key)?;
        (tactic.split.fitting(&key) == split).then_some(&tactic.algorithm)
    }

    /// Forgets tiles that this device has no room for with any number of rows: a choice counts for other lengths, too.
    pub fn forget_without_room(&mut self, limits: Limits) {
        self.chosen.retain(|key, tactic| {
            tactic.split.tile.is_none_or(|tile| resident(tile, key.from, tactic.split.parts, limits) > 0)
        });
    }

    /// Adds a choice, in place of an older one for the key.
    pub fn insert(&mut self, key: Key, tactic: Tactic) {
        self.chosen.insert(key, tactic);
    }

    /// Adds the choices of `newer`, in place of older ones. False, and nothing, when it is of another device or library.
    #[must_use]
    pub fn merge(&mut self, newer: Self) -> bool {
        let same = self.machine == newer.machine;
        if same {
            self.chosen.extend(newer.chosen);
        }
        same
    }
}

impl Choose for Tactics {
    fn split(&self, key: &Key) -> Split {
        self.nearest(key).map_or(Split::WHOLE, |tactic| tactic.split)
    }
}

#[cfg(test)]
mod tests;
