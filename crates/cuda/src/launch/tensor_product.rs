//! Products of few rows by tensor copies and a warpgroup's multiplications (compute capability 9.0).

use serde::{Deserialize, Serialize};

use super::{Address, Matrix, Product, Tile};

/// The driver's `CUtensorMap`: a matrix in memory and the size of the tiles that are copied from it.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C, align(64))]
pub struct TensorMap {
    /// Not to be looked into.
    pub words: [u64; 16],
}

/// What a tensor map says: tiles of 64 elements of 16 bits of so many rows, whose pieces of 16 bytes are swizzled
/// within 128 bytes; zeros where the matrix has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tiles {
    /// Its stride counts elements.
    pub matrix: Matrix,
    /// Rows of the matrix.
    pub rows: i32,
    /// Columns of the matrix.
    pub columns: i32,
    /// Rows of a tile.
    pub tile_rows: u32,
}

/// `y = activation(x W^T + bias)` for few rows `x` and `W` `[to, from]` in 16 bits. Part `p` of `parts` is of channels
/// `p * from / parts ..`; with more than one there is neither bias nor activation.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct TensorProductArguments {
    /// `[rows, from]`
    pub x: Matrix,
    /// `[to, from]`, dense; or, where `tiled`, `[from / 64, outputs, 64]` for each block of outputs, of which the last may have fewer.
    pub weight: Address,
    /// `[to]`; 0: none.
    pub bias: Address,
    /// `[rows, to]`; its stride counts elements of the result's type.
    pub y: Matrix,
    /// Elements from part to part.
    pub apart: i64,
    pub rows: i32,
    pub from: i32,
    pub to: i32,
    pub parts: i32,
    /// 1: y is in single precision.
    pub single: i32,
    /// As [`super::ElementwiseArguments::activation`]; one of those of [`super::Epilogue`].
    pub activation: i32,
    /// 1: the weight lies in tiles ([`super::Tiling`]).
    pub tiled: i32,
    pub _padding: i32,
}

/// What the kernel takes: the arguments, with the maps of their factors.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct MappedTensorProduct {
    /// Of `x`.
    pub x_map: TensorMap,
    /// Of `weight`.
    pub weight_map: TensorMap,
    pub arguments: TensorProductArguments,
}

impl TensorProductArguments {
    /// Makes the maps, when the arguments have their addresses on the device.
    ///
    /// # Errors
    /// Those of `map`.
    pub fn mapped<E>(
        self,
        tile: TensorTile,
        map: impl Fn(&Tiles) -> Result<TensorMap, E>,
    ) -> Result<MappedTensorProduct, E> {
        let channels = TensorTile::CHANNELS as i32;
        let (rows, columns) = match self.tiled {
            0 => (self.to, self.from),
            _ => (self.to * (self.from / channels), channels),
        };
        let weight = Matrix { address: self.weight, stride: i64::from(columns) };
        let x = Tiles { matrix: self.x, rows: self.rows, columns: self.from, tile_rows: TensorTile::x_rows(self.rows) };
        let weight = Tiles { matrix: weight, rows, columns, tile_rows: tile.outputs };
        Ok(MappedTensorProduct { x_map: map(&x)?, weight_map: map(&weight)?, arguments: self })
    }
}

/// How the kernel divides a product.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorTile {
    /// Outputs of a block.
    pub outputs: u32,
    /// Blocks that divide the channels among them and add up their sums.
    pub cluster: u32,
    /// Most stages of the ring.
    pub stages: u32,
}

impl TensorTile {
    /// Most rows.
    pub const ROWS: i32 = Tile::ROWS;
    /// Outputs of a block that the kernel is compiled for.
    pub const OUTPUTS: [u32; 4] = [48, 72, 96, 128];
    /// Blocks of a cluster; a power of two, at most the warps that multiply.
    pub const CLUSTERS: [u32; 3] = [1, 2, 4];
    /// Stages of the ring that are worth measuring.
    pub(crate) const STAGES: [u32; 6] = [5, 6, 8, 9, 12, 14];
    /// Channels of a stage of the ring.
    pub(crate) const CHANNELS: u32 = 64;

    /// Whether it is one that can be launched.
    pub fn is_known(self) -> bool {
        Self::OUTPUTS.contains(&self.outputs)
            && Self::CLUSTERS.contains(&self.cluster)
            && (2..=64).contains(&self.stages)
    }

    /// Channels of a part are a multiple of this.
    pub fn depth(self) -> u32 {
        Self::CHANNELS * self.cluster
    }

    /// Rows of a tile of x: whole groups of eight, and so many that 64 rows end within a stage.
    pub(crate) fn x_rows(rows: i32) -> u32 {
        rows.unsigned_abs().next_multiple_of(8).max(16)
    }

    /// Whether the kernel computes a product so: 16 bits, `[to, from]` weights, few rows, whole chunks of 16 bytes.
    pub fn takes(self, product: &Product) -> bool {
        !product.eight_bits && product.suits(self.depth(), 8)
    }
}
