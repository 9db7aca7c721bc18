//! What a program is made into: launches of kernels and products, with addresses.
//!
//! The structures of arguments are those of `kernels/arguments.h`, field by field; a test compares sizes and offsets.

use serde::{Deserialize, Serialize};

mod quantize;

pub use quantize::{DequantizeArguments, QuantizeArguments, Scales};

/// Address on the device; 0: none.
pub type Address = u64;

/// One thing that is put on the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Launch {
    /// A kernel.
    Kernel {
        /// Which.
        kernel: Kernel,
        /// Its arguments.
        arguments: Arguments,
    },
    /// A product.
    Product(Product),
}

/// Element types that kernels are compiled for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u32)]
pub enum Element {
    /// Single precision.
    F32 = 0,
    /// Half precision.
    F16 = 1,
    /// bfloat16
    BF16 = 2,
}

/// Kernels, by their element type where they have one: the function `norm` of half precision is `norm_f16`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kernel {
    /// [`NormArguments`]
    Norm(Element),
    /// [`ProductArguments`]
    Product(Element, Tile),
    /// [`ProductArguments`] of 8-bit factors; the type of the result
    Product8(Element, Tile),
    /// [`QuantizeArguments`]; the type of the rows
    Quantize(Element),
    /// [`DequantizeArguments`]; the type of the result
    Dequantize(Element),
    /// [`AttentionArguments`]
    Attention(Element),
    /// [`RotaryArguments`]
    Rotary(Element),
    /// [`ElementwiseArguments`]
    Elementwise(Element),
    /// [`GatherArguments`]; of any element type
    Gather,
    /// [`PermuteArguments`]; of any element type
    Permute,
    /// [`CastArguments`]; from any floating-point type to any
    Cast,
    /// [`EulerArguments`]; the type of the velocity
    Euler(Element),
}

/// How our own kernel divides a product.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tile {
    /// Warps of a block along the outputs, 48 each.
    pub out_warps: u32,
    /// Warps of a block along the channels.
    pub channel_warps: u32,
    /// Blocks that divide the channels among them and add up their sums.
    pub cluster: u32,
    /// Blocks that shared memory is left for on a multiprocessor.
    pub resident: u32,
}

impl Tile {
    /// Most rows.
    pub const ROWS: i32 = 64;
    /// Warps along outputs and channels that the kernel is compiled for.
    pub const WARPS: [(u32, u32); 5] = [(1, 4), (1, 6), (2, 4), (3, 2), (4, 2)];
    /// Outputs of a warp.
    pub(crate) const OUTPUTS: u32 = 48;
    /// Channels of a warp at a time; pairs of them in 8 bits.
    pub(crate) const CHANNELS: u32 = 32;

    /// Whether it is one that can be launched.
    pub fn is_known(self) -> bool {
        let warps = Self::WARPS.contains(&(self.out_warps, self.channel_warps));
        warps && (1..=8).contains(&self.cluster) && (1..=4).contains(&self.resident)
    }

    /// Channels of a part are a multiple of this, pairs of them in 8 bits.
    pub fn depth(self) -> u32 {
        Self::CHANNELS * self.channel_warps * self.cluster
    }

    /// Whether the kernel computes a product so: elements of 16 or 8 bits, `[to, from]` weights, few rows, whole chunks of 16 bytes.
    pub fn takes(self, product: &Product) -> bool {
        let Product { element, x, weight, bias, y, rows, to, transposed, parts, apart, eight_bits, .. } = *product;
        let (from, packed) = (crate::tactics::Key::of(product).units(), if eight_bits { 2 } else { 1 });
        let depth = i64::from(self.depth()) * i64::from(parts.max(1));
        let aligned = [x.address, weight, bias, y.address].iter().all(|address| address.is_multiple_of(16));
        let whole =
            [y.stride, apart, i64::from(to)].iter().all(|elements| elements % 8 == 0) && x.stride % (8 * packed) == 0;
        let sixteen_bits = element != Element::F32;
        sixteen_bits && transposed && rows <= Self::ROWS && i64::from(from) % depth == 0 && aligned && whole
    }
}

/// Arguments of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Arguments {
    Norm(NormArguments),
    Product(ProductArguments),
    Quantize(QuantizeArguments),
    Dequantize(DequantizeArguments),
    Attention(AttentionArguments),
    Rotary(RotaryArguments),
    Elementwise(ElementwiseArguments),
    Gather(GatherArguments),
    Permute(PermuteArguments),
    Cast(CastArguments),
    Euler(EulerArguments),
}

impl Arguments {
    /// The structure that the kernel takes: its address, valid as long as `self`, and its size.
    pub fn raw(&self) -> (*const std::ffi::c_void, usize) {
        fn of<A>(arguments: &A) -> (*const std::ffi::c_void, usize) {
            (std::ptr::from_ref(arguments).cast(), size_of::<A>())
        }
        match self {
            Self::Norm(a) => of(a),
            Self::Product(a) => of(a),
            Self::Quantize(a) => of(a),
            Self::Dequantize(a) => of(a),
            Self::Attention(a) => of(a),
            Self::Rotary(a) => of(a),
            Self::Elementwise(a) => of(a),
            Self::Gather(a) => of(a),
            Self::Permute(a) => of(a),
            Self::Cast(a) => of(a),
            Self::Euler(a) => of(a),
        }
    }
}

/// A matrix in memory: `[rows, columns]`, rows `stride` elements apart.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct Matrix {
    /// First element.
    pub address: Address,
    /// Elements from row to row.
    pub stride: i64,
}

/// Results of a product that was computed in parts along its channels: they are added up, and `bias` to the sum.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct Parts {
    /// First part; of the kernel's element type or, with `single`, in single precision. 0: no parts (`bias` is added all the same).
    pub first: Matrix,
    /// Elements from part to part.
    pub apart: i64,
    /// `[columns]` of the kernel's element type; 0: none.
    pub bias: Address,
    /// Number.
    pub count: i32,
    /// 1: in single precision.
    pub single: i32,
}

/// `y = norm(x + parts) * weight + bias`, `* gain + shift`; `sum = x + parts` where `sum` has an address. A row of x has `groups`
/// pieces of `width` elements, each normed by itself, with the same weights.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct NormArguments {
    /// `[rows, groups * width]`; address 0: zeros.
    pub x: Matrix,
    /// Added to x.
    pub parts: Parts,
    /// `[rows, groups * width]`; may be x.
    pub sum: Matrix,
    /// `[rows, groups * width]`
    pub y: Matrix,
    /// `[width]` each; 0: none.
    pub weight: Address,
    pub bias: Address,
    pub gain: Address,
    pub shift: Address,
    /// y in 8 bits, as [`QuantizeArguments::y`], of rows of one piece; y may have no address then.
    pub quantized: Matrix,
    /// `[rows]` in single precision; 0: y is not made in 8 bits.
    pub scales: Address,
    pub rows: i32,
    pub groups: i32,
    pub width: i32,
    /// 0: layer norm; 1: RMS.
    pub kind: i32,
    pub eps: f32,
    /// 1: `parts.bias`, `weight`, `bias`, `gain` and `shift` are older than the launch before, so they may be read before it has
    /// ended.
    pub early: i32,
    /// 1: the launch behind may start before this one's wait: before its own it reads weights only.
    pub release: i32,
    pub _padding: i32,
}

/// Attention of `groups` groups of rows, each to itself. Row `r` of group `g` is row `g * rows + r`; element `c` of head `h` of it is
/// `address + row * row_stride + h * head_stride + c`.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct AttentionArguments {
    pub q: Address,
    pub k: Address,
    pub v: Address,
    pub out: Address,
    pub q_row: i64,
    pub q_head: i64,
    pub k_row: i64,
    pub k_head: i64,
    pub v_row: i64,
    pub v_head: i64,
    /// Head `h` of a row of the result begins at `h * dim`.
    pub out_row: i64,
    /// Added to the queries as parts of a product that follows nothing; `parts.first.address` 0: the queries are `q`.
    pub parts: Parts,
    /// Rows of a group: queries, keys.
    pub rows: i32,
    pub keys: i32,
    pub groups: i32,
    pub heads: i32,
    pub kv_heads: i32,
    pub dim: i32,
    /// 1: a row looks at itself and those before it.
    pub causal: i32,
    pub scale: f32,
    /// 1: keys and values are older than the launch before, so they may be read before it has ended.
    pub early_keys: i32,
    /// As [`NormArguments::release`].
    pub release: i32,
}

/// `y = activation(x W^T + bias)` for `W` `[to, from]`, for few rows; of 8-bit factors `x W^T` is scaled by row and output. Part `p` of `parts` is of channels `p * from / parts ..`; with more
/// than one there is neither bias nor activation.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct ProductArguments {
    /// `[rows, from]`
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
    /// As [`ElementwiseArguments::activation`].
    pub activation: i32,
    /// `[rows]` and `[to]` in single precision; 0: the factors are no 8-bit ones.
    pub row_scales: Address,
    pub channel_scales: Address,
}

/// See `Operation::Rotary`. `y` may be `x`.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct RotaryArguments {
    pub x: Matrix,
    pub y: Matrix,
    /// `[rows of a group, dim]`
    pub cos: Matrix,
    pub sin: Matrix,
    /// `[dim]`; 0: no norm.
    pub norm: Address,
    pub eps: f32,
    /// All rows, and those of a group.
    pub rows: i32,
    pub group: i32,
    pub heads: i32,
    pub dim: i32,
    pub _padding: i32,
}

/// `y = activation(x + parts) * by + add`, where `add`'s rows repeat every `add_rows`. Addresses of 0: left out. `x` 0: zeros.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct ElementwiseArguments {
    pub x: Matrix,
    pub parts: Parts,
    pub by: Matrix,
    pub add: Matrix,
    pub y: Matrix,
    pub rows: i32,
    pub columns: i32,
    pub add_rows: i32,
    /// 0: none; 1: relu; 2: silu; 3: gelu by tanh; 4: exact gelu.
    pub activation: i32,
    /// As [`NormArguments::release`].
    pub release: i32,
    pub _padding: i32,
}

/// Rows of `bytes` bytes; strides are in bytes here. An index outside of the table takes its first or last row.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct GatherArguments {
    pub table: Matrix,
    pub y: Matrix,
    /// INT32 `[rows]`; 0: row i takes row i (a copy of a matrix).
    pub index: Address,
    pub bytes: i64,
    pub rows: i32,
    pub entries: i32,
}

/// Elements of `size` bytes (2 or 4) in another order: `y` `[dims]` takes its element at `i` from `x[sum(i * strides)]`, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct PermuteArguments {
    pub x: Address,
    pub y: Address,
    pub strides: [i64; 6],
    pub dims: [i32; 6],
    pub size: i32,
    pub _padding: i32,
}

/// `y = x` in another element type ([`Element`]).
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct CastArguments {
    pub x: Matrix,
    pub y: Matrix,
    pub rows: i32,
    pub columns: i32,
    pub from: u32,
    pub to: u32,
}

/// `out = actions + dt * strength[row] * velocity`; `actions` and `out` in single precision, dense.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct EulerArguments {
    pub actions: Address,
    pub velocity: Matrix,
    pub dt: Address,
    pub strength: Address,
    pub out: Address,
    pub rows: i32,
    pub columns: i32,
}

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
    /// `[to, from]` when `transposed`, else `[from, to]`; dense.
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
}
