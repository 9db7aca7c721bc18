//! Which weights lie in tiles, and that no plan reads them otherwise.

use super::*;
use crate::launch::{TensorTile, Tile, Tiling};

const WEIGHTS: Address = 1 << 20;
const OWN: Split =
    Split { parts: 1, single: false, tile: Some(Tile::Tensor(TensorTile { outputs: 48, cluster: 1, stages: 8 })) };

/// Offset, channels, outputs and outputs of a tile of each weight in tiles.
fn tilings(program: &Program, symbols: &Symbols) -> Vec<(u64, i32, i32, u32)> {
    let plan = Plan::new(program, &WeightLayout::new(program), symbols, &OWN).expect("a plan");
    let tilings = plan.tilings(WEIGHTS).into_values().flatten();
    tilings.map(|tiling| (tiling.weight - WEIGHTS, tiling.from, tiling.to, tiling.outputs)).collect()
}

fn none() -> Symbols {
    Symbols::new()
}

#[test]
fn stacked_weights_are_one_tiling_and_others_one_each() {
    let mut making = Making::new();
    let x = making.input(51, 64);
    let (stacked, alone) = ([64, 32].map(|to| making.part(64, to, false)), making.part(64, 104, false));
    let first = making.linear(x, stacked.to_vec(), None);
    let second = making.linear(x, vec![alone], None);
    making.output(first);
    making.output(second);
    assert_eq!(tilings(&making.0, &none()), [(0, 64, 96, 48), (96 * 64 * 2, 64, 104, 48)]);
}

#[test]
fn a_weight_that_something_else_reads_stays_dense() {
    type Reader = fn(&mut Making, usize, &LinearPart) -> usize;
    let readers: [(&str, Reader); 3] = [
        ("another product", |making, x, part| making.linear(x, vec![part.clone()], None)),
        ("the same product", |making, x, part| making.linear(x, vec![part.clone(), part.clone()], None)),
        ("an addition", |making, _, part| {
            let out = making.value(8, 64);
            let whole = |source| Operand { source, rows: Dim::Fixed(8), row: 0, columns: 64, column: 0 };
            let (a, b) = (whole(Source::Weight(part.weight)), whole(Source::Weight(part.weight)));
            making.0.operations.push(Operation::Add { a, b, out });
            out
        }),
    ];
    for (what, reader) in readers {
        let mut making = Making::new();
        let x = making.input(51, 64);
        let part = making.part(64, 96, false);
        let out = making.linear(x, vec![part.clone()], None);
        making.output(out);
        assert_eq!(tilings(&making.0, &none()).len(), 1, "{what}");
        let other = reader(&mut making, x, &part);
        making.output(other);
        assert!(tilings(&making.0, &none()).is_empty(), "{what}");
    }
}

#[test]
fn rows_that_differ_by_sizes_or_are_many_leave_a_weight_dense() {
    let symbol = || Dim::Symbol("T".to_owned());
    let symbols = Symbols::from([("T".to_owned(), 51)]);
    for rows in [Dim::Fixed(65), symbol()] {
        let mut making = Making::new();
        let x = making.input(51, 64);
        let part = making.part(64, 96, false);
        let out = making.linear(x, vec![part], None);
        making.output(out);
        for value in [x, out] {
            making.0.values[value].dims[0] = rows.clone();
        }
        let Operation::Linear { x: operand, .. } = &mut making.0.operations[0] else { unreachable!() };
        operand.rows = rows.clone();
        assert!(tilings(&making.0, &symbols).is_empty(), "{rows:?}");
    }
    // A norm that reads as many rows as there are: the product is made of those alone.
    for (rows, count) in [(Dim::Fixed(51), 1), (symbol(), 0)] {
        let mut making = Making::new();
        let (x, of_symbol) = (making.input(51, 64), making.input(51, 8));
        making.0.values[of_symbol].dims[0] = symbol();
        let part = making.part(64, 96, false);
        let inner = making.linear(x, vec![part], None);
        let read = Operand { rows: rows.clone(), ..making.all(inner) };
        let out = making.norm(making.all(inner));
        let Some(Operation::Norm { x: operand, .. }) = making.0.operations.last_mut() else { unreachable!() };
        *operand = read;
        making.0.values[out].dims[0] = rows.clone();
        making.output(out);
        assert_eq!(tilings(&making.0, &symbols).len(), count, "{rows:?}");
    }
}

#[test]
fn launches_that_read_a_weight_otherwise_are_refused() {
    let tiling = |outputs| Tiling { weight: WEIGHTS, from: 64, to: 96, outputs };
    let wanted = |tiling: Option<Tiling>| BTreeMap::from([(WEIGHTS, tiling)]);
    let (dense, tiled, other) = (wanted(None), wanted(Some(tiling(48))), wanted(Some(tiling(72))));
    let mut places = Places::default();
    assert_eq!(places.missing(&dense), Ok(Vec::new()));
    assert_eq!(places.missing(&tiled), Ok(vec![tiling(48)]));
    let mut read_dense = places.clone();
    read_dense.arrived(&dense);
    assert_eq!(read_dense.missing(&dense), Ok(Vec::new()));
    assert!(read_dense.missing(&tiled).is_err());

    places.moving(&[tiling(48)]);
    assert!([&dense, &tiled].into_iter().all(|wanted| places.missing(wanted).is_err()), "it is under way");
    places.arrived(&tiled);
    assert_eq!(places.missing(&tiled), Ok(Vec::new()));
    for wanted in [dense, other] {
        let error = places.missing(&wanted).expect_err("it lies in other tiles");
        assert!(error.contains("load the engines again"), "{error}");
    }
    assert_eq!(places.missing(&tiled), Ok(Vec::new()), "a refusal changes nothing");
}
