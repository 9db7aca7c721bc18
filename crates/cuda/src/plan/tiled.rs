//! Weights that lie in tiles on the device.

use std::collections::{BTreeMap, BTreeSet};

use vla_base::tensor::Dim;
use vla_engines::operations::{Operation, Program, Source};

use super::Plan;
use super::memory::{Home, View};
use crate::launch::{Address, Arguments, Kernel, Launch, Tile, Tiling};

/// Linear operations that alone read their weights and have the same few rows whatever the sizes are, those that are read of their results
/// among them: their products are the same in every plan.
pub(super) fn tileable(program: &Program) -> BTreeSet<usize> {
    let mut reads = vec![0; program.weights.len()];
    let mut differing = BTreeSet::new();
    for operation in &program.operations {
        for operand in operation.operands() {
            match operand.source {
                Source::Weight(weight) => reads[weight] += 1,
                Source::Value(value) if !matches!(operand.rows, Dim::Fixed(_)) => drop(differing.insert(value)),
                Source::Value(_) => {}
            }
        }
        operation.weights().into_iter().for_each(|weight| reads[weight] += 1);
    }
    let fits = |operation: &Operation| {
        let Operation::Linear { x, parts, transposed: true, out, .. } = operation else { return false };
        let few = matches!(x.rows, Dim::Fixed(rows) if rows <= Tile::ROWS.unsigned_abs() as usize);
        few && !differing.contains(out) && parts.iter().all(|part| reads[part.weight] == 1)
    };
    let operations = program.operations.iter().enumerate();
    operations.filter_map(|(index, operation)| fits(operation).then_some(index)).collect()
}

impl Plan {
    /// The weights that may lie in tiles, in a block at this address: how the launches read them. Several that are one product count as the
    /// first of them; `None`: dense.
    pub fn tilings(&self, weights: Address) -> BTreeMap<Address, Option<Tiling>> {
        let place = |address: Address| {
            let View { storage, offset } = View::of(address)?;
            matches!(self.storages[storage].home, Home::Weights).then_some(weights + offset)
        };
        let of = |launch: &Launch| match launch {
            Launch::Product(product) if product.may_tile => Some((place(product.weight)?, None)),
            Launch::Kernel { kernel: Kernel::TensorProduct(_, tile), arguments: Arguments::TensorProduct(a) }
                if a.tiled == 1 =>
            {
                let (weight, outputs) = (place(a.weight)?, tile.outputs);
                Some((weight, Some(Tiling { weight, from: a.from, to: a.to, outputs })))
            }
            _ => None,
        };
        self.launches.iter().filter_map(of).collect()
    }
}

/// How one weight lies on the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// As in its file; launches that were made read it so.
    Dense,
    /// Between the two.
    Moving,
    Tiled(Tiling),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dense => f.write_str("as it is in its file"),
            Self::Moving => f.write_str("partly moved, because moving it failed"),
            Self::Tiled(tiling) => write!(f, "in tiles of {} outputs", tiling.outputs),
        }
    }
}

/// How the weights of an engine lie that may lie in tiles: the same for all of its plans.
#[derive(Clone, Debug, Default)]
pub struct Places(BTreeMap<Address, Place>);

impl Places {
    /// The tilings that are to be made before launches with such weights run.
    ///
    /// # Errors
    /// What contradicts it: a weight that other launches read otherwise, or one that did not arrive in its tiles.
    pub fn missing(&self, wanted: &BTreeMap<Address, Option<Tiling>>) -> Result<Vec<Tiling>, String> {
        let mut missing = Vec::new();
        for (weight, tiling) in wanted {
            match (self.0.get(weight), tiling) {
                (None, None) | (Some(Place::Dense), None) => {}
                (None, Some(tiling)) => missing.push(*tiling),
                (Some(Place::Tiled(found)), Some(tiling)) if found == tiling => {}
                (found, tiling) => {
                    let wanted = tiling.map_or(Place::Dense, Place::Tiled);
                    let found = found.copied().unwrap_or(Place::Dense);
                    return Err(format!(
                        "expected a weight {wanted}, found it {found}; load the engines again (~/reload)"
                    ));
                }
            }
        }
        Ok(missing)
    }

    /// Has [`Self::missing`] tilings begin: until [`Self::arrived`] no launches can be made with their weights.
    pub fn moving(&mut self, tilings: &[Tiling]) {
        self.0.extend(tilings.iter().map(|tiling| (tiling.weight, Place::Moving)));
    }

    /// All weights lie as it was wanted.
    pub fn arrived(&mut self, wanted: &BTreeMap<Address, Option<Tiling>>) {
        let place =
            |(weight, tiling): (&Address, &Option<Tiling>)| (*weight, tiling.map_or(Place::Dense, Place::Tiled));
        self.0.extend(wanted.iter().map(place));
    }
}
