//! Memory of a device that is the host, and launches on it.
#![allow(unsafe_code)]

use half::{bf16, f16};
use vla_base::tensor::DType;
use vla_cuda::kernels::{Limits, configuration};
use vla_cuda::launch::{Address, Arguments, Element, Epilogue, Kernel, Launch, Parameters, Product, TensorMap, Tiles};
use vla_cuda_emulator::{Grid, emulate_after, tensor_map};

/// Multiprocessors and shared memory of an Orin NX; clusters and warpgroups, so that every kernel can be launched.
const LIMITS: Limits = Limits { multiprocessors: 8, shared: 163 << 10, clusters: true, warpgroups: true };
const ALIGNMENT: usize = 256;
const POISON: u8 = 0xff;

/// Memory with room around it, all bits set at first: NaNs.
pub(crate) struct Block {
    memory: Vec<u128>,
    start: usize,
    bytes: usize,
}

impl Block {
    pub(crate) fn new(bytes: usize) -> Self {
        let memory = vec![u128::MAX; (bytes + 3 * ALIGNMENT).div_ceil(16)];
        let first = memory.as_ptr() as usize;
        let start = (first + ALIGNMENT).next_multiple_of(ALIGNMENT) - first;
        Self { memory, start, bytes }
    }

    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut block = Self::new(bytes.len());
        block.bytes_mut().copy_from_slice(bytes);
        block
    }

    pub(crate) fn address(&self) -> Address {
        (self.memory.as_ptr() as usize + self.start) as Address
    }

    fn all(&self) -> &[u8] {
        // SAFETY: any bytes are a u8.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast(), self.memory.len() * 16) }
    }

    fn all_mut(&mut self) -> &mut [u8] {
        // SAFETY: any bytes are a u8 and a u128.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().cast(), self.memory.len() * 16) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.all()[self.start..][..self.bytes]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let (start, bytes) = (self.start, self.bytes);
        &mut self.all_mut()[start..][..bytes]
    }

    /// Whether nothing was written around it.
    pub(crate) fn is_whole(&self) -> bool {
        let (before, rest) = self.all().split_at(self.start);
        before.iter().chain(&rest[self.bytes..]).all(|byte| *byte == POISON)
    }
}

/// Elements as bytes.
pub(crate) fn encode(values: &[f64], dtype: DType) -> Vec<u8> {
    let one = |value: &f64| match dtype {
        DType::F16 => f16::from_f64(*value).to_le_bytes().to_vec(),
        DType::BF16 => bf16::from_f64(*value).to_le_bytes().to_vec(),
        DType::I32 => (*value as i32).to_le_bytes().to_vec(),
        _ => (*value as f32).to_le_bytes().to_vec(),
    };
    values.iter().flat_map(one).collect()
}

/// Bytes as elements.
pub(crate) fn decode(bytes: &[u8], dtype: DType) -> Vec<f64> {
    let two = || bytes.as_chunks::<2>().0.iter().copied();
    let four = || bytes.as_chunks::<4>().0.iter().copied();
    match dtype {
        DType::F16 => two().map(|bytes| f16::from_le_bytes(bytes).to_f64()).collect(),
        DType::BF16 => two().map(|bytes| bf16::from_le_bytes(bytes).to_f64()).collect(),
        DType::I32 => four().map(|bytes| i32::from_le_bytes(bytes).into()).collect(),
        _ => four().map(|bytes| f32::from_le_bytes(bytes).into()).collect(),
    }
}

/// Memory that launches write to: address and bytes.
pub(crate) type Ranges = Vec<(Address, usize)>;

/// Runs launches one after the other. What a launch has written is hidden from the kernel after it until that waits for it, as where
/// the two overlap on a device.
///
/// # Safety
/// Every address is of memory that is alive and as large as the launch says; launches write inside of `written` only.
pub(crate) unsafe fn run(launches: &[Launch], written: &Ranges) {
    // SAFETY: the caller's promise.
    let mut before = unsafe { copies(written) };
    for (at, launch) in launches.iter().enumerate() {
        // SAFETY: as above.
        unsafe {
            let after = copies(written);
            match launch {
                Launch::Kernel { kernel, arguments } => {
                    restore(written, &hidden(&before, &after));
                    run_kernel(*kernel, arguments, at as u64, || restore(written, &after));
                }
                Launch::Product(product) => run_product(product),
            }
            before = after;
        }
    }
}

/// # Safety
/// The ranges are there.
unsafe fn copies(ranges: &Ranges) -> Vec<Vec<u8>> {
    // SAFETY: the caller's promise.
    ranges
        .iter()
        .map(|(address, bytes)| unsafe { std::slice::from_raw_parts(*address as *const u8, *bytes) }.to_vec())
        .collect()
}

/// # Safety
/// The ranges are there.
unsafe fn restore(ranges: &Ranges, contents: &[Vec<u8>]) {
    for ((address, bytes), content) in ranges.iter().zip(contents) {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(content.as_ptr(), *address as *mut u8, *bytes) };
    }
}

/// The memory after a launch, what it changed poisoned.
fn hidden(before: &[Vec<u8>], after: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let one = |(before, after): (&u8, &u8)| if before == after { *after } else { POISON };
    before.iter().zip(after).map(|(before, after)| before.iter().zip(after).map(one).collect()).collect()
}

unsafe fn run_kernel(kernel: Kernel, arguments: &Arguments, seed: u64, before: impl FnMut()) {
    let c = configuration(kernel, arguments, LIMITS).unwrap();
    let grid = Grid { grid: c.grid, block: c.block, cluster: c.cluster, shared: c.shared, seed };
    let map = |_, t: &Tiles| {
        let (columns, rows, stride) = (t.columns as u64, t.rows as u64, t.matrix.stride as u64 * 2);
        Ok::<_, ()>(TensorMap { words: tensor_map(t.matrix.address, columns, rows, stride, t.tile_rows.into()) })
    };
    let parameters = Parameters::new(kernel, *arguments, map).unwrap();
    // SAFETY: the caller's promise.
    let run = unsafe { emulate_after(c.function, &grid, parameters.raw(), before) };
    run.unwrap_or_else(|error| panic!("{kernel:?}: {error}"));
}

fn dtype(element: Element) -> DType {
    match element {
        Element::F32 => DType::F32,
        Element::F16 => DType::F16,
        Element::BF16 => DType::BF16,
    }
}

/// Elements at an address.
///
/// # Safety
/// They are there.
unsafe fn read(address: Address, first: usize, count: usize, dtype: DType) -> Vec<f64> {
    let at = (address as usize + first * dtype.size()) as *const u8;
    // SAFETY: the caller's promise.
    decode(unsafe { std::slice::from_raw_parts(at, count * dtype.size()) }, dtype)
}

/// # Safety
/// All operands are there.
unsafe fn run_product(p: &Product) {
    if p.eight_bits {
        // SAFETY: the caller's promise.
        return unsafe { run_integers(p) };
    }
    let (rows, from, to, parts) = (p.rows as usize, p.from as usize, p.to as usize, p.parts as usize);
    let (of, result) = (dtype(p.element), if p.single { DType::F32 } else { dtype(p.element) });
    assert!(from.is_multiple_of(parts) && (parts == 1 || p.epilogue == Epilogue::None), "{p:?}");
    // SAFETY: the caller's promise.
    let weight = unsafe { read(p.weight, 0, from * to, of) };
    // SAFETY: the caller's promise.
    let bias = (p.epilogue != Epilogue::None).then(|| unsafe { read(p.bias, 0, to, of) });
    let share = from / parts;
    // [to, from]
    let weight = match p.transposed {
        true => weight,
        false => (0..to * from).map(|at| weight[at % from * to + at / from]).collect(),
    };
    for row in 0..rows {
        // SAFETY: the caller's promise.
        let x = unsafe { read(p.x.address, row * p.x.stride as usize, from, of) };
        for part in 0..parts {
            let x = &x[part * share..][..share];
            let dot = |column: usize| {
                let weight = &weight[column * from + part * share..][..share];
                let sum: f64 = x.iter().zip(weight).map(|(x, weight)| x * weight).sum();
                finished(sum + bias.as_ref().map_or(0.0, |bias| bias[column]), p.epilogue)
            };
            let bytes = encode(&(0..to).map(dot).collect::<Vec<_>>(), result);
            let first = part * p.apart as usize + row * p.y.stride as usize;
            let at = (p.y.address as usize + first * result.size()) as *mut u8;
            // SAFETY: the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len()) };
        }
    }
}

/// INT32 sums of 8-bit factors.
///
/// # Safety
/// All operands are there.
unsafe fn run_integers(p: &Product) {
    let (rows, from, to) = (p.rows as usize, p.from as usize, p.to as usize);
    assert!(p.transposed && (p.parts, p.bias, p.single) == (1, 0, false), "{p:?}");
    // SAFETY: the caller's promise.
    let bytes = |address: Address, at: usize, count: usize| unsafe {
        std::slice::from_raw_parts((address as usize + at) as *const i8, count)
    };
    for row in 0..rows {
        let x = bytes(p.x.address, row * p.x.stride as usize, from);
        for column in 0..to {
            let weight = bytes(p.weight, column * from, from);
            let sum: i32 = x.iter().zip(weight).map(|(x, weight)| i32::from(*x) * i32::from(*weight)).sum();
            let at = (p.y.address as usize + 4 * (row * p.y.stride as usize + column)) as *mut i32;
            // SAFETY: the caller's promise.
            unsafe { at.write(sum) };
        }
    }
}

fn finished(x: f64, epilogue: Epilogue) -> f64 {
    match epilogue {
        Epilogue::None | Epilogue::Bias => x,
        Epilogue::BiasRelu => x.max(0.0),
        Epilogue::BiasGelu => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            x / 2.0 * (1.0 + inner.tanh())
        }
    }
}
