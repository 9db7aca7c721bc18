//! Weights that lie in tiles on the device.

use std::collections::BTreeSet;

use vla_base::tensor::Dim;
use vla_engines::operations::{Operation, Program, Source};

use super::Plan;
use super::memory::{Home, View};
use crate::launch::{Address, Arguments, Kernel, Launch, Tile, Tiling};

/// Linear operations that alone read their weights, of the same few rows whatever the sizes are: one kernel reads the weights, always.
pub(super) fn tileable(program: &Program) -> BTreeSet<usize> {
    let mut reads = vec![0; program.weights.len()];
    for operation in &program.operations {
        let sources = operation.operands().into_iter().filter_map(|operand| match operand.source {
            Source::Weight(weight) => Some(weight),
            Source::Value(_) => None,
        });
        for weight in sources.chain(operation.weights()) {
            reads[weight] += 1;
        }
    }
    let fits = |operation: &Operation| {
        let Operation::Linear { x, parts, transposed: true, .. } = operation else { return false };
        let few = matches!(x.rows, Dim::Fixed(rows) if rows <= Tile::ROWS.unsigned_abs() as usize);
        few && parts.iter().all(|part| reads[part.weight] == 1)
    };
    let operations = program.operations.iter().enumerate();
    operations.filter_map(|(index, operation)| fits(operation).then_some(index)).collect()
}

impl Plan {
    /// Weights that have to lie in tiles before the launches run, in a block of weights at this address.
    pub fn tilings(&self, weights: Address) -> BTreeSet<Tiling> {
        let of = |launch: &Launch| {
            let Launch::Kernel { kernel: Kernel::TensorProduct(_, tile), arguments: Arguments::TensorProduct(a) } =
                launch
            else {
                return None;
            };
            let View { storage, offset } = View::of(a.weight)?;
            let is_weight = matches!(self.storages[storage].home, Home::Weights);
            let tiling = Tiling { weight: weights + offset, from: a.from, to: a.to, outputs: tile.outputs };
            (a.tiled == 1 && is_weight).then_some(tiling)
        };
        self.launches.iter().filter_map(of).collect()
    }
}
