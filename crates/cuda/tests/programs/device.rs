//! Memory of a device that is the host, and launches on it.
#![allow(unsafe_code)]

use half::{bf16, f16};
use vla_base::tensor::DType;
use vla_cuda::kernels::{Limits, configuration};
use vla_cuda::launch::{Address, Arguments, Element, Epilogue, Kernel, Launch, Product};
use vla_cuda_emulator::{Grid, emulate};

/// An Orin NX.
const LIMITS: Limits = Limits { multiprocessors: 8, shared: 163 << 10 };
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

    pub(crate) fn poison(&mut self) {
        self.bytes_mut().fill(POISON);
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

/// Runs launches one after the other.
///
/// # Safety
/// Every address is of memory that is alive and as large as the launch says.
pub(crate) unsafe fn run(launches: &[Launch]) {
    for (at, launch) in launches.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            match launch {
                Launch::Kernel { kernel, arguments } => run_kernel(*kernel, arguments, at as u64),
                Launch::Product(product) => run_product(product),
            }
        }
    }
}

unsafe fn run_kernel(kernel: Kernel, arguments: &Arguments, seed: u64) {
    let c = configuration(kernel, arguments, LIMITS).unwrap();
    let grid = Grid { grid: c.grid, block: c.block, shared: c.shared, seed };
    // SAFETY: the caller's promise.
    unsafe { emulate(c.function, &grid, arguments.raw()) }.unwrap_or_else(|error| panic!("{kernel:?}: {error}"));
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
    let (rows, from, to, parts) = (p.rows as usize, p.from as usize, p.to as usize, p.parts as usize);
    let (of, result) = (dtype(p.element), if p.single { DType::F32 } else { dtype(p.element) });
    assert!(from.is_multiple_of(parts) && (parts == 1 || p.epilogue == Epilogue::None), "{p:?}");
    // SAFETY: the caller's promise, here and below.
    let weight = unsafe { read(p.weight, 0, from * to, of) };
    let bias = (p.epilogue != Epilogue::None).then(|| unsafe { read(p.bias, 0, to, of) });
    let share = from / parts;
    let index =
        |channel: usize, column: usize| if p.transposed { column * from + channel } else { channel * to + column };
    for row in 0..rows {
        let x = unsafe { read(p.x.address, row * p.x.stride as usize, from, of) };
        for part in 0..parts {
            let dot = |column: usize| {
                let channels = part * share..(part + 1) * share;
                let sum: f64 = channels.map(|channel| x[channel] * weight[index(channel, column)]).sum();
                finished(sum + bias.as_ref().map_or(0.0, |bias| bias[column]), p.epilogue)
            };
            let bytes = encode(&(0..to).map(dot).collect::<Vec<_>>(), result);
            let first = part * p.apart as usize + row * p.y.stride as usize;
            let at = (p.y.address as usize + first * result.size()) as *mut u8;
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len()) };
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
