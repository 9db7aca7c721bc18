//! Figures about a plan: launches, memory, bytes against the floor.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::Plan;
use super::memory::{Home, View};
use super::regions::regions;
use crate::launch::{Kernel, Launch};

/// Figures about a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Products of the library.
    pub products: usize,
    /// Launches of our kernels, by their name.
    pub kernels: BTreeMap<&'static str, usize>,
    /// Bytes of the arena.
    pub arena: u64,
    /// Bytes of everything in the arena if nothing shared memory.
    pub unshared: u64,
    /// Bytes that all launches read and write.
    pub moved: u64,
    /// Bytes that any design reads: the weights, or the rows of them that are used, and the inputs.
    pub floor: u64,
}

impl Summary {
    pub(super) fn of(plan: &Plan) -> Self {
        let mut summary =
            Self { products: 0, kernels: BTreeMap::new(), arena: plan.arena, unshared: 0, moved: 0, floor: 0 };
        let (mut inner, mut outer) = (BTreeSet::new(), BTreeSet::new());
        for launch in &plan.launches {
            match launch {
                Launch::Product(_) => summary.products += 1,
                Launch::Kernel { kernel, .. } => *summary.kernels.entry(name(*kernel)).or_default() += 1,
            }
            for region in regions(launch) {
                summary.moved += region.bytes;
                let Some(view) = View::of(region.address) else { continue };
                let storage = plan.storages[view.storage];
                match storage.home {
                    Home::Arena(_) if inner.insert(view.storage) => summary.unshared += storage.bytes,
                    Home::Weights | Home::Input(_)
                        if !region.written && outer.insert((region.address, region.bytes)) =>
                    {
                        summary.floor += region.bytes;
                    }
                    _ => {}
                }
            }
        }
        summary
    }

    /// All launches.
    pub fn launches(&self) -> usize {
        self.products + self.kernels.values().sum::<usize>()
    }
}

/// Name of a kernel, without its element type.
fn name(kernel: Kernel) -> &'static str {
    match kernel {
        Kernel::Norm(_) => "norm",
        Kernel::Product(..) => "own product",
        Kernel::TensorProduct(..) => "tensor product",
        Kernel::Quantize(_) => "quantize",
        Kernel::Dequantize(_) => "dequantize",
        Kernel::Attention(_) => "attention",
        Kernel::Rotary(_) => "rotary",
        Kernel::Elementwise(_) => "elementwise",
        Kernel::Gather => "gather",
        Kernel::Permute => "permute",
        Kernel::Cast => "cast",
        Kernel::Euler(_) => "euler",
        Kernel::Resample => "resample",
    }
}

impl fmt::Display for Summary {
    /// `13 launches (5 products, 3 norm, ..), arena 1.2 MB (4.0 unshared), moves 30.0 MB, floor 28.1 MB`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} launches ({} products", self.launches(), self.products)?;
        for (name, count) in &self.kernels {
            write!(f, ", {count} {name}")?;
        }
        let mb = |bytes: u64| bytes as f64 / 1e6;
        write!(f, "), arena {:.1} MB ({:.1} unshared), ", mb(self.arena), mb(self.unshared))?;
        write!(f, "moves {:.1} MB, floor {:.1} MB", mb(self.moved), mb(self.floor))
    }
}
