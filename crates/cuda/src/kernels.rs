//! The kernels: which function a launch runs, with how many blocks, threads and bytes of shared memory.

mod cubins;
mod product;
mod tensor_product;

pub use cubins::{Capability, NoKernels, compiled, for_capability, version_for};

use crate::launch::{
    Arguments, AttentionArguments, CastArguments, DequantizeArguments, Element, ElementwiseArguments, EulerArguments,
    GatherArguments, Kernel, NormArguments, PermuteArguments, QuantizeArguments, ResampleArguments, RotaryArguments,
    Tile,
};

use vla_engines::frames::MOST_STEPS;

/// What a device lets a kernel have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Bytes of shared memory that a block may have (`CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN`).
    pub shared: u32,
    /// Whether blocks can be launched in clusters (compute capability 9.0 and newer).
    pub clusters: bool,
    /// Whether tensor copies and a warpgroup's multiplications are used (compute capability 9.0).
    pub warpgroups: bool,
}

/// How a kernel is launched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Configuration {
    /// Name in the module.
    pub function: &'static str,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Blocks of a cluster, along the grid's first dimension.
    pub cluster: u32,
    /// Bytes of dynamic shared memory; above 48 KiB the function's limit has to be raised first.
    pub shared: u32,
}

/// Why a kernel cannot be launched with its arguments.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LaunchError {
    /// The arguments are of another kernel.
    #[error("the arguments {arguments} are not those of the kernel {kernel}")]
    OtherArguments {
        /// The kernel.
        kernel: String,
        /// The arguments.
        arguments: String,
    },
    /// A size that the kernel does not take.
    #[error("{kernel}: {what} is {found}, expected {expected}")]
    Size {
        /// The kernel.
        kernel: &'static str,
        /// Which size.
        what: &'static str,
        /// Its value.
        found: i64,
        /// What the kernel takes.
        expected: String,
    },
}

/// Elements that a thread takes at once (`kChunk`).
const CHUNK: u64 = 8;
/// Elements that one warp norms (`kNarrow`).
const NARROW: u64 = 256;
/// Bytes of the moments of a block's warps, before what a norm keeps in shared memory.
const MOMENTS: u64 = 16 * 8;
/// Bytes of shared memory that a block may have on every architecture that the kernels are compiled for.
const MOST_SHARED: u32 = 99 << 10;
/// Largest number of blocks and of work items.
const MOST: u64 = i32::MAX as u64;

/// Name of the function of an element type.
macro_rules! of_element {
    ($name:literal, $element:expr) => {
        match $element {
            Element::F32 => concat!($name, "_f32"),
            Element::F16 => concat!($name, "_f16"),
            Element::BF16 => concat!($name, "_bf16"),
        }
    };
}

/// Function, blocks, threads and shared memory of a launch.
///
/// # Errors
/// [`LaunchError`]: arguments of another kernel, or sizes that the kernel does not take.
pub fn configuration(kernel: Kernel, arguments: &Arguments, limits: Limits) -> Result<Configuration, LaunchError> {
    match (kernel, arguments) {
        (Kernel::Norm(element), Arguments::Norm(a)) => match norm_row(element, a) {
            Some(configuration) => Ok(configuration),
            None => norm(of_element!("norm", element), a, limits),
        },
        (Kernel::Product(element, tile), Arguments::Product(a)) => product::product(element, tile, a, limits),
        (Kernel::TensorProduct(element, tile), Arguments::TensorProduct(a)) => {
            tensor_product::tensor_product(element, tile, a, limits)
        }
        (Kernel::Quantize(element), Arguments::Quantize(a)) => quantize(of_element!("quantize", element), element, a),
        (Kernel::Dequantize(element), Arguments::Dequantize(a)) => {
            dequantize(of_element!("dequantize", element), element, a)
        }
        (Kernel::Attention(element), Arguments::Attention(a)) => attention(element, a, limits),
        (Kernel::Rotary(element), Arguments::Rotary(a)) => rotary(of_element!("rotary", element), a),
        (Kernel::Elementwise(element), Arguments::Elementwise(a)) => {
            elementwise(of_element!("elementwise", element), a)
        }
        (Kernel::Gather, Arguments::Gather(a)) => gather(a),
        (Kernel::Permute, Arguments::Permute(a)) => permute(a),
        (Kernel::Cast, Arguments::Cast(a)) => cast(a),
        (Kernel::Euler(element), Arguments::Euler(a)) => euler(of_element!("euler", element), a),
        (Kernel::Resample, Arguments::Resample(a)) => resample(a),
        _ => Err(LaunchError::OtherArguments { kernel: format!("{kernel:?}"), arguments: format!("{arguments:?}") }),
    }
}

/// Blocks of a tile that a multiprocessor has shared memory for with any number of rows, of `from` channels in `parts` parts; 0: the device
/// has no room for one.
pub(crate) fn resident(tile: Tile, from: i32, parts: u32, limits: Limits) -> u32 {
    match tile {
        Tile::Bytes(tile) => product::resident(tile, from, parts, limits),
        Tile::Tensor(tile) => tensor_product::resident(tile, from, parts, limits),
    }
}

/// Sizes of one kernel, checked.
struct Sizes(&'static str);

impl Sizes {
    fn check(&self, what: &'static str, found: impl Into<i64>, holds: bool, expected: &str) -> Result<(), LaunchError> {
        if holds {
            return Ok(());
        }
        Err(LaunchError::Size { kernel: self.0, what, found: found.into(), expected: expected.to_owned() })
    }

    fn positive(&self, what: &'static str, found: impl Into<i64>) -> Result<u64, LaunchError> {
        let found = found.into();
        self.check(what, found, found > 0, "1 or more")?;
        Ok(found.unsigned_abs())
    }

    /// Channels and outputs of a product of ours.
    fn channels(&self, from: i32, to: i32, depth: u64) -> Result<(u64, u64), LaunchError> {
        let (channels, outputs) = (self.positive("from", from)?, self.positive("to", to)?);
        self.check("to", to, outputs % 8 == 0, "a multiple of 8")?;
        self.check("from", from, channels % depth == 0, &format!("a multiple of {depth}"))?;
        Ok((channels, outputs))
    }

    /// A product of sizes.
    fn count(&self, what: &'static str, factors: &[u64]) -> Result<u64, LaunchError> {
        let found = factors.iter().try_fold(1_u64, |product, &factor| product.checked_mul(factor)).unwrap_or(u64::MAX);
        self.check(what, i64::try_from(found).unwrap_or(i64::MAX), found <= MOST, "less than 2^31")?;
        Ok(found)
    }

    /// Blocks of `threads` threads, each for `per_block` of the items.
    fn flat(&self, items: u64, per_block: u64, threads: u64) -> Configuration {
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Configuration {
            function: self.0,
            grid: [small(items.div_ceil(per_block)), 1, 1],
            block: [small(threads), 1, 1],
            cluster: 1,
            shared: 0,
        }
    }

    fn shared(&self, bytes: u64, limits: Limits) -> Result<u32, LaunchError> {
        let most = limits.shared.min(MOST_SHARED);
        let found = u32::try_from(bytes.next_multiple_of(16)).unwrap_or(u32::MAX);
        self.check("shared memory", found, found <= most, &format!("at most {most} bytes"))?;
        Ok(found)
    }
}

/// A block a row: of 16-bit elements, aligned, not longer than a block with eight elements a thread.
fn norm_row(element: Element, a: &NormArguments) -> Option<Configuration> {
    let (rows, width) = (u64::try_from(a.rows).ok()?, u64::try_from(a.width).ok()?);
    let matrices = [a.x, a.parts.first, a.sum, a.y, a.quantized];
    let addresses = [a.parts.bias, a.weight, a.bias, a.gain, a.shift];
    let aligned = matrices.iter().all(|matrix| matrix.address % 16 == 0 && matrix.stride % 8 == 0)
        && addresses.iter().all(|address| address % 16 == 0)
        && a.parts.apart % 8 == 0;
    let fits = rows > 0 && a.groups == 1 && width.is_multiple_of(CHUNK) && width > NARROW && width <= 512 * CHUNK;
    let function = match element {
        Element::F16 => "norm_row_f16",
        Element::BF16 => "norm_row_bf16",
        Element::F32 => return None,
    };
    let threads = (width / CHUNK).next_multiple_of(32);
    let launch = Configuration { shared: MOMENTS as u32, ..Sizes(function).flat(rows, 1, threads) };
    (aligned && fits).then_some(launch)
}

fn norm(function: &'static str, a: &NormArguments, limits: Limits) -> Result<Configuration, LaunchError> {
    let sizes = Sizes(function);
    let (rows, groups) = (sizes.positive("rows", a.rows)?, sizes.positive("groups", a.groups)?);
    let width = sizes.positive("width", a.width)?;
    let pieces = sizes.count("rows * groups", &[rows, groups])?;
    sizes.count("groups * width", &[groups, width])?;
    sizes.check("groups", a.groups, a.scales == 0 || groups == 1, "1, of rows in 8 bits")?;
    if width <= NARROW {
        return Ok(Configuration {
            shared: sizes.shared(MOMENTS + 4 * NARROW * 4, limits)?,
            ..sizes.flat(pieces, 4, 128)
        });
    }
    let threads = width.div_ceil(CHUNK).next_multiple_of(32).min(512);
    // What registers do not hold of unaligned rows, of which a thread has an element in registers.
    let kept = (width - threads) * 4;
    Ok(Configuration { shared: sizes.shared(MOMENTS + kept, limits)?, ..sizes.flat(pieces, 1, threads) })
}

fn rotary(function: &'static str, a: &RotaryArguments) -> Result<Configuration, LaunchError> {
    let sizes = Sizes(function);
    let (rows, first) = (sizes.positive("rows", a.rows)?, sizes.positive("heads", a.first.heads)?);
    sizes.check("second heads", a.second.heads, a.second.heads >= 0, "0 or more")?;
    let heads = first + u64::from(a.second.heads.unsigned_abs());
    let dim = sizes.positive("dim", a.dim)?;
    sizes.check("dim", a.dim, dim % 2 == 0, "an even number")?;
    sizes.positive("group", a.group)?;
    sizes.count("heads * dim", &[heads, dim])?;
    Ok(sizes.flat(sizes.count("rows * heads", &[rows, heads])?, 4, 128))
}

/// 256 threads a block, a chunk of a row each.
fn by_chunks(sizes: &Sizes, rows: i32, columns: i32) -> Result<Configuration, LaunchError> {
    let (rows, columns) = (sizes.positive("rows", rows)?, sizes.positive("columns", columns)?);
    Ok(sizes.flat(sizes.count("rows * columns / 8", &[rows, columns.div_ceil(CHUNK)])?, 256, 256))
}

fn elementwise(function: &'static str, a: &ElementwiseArguments) -> Result<Configuration, LaunchError> {
    let sizes = Sizes(function);
    sizes.check("add_rows", a.add_rows, a.add.address == 0 || a.add_rows > 0, "1 or more")?;
    sizes.check("activation", a.activation, (0..=4).contains(&a.activation), "0 to 4")?;
    by_chunks(&sizes, a.rows, a.columns)
}

/// A row a block.
fn quantize(function: &'static str, element: Element, a: &QuantizeArguments) -> Result<Configuration, LaunchError> {
    let sizes = Sizes(function);
    sizes.check("element", element as u32, element != Element::F32, "a type of 16 bits")?;
    let (rows, columns) = (sizes.positive("rows", a.rows)?, sizes.positive("columns", a.columns)?);
    let threads = columns.div_ceil(CHUNK).next_multiple_of(32).min(512);
    Ok(Configuration { shared: (threads / 32 * 4).next_multiple_of(16) as u32, ..sizes.flat(rows, 1, threads) })
}

fn dequantize(function: &'static str, element: Element, a: &DequantizeArguments) -> Result<Configuration, LaunchError> {
    let sizes = Sizes(function);
    sizes.check("element", element as u32, element != Element::F32, "a type of 16 bits")?;
    sizes.check("activation", a.activation, (0..=4).contains(&a.activation), "0 to 4")?;
    by_chunks(&sizes, a.rows, a.columns)
}

fn cast(a: &CastArguments) -> Result<Configuration, LaunchError> {
    let sizes = Sizes("cast");
    for (what, element) in [("from", a.from), ("to", a.to)] {
        sizes.check(what, element, element <= 2, "an element type, 0 to 2")?;
    }
    by_chunks(&sizes, a.rows, a.columns)
}

fn euler(function: &'static str, a: &EulerArguments) -> Result<Configuration, LaunchError> {
    let sizes = Sizes(function);
    let (rows, columns) = (sizes.positive("rows", a.rows)?, sizes.positive("columns", a.columns)?);
    Ok(sizes.flat(sizes.count("rows * columns", &[rows, columns])?, 256, 256))
}

/// Threads for as many pixels as the result has; steps before it may have more.
fn resample(a: &ResampleArguments) -> Result<Configuration, LaunchError> {
    let sizes = Sizes("resample");
    let (width, height) = (sizes.positive("width", a.width)?, sizes.positive("height", a.height)?);
    sizes.check("images", a.images, (1..=65535).contains(&a.images), "1 to 65535")?;
    sizes.check("step", a.step, (0..MOST_STEPS as i32).contains(&a.step), "a step of a transform")?;
    let pixels = sizes.count("4 * 3 * width * height", &[12, width, height])? / 12;
    let flat = sizes.flat(pixels, 256, 256);
    Ok(Configuration { grid: [flat.grid[0], a.images.unsigned_abs(), 1], ..flat })
}

fn gather(a: &GatherArguments) -> Result<Configuration, LaunchError> {
    let sizes = Sizes("gather");
    let (rows, bytes) = (sizes.positive("rows", a.rows)?, sizes.positive("bytes", a.bytes)?);
    sizes.check("entries", a.entries, a.index == 0 || a.entries > 0, "1 or more")?;
    Ok(sizes.flat(sizes.count("rows * bytes / 16", &[rows, bytes.div_ceil(16)])?, 256, 256))
}

fn permute(a: &PermuteArguments) -> Result<Configuration, LaunchError> {
    let sizes = Sizes("permute");
    sizes.check("size", a.size, a.size == 2 || a.size == 4, "2 or 4")?;
    let mut dims = [0; 6];
    for (size, &dim) in dims.iter_mut().zip(&a.dims) {
        *size = sizes.positive("dims", dim)?;
    }
    let words = 16 / u64::from(a.size.unsigned_abs());
    Ok(sizes.flat(sizes.count("the number of elements", &dims)?.div_ceil(words), 256, 256))
}

fn attention(element: Element, a: &AttentionArguments, limits: Limits) -> Result<Configuration, LaunchError> {
    let dim = DIMS.iter().position(|&dim| i64::from(dim) >= i64::from(a.dim));
    let (Some(index), true) = (dim, element != Element::F32 && a.dim > 0) else {
        return plain_attention(of_element!("attention_plain", element), a, limits);
    };
    // Blocks of 64 query rows where they occupy the device, or where keys would be read too often by blocks of 16.
    let blocks = i64::from(a.heads) * i64::from(a.groups) * i64::from(a.rows.unsigned_abs().div_ceil(64));
    let many = a.rows > 256 || blocks >= i64::from(limits.multiprocessors);
    let shape = AttentionShape::new(DIMS[index], if many { 1 } else { KEY_WARPS[index] });
    let function = FUNCTIONS[usize::from(element == Element::BF16)][usize::from(many)][index];
    let sizes = Sizes(function);
    let [blocks, heads, groups] = attention_grid(&sizes, a, shape.queries)?;
    sizes.check("rows", a.rows, blocks <= 65535, "at most 65535 blocks of them")?;
    let shared = sizes.shared(shape.shared(a.keys.unsigned_abs()).into(), limits)?;
    Ok(Configuration { function, grid: [heads, blocks, groups], block: [shape.threads, 1, 1], cluster: 1, shared })
}

/// Head dimensions that attention by tensor cores is compiled for; others are padded.
const DIMS: [u32; 5] = [32, 48, 64, 80, 128];
/// Warps that share the keys, of few query rows.
const KEY_WARPS: [u32; 5] = [8, 8, 8, 4, 4];

macro_rules! of_dims {
    ($name:literal) => {
        [
            concat!($name, "_32"),
            concat!($name, "_48"),
            concat!($name, "_64"),
            concat!($name, "_80"),
            concat!($name, "_128"),
        ]
    };
}

/// By element type, few or many rows, and head dimension.
const FUNCTIONS: [[[&str; 5]; 2]; 2] = [
    [of_dims!("attention_few_f16"), of_dims!("attention_many_f16")],
    [of_dims!("attention_few_bf16"), of_dims!("attention_many_bf16")],
];

/// The `AttentionShape` of `attention.cuh`, in elements of 16 bits.
struct AttentionShape {
    /// Whether warps share the keys.
    merged: bool,
    threads: u32,
    queries: u32,
    tile: u32,
    stride: u32,
    stage: u32,
    stages: u32,
    merge: u32,
}

impl AttentionShape {
    fn new(dim: u32, key_warps: u32) -> Self {
        let merged = key_warps > 1;
        let (queries, tile, stride) = if merged { (16, 16 * key_warps, dim + 8) } else { (64, 64, dim + 8) };
        let stage = 2 * tile * stride;
        Self {
            merged,
            threads: if merged { 32 * key_warps } else { 128 },
            queries,
            tile,
            stride,
            stage,
            stages: if merged && 3 * 2 * stage <= 88 << 10 { 3 } else { 2 },
            merge: key_warps * 16 * (dim + 4 + 2) * 4,
        }
    }

    /// Bytes of shared memory.
    fn shared(&self, keys: u32) -> u32 {
        if !self.merged {
            return self.stages * self.stage * 2;
        }
        let stages = keys.div_ceil(self.tile).min(self.stages) * self.stage * 2;
        self.queries * self.stride * 2 + stages.max(self.merge)
    }
}

/// A warp a query row and head; in shared memory its query, its result and 32 weights in single precision.
fn plain_attention(
    function: &'static str,
    a: &AttentionArguments,
    limits: Limits,
) -> Result<Configuration, LaunchError> {
    let sizes = Sizes(function);
    let grid = attention_grid(&sizes, a, 4)?;
    let shared = sizes.shared((sizes.positive("dim", a.dim)? * 2 + 32) * 4 * 4, limits)?;
    Ok(Configuration { function, grid, block: [128, 1, 1], cluster: 1, shared })
}

/// Blocks of `rows` query rows of a head.
fn attention_grid(sizes: &Sizes, a: &AttentionArguments, rows: u32) -> Result<[u32; 3], LaunchError> {
    for (what, found) in [("rows", a.rows), ("keys", a.keys), ("dim", a.dim), ("kv_heads", a.kv_heads)] {
        sizes.positive(what, found)?;
    }
    for (what, found) in [("heads", a.heads), ("groups", a.groups)] {
        sizes.check(what, found, (1..=65535).contains(&found), "1 to 65535")?;
    }
    sizes.check("kv_heads", a.kv_heads, a.heads % a.kv_heads == 0, "a divisor of heads")?;
    Ok([a.rows.unsigned_abs().div_ceil(rows), a.heads.unsigned_abs(), a.groups.unsigned_abs()])
}
