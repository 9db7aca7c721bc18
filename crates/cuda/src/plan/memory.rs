//! Memory of a plan: storages, views into them, and addresses before anything is allocated.
//!
//! A storage is a piece of memory: the weights' block, an input or output, or a piece of the arena. Until a plan gets addresses, an
//! address in its launches is a storage and an offset.

use crate::launch::{Address, Arguments, Launch};

/// Where a storage is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Home {
    /// The block of weights.
    Weights,
    /// Input of the program, by its position.
    Input(usize),
    /// Output of the program, by its position.
    Output(usize),
    /// The arena, at an offset once it is placed.
    Arena(u64),
}

/// A piece of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Storage {
    pub(super) home: Home,
    pub(super) bytes: u64,
}

/// A place in a storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct View {
    pub(super) storage: usize,
    pub(super) offset: u64,
}

/// Set in an address that is a storage and an offset; no device has addresses this high.
const MARK: Address = 1 << 63;
const OFFSET_BITS: u32 = 44;
/// Largest offset in a storage.
pub(super) const MOST_OFFSET: u64 = (1 << OFFSET_BITS) - 1;

impl View {
    pub(super) fn address(self) -> Address {
        MARK | ((self.storage as u64) << OFFSET_BITS) | self.offset
    }

    /// `None` of the address 0.
    pub(super) fn of(address: Address) -> Option<Self> {
        let storage = usize::try_from((address & !MARK) >> OFFSET_BITS).ok()?;
        (address & MARK != 0).then_some(Self { storage, offset: address & MOST_OFFSET })
    }

    pub(super) fn behind(self, bytes: u64) -> Self {
        Self { offset: self.offset + bytes, ..self }
    }
}

/// Calls `f` on every address of a launch.
pub(super) fn for_each_address(launch: &mut Launch, f: &mut impl FnMut(&mut Address)) {
    let addresses: Vec<&mut Address> = match launch {
        Launch::Product(p) => {
            let scales = [&mut p.scales.rows, &mut p.scales.channels];
            [&mut p.x.address, &mut p.weight, &mut p.bias, &mut p.y.address].into_iter().chain(scales).collect()
        }
        Launch::Kernel { arguments, .. } => match arguments {
            Arguments::Norm(a) => vec![
                &mut a.x.address,
                &mut a.parts.first.address,
                &mut a.parts.bias,
                &mut a.sum.address,
                &mut a.y.address,
                &mut a.weight,
                &mut a.bias,
                &mut a.gain,
                &mut a.shift,
                &mut a.quantized.address,
                &mut a.scales,
            ],
            Arguments::Product(a) => vec![
                &mut a.x.address,
                &mut a.weight,
                &mut a.bias,
                &mut a.y.address,
                &mut a.row_scales,
                &mut a.channel_scales,
            ],
            Arguments::TensorProduct(a) => vec![&mut a.x.address, &mut a.weight, &mut a.bias, &mut a.y.address],
            Arguments::Quantize(a) => vec![&mut a.x.address, &mut a.y.address, &mut a.scales],
            Arguments::Dequantize(a) => {
                vec![&mut a.x.address, &mut a.row_scales, &mut a.channel_scales, &mut a.bias, &mut a.y.address]
            }
            Arguments::Attention(a) => {
                vec![&mut a.q, &mut a.k, &mut a.v, &mut a.out, &mut a.parts.first.address, &mut a.parts.bias]
            }
            Arguments::Rotary(a) => {
                let tables = [&mut a.cos.address, &mut a.sin.address];
                let heads = [&mut a.first, &mut a.second];
                let heads = heads.into_iter().flat_map(|of| [&mut of.x.address, &mut of.y.address, &mut of.norm]);
                heads.chain(tables).collect()
            }
            Arguments::Elementwise(a) => vec![
                &mut a.x.address,
                &mut a.parts.first.address,
                &mut a.parts.bias,
                &mut a.by.address,
                &mut a.add.address,
                &mut a.y.address,
            ],
            Arguments::Gather(a) => vec![&mut a.table.address, &mut a.y.address, &mut a.index],
            Arguments::Permute(a) => vec![&mut a.x, &mut a.y],
            Arguments::Cast(a) => vec![&mut a.x.address, &mut a.y.address],
            Arguments::Resample(a) => vec![&mut a.slots, &mut a.between, &mut a.pixels],
            Arguments::Euler(a) => {
                vec![&mut a.actions, &mut a.velocity.address, &mut a.dt, &mut a.strength, &mut a.out]
            }
        },
    };
    addresses.into_iter().for_each(f);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_survives_being_an_address() {
        for view in [View { storage: 0, offset: 0 }, View { storage: 700, offset: (1 << 40) + 6 }] {
            assert_eq!(View::of(view.address()), Some(view));
        }
        assert_eq!(View::of(0), None);
        assert_eq!(View::of(0x7f12_3456_7000), None, "a device's address");
    }
}
