//! From operations to launches.

use std::collections::{BTreeMap, BTreeSet};

use vla_engines::operations::{Operation, Program};

use super::fusions::{self, Fusion};
use super::memory::{Home, Storage, View};
use super::operand::Sizes;
use super::regions::regions;
use super::tiled::tileable;
use super::views::{Views, views};
use super::{PlanError, Reason, WeightLayout};
use crate::launch::{Address, Arguments, Kernel, Launch, Matrix, Parts};
use crate::tactics::Choose;

mod attention;
mod linear;
mod moves;
mod rows;

#[cfg(feature = "cuda")]
pub(crate) use linear::launches as launches_of;

/// What an operation left for the kernel of a later one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// Residual; address 0: none.
    x: Matrix,
    parts: Parts,
    /// Where the sum goes; address 0: nowhere.
    sum: Matrix,
}

/// A matrix in 8 bits, with the scales of its rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quantized {
    matrix: Matrix,
    scales: Address,
    rows: usize,
}

/// A plan on the way.
pub(super) struct Lowering<'a> {
    pub(super) program: &'a Program,
    pub(super) layout: &'a WeightLayout,
    pub(super) sizes: &'a Sizes<'a>,
    pub(super) choose: &'a dyn Choose,
    pub(super) storages: Vec<Storage>,
    /// Where each value is.
    pub(super) views: Vec<View>,
    pub(super) launches: Vec<Launch>,
    /// Linear operations whose weights may lie in tiles.
    tileable: BTreeSet<usize>,
    fusions: BTreeMap<usize, Fusion>,
    /// By the operation that takes it.
    pending: BTreeMap<usize, Pending>,
    /// What norms made in 8 bits, by the address of their results.
    quantized: BTreeMap<Address, Quantized>,
    /// The last launch that wrote to each storage.
    written: BTreeMap<usize, usize>,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(
        program: &'a Program,
        layout: &'a WeightLayout,
        sizes: &'a Sizes<'a>,
        choose: &'a dyn Choose,
    ) -> Self {
        let Views { storages, views } = views(program, layout, sizes);
        Self {
            program,
            layout,
            sizes,
            choose,
            storages,
            views,
            launches: Vec::new(),
            tileable: tileable(program),
            fusions: fusions::fusions(program, layout, sizes),
            pending: BTreeMap::new(),
            quantized: BTreeMap::new(),
            written: BTreeMap::new(),
        }
    }

    /// The launches of all operations.
    pub(super) fn all(&mut self) -> Result<(), PlanError> {
        for (index, operation) in self.program.operations.iter().enumerate() {
            let name = operation.name();
            let lowered = self.one(index, operation);
            lowered.map_err(|reason| PlanError::Operation { operation: index, name, reason })?;
        }
        Ok(())
    }

    fn one(&mut self, index: usize, operation: &Operation) -> Result<(), Reason> {
        match operation {
            Operation::Linear { .. } => self.linear(index, operation),
            Operation::Norm { .. } => self.norm(index, operation),
            Operation::Attention { .. } => self.attention(index, operation),
            Operation::Rotary { .. } => self.rotary(operation),
            Operation::Gather { table, index, out } => self.gather(table, index, *out),
            Operation::Concat { parts, out } => self.concat(parts, *out),
            Operation::Permute { x, dims, order, out } => self.permute(x, dims, order, *out),
            Operation::Add { a, b, out } => self.add(index, (a, b), *out),
            Operation::Activate { activation, x, by, out } => self.activate(*activation, x, by.as_ref(), *out),
            Operation::Cast { x, out } => self.cast(x, *out),
            Operation::Euler { .. } => self.euler(operation),
        }
    }

    /// Leaves a sum to the kernel of a later operation.
    fn leave(&mut self, fusion: Fusion, x: Matrix, parts: Parts, sum: Matrix) {
        let sum = if fusion.kept { sum } else { Matrix::default() };
        self.pending.insert(fusion.into, Pending { x, parts, sum });
    }

    fn kernel(&mut self, kernel: Kernel, arguments: Arguments) -> Result<(), Reason> {
        self.launch(Launch::Kernel { kernel, arguments })
    }

    /// Appends a launch whose memory is all inside of its storages.
    fn launch(&mut self, launch: Launch) -> Result<(), Reason> {
        for region in regions(&launch) {
            let Some(view) = View::of(region.address) else { continue };
            let bytes = self.storages[view.storage].bytes;
            if view.offset + region.span > bytes {
                return Err(format!(
                    "expected to stay within {bytes} bytes, found {} from {}",
                    region.span, view.offset
                ));
            }
            if region.written {
                self.written.insert(view.storage, self.launches.len());
            }
        }
        if let Launch::Kernel { kernel: Kernel::Product(..) | Kernel::TensorProduct(..), .. } = launch {
            self.release();
        }
        self.launches.push(launch);
        Ok(())
    }

    /// Lets a product of ours start before the last launch waits: it reads weights only before its own wait.
    fn release(&mut self) {
        let Some(Launch::Kernel { arguments, .. }) = self.launches.last_mut() else { return };
        match arguments {
            Arguments::Norm(arguments) => arguments.release = 1,
            Arguments::Attention(arguments) => arguments.release = 1,
            Arguments::Elementwise(arguments) => arguments.release = 1,
            Arguments::Quantize(arguments) => arguments.release = 1,
            Arguments::Dequantize(arguments) => arguments.release = 1,
            _ => {}
        }
    }

    /// Whether what stands at these addresses was complete before the launch before the next one began: weights, and what older
    /// launches wrote. That the launch before waited for those is known of kernels: one that lets the launch behind start before its own wait
    /// has a product behind it, which waits first. A product of the library may start early itself. The launch before the first may be
    /// another program's, which made the inputs.
    fn early(&self, addresses: &[Address]) -> bool {
        let next = self.launches.len();
        let follows_kernel = matches!(self.launches.last(), Some(Launch::Kernel { .. }));
        addresses.iter().filter_map(|address| View::of(*address)).all(|view| {
            match (self.storages[view.storage].home, self.written.get(&view.storage)) {
                (Home::Weights, _) => true,
                (_, Some(by)) => by + 1 < next && follows_kernel,
                (_, None) => next > 1 || follows_kernel,
            }
        })
    }

    /// New memory in the arena.
    fn room(&mut self, bytes: u64) -> View {
        self.storages.push(Storage { home: Home::Arena(0), bytes });
        View { storage: self.storages.len() - 1, offset: 0 }
    }

    fn fusion(&self, index: usize) -> Option<Fusion> {
        self.fusions.get(&index).copied()
    }
}
