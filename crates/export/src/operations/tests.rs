//! Graphs that the operations express in few, and those that they do not.

use std::path::Path;

use vla_base::tensor::{DType, Dim};
use vla_engines::operations::evaluate::evaluate;
use vla_engines::operations::{Operation, Program};

use crate::onnx::pieces::Meaning;
use crate::onnx::{Graph, Value};

/// A graph whose files are not written; its weights are of fewer bytes than what goes to a file.
struct Build(Graph);

impl Build {
    fn new() -> Self {
        Self(Graph::new("part", Path::new("part.onnx")))
    }

    fn input(&mut self, name: &str, dims: &[Dim]) -> Value {
        self.0.input(name, DType::F32, dims).expect("an input")
    }

    /// Rows `[T, 4]`.
    fn rows(&mut self, name: &str) -> Value {
        self.input(name, &[Dim::Symbol("T".to_owned()), Dim::Fixed(4)])
    }

    fn weight(&mut self, name: &str, dims: &[usize]) -> Value {
        let count = dims.iter().product::<usize>() as u8;
        let write =
            |out: &mut dyn std::io::Write| (0..count).try_for_each(|at| out.write_all(&f32::from(at).to_le_bytes()));
        self.0.initializer(name, DType::F32, dims, write).expect("a weight")
    }

    /// `x W` with `W` `[4, to]`.
    fn product(&mut self, x: &Value, name: &str, to: usize) -> Value {
        let weight = self.weight(name, &[4, to]);
        self.0.gemm(x, &weight, None, false).expect("a product")
    }

    fn output(&mut self, name: &str, value: &Value) {
        self.0.output(name, value).expect("an output");
    }

    fn program(&self) -> Program {
        let mut program = super::program(&self.0).expect("a list");
        (program.format, program.network) = (1, "0".repeat(64));
        program.check().unwrap_or_else(|error| panic!("{error}: {program:?}"));
        program
    }

    fn names(&self) -> Vec<&'static str> {
        self.program().operations.iter().map(Operation::name).collect()
    }

    fn refused(&self) -> String {
        super::program(&self.0).expect_err("refused").to_string()
    }
}

#[test]
fn an_activation_and_a_residual_are_parts_of_a_product_that_only_they_read() {
    let build = |also: bool| {
        let mut build = Build::new();
        let x = build.rows("x");
        let product = build.product(&x, "w", 4);
        let active = build.0.relu(&product);
        let sum = build.0.add(&x, &active).expect("a sum");
        build.output("y", &sum);
        if also {
            build.output("product", &product);
        }
        build
    };
    assert_eq!(build(false).names(), ["linear"]);
    // An output is not left out, and what is added to is not what another operation reads.
    assert_eq!(build(true).names(), ["linear", "activate", "add"]);
    let mut twice = Build::new();
    let x = twice.rows("x");
    let product = twice.product(&x, "w", 4);
    let sum = twice.0.add(&product, &product).expect("a sum");
    twice.output("y", &sum);
    assert_eq!(twice.names(), ["linear", "add"]);
}

#[test]
fn products_of_one_input_are_one_but_for_outputs_and_what_is_not_ready() {
    let mut build = Build::new();
    let x = build.rows("x");
    let [a, b, c] = [("a", 4), ("b", 3), ("c", 4)].map(|(name, to)| build.product(&x, name, to));
    let sum = build.0.add(&a, &c).expect("a sum");
    let gate = build.0.relu(&b);
    build.output("sum", &sum);
    build.output("gate", &gate);
    let program = build.program();
    let Some(Operation::Linear { parts, .. }) = program.operations.first() else { panic!("{program:?}") };
    assert_eq!((parts.len(), build.names()), (3, vec!["linear", "add", "activate"]));
    // [T, 4 + 3 + 4] of the rows 1, 0, 0, 0 and 0, 1, 0, 0: weights count up from 0.
    let symbols = [("T".to_owned(), 2)].into();
    let weights: Vec<Vec<f64>> =
        program.weights.iter().map(|w| (0..w.dims.iter().product()).map(|n: usize| n as f64).collect()).collect();
    let values =
        evaluate(&program, &weights, &[vec![1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]], &symbols, true).expect("runs");
    let output = |at: usize| &values[program.outputs[at]];
    assert_eq!(output(0), &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0]);
    assert_eq!(output(1), &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);

    build.output("third", &c);
    assert_eq!(build.names(), ["linear", "linear", "add", "activate"]);

    // The second one's bias is made of the first one's result.
    let mut build = Build::new();
    let x = build.input("x", &[Dim::Fixed(1), Dim::Fixed(4)]);
    let first = build.product(&x, "a", 4);
    let weight = build.weight("b", &[4, 4]);
    let second = build.0.gemm(&x, &weight, Some(&first), false).expect("a product");
    build.output("y", &second);
    assert_eq!(build.names(), ["linear", "linear"]);
}

#[test]
fn a_norm_takes_a_gain_and_a_shift_and_a_gate_its_factor() {
    let mut build = Build::new();
    let x = build.rows("x");
    let table = build.input("table", &[Dim::Fixed(3), Dim::Fixed(4)]);
    let (weight, bias) = (build.weight("g", &[4]), build.weight("b", &[4]));
    let normed = build.0.layer_norm(&x, &weight, &bias, 1e-5).expect("a norm");
    let (gain, shift) = (build.0.row(&table, 1).expect("a row"), build.0.row(&table, 2).expect("a row"));
    let scaled = build.0.mul(&normed, &gain).expect("a product");
    let shifted = build.0.add(&scaled, &shift).expect("a sum");
    let gate = build.0.silu(&x).expect("a gate");
    let gated = build.0.mul(&gate, &shifted).expect("a product");
    build.output("y", &gated);
    assert_eq!(build.names(), ["norm", "activate"]);
    let program = build.program();
    let Some(Operation::Norm { gain: Some(gain), shift: Some(shift), .. }) = program.operations.first() else {
        panic!("{program:?}")
    };
    assert_eq!((gain.row, shift.row), (1, 2));
}

#[test]
fn rows_are_copied_only_where_an_operation_cannot_read_them() {
    let mut build = Build::new();
    let x = build.rows("x");
    let halves = build.0.split(&x, 1, &[2, 2]).expect("halves");
    let sum = build.0.add(&halves[0], &halves[1]).expect("a sum");
    build.output("y", &sum);
    assert_eq!(build.names(), ["add"]);

    let square = build.input("square", &[Dim::Fixed(4), Dim::Fixed(4)]);
    let turned = build.0.transpose(&square, &[1, 0]).expect("axes");
    let active = build.0.relu(&turned);
    build.output("z", &active);
    // An input and a part of one under other names.
    build.output("copy", &square);
    build.output("half", &halves[1]);
    assert_eq!(build.names(), ["add", "permute", "activate", "cast", "cast"]);
}

#[test]
fn what_no_operation_expresses_is_an_error_that_names_the_node() {
    let mut build = Build::new();
    let x = build.rows("x");
    let product = build.0.mul(&x, &x).expect("a product");
    build.output("y", &product);
    assert!(build.refused().contains("multiplies"), "{}", build.refused());

    let mut build = Build::new();
    let x = build.rows("x");
    build.0.enter("inner");
    let root = build.0.sqrt(&x);
    build.output("y", &root);
    assert!(build.refused().contains("part/inner/Sqrt_0"), "{}", build.refused());

    let mut build = Build::new();
    let x = build.rows("x");
    let wide = build.0.concat(&[&x, &x], 1).expect("columns");
    build.output("y", &wide);
    assert!(build.refused().contains("Concat"), "{}", build.refused());
}

#[test]
fn what_is_inside_of_a_piece_is_read_by_none_outside() {
    let mut build = Build::new();
    let x = build.rows("x");
    let start = build.0.start();
    let inner = build.0.relu(&x);
    let result = build.0.neg(&inner);
    let norm = Meaning::Norm { kind: vla_engines::operations::NormKind::Rms, x: x.clone(), weight: None, eps: 1e-6 };
    let result = build.0.piece(start, norm, result);
    build.output("y", &result);
    assert_eq!(build.names(), ["norm"]);
    let sum = build.0.add(&inner, &result).expect("a sum");
    build.output("z", &sum);
    assert!(build.refused().contains("inside"), "{}", build.refused());
}
