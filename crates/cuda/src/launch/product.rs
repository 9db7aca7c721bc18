//! Products: by the library, and by our own kernel.

use serde::{Deserialize, Serialize};

use super::{Address, Element, Matrix, Scales, TensorTile};

/// What is applied to a product's result. Where a library cannot, the planner launches an elementwise kernel instead.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Epilogue {
    /// Nothing.
    None,
    /// A bias.
    Bias,
    /// A bias, then `max(x, 0)`.
    BiasRelu,
    /// A bias, then GELU by tanh.
    BiasGelu,
}

/// What reads a product's result. It is measured together with the product, because it adds the parts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Follows {
    /// Any operation: the result is a value, in one part of the element type.
    Value,
    /// A norm that adds bias and residual.
    Norm,
    /// An attention whose queries it is.
    Attention,
    /// An elementwise kernel: an activation or residual that is no [`Epilogue`].
    Elementwise,
}

/// `y = epilogue(x W)`: `x` `[rows, from]`, `y` `[rows, to]`; sums in single precision. With `parts` above 1 part `p` is of channels
/// `p * from / parts ..` and lies `apart` elements behind the part before; there is no epilogue then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    /// Element type of x and W, and of y unless `single`; of y alone with `eight_bits`.
    pub element: Element,
    /// Whether x and W have 8 bits and scales. A library's y is INT32 then, in one part, without scales and bias, and `epilogue` is for
    /// the kernel behind it.
    pub eight_bits: bool,
    /// Of x's rows and W's outputs, in single precision; 0 without `eight_bits`.
    pub scales: Scales,
    /// `[rows, from]`
    pub x: Matrix,
    /// `[to, from]` when `transposed`, else `[from, to]`; dense, but see `may_tile`.
    pub weight: Address,
    /// `[to]`
    pub bias: Address,
    /// `[rows, to]`; its stride counts elements of the result's type.
    pub y: Matrix,
    pub rows: i32,
    pub from: i32,
    pub to: i32,
    pub transposed: bool,
    pub epilogue: Epilogue,
    pub parts: i32,
    pub apart: i64,
    /// y is in single precision.
    pub single: bool,
    pub follows: Follows,
    /// Nothing else reads the weight, and the product has these rows for all sizes: the weight lies in tiles ([`super::Tiling`]) where a tile
    /// of 16-bit factors computes the product.
    pub may_tile: bool,
}

/// `y = activation(x W^T * row_scales * channel_scales + bias)` for few rows `x` and `W` `[to, from]`, both in 8 bits. Part `p` of `parts`
/// is of channels `p * from / parts ..`; with more than one there is neither bias nor activation.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct ProductArguments {
    /// `[rows, from]`; its stride is in bytes.
    pub x: Matrix,
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
    /// As [`super::ElementwiseArguments::activation`].
    pub activation: i32,
    /// `[rows]` in single precision.
    pub row_scales: Address,
    /// `[to]` in single precision.
    pub channel_scales: Address,
}

impl Product {
    /// Whether kernels of ours take it that divide `depth` channels: a 16-bit result, `[to, from]` weights, few rows, whole chunks of 16
    /// bytes, which are `chunk` elements of x.
    pub(super) fn suits(&self, depth: u32, chunk: i64) -> bool {
        let Self { element, x, weight, bias, y, rows, from, to, transposed, parts, apart, .. } = *self;
        let depth = i64::from(depth) * i64::from(parts.max(1));
        let aligned = [x.address, weight, bias, y.address].iter().all(|address| address.is_multiple_of(16));
        let whole = x.stride % chunk == 0 && [y.stride, apart, i64::from(to)].iter().all(|elements| elements % 8 == 0);
        let few = transposed && element != Element::F32 && rows <= Tile::ROWS;
        few && i64::from(from) % depth == 0 && aligned && whole
    }
}

/// How a kernel of ours divides a product.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tile {
    /// Of 8-bit factors.
    Bytes(ByteTile),
    /// Of 16-bit factors, by tensor copies.
    Tensor(TensorTile),
}

impl Tile {
    /// Most rows.
    pub const ROWS: i32 = 64;

    /// Whether it is one that can be launched.
    pub fn is_known(self) -> bool {
        match self {
            Self::Bytes(tile) => tile.is_known(),
            Self::Tensor(tile) => tile.is_known(),
        }
    }

    /// Whether it is of factors of 8 bits.
    pub fn is_of_eight_bits(self) -> bool {
        matches!(self, Self::Bytes(_))
    }

    /// Channels of a part are a multiple of this.
    pub fn depth(self) -> u32 {
        match self {
            Self::Bytes(tile) => tile.depth(),
            Self::Tensor(tile) => tile.depth(),
        }
    }

    /// Whether the kernel computes a product so.
    pub fn takes(self, product: &Product) -> bool {
        match self {
            Self::Bytes(tile) => tile.takes(product),
            Self::Tensor(tile) => tile.takes(product),
        }
    }

    /// Outputs of a block, and blocks of a cluster.
    pub(crate) fn blocks(self) -> (u32, u32) {
        match self {
            Self::Bytes(ByteTile { out_warps, cluster, .. }) => (ByteTile::OUTPUTS * out_warps, cluster),
            Self::Tensor(TensorTile { outputs, cluster, .. }) => (outputs, cluster),
        }
    }
}

/// How the kernel of 8-bit factors divides a product.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByteTile {
    /// Warps of a block along the outputs, 48 each.
    pub out_warps: u32,
    /// Warps of a block along the channels.
    pub channel_warps: u32,
    /// Blocks that divide the channels among them and add up their sums.
    pub cluster: u32,
    /// Blocks that shared memory is left for on a multiprocessor.
    pub resident: u32,
}

impl ByteTile {
    /// Most rows.
    pub const ROWS: i32 = Tile::ROWS;
    /// Warps along outputs and channels that the kernel is compiled for.
    pub const WARPS: [(u32, u32); 5] = [(1, 4), (1, 6), (2, 4), (3, 2), (4, 2)];
    /// Outputs of a warp.
    pub(crate) const OUTPUTS: u32 = 48;
    /// Channels of a warp at a time.
    pub(crate) const CHANNELS: u32 = 64;

    /// Whether it is one that can be launched.
    pub fn is_known(self) -> bool {
        let warps = Self::WARPS.contains(&(self.out_warps, self.channel_warps));
        warps && (1..=8).contains(&self.cluster) && (1..=4).contains(&self.resident)
    }

    /// Channels of a part are a multiple of this.
    pub fn depth(self) -> u32 {
        Self::CHANNELS * self.channel_warps * self.cluster
    }

    /// Whether the kernel computes a product so: 8-bit factors, a 16-bit result, `[to, from]` weights, few rows, whole chunks of 16 bytes.
    pub fn takes(self, product: &Product) -> bool {
        product.eight_bits && product.suits(self.depth(), 16)
    }
}
