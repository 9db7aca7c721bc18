//! Programs made at random: every operation after every other, views, fusions and memory shared by lives.

use vla_base::tensor::{DType, Dim};
use vla_cuda::tactics::Split;
use vla_engines::Symbols;
use vla_engines::operations::{
    Activation, ByHead, LinearPart, Mask, NormKind, Operand, Operation, Program, Source, Value, Weight,
};

use super::device::{decode, encode};
use super::run::{Network, Random};

const WIDTHS: [usize; 3] = [16, 24, 32];
const HEAD: usize = 8;

/// A program on the way. All values are `[rows, columns]` with rows `T`, or `T` and a number.
struct Making {
    random: Random,
    dtype: DType,
    program: Program,
    weights: Vec<Vec<f64>>,
    /// Values to read from.
    ready: Vec<usize>,
}

impl Making {
    fn new(seed: u64, dtype: DType) -> Self {
        let Network { program, weights } = Network::empty();
        Self { random: Random(seed), dtype, program, weights, ready: Vec::new() }
    }

    fn value(&mut self, name: &str, rows: Dim, columns: usize) -> usize {
        let dims = vec![rows, Dim::Fixed(columns)];
        self.program.values.push(Value { name: name.to_owned(), dtype: self.dtype, dims });
        self.program.values.len() - 1
    }

    fn weight(&mut self, dims: &[usize], dtype: DType) -> usize {
        let count: usize = dims.iter().product();
        let scale = 1.0 / (dims[dims.len() - 1] as f64).sqrt();
        let values: Vec<f64> = match dtype {
            DType::I32 => (0..count).map(|_| self.random.below(9) as f64 - 1.0).collect(),
            _ => (0..count).map(|_| self.random.value() * scale).collect(),
        };
        self.weights.push(decode(&encode(&values, dtype), dtype));
        let name = format!("weight {}", self.program.weights.len());
        self.program.weights.push(Weight { name, dtype, dims: dims.to_vec() });
        self.program.weights.len() - 1
    }

    fn rows(&self, value: usize) -> Dim {
        self.program.values[value].dims[0].clone()
    }

    fn columns(&self, value: usize) -> usize {
        match self.program.values[value].dims[1] {
            Dim::Fixed(n) => n,
            Dim::Symbol(_) => 0,
        }
    }

    fn all(&self, value: usize) -> Operand {
        let (rows, columns) = (self.rows(value), self.columns(value));
        Operand { source: Source::Value(value), rows, row: 0, columns, column: 0 }
    }

    fn row_of_weight(&mut self, columns: usize) -> Operand {
        let weight = self.weight(&[3, columns], self.dtype);
        let row = self.random.below(3);
        Operand { source: Source::Weight(weight), rows: Dim::Fixed(1), row, columns, column: 0 }
    }

    fn pick(&mut self) -> usize {
        // Mostly the newest: chains are what is fused.
        let n = self.ready.len();
        let back = if self.random.below(3) > 0 { self.random.below(2.min(n)) } else { self.random.below(n) };
        self.ready[n - 1 - back]
    }

    /// Another value of the same rows and columns, or the same.
    fn alike(&mut self, value: usize) -> usize {
        let (rows, columns) = (self.rows(value), self.columns(value));
        let alike: Vec<usize> =
            self.ready.iter().copied().filter(|v| self.rows(*v) == rows && self.columns(*v) == columns).collect();
        alike[self.random.below(alike.len())]
    }

    fn coin(&mut self) -> bool {
        self.random.below(2) == 0
    }

    fn activation(&mut self) -> Option<Activation> {
        let all = [Activation::Relu, Activation::Silu, Activation::GeluTanh, Activation::GeluErf];
        let at = self.random.below(8);
        all.get(at).copied()
    }

    fn push(&mut self, out: usize, operation: Operation) {
        self.program.operations.push(operation);
        self.ready.push(out);
    }

    fn linear(&mut self) {
        let x = self.pick();
        let (transposed, count) = (self.coin(), 1 + self.random.below(3));
        let mut parts = Vec::new();
        for _ in 0..count {
            let to = WIDTHS[self.random.below(3)];
            let dims = if transposed { [to, self.columns(x)] } else { [self.columns(x), to] };
            let bias = match self.random.below(4) {
                0 => None,
                1 => Some(self.row_of_weight(to)),
                _ => {
                    let source = Source::Weight(self.weight(&[to], self.dtype));
                    Some(Operand { source, rows: Dim::Fixed(1), row: 0, columns: to, column: 0 })
                }
            };
            parts.push((to, LinearPart { weight: self.weight(&dims, self.dtype), bias }));
        }
        let to = parts.iter().map(|(to, _)| to).sum();
        let out = self.value("", self.rows(x), to);
        let same: Vec<usize> =
            self.ready.iter().copied().filter(|v| self.rows(*v) == self.rows(x) && self.columns(*v) == to).collect();
        let residual = same.last().copied().filter(|_| self.coin()).map(|value| self.all(value));
        let activation = self.activation();
        let (x, parts) = (self.all(x), parts.into_iter().map(|(_, part)| part).collect());
        self.push(out, Operation::Linear { x, parts, transposed, activation, residual, out });
    }

    fn norm(&mut self) {
        let x = self.pick();
        let columns = self.columns(x);
        let kind = if self.coin() { NormKind::Layer } else { NormKind::Rms };
        let weight = self.coin().then(|| self.weight(&[columns], self.dtype));
        let bias = self.coin().then(|| self.weight(&[columns], self.dtype));
        let gain = self.coin().then(|| self.row_of_weight(columns));
        let shift = self.coin().then(|| self.row_of_weight(columns));
        let mut operand = self.all(x);
        // Without its first row, where it has more.
        if let Dim::Symbol(rows) = &operand.rows
            && rows == "T+2"
            && self.random.below(2) == 0
        {
            (operand.row, operand.rows) = (1, Dim::Symbol("T+1".to_owned()));
        }
        let out = self.value("", operand.rows.clone(), columns);
        self.push(out, Operation::Norm { kind, x: operand, eps: 1e-5, weight, bias, gain, shift, out });
    }

    fn attention(&mut self) {
        let q = self.pick();
        let heads = self.columns(q) / HEAD;
        let keys: Vec<usize> = self.ready.iter().copied().filter(|v| self.columns(*v) == self.columns(q)).collect();
        let k = keys[self.random.below(keys.len())];
        let v = self.alike(k);
        let causal = self.rows(k) == self.rows(q) && self.coin();
        let by_head = |rows: Operand| ByHead { rows, heads_first: false };
        let out = self.value("", self.rows(q), self.columns(q));
        let operation = Operation::Attention {
            q: by_head(self.all(q)),
            k: by_head(self.all(k)),
            v: by_head(self.all(v)),
            groups: 1,
            heads,
            kv_heads: heads,
            dim: HEAD,
            scale: 0.35,
            mask: if causal { Mask::Causal } else { Mask::None },
            out,
        };
        self.push(out, operation);
    }

    fn add(&mut self) {
        let a = self.pick();
        let b = if self.coin() { self.all(self.ready[0]) } else { self.row_of_weight(self.columns(a)) };
        let b = if b.columns == self.columns(a) && b.rows == self.rows(a) {
            b
        } else {
            self.row_of_weight(self.columns(a))
        };
        let other = self.alike(a);
        let b = if self.coin() { self.all(other) } else { b };
        let out = self.value("", self.rows(a), self.columns(a));
        self.push(out, Operation::Add { a: self.all(a), b, out });
    }

    fn activate(&mut self) {
        let x = self.pick();
        let by = self.alike(x);
        let by = self.coin().then(|| self.all(by));
        let activation = self.activation().unwrap_or(Activation::Silu);
        let out = self.value("", self.rows(x), self.columns(x));
        self.push(out, Operation::Activate { activation, x: self.all(x), by, out });
    }

    /// Two more rows behind values of `T` rows.
    fn concat(&mut self) {
        let x = self.pick();
        if self.rows(x) != Dim::Symbol("T".to_owned()) {
            return self.gather();
        }
        let weight = self.weight(&[2, self.columns(x)], self.dtype);
        let two = Operand {
            source: Source::Weight(weight),
            rows: Dim::Fixed(2),
            row: 0,
            columns: self.columns(x),
            column: 0,
        };
        let parts = if self.coin() { vec![self.all(x), two] } else { vec![two, self.all(x)] };
        let out = self.value("", Dim::Symbol("T+2".to_owned()), self.columns(x));
        self.push(out, Operation::Concat { parts, out });
    }

    /// Five rows of anything.
    fn gather(&mut self) {
        let table = self.pick();
        let index = self.weight(&[5], DType::I32);
        let index = Operand { source: Source::Weight(index), rows: Dim::Fixed(5), row: 0, columns: 1, column: 0 };
        let out = self.value("", Dim::Fixed(5), self.columns(table));
        self.push(out, Operation::Gather { table: self.all(table), index, out });
    }

    /// Halves of the columns change places, or nothing does.
    fn permute(&mut self) {
        let x = self.pick();
        let (rows, columns) = (self.rows(x), self.columns(x));
        let dims = vec![rows.clone(), Dim::Fixed(columns / HEAD), Dim::Fixed(HEAD)];
        let order = if self.coin() { vec![0, 1, 2] } else { vec![0, 2, 1] };
        let out = self.value("", rows, columns);
        self.push(out, Operation::Permute { x: self.all(x), dims, order, out });
    }

    /// One to three by the same tables: of one value, or of what the one before has made.
    fn rotary(&mut self) {
        let mut x = self.pick();
        let [cos, sin] = [(); 2].map(|()| Source::Weight(self.weight(&[40, HEAD], self.dtype)));
        let rows = self.rows(x);
        let table = |source| Operand { source, rows: rows.clone(), row: 0, columns: HEAD, column: 0 };
        for _ in 0..1 + self.random.below(3) {
            let norm = self.coin().then(|| (self.weight(&[HEAD], self.dtype), 1e-6));
            let (heads, out) = (self.columns(x) / HEAD, self.value("", rows.clone(), self.columns(x)));
            let (cos, sin, of) = (table(cos), table(sin), self.all(x));
            self.push(out, Operation::Rotary { x: of, heads, dim: HEAD, groups: 1, norm, cos, sin, out });
            x = if self.coin() { x } else { out };
        }
    }

    /// A copy: of everything, or of some columns.
    fn cast(&mut self) {
        let x = self.pick();
        let mut operand = self.all(x);
        if operand.columns > HEAD && self.coin() {
            (operand.columns, operand.column) = (operand.columns - HEAD, HEAD);
        }
        let out = self.value("", self.rows(x), operand.columns);
        self.push(out, Operation::Cast { x: operand, out });
    }

    fn step(&mut self) {
        match self.random.below(13) {
            0..=2 => self.linear(),
            3 | 4 => self.norm(),
            5 => self.attention(),
            6 => self.add(),
            7 => self.activate(),
            8 => self.concat(),
            9 => self.gather(),
            10 => self.permute(),
            11 => self.rotary(),
            _ => self.cast(),
        }
    }
}

/// A program of so many operations on two inputs; every value that nothing reads is an output.
pub(crate) fn program(seed: u64, dtype: DType, operations: usize) -> Network {
    let mut making = Making::new(seed, dtype);
    for name in ["a", "b"] {
        let input = making.value(name, Dim::Symbol("T".to_owned()), 24);
        making.program.inputs.push(input);
        making.ready.push(input);
    }
    while making.program.operations.len() < operations {
        making.step();
    }
    let Making { mut program, weights, mut random, .. } = making;
    let read: Vec<Source> = program.operations.iter().flat_map(|o| o.operands()).map(|o| o.source).collect();
    for operation in &program.operations {
        let out = operation.out();
        if !read.contains(&Source::Value(out)) || random.below(8) == 0 {
            program.values[out].name = format!("output {out}");
            program.outputs.push(out);
        }
    }
    Network { program, weights }
}

#[test]
fn random_programs_compute_what_they_say() {
    let splits = [Split::WHOLE, Split::parts(4, false), Split::parts(2, true)];
    for seed in 0..240 {
        let dtype = [DType::F32, DType::F32, DType::F16, DType::BF16][seed as usize % 4];
        let network = program(seed, dtype, 4 + seed as usize % 12);
        let symbols = Symbols::from([("T".to_owned(), 3 + seed as usize % 9)]);
        let inputs = network.inputs(&symbols, &mut Random(seed));
        network.check(&symbols, &inputs, splits[seed as usize % 3], &format!("program {seed}"));
    }
}
