//! What a program is made into: launches of kernels and products, with addresses.
//!
//! The structures of arguments are those of `kernels/arguments.h`, field by field; a test compares sizes and offsets.

use serde::{Deserialize, Serialize};

mod product;
mod quantize;
mod resample;
mod tensor_product;
mod tiling;

pub use product::{ByteTile, Epilogue, Follows, Product, ProductArguments, Tile};
pub use quantize::{DequantizeArguments, QuantizeArguments, Scales};
pub use resample::{ResampleArguments, ResampleStep};
pub use tensor_product::{MappedTensorProduct, TensorMap, TensorProductArguments, TensorTile, Tiles};
pub use tiling::Tiling;

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
    /// [`ProductArguments`]; the type of the result
    Product(Element, ByteTile),
    /// [`TensorProductArguments`]; the type of the result
    TensorProduct(Element, TensorTile),
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
    /// [`ResampleArguments`]; 8-bit frames to single precision
    Resample,
}

/// Arguments of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Arguments {
    Norm(NormArguments),
    Product(ProductArguments),
    TensorProduct(TensorProductArguments),
    Quantize(QuantizeArguments),
    Dequantize(DequantizeArguments),
    Attention(AttentionArguments),
    Rotary(RotaryArguments),
    Elementwise(ElementwiseArguments),
    Gather(GatherArguments),
    Permute(PermuteArguments),
    Cast(CastArguments),
    Euler(EulerArguments),
    Resample(ResampleArguments),
}

/// What a kernel is launched with.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameters {
    /// The arguments themselves.
    Plain(Arguments),
    /// Of [`Kernel::TensorProduct`].
    Mapped(Box<MappedTensorProduct>),
}

/// A structure's address, and its size.
fn of<A>(structure: &A) -> (*const std::ffi::c_void, usize) {
    (std::ptr::from_ref(structure).cast(), size_of::<A>())
}

impl Parameters {
    /// The parameters of a kernel whose arguments have their addresses on the device.
    ///
    /// # Errors
    /// Those of `map`.
    pub fn new<E>(
        kernel: Kernel,
        arguments: Arguments,
        map: impl Fn(Element, &Tiles) -> Result<TensorMap, E>,
    ) -> Result<Self, E> {
        let (Kernel::TensorProduct(element, tile), Arguments::TensorProduct(a)) = (kernel, arguments) else {
            return Ok(Self::Plain(arguments));
        };
        Ok(Self::Mapped(Box::new(a.mapped(tile, |tiles| map(element, tiles))?)))
    }

    /// The structure that the kernel takes: its address, valid as long as `self`, and its size.
    pub fn raw(&self) -> (*const std::ffi::c_void, usize) {
        match self {
            Self::Plain(arguments) => arguments.raw(),
            Self::Mapped(mapped) => of(&**mapped),
        }
    }
}

impl Arguments {
    /// The structure: its address, valid as long as `self`, and its size.
    fn raw(&self) -> (*const std::ffi::c_void, usize) {
        match self {
            Self::Norm(a) => of(a),
            Self::Product(a) => of(a),
            Self::TensorProduct(a) => of(a),
            Self::Quantize(a) => of(a),
            Self::Dequantize(a) => of(a),
            Self::Attention(a) => of(a),
            Self::Rotary(a) => of(a),
            Self::Elementwise(a) => of(a),
            Self::Gather(a) => of(a),
            Self::Permute(a) => of(a),
            Self::Cast(a) => of(a),
            Self::Euler(a) => of(a),
            Self::Resample(a) => of(a),
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

/// Heads that are turned, `[rows, heads * dim]`.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct RotaryHeads {
    pub x: Matrix,
    pub y: Matrix,
    /// `[dim]`; 0: no norm.
    pub norm: Address,
    pub heads: i32,
    /// Of the norm.
    pub eps: f32,
}

/// See `Operation::Rotary`. `y` may be `x`.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(C)]
pub struct RotaryArguments {
    pub first: RotaryHeads,
    /// Others of the same rows, which have nothing to do with the first; with 0 heads none.
    pub second: RotaryHeads,
    /// `[rows of a group, dim]`
    pub cos: Matrix,
    pub sin: Matrix,
    /// All rows, and those of a group.
    pub rows: i32,
    pub group: i32,
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
