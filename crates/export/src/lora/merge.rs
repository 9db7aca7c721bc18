//! The arithmetic of merging, as PEFT does it on a CPU.
//!
//! `B A` is a sum of fused multiply-adds in single precision, in the order of the ranks; it is multiplied by the scale and
//! added to the weight in single precision, and the sum is rounded to the weight's element type. PyTorch's matrix product
//! (MKL) sums in this order up to rank 192, so the result is the same bit by bit; docs/lora.md has what was measured.

use std::borrow::Cow;
use std::num::NonZero;
use std::thread;

use half::{bf16, f16};

use crate::weights::Weight;
use vla_base::sys::simd::{Kernel, Simd};
use vla_base::tensor::DType;

/// Columns of a product that are summed together: they stay in registers.
const TILE: usize = 64;
/// Rows of a product that are computed before they are added.
const ROWS: usize = 256;
/// Multiply-adds for which another thread is worth it.
const THREAD: usize = 1 << 22;

/// What is added to a weight.
pub(super) enum Delta {
    /// `scale * B A`.
    Product {
        /// `[rank, columns]`.
        a: Vec<f32>,
        /// `[rows, rank]`.
        b: Vec<f32>,
        rank: usize,
        scale: f32,
        /// Whether it is rounded to the weight's type before the sum. PEFT does so for embeddings.
        rounded: bool,
    },
    /// `scale * values`.
    Values { values: Vec<f32>, scale: f32 },
}

impl Delta {
    /// Of a linear layer: `a` `[rank, in]`, `b` `[out, rank]`.
    pub(super) fn linear(a: Vec<f32>, b: Vec<f32>, rank: usize, scale: f64) -> Self {
        Self::Product { a, b, rank, scale: scale as f32, rounded: false }
    }

    /// Of a table of embeddings: `a` `[rank, entries]`, `b` `[width, rank]`; their product is transposed.
    pub(super) fn embedding(a: &[f32], b: &[f32], rank: usize, scale: f64) -> Self {
        let (a, b) = (transposed(b, rank), transposed(a, a.len() / rank.max(1)));
        Self::Product { a, b, rank, scale: scale as f32, rounded: true }
    }

    /// Of a bias.
    pub(super) fn bias(values: Vec<f32>, scale: f64) -> Self {
        Self::Values { values, scale: scale as f32 }
    }
}

/// `values` `[rows, columns]` as `[columns, rows]`.
fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns.max(1)).copied()).collect()
}

/// `weight` under another name and in another element type.
pub(super) fn as_type<'a>(weight: Weight<'a>, name: &str, dtype: DType) -> Weight<'a> {
    let data = match dtype {
        same if same == weight.dtype => weight.data,
        DType::F16 => Cow::Owned(weight.to_f32().into_iter().flat_map(|v| f16::from_f32(v).to_le_bytes()).collect()),
        DType::BF16 => Cow::Owned(weight.to_f32().into_iter().flat_map(|v| bf16::from_f32(v).to_le_bytes()).collect()),
        _ => Cow::Owned(weight.to_f32().into_iter().flat_map(f32::to_le_bytes).collect()),
    };
    Weight { name: name.to_owned(), dtype, dims: weight.dims, data }
}

/// `weight` plus `delta`, whose sizes fit it, in the weight's element type.
pub(super) fn add(weight: Weight<'_>, delta: &Delta) -> Weight<'static> {
    let Weight { name, dtype, dims, data } = weight;
    let mut data = data.into_owned();
    match dtype {
        DType::F16 => apply::<f16, 2>(&mut data, delta),
        DType::BF16 => apply::<bf16, 2>(&mut data, delta),
        _ => apply::<f32, 4>(&mut data, delta),
    }
    Weight { name, dtype, dims, data: Cow::Owned(data) }
}

/// An element type of weights, of `N` bytes.
trait Element<const N: usize> {
    fn read(bytes: [u8; N]) -> f32;
    fn write(value: f32) -> [u8; N];
}

impl Element<4> for f32 {
    #[inline(always)]
    fn read(bytes: [u8; 4]) -> f32 {
        Self::from_le_bytes(bytes)
    }

    #[inline(always)]
    fn write(value: f32) -> [u8; 4] {
        value.to_le_bytes()
    }
}

impl Element<2> for f16 {
    #[inline(always)]
    fn read(bytes: [u8; 2]) -> f32 {
        Self::from_le_bytes(bytes).to_f32()
    }

    #[inline(always)]
    fn write(value: f32) -> [u8; 2] {
        Self::from_f32(value).to_le_bytes()
    }
}

impl Element<2> for bf16 {
    #[inline(always)]
    fn read(bytes: [u8; 2]) -> f32 {
        Self::from_le_bytes(bytes).to_f32()
    }

    #[inline(always)]
    fn write(value: f32) -> [u8; 2] {
        Self::from_f32(value).to_le_bytes()
    }
}

fn apply<T: Element<N>, const N: usize>(data: &mut [u8], delta: &Delta) {
    let (elements, _) = data.as_chunks_mut::<N>();
    match delta {
        Delta::Values { values, scale } => {
            for (element, value) in elements.iter_mut().zip(values) {
                *element = T::write(T::read(*element) + *value * *scale);
            }
        }
        Delta::Product { a, b, rank, scale, rounded } => {
            let columns = a.len().checked_div(*rank).unwrap_or(0);
            if columns == 0 || *rank == 0 {
                return;
            }
            let rows = b.len() / rank;
            let threads = thread::available_parallelism().map_or(1, NonZero::get);
            let share = rows.div_ceil((rows * columns * rank / THREAD).clamp(1, threads));
            let shares = elements.chunks_mut(share * columns).zip(b.chunks(share * rank));
            thread::scope(|scope| {
                for (elements, b) in shares {
                    scope.spawn(move || {
                        for (elements, b) in elements.chunks_mut(ROWS * columns).zip(b.chunks(ROWS * rank)) {
                            add_product::<T, N>(elements, a, b, *rank, *scale, *rounded);
                        }
                    });
                }
            });
        }
    }
}

/// Adds `scale * B A` to `elements` `[rows, columns]`.
fn add_product<T: Element<N>, const N: usize>(
    elements: &mut [[u8; N]],
    a: &[f32],
    b: &[f32],
    rank: usize,
    scale: f32,
    rounded: bool,
) {
    let (simd, columns) = (Simd::widest(), a.len() / rank);
    let mut tile = vec![0.0; rank * TILE];
    let mut product = vec![0.0; b.len() / rank * TILE];
    for first in (0..columns).step_by(TILE) {
        let width = TILE.min(columns - first);
        // Beyond the last column the tile holds the values of the tile before, whose products are not used.
        for (to, from) in tile.chunks_exact_mut(TILE).zip(a.chunks_exact(columns)) {
            to[..width].copy_from_slice(&from[first..first + width]);
        }
        simd.run(Product { tile: &tile, b, rank, product: &mut product });
        for (row, product) in elements.chunks_exact_mut(columns).zip(product.chunks_exact(TILE)) {
            for (element, product) in row[first..first + width].iter_mut().zip(product) {
                let delta = product * scale;
                let delta = if rounded { T::read(T::write(delta)) } else { delta };
                *element = T::write(T::read(*element) + delta);
            }
        }
    }
}

/// `product` `[rows, TILE]` of `b` `[rows, rank]` and `tile` `[rank, TILE]`.
struct Product<'a> {
    tile: &'a [f32],
    b: &'a [f32],
    rank: usize,
    product: &'a mut [f32],
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (tile, _) = self.tile.as_chunks::<TILE>();
        let (product, _) = self.product.as_chunks_mut::<TILE>();
        for (row, sum) in self.b.chunks_exact(self.rank).zip(product) {
            let mut sums = [0.0_f32; TILE];
            for (b, a) in row.iter().zip(tile) {
                for (sum, a) in sums.iter_mut().zip(a) {
                    *sum = b.mul_add(*a, *sum);
                }
            }
            *sum = sums;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small numbers whose sums are not exact.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 2003.0 - 0.5).collect()
    }

    fn plainly(base: &[f32], a: &[f32], b: &[f32], rank: usize, scale: f32) -> Vec<f32> {
        let columns = a.len() / rank;
        let element = |index: usize| {
            let (row, column) = (index / columns, index % columns);
            let sum = (0..rank).fold(0.0_f32, |sum, k| b[row * rank + k].mul_add(a[k * columns + column], sum));
            base[index] + sum * scale
        };
        (0..base.len()).map(element).collect()
    }

    #[test]
    fn tiles_and_threads_give_what_the_formula_gives() {
        // The last one takes several threads where there are several.
        for (rows, columns, rank) in [(1, 1, 1), (3, 5, 2), (7, 64, 4), (9, 65, 3), (5, 200, 16), (512, 640, 32)] {
            let (base, a, b) = (numbers(rows * columns, 1), numbers(rank * columns, 2), numbers(rows * rank, 3));
            let expected = plainly(&base, &a, &b, rank, 0.75);
            let merged = add(Weight::computed("w", &[rows, columns], &base), &Delta::linear(a, b, rank, 0.75));
            assert_eq!((merged.to_f32(), merged.dims), (expected, vec![rows, columns]), "{rows} {columns} {rank}");
        }
    }

    #[test]
    fn the_sum_is_rounded_once_for_a_layer_and_the_delta_too_for_an_embedding() {
        let base = as_type(Weight::computed("w", &[1, 2], &[1.0, 1.0]), "w", DType::BF16);
        // 1 + 2^-8 + 2^-17 is just above half of a step of BF16 at 1: rounded at once it goes up, while the delta alone
        // rounds to 2^-8, a tie that goes to the even 1.
        let (a, b) = (vec![0.003_906_25 + 1.0 / 131_072.0, 0.25], vec![1.0]);
        assert_eq!(add(base.clone(), &Delta::linear(a.clone(), b.clone(), 1, 1.0)).to_f32(), [1.0078125, 1.25]);
        let table = Weight { dims: vec![2, 1], ..base };
        assert_eq!(add(table, &Delta::embedding(&a, &b, 1, 1.0)).to_f32(), [1.0, 1.25]);
    }

    #[test]
    fn an_embeddings_product_is_transposed() {
        let (entries, width, rank) = (5, 3, 2);
        let (a, b) = (numbers(rank * entries, 4), numbers(width * rank, 5));
        let merged = add(Weight::computed("w", &[entries, width], &[0.0; 15]), &Delta::embedding(&a, &b, rank, 2.0));
        let element = |entry: usize, column: usize| {
            (0..rank).fold(0.0_f32, |sum, k| b[column * rank + k].mul_add(a[k * entries + entry], sum)) * 2.0
        };
        let expected: Vec<f32> = (0..15).map(|index| element(index / width, index % width)).collect();
        assert_eq!(merged.to_f32(), expected);
    }

    #[test]
    fn a_bias_is_scaled_and_added() {
        let base = Weight::computed("b", &[2], &[1.0, -2.0]);
        assert_eq!(add(base, &Delta::bias(vec![0.5, 1.5], 2.0)).to_f32(), [2.0, 1.0]);
    }
}
