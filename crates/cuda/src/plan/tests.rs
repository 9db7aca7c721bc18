use std::collections::BTreeMap;

use vla_base::tensor::{DType, Dim};
use vla_engines::operations::{ByHead, FORMAT, LinearPart, Mask, NormKind, Operand, Operation, Source, Value, Weight};

use super::regions::regions;
use super::*;
use crate::launch::{Arguments, Follows};
use crate::tactics::Split;

mod overlap;
mod tiled;

/// Programs of half precision by hand; values are `[rows, columns]`.
struct Making(Program);

impl Making {
    fn new() -> Self {
        let (values, weights, operations) = (Vec::new(), Vec::new(), Vec::new());
        let network = "0".repeat(64);
        Self(Program { format: FORMAT, network, values, inputs: Vec::new(), outputs: Vec::new(), weights, operations })
    }

    fn value(&mut self, rows: usize, columns: usize) -> usize {
        let dims = vec![Dim::Fixed(rows), Dim::Fixed(columns)];
        self.0.values.push(Value { name: String::new(), dtype: DType::F16, dims });
        self.0.values.len() - 1
    }

    fn input(&mut self, rows: usize, columns: usize) -> usize {
        let value = self.value(rows, columns);
        self.0.values[value].name = format!("input {value}");
        self.0.inputs.push(value);
        value
    }

    fn output(&mut self, value: usize) {
        self.0.values[value].name = format!("output {value}");
        self.0.outputs.push(value);
    }

    fn weight(&mut self, dims: &[usize]) -> usize {
        let name = format!("weight {}", self.0.weights.len());
        self.0.weights.push(Weight { name, dtype: DType::F16, dims: dims.to_vec() });
        self.0.weights.len() - 1
    }

    fn rows(&self, source: usize, row: usize, rows: usize) -> Operand {
        let Dim::Fixed(columns) = self.0.values[source].dims[1] else { unreachable!() };
        Operand { source: Source::Value(source), rows: Dim::Fixed(rows), row, columns, column: 0 }
    }

    fn all(&self, source: usize) -> Operand {
        let Dim::Fixed(rows) = self.0.values[source].dims[0] else { unreachable!() };
        self.rows(source, 0, rows)
    }

    /// A part to so many columns with a bias or without.
    fn part(&mut self, from: usize, to: usize, bias: bool) -> LinearPart {
        let weight = self.weight(&[to, from]);
        let bias = bias.then(|| {
            let source = Source::Weight(self.weight(&[to]));
            Operand { source, rows: Dim::Fixed(1), row: 0, columns: to, column: 0 }
        });
        LinearPart { weight, bias }
    }

    fn linear(&mut self, x: usize, parts: Vec<LinearPart>, residual: Option<usize>) -> usize {
        let to = parts.iter().map(|part| self.0.weights[part.weight].dims[0]).sum();
        let x = self.all(x);
        let Dim::Fixed(rows) = x.rows else { unreachable!() };
        let out = self.value(rows, to);
        let residual = residual.map(|residual| self.all(residual));
        let operation = Operation::Linear { x, parts, transposed: true, activation: None, residual, out };
        self.0.operations.push(operation);
        out
    }

    fn norm(&mut self, x: Operand) -> usize {
        let Dim::Fixed(rows) = x.rows else { unreachable!() };
        let out = self.value(rows, x.columns);
        let (weight, bias, gain, shift) = (None, None, None, None);
        self.0.operations.push(Operation::Norm { kind: NormKind::Layer, x, eps: 1e-5, weight, bias, gain, shift, out });
        out
    }

    fn attention(&mut self, q: usize, k: usize, v: usize) -> usize {
        let by_head = |rows| ByHead { rows, heads_first: false };
        let (q, k, v) = (self.all(q), self.all(k), self.all(v));
        let Dim::Fixed(rows) = q.rows else { unreachable!() };
        let out = self.value(rows, q.columns);
        let (heads, dim) = (q.columns / 8, 8);
        let [q, k, v] = [q, k, v].map(by_head);
        let (groups, kv_heads, scale, mask) = (1, heads, 0.3, Mask::None);
        self.0.operations.push(Operation::Attention { q, k, v, groups, heads, kv_heads, dim, scale, mask, out });
        out
    }

    fn plan(&self, split: Split) -> Plan {
        Plan::new(&self.0, &WeightLayout::new(&self.0), &Symbols::new(), &split).expect("a plan")
    }
}

fn arguments(plan: &Plan, at: usize) -> Arguments {
    match &plan.launches[at] {
        Launch::Kernel { arguments, .. } => *arguments,
        Launch::Product(product) => panic!("launch {at} is {product:?}"),
    }
}

fn home(plan: &Plan, address: Address) -> Option<Home> {
    View::of(address).map(|view| plan.storages[view.storage].home)
}

const FOUR: Split = Split::parts(4, false);

#[test]
fn a_norm_adds_product_bias_and_residual_and_keeps_the_sum_for_later_readers() {
    let mut making = Making::new();
    let x = making.input(5, 16);
    let part = making.part(16, 16, true);
    let sum = making.linear(x, vec![part], Some(x));
    let normed = making.norm(making.all(sum));
    let part = making.part(16, 16, false);
    let last = making.linear(normed, vec![part], Some(sum));
    making.output(last);
    let plan = making.plan(FOUR);
    assert_eq!(plan.count(), 4, "product, norm, product, elementwise");
    let products: Vec<_> = plan.products().map(|p| (p.follows, p.parts, p.apart)).collect();
    assert_eq!(products, [(Follows::Norm, 4, 5 * 16), (Follows::Elementwise, 4, 5 * 16)]);
    let Arguments::Norm(norm) = arguments(&plan, 1) else { panic!("a norm") };
    assert_eq!((norm.parts.count, home(&plan, norm.x.address)), (4, Some(Home::Input(0))));
    assert_eq!(home(&plan, norm.parts.bias), Some(Home::Weights));
    let Arguments::Elementwise(end) = arguments(&plan, 3) else { panic!("an elementwise kernel") };
    assert_eq!(end.add, norm.sum, "the residual is the sum that the norm wrote");
    assert_eq!(home(&plan, end.y.address), Some(Home::Output(0)));
}

#[test]
fn rows_that_nothing_reads_are_not_computed() {
    let mut making = Making::new();
    let x = making.input(5, 16);
    let part = making.part(16, 16, true);
    let sum = making.linear(x, vec![part], Some(x));
    let normed = making.norm(making.rows(sum, 1, 4));
    making.output(normed);
    let plan = making.plan(Split::WHOLE);
    let product = plan.products().next().expect("a product");
    assert_eq!(product.rows, 4);
    assert_eq!(View::of(product.x.address).map(|view| view.offset), Some(32), "behind the first row");
    let Arguments::Norm(norm) = arguments(&plan, 1) else { panic!("a norm") };
    assert_eq!((norm.rows, norm.sum.address), (4, 0));
}

#[test]
fn a_sum_of_which_a_norm_reads_rows_and_others_all_is_whole() {
    let mut making = Making::new();
    let x = making.input(5, 16);
    let part = making.part(16, 16, true);
    let sum = making.linear(x, vec![part], Some(x));
    let normed = making.norm(making.rows(sum, 1, 4));
    let other = making.norm(making.all(sum));
    making.output(normed);
    making.output(other);
    let plan = making.plan(Split::WHOLE);
    assert_eq!(plan.products().next().map(|p| (p.rows, p.follows)), Some((5, Follows::Elementwise)));
    assert_eq!(plan.count(), 4);
}

#[test]
fn attention_adds_the_parts_of_its_queries_and_reads_older_keys_early() {
    let mut making = Making::new();
    let (x, k, v) = (making.input(5, 16), making.input(9, 16), making.input(9, 16));
    let parts = [making.part(16, 16, true), making.part(16, 16, true)];
    let [before, part] = parts;
    let rows = making.linear(x, vec![before], None);
    let q = making.linear(rows, vec![part], None);
    let mixed = making.attention(q, k, v);
    let again = making.attention(mixed, mixed, mixed);
    making.output(again);
    let plan = making.plan(FOUR);
    let Arguments::Attention(first) = arguments(&plan, 2) else { panic!("attention") };
    assert_eq!((first.q, first.parts.count, first.early_keys), (0, 4, 1));
    let Arguments::Attention(second) = arguments(&plan, 3) else { panic!("attention") };
    assert_eq!((second.parts.count, second.early_keys), (0, 0), "the launch before made its keys");
    assert!(home(&plan, second.q).is_some());
}

#[test]
fn keys_of_another_program_are_not_early_behind_a_first_product_which_may_begin_early_itself() {
    let mut making = Making::new();
    let (x, k, v) = (making.input(5, 16), making.input(9, 16), making.input(9, 16));
    let part = making.part(16, 16, true);
    let q = making.linear(x, vec![part], None);
    let mixed = making.attention(q, k, v);
    making.output(mixed);
    let Arguments::Attention(first) = arguments(&making.plan(FOUR), 1) else { panic!("attention") };
    assert_eq!((first.parts.count, first.early_keys), (4, 0));
}

#[test]
fn keys_of_another_program_are_not_early_in_the_first_launch() {
    let mut making = Making::new();
    let (q, k, v) = (making.input(5, 16), making.input(9, 16), making.input(9, 16));
    let mixed = making.attention(q, k, v);
    making.output(mixed);
    let Arguments::Attention(first) = arguments(&making.plan(FOUR), 0) else { panic!("attention") };
    assert_eq!(first.early_keys, 0);
}

#[test]
fn parts_of_a_concatenation_are_written_in_place() {
    let mut making = Making::new();
    let (x, state) = (making.input(4, 16), making.input(1, 16));
    let part = making.part(16, 16, true);
    let rows = making.linear(x, vec![part], None);
    let parts = vec![making.all(state), making.all(rows)];
    let out = making.value(5, 16);
    making.0.operations.push(Operation::Concat { parts, out });
    making.output(out);
    let plan = making.plan(Split::WHOLE);
    assert_eq!(plan.count(), 2, "product, and a copy of the input");
    let product = plan.products().next().expect("a product");
    assert_eq!(View::of(product.y.address).map(|view| view.offset), Some(32), "behind the first row");
    assert_eq!((home(&plan, product.y.address), plan.arena_bytes()), (Some(Home::Output(0)), 0));
}

#[test]
fn weights_of_one_operation_lie_one_behind_the_other_with_zeros_for_biases() {
    let mut making = Making::new();
    let x = making.input(4, 16);
    let parts = vec![making.part(16, 24, true), making.part(16, 8, false), making.part(16, 8, true)];
    let out = making.linear(x, parts, None);
    making.output(out);
    let layout = WeightLayout::new(&making.0);
    // Weights 0, 2, 3 are matrices; 1 and 4 biases of 24 and 8.
    assert_eq!((layout.offset(2) - layout.offset(0), layout.offset(3) - layout.offset(2)), (24 * 32, 8 * 32));
    assert_eq!(layout.offset(4) - layout.offset(1), (24 + 8) * 2);
    let zeros = layout.offset(1) + 48;
    assert_eq!(layout.cleared(), std::slice::from_ref(&(zeros..zeros + 16)));
    let plan = making.plan(Split::WHOLE);
    assert_eq!(plan.products().map(|p| p.to).collect::<Vec<_>>(), [40]);
}

#[test]
fn a_weight_in_two_stacks_makes_products_of_their_own() {
    let mut making = Making::new();
    let x = making.input(4, 16);
    let (a, b) = (making.part(16, 8, false), making.part(16, 8, false));
    let first = making.linear(x, vec![a.clone(), b.clone()], None);
    let second = making.linear(x, vec![b, a], None);
    making.output(first);
    making.output(second);
    let plan = making.plan(Split::WHOLE);
    assert_eq!(plan.products().map(|p| p.to).collect::<Vec<_>>(), [16, 8, 8]);
}

#[test]
fn addresses_are_base_and_offset() {
    let mut making = Making::new();
    let x = making.input(4, 16);
    let part = making.part(16, 16, true);
    let inner = making.linear(x, vec![part], None);
    let out = making.norm(making.all(inner));
    making.output(out);
    let plan = making.plan(Split::WHOLE);
    let bases = Bases { weights: 0x1000, arena: 0x2000, inputs: &[0x3000], outputs: &[0x4000] };
    let launches = plan.launches(&bases).expect("as many addresses");
    let Launch::Product(product) = &launches[0] else { panic!("a product") };
    assert_eq!((product.x.address, product.weight, product.y.address), (0x3000, 0x1000, 0x2000));
    let bases = Bases { inputs: &[], ..bases };
    assert!(matches!(plan.launches(&bases), Err(PlanError::Count { expected: 1, found: 0, .. })));
}

#[test]
fn what_contradicts_itself_has_no_plan() {
    let mut making = Making::new();
    let x = making.input(4, 16);
    let out = making.norm(making.all(x));
    making.output(out);
    let plan = |program: &Program, symbols: &Symbols| Plan::new(program, &WeightLayout::new(program), symbols, &FOUR);
    let mut other = making.0.clone();
    other.values[out].dims[1] = Dim::Fixed(8);
    assert!(matches!(plan(&other, &Symbols::new()), Err(PlanError::Program(_))));
    let mut symbolic = making.0;
    for value in [x, out] {
        symbolic.values[value].dims[0] = Dim::Symbol("T".to_owned());
    }
    let Operation::Norm { x: operand, .. } = &mut symbolic.operations[0] else { unreachable!() };
    operand.rows = Dim::Symbol("T".to_owned());
    assert!(matches!(plan(&symbolic, &Symbols::new()), Err(PlanError::Program(_))));
    let of = |text| plan(&symbolic, &Symbols::from([("T".to_owned(), text)]));
    assert!(of(3).is_ok());
    assert!(matches!(of(1 << 50), Err(PlanError::Program(_))), "more than any device has");
    assert_eq!(symbols(&symbolic, &[&[3, 16]]).ok(), Some(BTreeMap::from([("T".to_owned(), 3)])));
    assert!(matches!(symbols(&symbolic, &[&[3, 8]]), Err(PlanError::Input { .. })));
    assert!(matches!(symbols(&symbolic, &[]), Err(PlanError::Count { .. })));
}
