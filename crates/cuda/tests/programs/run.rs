//! A program on the emulated device and in double precision.
#![allow(unsafe_code)]

use vla_base::tensor::DType;
use vla_cuda::launch::Address;
use vla_cuda::plan::{Bases, Plan, WeightLayout};
use vla_cuda::tactics::{Choose, Split};
pub(crate) use vla_cuda_emulator::Random;
use vla_engines::Symbols;
use vla_engines::operations::evaluate::evaluate;
use vla_engines::operations::{FORMAT, Program};

use super::device::{Block, decode, encode, run};

/// A program with its weights.
pub(crate) struct Network {
    pub(crate) program: Program,
    /// Elements of each weight.
    pub(crate) weights: Vec<Vec<f64>>,
}

/// Elements of inputs, and of outputs, in order.
pub(crate) type Tensors = Vec<Vec<f64>>;

impl Network {
    /// Without operations and weights.
    pub(crate) fn empty() -> Self {
        let program = Program {
            format: FORMAT,
            network: "0".repeat(64),
            values: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            weights: Vec::new(),
            operations: Vec::new(),
        };
        Self { program, weights: Vec::new() }
    }

    pub(crate) fn count(&self, value: usize, symbols: &Symbols) -> usize {
        self.program.dims(symbols).unwrap()[value].iter().product()
    }

    pub(crate) fn dtypes(&self, values: &[usize]) -> Vec<DType> {
        values.iter().map(|value| self.program.values[*value].dtype).collect()
    }

    /// Random inputs that its element types hold; indices are mostly rows that there are.
    pub(crate) fn inputs(&self, symbols: &Symbols, random: &mut Random) -> Tensors {
        let input = |value: &usize| {
            let dtype = self.program.values[*value].dtype;
            let one = |_| match dtype {
                DType::I32 => random.below(60) as f64 - 2.0,
                _ => random.value(),
            };
            let values: Vec<f64> = (0..self.count(*value, symbols)).map(one).collect();
            decode(&encode(&values, dtype), dtype)
        };
        self.program.inputs.iter().map(input).collect()
    }

    /// The outputs in double precision, values rounded to their element types.
    pub(crate) fn expected(&self, symbols: &Symbols, inputs: &Tensors) -> Tensors {
        let values = evaluate(&self.program, &self.weights, inputs, symbols, true).unwrap();
        self.program.outputs.iter().map(|output| values[*output].clone()).collect()
    }

    /// The outputs of the plan's launches. The arena is poisoned before; nothing but arena and outputs is written.
    pub(crate) fn emulated(&self, symbols: &Symbols, inputs: &Tensors, split: Split) -> Tensors {
        self.emulated_by(&WeightLayout::new(&self.program), symbols, inputs, &split)
    }

    /// The same with weights in this layout.
    pub(crate) fn emulated_by(
        &self,
        layout: &WeightLayout,
        symbols: &Symbols,
        inputs: &Tensors,
        choose: &dyn Choose,
    ) -> Tensors {
        let weights = self.block_of_weights(layout);
        let plan = Plan::new(&self.program, layout, symbols, choose).unwrap();
        let arena = Block::new(usize::try_from(plan.arena_bytes()).unwrap());
        let given: Vec<Vec<u8>> =
            inputs.iter().zip(self.dtypes(&self.program.inputs)).map(|(input, dtype)| encode(input, dtype)).collect();
        let sources: Vec<Block> = given.iter().map(|bytes| Block::of(bytes)).collect();
        let bytes = |output: &usize| self.count(*output, symbols) * self.program.values[*output].dtype.size();
        let results: Vec<Block> = self.program.outputs.iter().map(|output| Block::new(bytes(output))).collect();
        let addresses = |blocks: &[Block]| blocks.iter().map(Block::address).collect::<Vec<Address>>();
        let (from, to) = (addresses(&sources), addresses(&results));
        let bases = Bases { weights: weights.address(), arena: arena.address(), inputs: &from, outputs: &to };
        let launches = plan.launches(&bases).unwrap();
        for tiling in plan.tilings(weights.address()).into_values().flatten() {
            // So that each row of tiles moves by itself.
            let room = Block::new(2 * tiling.outputs as usize * tiling.from as usize);
            let written = vec![(room.address(), room.bytes().len()), (weights.address(), weights.bytes().len())];
            let launches = tiling.launches(room.address(), room.bytes().len() as u64).unwrap();
            // SAFETY: both blocks are alive, and as large as the launches say.
            unsafe { run(&launches, &written) };
        }
        let before = weights.bytes().to_vec();
        let written =
            [&arena].into_iter().chain(&results).map(|block| (block.address(), block.bytes().len())).collect();
        // SAFETY: all blocks are alive, and as large as the plan says.
        unsafe { run(&launches, &written) };
        assert!(weights.bytes() == before && sources.iter().zip(&given).all(|(block, bytes)| block.bytes() == bytes));
        let whole = |block: &Block| assert!(block.is_whole(), "memory around a block was written");
        [&weights, &arena].into_iter().chain(&sources).chain(&results).for_each(whole);
        let dtypes = self.dtypes(&self.program.outputs);
        results.iter().zip(dtypes).map(|(block, dtype)| decode(block.bytes(), dtype)).collect()
    }

    fn block_of_weights(&self, layout: &WeightLayout) -> Block {
        let mut block = Block::new(usize::try_from(layout.bytes()).unwrap());
        for (index, (weight, elements)) in self.program.weights.iter().zip(&self.weights).enumerate() {
            let at = usize::try_from(layout.offset(index)).unwrap();
            let bytes = match layout.scales(index) {
                None => encode(elements, weight.dtype),
                Some(place) => {
                    let (bytes, scales) = quantized(elements, weight.dims[1]);
                    let scales = encode(&scales, DType::F32);
                    block.bytes_mut()[usize::try_from(place).unwrap()..][..scales.len()].copy_from_slice(&scales);
                    bytes
                }
            };
            block.bytes_mut()[at..][..bytes.len()].copy_from_slice(&bytes);
        }
        for range in layout.cleared() {
            block.bytes_mut()[range.start as usize..range.end as usize].fill(0);
        }
        block
    }

    /// Compares emulated outputs with those in double precision.
    pub(crate) fn check(&self, symbols: &Symbols, inputs: &Tensors, split: Split, what: &str) {
        let (found, expected) = (self.emulated(symbols, inputs, split), self.expected(symbols, inputs));
        for ((found, expected), output) in found.iter().zip(&expected).zip(&self.program.outputs) {
            let name = &self.program.values[*output].name;
            self.compare(found, expected, &format!("{what}, {split:?}, {name}"));
        }
    }

    pub(crate) fn compare(&self, found: &[f64], expected: &[f64], what: &str) {
        let difference = Difference::of(found, expected);
        let half = self.program.values.iter().any(|value| matches!(value.dtype, DType::F16 | DType::BF16));
        let bfloat = self.program.values.iter().any(|value| value.dtype == DType::BF16);
        let (relative, cosine) = match (half, bfloat) {
            (false, _) => (1e-5, 1.0 - 1e-9),
            (true, false) => (4e-3, 0.99999),
            (true, true) => (3e-2, 0.9995),
        };
        assert!(difference.relative <= relative && difference.cosine >= cosine, "{what}: {difference:?}");
    }
}

/// Rows in 8 bits, and their scales.
fn quantized(elements: &[f64], columns: usize) -> (Vec<u8>, Vec<f64>) {
    let (mut bytes, mut scales) = (Vec::new(), Vec::new());
    for row in elements.chunks(columns) {
        let most = row.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        let rate = if most > 0.0 { 127.0 / most } else { 0.0 };
        bytes.extend(row.iter().map(|x| (x * rate).round_ties_even() as i8 as u8));
        scales.push(most / 127.0);
    }
    (bytes, scales)
}

/// How far two tensors are apart.
#[derive(Debug)]
pub(crate) struct Difference {
    /// Norm of the difference over the norm of the expected one.
    pub(crate) relative: f64,
    pub(crate) cosine: f64,
}

impl Difference {
    pub(crate) fn of(found: &[f64], expected: &[f64]) -> Self {
        assert_eq!(found.len(), expected.len());
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let apart: Vec<f64> = found.iter().zip(expected).map(|(a, b)| a - b).collect();
        let length = dot(expected, expected).sqrt();
        let relative = dot(&apart, &apart).sqrt() / length.max(1e-30);
        Self { relative, cosine: dot(found, expected) / (dot(found, found).sqrt() * length).max(1e-30) }
    }
}
