//! Launches of our own kernel for products of 8-bit factors.

use super::{Configuration, LaunchError, Limits, Sizes};
use crate::launch::{ByteTile, Element, ProductArguments};

macro_rules! of_rows {
    ($name:literal, $warps:literal) => {
        [concat!($name, "_", $warps, "_48"), concat!($name, "_", $warps, "_56"), concat!($name, "_", $warps, "_64")]
    };
}
macro_rules! of_warps {
    ($name:literal) => {
        [
            of_rows!($name, "1x4"),
            of_rows!($name, "1x6"),
            of_rows!($name, "2x4"),
            of_rows!($name, "3x2"),
            of_rows!($name, "4x2"),
        ]
    };
}

/// By the type of the result, warps ([`ByteTile::WARPS`]), and most rows: 48, 56, 64.
const FUNCTIONS: [[[&str; 3]; 5]; 2] = [of_warps!("product_f16"), of_warps!("product_bf16")];
/// Bytes of a multiprocessor's shared memory that each block takes beside its own.
const RESERVED: u32 = 1 << 10;

/// `[cluster, tiles of outputs, parts]` blocks. Shared memory has the ring of weights, or the sums of the warps where they need more,
/// and the sums of the cluster's blocks behind it.
pub(super) fn product(
    element: Element,
    tile: ByteTile,
    a: &ProductArguments,
    limits: Limits,
) -> Result<Configuration, LaunchError> {
    let warps = ByteTile::WARPS.iter().position(|warps| *warps == (tile.out_warps, tile.channel_warps));
    let sizes = Sizes("product");
    sizes.check("element", element as u32, element != Element::F32, "a type of 16 bits")?;
    sizes.check("warps", tile.out_warps, warps.is_some(), "those that it is compiled for")?;
    sizes.check("rows", a.rows, (1..=ByteTile::ROWS).contains(&a.rows), "1 to 64")?;
    sizes.check("activation", a.activation, (0..=4).contains(&a.activation), "0 to 4")?;
    sizes.check("parts", a.parts, (1..=65535).contains(&a.parts), "1 to 65535")?;
    let most = if limits.clusters { 8 } else { 1 };
    sizes.check("cluster", tile.cluster, (1..=most).contains(&tile.cluster), &format!("1 to {most}"))?;
    sizes.check("resident", tile.resident, tile.resident > 0, "1 or more")?;
    for (what, scales) in [("row_scales", a.row_scales), ("channel_scales", a.channel_scales)] {
        sizes.check(what, i64::from(scales != 0), scales != 0 && scales % 16 == 0, "an address of whole chunks")?;
    }
    let depth = u64::from(tile.depth()) * u64::from(a.parts.unsigned_abs());
    let (from, to) = sizes.channels(a.from, a.to, depth)?;
    let addresses = [a.x.address, a.weight, a.bias, a.y.address];
    let whole = addresses.iter().all(|address| address % 16 == 0)
        && a.x.stride % 16 == 0
        && [a.y.stride, a.apart].iter().all(|stride| stride % 8 == 0);
    sizes.check("alignment", i64::from(whole), whole, "addresses and strides of whole chunks")?;

    let by_rows = (a.rows.unsigned_abs().max(48).div_ceil(8) - 6) as usize;
    let function = FUNCTIONS[usize::from(element == Element::BF16)][warps.unwrap_or_default()][by_rows];
    let Shared { bytes, most, fits } = Shared::of(tile, 48 + 8 * by_rows as u64, from / depth, limits);
    sizes.check("shared memory", bytes as i64, fits, &format!("at most {most} bytes"))?;
    let outputs = u64::from(ByteTile::OUTPUTS * tile.out_warps);
    let blocks = to.div_ceil(outputs);
    sizes.check("to", a.to, blocks <= 65535, "at most 65535 tiles")?;
    Ok(Configuration {
        function,
        grid: [tile.cluster, blocks as u32, a.parts.unsigned_abs()],
        block: [32 * tile.out_warps * tile.channel_warps, 1, 1],
        cluster: tile.cluster,
        shared: bytes as u32,
    })
}

/// Blocks that a multiprocessor has room for with any number of rows, of `from` channels in `parts` parts.
pub(super) fn resident(tile: ByteTile, from: i32, parts: u32, limits: Limits) -> u32 {
    let steps = u64::from(from.unsigned_abs()) / (u64::from(tile.depth()) * u64::from(parts)).max(1);
    let clusters = tile.cluster == 1 || limits.clusters;
    let fits = clusters && Shared::of(tile, ByteTile::ROWS.unsigned_abs().into(), steps, limits).fits;
    if fits { tile.resident } else { 0 }
}

/// Shared memory of a block.
struct Shared {
    bytes: u64,
    most: u64,
    fits: bool,
}

impl Shared {
    /// For `rows` rows, 48, 56 or 64, and a block's `steps` stages of weights.
    fn of(tile: ByteTile, rows: u64, steps: u64, limits: Limits) -> Self {
        let outputs = u64::from(ByteTile::OUTPUTS * tile.out_warps);
        let stage = outputs * u64::from(ByteTile::CHANNELS * tile.channel_warps);
        let joined = if tile.cluster > 1 { (rows + u64::from(tile.cluster)) * outputs * 4 } else { 0 };
        let sums = u64::from(tile.channel_warps) * rows * (outputs + 4) * 4;
        let most = u64::from(((limits.shared + RESERVED) / tile.resident.max(1)).saturating_sub(RESERVED));
        let stages = (most.saturating_sub(joined) / stage).min(steps);
        let bytes = (stages * stage).max(sums) + joined;
        Self { bytes, most, fits: stages > 0 && bytes <= most }
    }
}
