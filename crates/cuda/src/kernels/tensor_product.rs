//! Launches of products by tensor copies and a warpgroup's multiplications.

use super::{Configuration, LaunchError, Limits, Sizes};
use crate::launch::{Element, TensorProductArguments, TensorTile};

macro_rules! of_outputs {
    ($name:literal) => {
        [concat!($name, "_48"), concat!($name, "_72"), concat!($name, "_96"), concat!($name, "_128")]
    };
}

/// By the type of the result and the outputs of a block ([`TensorTile::OUTPUTS`]).
const FUNCTIONS: [[&str; 4]; 2] = [of_outputs!("tensor_product_f16"), of_outputs!("tensor_product_bf16")];
/// Warps that multiply, and one that copies.
const THREADS: u32 = 32 * (MULTIPLYING + 1);
const MULTIPLYING: u32 = 4;
/// Bytes of a tile's row.
const ROW: u64 = 128;
/// Bytes of a stage's two barriers.
const BARRIERS: u64 = 16;
/// Bytes of a multiprocessor's shared memory that each block takes beside its own.
const RESERVED: u32 = 1 << 10;

/// `[cluster, tiles of outputs, parts]` blocks. Shared memory has the ring, the sums of the cluster's other blocks, biases and barriers.
pub(super) fn tensor_product(
    element: Element,
    tile: TensorTile,
    a: &TensorProductArguments,
    limits: Limits,
) -> Result<Configuration, LaunchError> {
    let outputs = TensorTile::OUTPUTS.iter().position(|outputs| *outputs == tile.outputs);
    let sizes = Sizes("tensor_product");
    let warpgroups = "1: a GPU of compute capability 9.0";
    sizes.check("warpgroups", limits.warpgroups, limits.warpgroups, warpgroups)?;
    sizes.check("element", element as u32, element != Element::F32, "a type of 16 bits")?;
    sizes.check("outputs", tile.outputs, outputs.is_some(), "those that it is compiled for")?;
    sizes.check("rows", a.rows, (1..=TensorTile::ROWS).contains(&a.rows), "1 to 64")?;
    sizes.check("activation", a.activation, matches!(a.activation, 0 | 1 | 3), "0, 1 or 3")?;
    sizes.check("parts", a.parts, (1..=65535).contains(&a.parts), "1 to 65535")?;
    sizes.check("cluster", tile.cluster, TensorTile::CLUSTERS.contains(&tile.cluster), "1, 2 or 4")?;
    sizes.check("stages", tile.stages, tile.stages > 1, "2 or more")?;
    let depth = u64::from(tile.depth()) * u64::from(a.parts.unsigned_abs());
    let (from, to) = sizes.channels(a.from, a.to, depth)?;
    let addresses = [a.x.address, a.weight, a.bias, a.y.address];
    let whole = addresses.iter().all(|address| address % 16 == 0)
        && [a.x.stride, a.y.stride, a.apart].iter().all(|stride| stride % 8 == 0);
    sizes.check("alignment", i64::from(whole), whole, "addresses and strides of whole chunks")?;

    let function = FUNCTIONS[usize::from(element == Element::BF16)][outputs.unwrap_or_default()];
    let bytes = shared(tile, a.rows, from / depth);
    let most = u64::from(limits.shared);
    sizes.check("shared memory", bytes as i64, bytes <= most, &format!("at most {most} bytes"))?;
    let blocks = to.div_ceil(u64::from(tile.outputs));
    sizes.check("to", a.to, blocks <= 65535, "at most 65535 tiles")?;
    Ok(Configuration {
        function,
        grid: [tile.cluster, blocks as u32, a.parts.unsigned_abs()],
        block: [THREADS, 1, 1],
        cluster: tile.cluster,
        shared: bytes as u32,
    })
}

/// Blocks that a multiprocessor has room for with any number of rows, of `from` channels in `parts` parts.
pub(super) fn resident(tile: TensorTile, from: i32, parts: u32, limits: Limits) -> u32 {
    let steps = u64::from(from.unsigned_abs()) / (u64::from(tile.depth()) * u64::from(parts)).max(1);
    let bytes = shared(tile, TensorTile::ROWS, steps);
    match limits.warpgroups && bytes <= u64::from(limits.shared) {
        true => u64::from(limits.shared + RESERVED).checked_div(bytes + u64::from(RESERVED)).unwrap_or(0) as u32,
        false => 0,
    }
}

/// Bytes of a block's shared memory for `rows` rows and `steps` steps of channels.
fn shared(tile: TensorTile, rows: i32, steps: u64) -> u64 {
    let stage = u64::from(TensorTile::x_rows(rows) + tile.outputs) * ROW + BARRIERS;
    let others = u64::from((tile.cluster - 1) * (MULTIPLYING / tile.cluster));
    let sums = others * 32 * u64::from(tile.outputs / 2) * 4;
    let biases = u64::from(tile.outputs) * 4;
    (u64::from(tile.stages).min(steps) * stage + sums + biases).next_multiple_of(16)
}
