//! What one run of a network costs: multiplications, and the memory between its nodes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::network::{Network, Weight};
use super::proto::{self, NodeProto};
use super::shapes::{Known, Shapes, int};

/// An estimate of one run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Floating-point operations of MatMul, Gemm and Conv: two for each multiply-add. Other operators are memory-bound.
    pub flops: u64,
    /// Those of them that multiply by a weight. The others multiply two values of the moment, as attention does, and stay
    /// in the network's own floating type when weights are integers.
    pub weight_flops: u64,
    /// Those of [`Self::weight_flops`] whose two inputs are 8-bit integers in the network itself.
    pub int8_flops: u64,
    /// Weights of which rows are picked and nothing else is read (embedding and rotary tables), with the elements read.
    pub gathered: BTreeMap<String, u64>,
    /// Most bytes of values that are alive between nodes at one moment; inputs, outputs and weights not counted. A
    /// runtime that fuses nodes needs less.
    pub live_bytes: u64,
    /// Operators whose output sizes could not be inferred, each once; empty if the figures are complete.
    pub unknown: Vec<String>,
}

impl Network {
    /// Cost of one run with these values of the symbolic dimensions (one that is not given counts as 1), floating
    /// values taking `float_bytes` each.
    pub fn cost(&self, symbols: &BTreeMap<String, usize>, float_bytes: u64) -> Cost {
        let mut shapes = Shapes::new(&self.graph, symbols);
        let mut cost = Cost::default();
        let mut unknown = BTreeSet::new();
        let mut live = Live::new(self);
        let mut fixed: HashSet<&str> = self.graph.initializer.iter().map(proto::TensorProto::name).collect();
        let int8: HashSet<usize> =
            self.products().iter().filter(|product| product.is_int8()).map(|product| product.place).collect();
        for (place, node) in self.graph.node.iter().enumerate() {
            if !shapes.follow(node) {
                unknown.insert(node.op_type().to_owned());
            }
            let inputs: Vec<Option<&Known>> = node.input.iter().map(|name| shapes.get(name)).collect();
            let output = node.output.first().and_then(|name| shapes.get(name));
            let flops = flops(node, &inputs, output).unwrap_or(0);
            cost.flops = cost.flops.saturating_add(flops);
            let is_fixed = |name: &String| name.is_empty() || fixed.contains(name.as_str());
            if node.input.iter().take(2).any(is_fixed) {
                cost.weight_flops = cost.weight_flops.saturating_add(flops);
            }
            if int8.contains(&place) {
                cost.int8_flops = cost.int8_flops.saturating_add(flops);
            }
            // A runtime computes it once, before the first run.
            if node.input.iter().all(is_fixed) {
                fixed.extend(node.output.iter().map(String::as_str));
                continue;
            }
            live.run(place, node, |name| shapes.get(name).map_or(0, |known| bytes(known, float_bytes)));
        }
        cost.live_bytes = live.most;
        cost.gathered = self.gathered(&shapes);
        cost.unknown = unknown.into_iter().collect();
        cost
    }

    /// Bytes of all weights when floating ones are built in `precision`. `int8` and `fp8` matrices take a byte an
    /// element, vectors (norms, biases) two. Where the network is quantised, it says by itself which weights are
    /// integers, and `int8` says nothing about the others.
    pub fn weight_bytes_in(&self, precision: &str) -> u64 {
        self.bytes_in(precision, |weight| weight.elements)
    }

    /// Bytes of weights that a run of this cost reads: each once, and of a table only the rows that are picked.
    pub fn weight_bytes_read_in(&self, precision: &str, cost: &Cost) -> u64 {
        self.bytes_in(precision, |weight| cost.gathered.get(&weight.name).copied().unwrap_or(weight.elements))
    }

    fn bytes_in(&self, precision: &str, read: impl Fn(&Weight) -> u64) -> u64 {
        let quantized = self.quantized_floats();
        let precision = if self.is_quantized() { &without_integers(precision) } else { precision };
        let of = |weight: &Weight| match quantized.get(weight.name.as_str()) {
            Some(bits) => read(weight).saturating_mul(u64::from(*bits)).div_ceil(8),
            None => bytes_in(weight, precision, read(weight)),
        };
        self.weights.iter().fold(0, |sum, weight| sum.saturating_add(of(weight)))
    }

    /// Weights that nothing but Gather reads, rows of them; a row that is picked twice is read once at most.
    fn gathered(&self, shapes: &Shapes<'_>) -> BTreeMap<String, u64> {
        let mut rows: HashMap<&str, u64> = HashMap::new();
        let mut whole: HashSet<&str> = HashSet::new();
        for node in &self.graph.node {
            let by_rows = node.op_type() == "Gather" && int(node, "axis", 0) == 0;
            for (at, name) in node.input.iter().enumerate() {
                match node.output.first().and_then(|output| shapes.get(output)) {
                    Some(picked) if by_rows && at == 0 => {
                        let read = rows.entry(name).or_default();
                        *read = read.saturating_add(picked.elements());
                    }
                    _ => drop(whole.insert(name)),
                }
            }
        }
        let tables = self.weights.iter().filter(|weight| !whole.contains(weight.name.as_str()));
        let read = tables.filter_map(|weight| {
            let elements = *rows.get(weight.name.as_str())?;
            Some((weight.name.clone(), elements.min(weight.elements)))
        });
        read.collect()
    }
}

fn bytes_in(weight: &Weight, precision: &str, elements: u64) -> u64 {
    if proto::is_float(weight.data_type) {
        elements.saturating_mul(float_bytes(precision, weight.dims.len()))
    } else {
        proto::bytes_of(weight.data_type, elements).unwrap_or(elements)
    }
}

/// A precision of policy.yaml for what a quantised network leaves floating: `fp16` of `int8+fp16`, `fp32` of `int8`.
pub fn without_integers(precision: &str) -> String {
    let floating: Vec<&str> = precision.split('+').filter(|part| *part != "int8").collect();
    if floating.is_empty() { "fp32".to_owned() } else { floating.join("+") }
}

/// Bytes of a floating element of a weight of this rank in a precision of policy.yaml (`fp32`, `fp16`, `int8+fp16`).
pub fn float_bytes(precision: &str, rank: usize) -> u64 {
    let has = |word: &str| precision.split('+').any(|part| part == word);
    if (has("int8") || has("fp8")) && rank >= 2 {
        1
    } else if ["int8", "fp8", "fp16", "bf16"].iter().any(|word| has(word)) {
        2
    } else {
        4
    }
}

fn bytes(known: &Known, float_bytes: u64) -> u64 {
    let each =
        if proto::is_float(known.data_type) { float_bytes } else { proto::element_size(known.data_type).unwrap_or(4) };
    known.elements().saturating_mul(each)
}

fn flops(node: &NodeProto, inputs: &[Option<&Known>], output: Option<&Known>) -> Option<u64> {
    let dims = |index: usize| Some(&inputs.get(index).copied().flatten()?.dims);
    let each = match node.op_type() {
        "MatMul" => *dims(0)?.last()?,
        "Gemm" if int(node, "transA", 0) == 1 => *dims(0)?.first()?,
        "Gemm" => *dims(0)?.get(1)?,
        // Input channels of a group times the kernel: all of the weight but its first dimension.
        "Conv" => dims(1)?.iter().skip(1).try_fold(1usize, |product, dim| product.checked_mul(*dim))?,
        _ => return Some(0),
    };
    Some(output?.elements().saturating_mul(each as u64).saturating_mul(2))
}

/// Values alive between nodes. A value that only shows another one's memory in a new shape takes none.
struct Live<'n> {
    /// The value whose memory a name refers to.
    owner: HashMap<&'n str, &'n str>,
    /// Node after which the memory of an owner is free.
    last_use: HashMap<&'n str, usize>,
    /// Bytes of each living owner.
    held: HashMap<&'n str, u64>,
    now: u64,
    most: u64,
}

impl<'n> Live<'n> {
    fn new(network: &'n Network) -> Self {
        let mut owner: HashMap<&str, &str> = HashMap::new();
        let mut last_use = HashMap::new();
        for (place, node) in network.graph.node.iter().enumerate() {
            if is_view(node)
                && let (Some(input), Some(output)) = (node.input.first(), node.output.first())
            {
                let whole = owner.get(input.as_str()).copied().unwrap_or(input);
                owner.insert(output, whole);
            }
            for input in &node.input {
                last_use.insert(owner.get(input.as_str()).copied().unwrap_or(input), place);
            }
        }
        // An output lives in its own buffer, which is not counted here.
        for output in &network.outputs {
            owner.remove(output.name.as_str());
        }
        let held = network.outputs.iter().map(|output| (output.name.as_str(), 0)).collect();
        Self { owner, last_use, held, now: 0, most: 0 }
    }

    fn run(&mut self, place: usize, node: &'n NodeProto, bytes: impl Fn(&str) -> u64) {
        for output in node.output.iter().filter(|name| !name.is_empty()) {
            if !self.owner.contains_key(output.as_str()) && !self.held.contains_key(output.as_str()) {
                let bytes = bytes(output);
                self.held.insert(output, bytes);
                self.now = self.now.saturating_add(bytes);
            }
        }
        self.most = self.most.max(self.now);
        for name in node.input.iter().chain(&node.output) {
            let owner = self.owner.get(name.as_str()).copied().unwrap_or(name);
            // A value without a reader is freed at once.
            if self.last_use.get(owner).is_none_or(|last| *last <= place) {
                self.now = self.now.saturating_sub(self.held.insert(owner, 0).unwrap_or(0));
            }
        }
    }
}

fn is_view(node: &NodeProto) -> bool {
    matches!(node.op_type(), "Reshape" | "Identity" | "Squeeze" | "Unsqueeze" | "Flatten")
}
