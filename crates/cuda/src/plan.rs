//! From a network's list of operations to launches and memory.
//!
//! A [`Plan`] needs no device and no addresses: memory is known before anything is allocated. [`Plan::launches`] puts addresses in
//! once there are some. Inner values share an arena by their lives; nothing in it survives a run, so all stages may use one block.
//!
//! Design A of docs/cuda_engine.md: products by a library; residuals, biases and products in parts are added by the norm or attention
//! that follows; what the library cannot apply to a product's result is an elementwise kernel.

use vla_engines::Symbols;
use vla_engines::operations::{Program, Value};

use crate::launch::{Address, Launch, Product};
use crate::tactics::Choose;

mod arena;
mod error;
mod fusions;
mod lower;
mod memory;
mod operand;
mod regions;
mod summary;
mod symbols;
#[cfg(test)]
mod tests;
mod tiled;
mod views;
mod weights;

pub use error::PlanError;
use error::Reason;
pub use summary::Summary;
pub use symbols::symbols;
pub use tiled::Places;
pub use weights::WeightLayout;

use arena::Piece;
use lower::Lowering;
#[cfg(feature = "cuda")]
pub(crate) use lower::launches_of;
use memory::{Home, MOST_OFFSET, Storage, View, for_each_address};
use operand::Sizes;

/// Launches of a network for one set of sizes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// With addresses that are storages and offsets.
    launches: Vec<Launch>,
    storages: Vec<Storage>,
    arena: u64,
    inputs: usize,
    outputs: usize,
}

/// Where everything is. Blocks are aligned to 256 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bases<'a> {
    /// The block of weights: [`WeightLayout`], of which some lie as [`Plan::tilings`] says.
    pub weights: Address,
    /// At least [`Plan::arena_bytes`].
    pub arena: Address,
    /// Of [`Program::inputs`], in order.
    pub inputs: &'a [Address],
    /// Of [`Program::outputs`], in order; none of them an input or another output.
    pub outputs: &'a [Address],
}

impl Plan {
    /// The plan of a program for these values of its symbols. `choose` decides how products are divided.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn new(
        program: &Program,
        layout: &WeightLayout,
        symbols: &Symbols,
        choose: &dyn Choose,
    ) -> Result<Self, PlanError> {
        program.check().map_err(PlanError::Program)?;
        let dims = program.dims(symbols).map_err(PlanError::Program)?;
        check_bytes(program, layout, &dims)?;
        let sizes = Sizes { symbols, dims };
        let mut lowering = Lowering::new(program, layout, &sizes, choose);
        lowering.all()?;
        let Lowering { launches, mut storages, .. } = lowering;
        let arena = place(&launches, &mut storages);
        Ok(Self { launches, storages, arena, inputs: program.inputs.len(), outputs: program.outputs.len() })
    }

    /// Bytes of the arena.
    pub fn arena_bytes(&self) -> u64 {
        self.arena
    }

    /// Number of launches.
    pub fn count(&self) -> usize {
        self.launches.len()
    }

    /// The products, in order. Their addresses mean nothing.
    pub fn products(&self) -> impl Iterator<Item = &Product> {
        self.launches.iter().filter_map(|launch| match launch {
            Launch::Product(product) => Some(product),
            Launch::Kernel { .. } => None,
        })
    }

    /// The launches, in order, with addresses. They read weights as [`Self::tilings`] says.
    ///
    /// # Errors
    /// [`PlanError::Count`].
    pub fn launches(&self, bases: &Bases<'_>) -> Result<Vec<Launch>, PlanError> {
        let counts =
            [("addresses of inputs", self.inputs, bases.inputs), ("addresses of outputs", self.outputs, bases.outputs)];
        for (what, expected, given) in counts {
            if given.len() != expected {
                return Err(PlanError::Count { what, expected, found: given.len() });
            }
        }
        let base = |home| match home {
            Home::Weights => bases.weights,
            Home::Input(at) => bases.inputs[at],
            Home::Output(at) => bases.outputs[at],
            Home::Arena(offset) => bases.arena + offset,
        };
        let mut launches = self.launches.clone();
        for launch in &mut launches {
            for_each_address(launch, &mut |address| {
                if let Some(view) = View::of(*address) {
                    *address = base(self.storages[view.storage].home) + view.offset;
                }
            });
        }
        Ok(launches)
    }

    /// Figures about the plan.
    pub fn summary(&self) -> Summary {
        Summary::of(self)
    }
}

/// Whether every offset fits an address before there are addresses: no device has this much memory.
fn check_bytes(program: &Program, layout: &WeightLayout, dims: &[Vec<usize>]) -> Result<(), PlanError> {
    // A product in parts takes a multiple of its value.
    const MOST: u64 = MOST_OFFSET >> 8;
    let bytes = |(value, dims): (&Value, &Vec<usize>)| {
        dims.iter().fold(value.dtype.size() as u64, |product, n| product.saturating_mul(*n as u64))
    };
    let values = program.values.iter().zip(dims).map(bytes);
    match values.chain([layout.bytes()]).find(|bytes| *bytes > MOST) {
        Some(bytes) => Err(PlanError::Program(format!("expected values of at most {MOST} bytes, found {bytes}"))),
        None => Ok(()),
    }
}

/// Gives every storage in the arena that a launch uses its offset. The arena's size.
fn place(launches: &[Launch], storages: &mut [Storage]) -> u64 {
    let mut lives: Vec<Option<Piece>> = vec![None; storages.len()];
    for (at, launch) in launches.iter().enumerate() {
        for_each_address(&mut launch.clone(), &mut |address| {
            let Some(View { storage, .. }) = View::of(*address) else { return };
            let bytes = storages[storage].bytes;
            lives[storage].get_or_insert(Piece { bytes, first: at, last: at }).last = at;
        });
    }
    let inner = |storage: &usize| matches!(storages[*storage].home, Home::Arena(_)) && lives[*storage].is_some();
    let used: Vec<usize> = (0..storages.len()).filter(inner).collect();
    let pieces: Vec<Piece> = used.iter().filter_map(|storage| lives[*storage]).collect();
    let (offsets, arena) = arena::place(&pieces);
    for (storage, offset) in used.into_iter().zip(offsets) {
        storages[storage].home = Home::Arena(offset);
    }
    arena
}
