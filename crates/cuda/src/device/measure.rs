//! Times products on the device, each with a stand-in for the kernel that reads its result.

use std::sync::Arc;

use cudarc::driver::result;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};

use super::PRODUCT_WORKSPACE;
use super::engine::Prepared;
use super::module::Module;
use super::products::Products;
use crate::DeviceBlock;
use crate::cublas::{Algorithm, Descriptors};
use crate::driver::{Cuda, failed};
use crate::kernels::Limits;
use crate::launch::{
    Arguments, Element, ElementwiseArguments, Epilogue, Follows, Kernel, Launch, Matrix, NormArguments, Parts, Product,
    Scales, Tile,
};
use crate::plan;
use crate::tactics::{Key, Measure, Split};
use vla_engines::Error;

/// Bytes of weights that one measurement reads, more than the caches of GPUs hold, where the engine has as many.
const COVERED: u64 = 256 << 20;
/// Most products of a measurement.
const MOST: u64 = 32;
/// Runs of a measurement after the first, which does not count.
const RUNS: usize = 5;

/// Measures with the weights of one engine.
pub(super) struct Measurer<'a> {
    products: &'a Products,
    cuda: &'a Cuda,
    module: &'a Arc<Module>,
    weights: &'a DeviceBlock,
    /// x, the result in parts, and what a following kernel reads and writes.
    scratch: Option<DeviceBlock>,
}

/// Offsets in the scratch block.
struct Places {
    x: u64,
    parts: u64,
    residual: u64,
    result: u64,
    /// INT32 sums of 8-bit factors.
    sums: u64,
    end: u64,
}

impl<'a> Measurer<'a> {
    pub(super) fn new(
        products: &'a Products,
        cuda: &'a Cuda,
        module: &'a Arc<Module>,
        weights: &'a DeviceBlock,
    ) -> Result<Self, Error> {
        cuda.enter()?;
        Ok(Self { products, cuda, module, weights, scratch: None })
    }

    /// The address of a block with at least that many bytes. Numbers of a usual size: those of the weights, as far as they reach.
    fn scratch(&mut self, bytes: u64) -> Result<u64, Error> {
        if self.scratch.as_ref().is_none_or(|block| (block.bytes() as u64) < bytes) {
            self.cuda.wait()?;
            self.scratch = None;
            let block = DeviceBlock::zeroed(self.cuda, usize::try_from(bytes).unwrap_or(usize::MAX))?;
            let copied = block.bytes().min(self.weights.bytes());
            let stream = self.cuda.stream().cu_stream();
            // SAFETY: both blocks are that long, and live until the stream was waited for (`run`, `drop`).
            unsafe { result::memcpy_dtod_async(block.address(), self.weights.address(), copied, stream) }
                .map_err(failed("preparing a measurement"))?;
            self.scratch = Some(block);
        }
        Ok(self.scratch.as_ref().map_or(0, DeviceBlock::address))
    }

    /// The product of a key in this division, at these weights.
    fn product(&mut self, key: &Key, split: Split, weight: u64) -> Result<(Product, u64), Error> {
        let places = Places::of(key, split);
        let base = self.scratch(places.end)?;
        let parts = i32::try_from(split.parts).unwrap_or(1);
        let matrix = |offset: u64, columns: i32| Matrix { address: base + offset, stride: i64::from(columns) };
        let scales = Scales { rows: base, channels: self.weights.address() };
        let product = Product {
            element: key.element,
            eight_bits: key.eight_bits,
            scales: if key.eight_bits { scales } else { Scales::default() },
            x: matrix(places.x, key.from),
            weight,
            bias: if key.epilogue == Epilogue::None { 0 } else { self.weights.address() },
            y: matrix(places.parts, key.to),
            rows: key.rows,
            from: key.from,
            to: key.to,
            transposed: key.transposed,
            epilogue: key.epilogue,
            parts,
            apart: i64::from(key.rows) * i64::from(key.to),
            single: split.single,
            follows: key.follows,
            may_tile: key.may_tile,
        };
        Ok((product, base))
    }

    /// A kernel that adds the parts as what follows the product does; `None` where none takes such sizes. What follows a value is not known;
    /// of few rows a norm of the next product's x stands there, because a product of ours reads weights while it runs.
    fn following(&self, key: &Key, product: &Product, base: u64, release: bool) -> Option<Prepared> {
        if key.follows == Follows::Value && key.rows > Tile::ROWS {
            return None;
        }
        let release = i32::from(release);
        let places = Places::of(key, Split::parts(product.parts.unsigned_abs(), product.single));
        let matrix = |offset: u64| Matrix { address: base + offset, stride: i64::from(key.to) };
        let (single, count) = (i32::from(product.single), product.parts);
        let parts = Parts { first: product.y, apart: product.apart, bias: 0, count, single };
        let (rows, y) = (key.rows, matrix(places.result));
        let (kernel, arguments) = match key.follows {
            Follows::Value if !key.eight_bits => {
                let x = Matrix { address: base + places.residual, stride: i64::from(key.from) };
                let (y, width, eps) = (product.x, key.from, 1e-5);
                let norm = NormArguments { x, y, rows, groups: 1, width, eps, release, ..NormArguments::default() };
                (Kernel::Norm(key.element), Arguments::Norm(norm))
            }
            Follows::Norm | Follows::Value => {
                let x = matrix(places.residual);
                let norm = NormArguments {
                    x,
                    parts,
                    sum: x,
                    y,
                    rows,
                    groups: 1,
                    width: key.to,
                    eps: 1e-5,
                    release,
                    ..NormArguments::default()
                };
                (Kernel::Norm(key.element), Arguments::Norm(norm))
            }
            _ => {
                let add = ElementwiseArguments {
                    parts,
                    y,
                    rows,
                    columns: key.to,
                    add_rows: rows,
                    release,
                    ..ElementwiseArguments::default()
                };
                (Kernel::Elementwise(key.element), Arguments::Elementwise(add))
            }
        };
        self.module.prepare(kernel, arguments).ok().map(Prepared::Kernel)
    }

    /// The product as it is divided, with the kernel that scales the library's sums of 8-bit factors; `None` where our own kernel does not
    /// take it.
    fn prepare(
        &self,
        product: &Product,
        split: Split,
        algorithm: &[u8],
        sums: u64,
    ) -> Result<Option<Vec<Prepared>>, Error> {
        let mut prepared = Vec::new();
        for launch in plan::launches_of(*product, split.tile, sums) {
            prepared.push(match launch {
                Launch::Product(_) if split.tile.is_some() => return Ok(None),
                Launch::Product(product) => {
                    let Some(algorithm) = Algorithm::of_bytes(algorithm) else { return Ok(None) };
                    let descriptors = Descriptors::new(&self.products.handle, &product)?;
                    Prepared::Product(self.products.by(descriptors, algorithm, &product))
                }
                Launch::Kernel { kernel, arguments } => match self.module.prepare(kernel, arguments) {
                    Ok(kernel) => Prepared::Kernel(kernel),
                    Err(_) => return Ok(None),
                },
            });
        }
        Ok(Some(prepared))
    }

    /// Median microseconds of one of these launches, run one after the other as a graph, without those that only follow.
    fn run(&self, launches: &[Prepared], products: usize) -> Result<Option<f64>, Error> {
        let stream = self.cuda.stream();
        let action = "measuring a product";
        // An algorithm's code is loaded at its first run, which is better not a captured one.
        // SAFETY: as below.
        let first = launches.iter().take(3).try_for_each(|launch| unsafe { launch.enqueue(self.cuda, false) });
        self.cuda.wait()?;
        if let Err(error) = first {
            tracing::debug!(%error, "an algorithm is not taken");
            return if error.is_sticky() { Err(error) } else { Ok(None) };
        }
        stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(failed(action))?;
        // SAFETY: the products' and kernels' memory is that of the scratch block and of the weights, which live until the stream was
        // waited for: below, and before the scratch block is replaced or dropped.
        let started =
            launches.iter().enumerate().try_for_each(|(at, launch)| unsafe { launch.enqueue(self.cuda, at > 0) });
        let graph = stream.end_capture(CUgraphInstantiate_flags(0)).map_err(failed(action));
        let graph = match (started, graph) {
            (Ok(()), Ok(Some(graph))) => graph,
            // The library refuses what its heuristic offered.
            (Err(error), _) | (Ok(()), Err(error)) => return if error.is_sticky() { Err(error) } else { Ok(None) },
            (Ok(()), Ok(None)) => return Ok(None),
        };
        let (begin, end) = (self.cuda.event()?, self.cuda.event()?);
        let mut times = Vec::with_capacity(RUNS);
        for run in 0..=RUNS {
            self.cuda.record(&begin, false)?;
            graph.launch().map_err(failed(action))?;
            self.cuda.record(&end, false)?;
            self.cuda.wait()?;
            if run > 0 {
                times.push(begin.elapsed_ms(&end).map_err(failed(action))?);
            }
        }
        times.sort_by(f32::total_cmp);
        Ok(Some(f64::from(times[RUNS / 2]) * 1e3 / products as f64))
    }
}

impl Measure for Measurer<'_> {
    type Error = Error;

    fn limits(&self) -> Limits {
        self.module.limits()
    }

    fn algorithms(&mut self, key: &Key, split: Split) -> Result<Vec<Vec<u8>>, Error> {
        let (product, base) = self.product(key, split, self.weights.address())?;
        let launches = plan::launches_of(product, None, base + Places::of(key, split).sums);
        let Some(Launch::Product(product)) = launches.into_iter().next() else { return Ok(Vec::new()) };
        let addresses = [product.weight, product.x.address, product.y.address];
        let found = Descriptors::new(&self.products.handle, &product).and_then(|descriptors| {
            descriptors.algorithms(PRODUCT_WORKSPACE, addresses, key.follows != Follows::Value)
        });
        match found {
            Ok(found) => Ok(found.iter().map(Algorithm::bytes).collect()),
            // A division that the library does not have; the others remain.
            Err(error @ Error::Device { .. }) => {
                self.cuda.wait()?;
                tracing::debug!(?key, ?split, %error, "no algorithms");
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    fn time(&mut self, key: &Key, split: Split, algorithm: &[u8]) -> Result<Option<f64>, Error> {
        let (bytes, weights) = (weight_bytes(key), self.weights.bytes() as u64);
        let apart = bytes.next_multiple_of(crate::ALIGNMENT as u64);
        let count = COVERED.div_ceil(apart).min(MOST).min(weights / apart).max(1);
        let mut launches = Vec::new();
        for at in 0..count {
            let (product, base) = self.product(key, split, self.weights.address() + at * apart)?;
            let sums = base + Places::of(key, split).sums;
            let Some(prepared) = self.prepare(&product, split, algorithm, sums)? else { return Ok(None) };
            launches.extend(prepared);
            launches.extend(self.following(key, &product, base, split.tile.is_some()));
        }
        let time = self.run(&launches, usize::try_from(count).unwrap_or(1))?;
        tracing::debug!(?key, ?split, microseconds = ?time, "measured");
        Ok(time)
    }
}

/// Nothing of the scratch block may run when it is freed.
impl Drop for Measurer<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.cuda.wait() {
            tracing::debug!(%error, "after measuring products");
        }
    }
}

impl Places {
    fn of(key: &Key, split: Split) -> Self {
        let aligned = |bytes: u64| bytes.next_multiple_of(crate::ALIGNMENT as u64);
        let matrix =
            |columns: i32, size: u64| u64::from(key.rows.unsigned_abs()) * u64::from(columns.unsigned_abs()) * size;
        let size = element_size(key.element);
        let part = if split.single { 4 } else { size };
        let x = aligned(matrix(key.from, size));
        let parts = x + aligned(matrix(key.to, part) * u64::from(split.parts));
        let residual = parts + aligned(matrix(key.to.max(key.from), size));
        let result = residual + aligned(matrix(key.to, size));
        let end = result + if key.eight_bits { aligned(matrix(key.to, 4)) } else { 0 };
        Self { x: 0, parts: x, residual: parts, result: residual, sums: result, end }
    }
}

fn weight_bytes(key: &Key) -> u64 {
    let size = if key.eight_bits { 1 } else { element_size(key.element) };
    u64::from(key.from.unsigned_abs()) * u64::from(key.to.unsigned_abs()) * size
}

fn element_size(element: Element) -> u64 {
    match element {
        Element::F32 => 4,
        Element::F16 | Element::BF16 => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_a_measurement_do_not_overlap() {
        let key = Key {
            element: Element::F16,
            eight_bits: false,
            from: 1536,
            to: 6144,
            transposed: true,
            epilogue: Epilogue::None,
            follows: Follows::Norm,
            rows: 51,
            may_tile: false,
        };
        let down = Key { from: 6144, to: 1536, follows: Follows::Value, ..key };
        let Places { residual, result, .. } = Places::of(&down, Split::WHOLE);
        assert!(result - residual >= 51 * 6144 * 2, "a norm of the next x: {residual} {result}");
        let Places { x, parts, residual, result, end, .. } = Places::of(&key, Split::parts(3, true));
        assert_eq!(x, 0);
        assert!(parts >= 51 * 1536 * 2 && residual - parts >= 3 * 51 * 6144 * 4, "{parts} {residual}");
        assert!(result - residual >= 51 * 6144 * 2 && end - result >= 51 * 6144 * 2, "{residual} {result} {end}");
        assert_eq!(weight_bytes(&key), 1536 * 6144 * 2);
        let eight = Key { eight_bits: true, ..key };
        let Places { result, sums, end, .. } = Places::of(&eight, Split::WHOLE);
        assert!(sums - result >= 51 * 6144 * 2 && end - sums >= 51 * 6144 * 4, "{result} {sums} {end}");
        assert_eq!(weight_bytes(&eight), 1536 * 6144);
    }
}
