//! Operands in memory with surroundings, random numbers, launches by the emulator, or on a GPU.
#![allow(unsafe_code)]

use half::{bf16, f16};
use vla_cuda::kernels::{Configuration, Limits, configuration};
use vla_cuda::launch::{Address, Arguments, Element, Kernel, Matrix, Parameters, Parts, TensorMap, Tiles};
pub(crate) use vla_cuda_emulator::Random;
use vla_cuda_emulator::{Grid, emulate, emulate_after, tensor_map};

use crate::gpu::{self, Memory};

pub(crate) const ELEMENTS: [Element; 3] = [Element::F32, Element::F16, Element::BF16];
/// Multiprocessors and shared memory of an Orin NX; clusters and warpgroups, so that every kernel can be launched.
pub(crate) const LIMITS: Limits = Limits { multiprocessors: 8, shared: 163 << 10, clusters: true, warpgroups: true };

pub(crate) fn size(element: Element) -> usize {
    if element == Element::F32 { 4 } else { 2 }
}

/// A matrix in memory of its own: rows `stride` elements apart, from element `first` on. What is not of the matrix is NaN.
#[derive(Clone)]
pub(crate) struct Operand {
    pub(crate) element: Element,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) stride: usize,
    first: usize,
    memory: Memory,
}

impl Operand {
    /// Of NaNs. `first` and `gap` elements before the first row and between rows.
    pub(crate) fn new(element: Element, rows: usize, columns: usize, first: usize, gap: usize) -> Self {
        let stride = columns + gap;
        let bytes = (first + rows * stride + 16) * size(element);
        Self { element, rows, columns, stride, first, memory: Memory::new(bytes) }
    }

    /// Random elements in a random layout: every second is aligned to 16 bytes.
    pub(crate) fn random(element: Element, rows: usize, columns: usize, random: &mut Random) -> Self {
        let mut operand = Self::anywhere(element, rows, columns, random);
        operand.fill(|_, _| 2.0 * random.value());
        operand
    }

    /// NaNs in a random layout.
    pub(crate) fn anywhere(element: Element, rows: usize, columns: usize, random: &mut Random) -> Self {
        if random.coin() {
            let gap = columns.next_multiple_of(8) - columns + 8 * random.below(3);
            return Self::new(element, rows, columns, 8 * (1 + random.below(2)), gap);
        }
        Self::new(element, rows, columns, 1 + random.below(9), random.below(9))
    }

    pub(crate) fn fill(&mut self, mut value: impl FnMut(usize, usize) -> f64) {
        for row in 0..self.rows {
            for column in 0..self.columns {
                self.set(row, column, value(row, column));
            }
        }
    }

    pub(crate) fn address(&self) -> Address {
        self.memory.words().as_ptr() as Address + (self.first * size(self.element)) as u64
    }

    pub(crate) fn matrix(&self) -> Matrix {
        Matrix { address: self.address(), stride: self.stride as i64 }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self.memory.words())
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(self.memory.words_mut())
    }

    fn place(&self, row: usize, column: usize) -> std::ops::Range<usize> {
        assert!(row < self.rows && column < self.columns, "({row}, {column}) of {} x {}", self.rows, self.columns);
        let at = (self.first + row * self.stride + column) * size(self.element);
        at..at + size(self.element)
    }

    pub(crate) fn at(&self, row: usize, column: usize) -> f64 {
        let bytes = &self.bytes()[self.place(row, column)];
        match self.element {
            Element::F32 => f32::from_le_bytes(bytes.try_into().unwrap()).into(),
            Element::F16 => f16::from_le_bytes(bytes.try_into().unwrap()).into(),
            Element::BF16 => bf16::from_le_bytes(bytes.try_into().unwrap()).into(),
        }
    }

    pub(crate) fn set(&mut self, row: usize, column: usize, value: f64) {
        let (element, place) = (self.element, self.place(row, column));
        let bytes = &mut self.bytes_mut()[place];
        match element {
            Element::F32 => bytes.copy_from_slice(&(value as f32).to_le_bytes()),
            Element::F16 => bytes.copy_from_slice(&f16::from_f64(value).to_le_bytes()),
            Element::BF16 => bytes.copy_from_slice(&bf16::from_f64(value).to_le_bytes()),
        }
    }

    /// Compares all elements, and everything around them with what it was.
    pub(crate) fn check(&self, before: &Self, what: &str, relative: f64, want: impl Fn(usize, usize) -> f64) {
        let mut around = before.clone();
        for row in 0..self.rows {
            for column in 0..self.columns {
                let (got, want) = (self.at(row, column), want(row, column));
                let near = (got - want).abs() <= relative * want.abs().max(1.0) + rounding(self.element) * want.abs();
                assert!(near || got == want, "{what} ({row}, {column}): {got}, expected {want}");
                let place = self.place(row, column);
                around.bytes_mut()[place.clone()].copy_from_slice(&self.bytes()[place]);
            }
        }
        assert!(around.bytes() == self.bytes(), "{what}: memory around it was written");
    }
}

/// Half of the distance between two neighbours, relative.
fn rounding(element: Element) -> f64 {
    match element {
        Element::F32 => 2_f64.powi(-24),
        Element::F16 => 2_f64.powi(-11),
        Element::BF16 => 2_f64.powi(-8),
    }
}

/// Rows of bytes or of INT32 in memory of their own, `stride` bytes apart.
#[derive(Clone)]
pub(crate) struct Bytes {
    stride: usize,
    memory: Memory,
}

impl Bytes {
    pub(crate) fn new(rows: usize, stride: usize) -> Self {
        Self { stride, memory: Memory::new(rows * stride) }
    }

    pub(crate) fn random(rows: usize, stride: usize, random: &mut Random) -> Self {
        let mut bytes = Self::new(rows, stride);
        bytes.all().fill_with(|| (random.below(255) as i32 - 127) as i8 as u8);
        bytes
    }

    pub(crate) fn all(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(self.memory.words_mut())
    }

    pub(crate) fn at(&self, row: usize, column: usize) -> i8 {
        bytemuck::cast_slice::<_, i8>(self.memory.words())[row * self.stride + column]
    }

    pub(crate) fn address(&self) -> Address {
        self.memory.words().as_ptr() as Address
    }

    pub(crate) fn matrix(&self) -> Matrix {
        Matrix { address: self.address(), stride: self.stride as i64 }
    }
}

/// Scales of a usual size, in a row.
pub(crate) fn scales(count: usize, random: &mut Random) -> Operand {
    let mut scales = Operand::new(Element::F32, 1, count, 4, 0);
    scales.fill(|_, _| (1.5 + random.value()) / 127.0);
    scales
}

/// Parts of a product and their bias.
pub(crate) struct PartsOperand {
    parts: Option<Operand>,
    bias: Option<Operand>,
    count: usize,
    rows: usize,
}

impl PartsOperand {
    pub(crate) fn random(element: Element, rows: usize, columns: usize, count: usize, random: &mut Random) -> Self {
        let of = if random.coin() { element } else { Element::F32 };
        Self {
            parts: (count > 0).then(|| Operand::random(of, rows * count, columns, random)),
            bias: random.coin().then(|| Operand::random(element, 1, columns, random)),
            count,
            rows,
        }
    }

    pub(crate) fn none() -> Self {
        Self { parts: None, bias: None, count: 0, rows: 0 }
    }

    pub(crate) fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    pub(crate) fn parts(&self) -> Parts {
        let bias = self.bias.as_ref().map_or(0, Operand::address);
        let Some(parts) = &self.parts else { return Parts { bias, ..Parts::default() } };
        let (first, single) = (parts.matrix(), i32::from(parts.element == Element::F32));
        Parts { first, apart: (self.rows * parts.stride) as i64, bias, count: self.count as i32, single }
    }

    /// What is added to an element.
    pub(crate) fn at(&self, row: usize, column: usize) -> f64 {
        let parts = self
            .parts
            .as_ref()
            .map_or(0.0, |parts| (0..self.count).map(|i| parts.at(i * self.rows + row, column)).sum());
        parts + self.bias.as_ref().map_or(0.0, |bias| bias.at(0, column))
    }
}

fn grid(c: &Configuration, seed: u64) -> Grid {
    Grid { grid: c.grid, block: c.block, cluster: c.cluster, shared: c.shared, seed }
}

/// With the emulator's tensor maps.
fn parameters(kernel: Kernel, arguments: Arguments) -> Parameters {
    let map = |_, t: &Tiles| {
        let (columns, rows, stride) = (t.columns as u64, t.rows as u64, t.matrix.stride as u64 * 2);
        Ok::<_, ()>(TensorMap { words: tensor_map(t.matrix.address, columns, rows, stride, t.tile_rows.into()) })
    };
    Parameters::new(kernel, arguments, map).unwrap()
}

/// Runs a kernel whose operands are all there.
pub(crate) fn launch(kernel: Kernel, arguments: Arguments, random: &mut Random) -> Configuration {
    launch_within(LIMITS, kernel, arguments, random)
}

/// The same, as on a device with these limits.
pub(crate) fn launch_within(
    limits: Limits,
    kernel: Kernel,
    arguments: Arguments,
    random: &mut Random,
) -> Configuration {
    let c = configuration(kernel, &arguments, limits).unwrap();
    // Drawn on a GPU, too, so that a test has the same cases there.
    let seed = random.bits();
    if !gpu::run(kernel, arguments, limits) {
        let parameters = parameters(kernel, arguments);
        // SAFETY: the operands are alive and as large as the arguments say.
        unsafe { emulate(c.function, &grid(&c, seed), parameters.raw()) }.unwrap();
    }
    c
}

/// Runs a kernel; `before` is the launch before it.
pub(crate) fn launch_after(kernel: Kernel, arguments: Arguments, mut before: impl FnMut()) {
    if gpu::is_meant() {
        before();
        if gpu::run(kernel, arguments, LIMITS) {
            return;
        }
    }
    let c = configuration(kernel, &arguments, LIMITS).unwrap();
    let parameters = parameters(kernel, arguments);
    // SAFETY: as `launch_within`.
    unsafe { emulate_after(c.function, &grid(&c, 1), parameters.raw(), before) }.unwrap();
}
