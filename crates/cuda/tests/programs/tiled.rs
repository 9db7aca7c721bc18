//! Weights in tiles: stacked ones, tiles with fewer rows at the end, products in parts.

use vla_base::tensor::{DType, Dim};
use vla_cuda::launch::{TensorTile, Tile};
use vla_cuda::plan::{Plan, WeightLayout};
use vla_cuda::tactics::Split;
use vla_engines::Symbols;
use vla_engines::operations::{Activation, LinearPart, NormKind, Operand, Operation, Source, Value, Weight};

use super::device::{decode, encode};
use super::run::{Network, Random};

const ROWS: usize = 51;

/// `Linear` to 88 and 40 columns, of which a norm and a second one to 200 are made, and a third with a residual and its norm.
struct Making {
    random: Random,
    network: Network,
}

impl Making {
    fn value(&mut self, name: &str, columns: usize) -> usize {
        let dims = vec![Dim::Fixed(ROWS), Dim::Fixed(columns)];
        self.network.program.values.push(Value { name: name.to_owned(), dtype: DType::F16, dims });
        self.network.program.values.len() - 1
    }

    fn weight(&mut self, dims: &[usize]) -> usize {
        let scale = 1.0 / (dims[dims.len() - 1] as f64).sqrt();
        let elements: Vec<f64> = (0..dims.iter().product()).map(|_| self.random.value() * scale).collect();
        self.network.weights.push(decode(&encode(&elements, DType::F16), DType::F16));
        let name = format!("weight {}", self.network.weights.len());
        self.network.program.weights.push(Weight { name, dtype: DType::F16, dims: dims.to_vec() });
        self.network.weights.len() - 1
    }

    fn all(&self, value: usize) -> Operand {
        let Dim::Fixed(columns) = self.network.program.values[value].dims[1] else { unreachable!() };
        Operand { source: Source::Value(value), rows: Dim::Fixed(ROWS), row: 0, columns, column: 0 }
    }

    fn linear(&mut self, x: usize, widths: &[usize], activation: Option<Activation>, residual: Option<usize>) -> usize {
        let from = self.all(x).columns;
        let parts = widths.iter().map(|&to| {
            let weight = self.weight(&[to, from]);
            let source = Source::Weight(self.weight(&[to]));
            LinearPart { weight, bias: Some(Operand { source, rows: Dim::Fixed(1), row: 0, columns: to, column: 0 }) }
        });
        let parts: Vec<LinearPart> = parts.collect();
        let out = self.value("", widths.iter().sum());
        let (x, residual) = (self.all(x), residual.map(|value| self.all(value)));
        let operation = Operation::Linear { x, parts, transposed: true, activation, residual, out };
        self.network.program.operations.push(operation);
        out
    }

    fn norm(&mut self, x: usize) -> usize {
        let (kind, x) = (NormKind::Layer, self.all(x));
        let out = self.value("", x.columns);
        let operation = Operation::Norm { kind, x, eps: 1e-5, weight: None, bias: None, gain: None, shift: None, out };
        self.network.program.operations.push(operation);
        out
    }
}

fn network() -> Network {
    let mut making = Making { random: Random(5), network: Network::empty() };
    let x = making.value("x", 128);
    making.network.program.inputs.push(x);
    let stacked = making.linear(x, &[88, 40], None, None);
    let normed = making.norm(stacked);
    let wide = making.linear(normed, &[200], Some(Activation::GeluTanh), None);
    let narrow = making.linear(normed, &[128], None, Some(x));
    let last = making.norm(narrow);
    for (name, value) in [("wide", wide), ("last", last)] {
        making.network.program.values[value].name = name.to_owned();
        making.network.program.outputs.push(value);
    }
    making.network
}

#[test]
fn networks_with_weights_in_tiles_compute_what_they_say() {
    let (network, symbols) = (network(), Symbols::new());
    let inputs = network.inputs(&symbols, &mut Random(6));
    let layout = WeightLayout::new(&network.program);
    for (outputs, cluster, parts) in [(48, 1, 1), (48, 1, 2), (72, 2, 1), (128, 1, 1)] {
        let tile = Tile::Tensor(TensorTile { outputs, cluster, stages: 8 });
        let split = Split { tile: Some(tile), ..Split::parts(parts, false) };
        let plan = Plan::new(&network.program, &layout, &symbols, &split).unwrap();
        let mut tiled: Vec<(i32, u32)> =
            plan.tilings(1 << 20).into_values().flatten().map(|tiling| (tiling.to, tiling.outputs)).collect();
        tiled.sort_unstable();
        assert_eq!(tiled, [(128, outputs), (128, outputs), (200, outputs)]);
        network.check(&symbols, &inputs, split, &format!("{split:?}"));
    }
}
