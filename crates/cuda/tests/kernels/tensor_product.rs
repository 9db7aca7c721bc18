//! Products by tensor copies and a warpgroup's multiplications: rows, tiles, clusters, parts, bias, activation.

use vla_cuda::kernels::{LaunchError, Limits, configuration};
use vla_cuda::launch::{Arguments, Element, Kernel, Launch, Matrix, TensorProductArguments, TensorTile, Tiling};

use crate::gpu;
use crate::product::{aligned, gelu};
use crate::support::{LIMITS, Operand, Random, launch, launch_after};

const HALVES: [Element; 2] = [Element::F16, Element::BF16];

#[derive(Clone, Copy, Debug)]
struct Case {
    rows: usize,
    from: usize,
    to: usize,
    parts: usize,
    single: bool,
    activation: i32,
    tile: TensorTile,
}

struct Operands {
    x: Operand,
    weight: Operand,
    bias: Option<Operand>,
    y: Operand,
    arguments: TensorProductArguments,
}

impl Operands {
    fn new(element: Element, case: Case, random: &mut Random) -> Self {
        let Case { rows, from, to, parts, single, activation, .. } = case;
        let x = aligned(element, rows, from, random);
        let mut weight = Operand::new(element, to, from, 8, 0);
        weight.fill(|_, _| random.value() / 8.0);
        let bias = (parts == 1 && random.coin()).then(|| aligned(element, 1, to, random));
        let y = Operand::new(if single { Element::F32 } else { element }, rows * parts, to, 8, 8 * random.below(2));
        let arguments = TensorProductArguments {
            x: x.matrix(),
            weight: weight.address(),
            bias: bias.as_ref().map_or(0, Operand::address),
            y: y.matrix(),
            apart: if parts > 1 { y.matrix().stride * rows as i64 } else { 0 },
            rows: rows as i32,
            from: from as i32,
            to: to as i32,
            parts: parts as i32,
            single: i32::from(single),
            activation,
            ..Default::default()
        };
        Self { x, weight, bias, y, arguments }
    }

    fn check(&self, before: &Operand, case: Case, what: &str) {
        let share = case.from / case.parts;
        let want = |row: usize, column: usize| {
            let (row, part) = (row % case.rows, row / case.rows);
            let channels = part * share..(part + 1) * share;
            let sum: f64 = channels.map(|c| self.x.at(row, c) * self.weight.at(column, c)).sum();
            let sum = sum + self.bias.as_ref().map_or(0.0, |bias| bias.at(0, column));
            match case.activation {
                1 => sum.max(0.0),
                3 => gelu(sum),
                _ => sum,
            }
        };
        // Tensor cores cut off what they add to larger sums.
        self.y.check(before, what, 1e-5 * (2 + case.from / 256) as f64, want);
    }
}

fn run(element: Element, case: Case, seed: u64) {
    let mut random = Random(seed);
    let operands = Operands::new(element, case, &mut random);
    let before = operands.y.clone();
    launch(Kernel::TensorProduct(element, case.tile), Arguments::TensorProduct(operands.arguments), &mut random);
    operands.check(&before, case, &format!("{element:?} {case:?}, seed {seed}"));
}

fn tile(outputs: u32, cluster: u32) -> TensorTile {
    TensorTile { outputs, cluster, stages: 9 }
}

fn case(tile: TensorTile, rows: usize, from: usize, to: usize) -> Case {
    Case { rows, from, to, parts: 1, single: false, activation: 0, tile }
}

#[test]
fn every_tile_gives_the_product_of_its_rows() {
    for (at, outputs) in TensorTile::OUTPUTS.into_iter().enumerate() {
        for (cluster, rows) in [(1, 48), (2, 51), (4, 64), (1, 1), (4, 9)] {
            let tile = tile(outputs, cluster);
            // Outputs that do not fill the last tile, and more steps than one.
            let (from, to) = (3 * tile.depth() as usize, outputs as usize + 40);
            for (element, activation) in [(HALVES[at % 2], 0), (HALVES[(at + 1) % 2], 3)] {
                run(element, Case { activation, ..case(tile, rows, from, to) }, 7 + at as u64);
            }
        }
    }
}

#[test]
fn one_step_a_block_and_a_cut_at_zero() {
    for (seed, cluster) in [(1, 1), (2, 2), (3, 4)] {
        let tile = tile(48, cluster);
        run(Element::F16, Case { activation: 1, ..case(tile, 33, tile.depth() as usize, 56) }, seed);
    }
}

#[test]
fn parts_lie_apart_in_either_precision() {
    for (single, parts, cluster) in [(false, 2, 2), (true, 3, 1), (true, 2, 4)] {
        let tile = tile(72, cluster);
        let from = 2 * tile.depth() as usize * parts;
        run(Element::F16, Case { parts, single, ..case(tile, 17, from, 200) }, 5);
    }
}

#[test]
fn a_ring_smaller_than_the_channels_is_used_again() {
    // Stages of 56 and 128 rows of 128 bytes, and 17 steps.
    let tile = TensorTile { stages: 2, ..tile(128, 1) };
    let case = case(tile, 51, 17 * 64, 128);
    let mut random = Random(3);
    let arguments = Arguments::TensorProduct(Operands::new(Element::F16, case, &mut random).arguments);
    let shared = configuration(Kernel::TensorProduct(Element::F16, tile), &arguments, LIMITS).unwrap().shared;
    assert!((2..3).contains(&(shared / (184 * 128))), "{shared}");
    (3..6).for_each(|seed| run(Element::F16, case, seed));
    let clustered = TensorTile { outputs: 96, cluster: 2, ..tile };
    run(Element::BF16, Case { tile: clustered, from: 18 * 64, ..case }, 6);
}

#[test]
fn weights_are_read_before_the_launch_before_has_ended_and_rows_and_biases_are_not() {
    // One cluster, whose ring holds all steps.
    let tile = tile(48, 2);
    let case = case(tile, 20, 2 * tile.depth() as usize, 48);
    let mut random = Random(11);
    let mut operands = Operands::new(Element::F16, case, &mut random);
    let mut bias = aligned(Element::F16, 1, 48, &mut random);
    operands.arguments.bias = bias.address();
    let (before, rows, biases, weight) =
        (operands.y.clone(), operands.x.clone(), bias.clone(), operands.weight.clone());
    operands.x.fill(|_, _| f64::NAN);
    bias.fill(|_, _| f64::NAN);
    let kernel = Kernel::TensorProduct(Element::F16, tile);
    launch_after(kernel, Arguments::TensorProduct(operands.arguments), || {
        operands.x.fill(|row, column| rows.at(row, column));
        bias.fill(|row, column| biases.at(row, column));
        // The emulator has copied them; a GPU runs the launch behind this.
        if !gpu::is_meant() {
            operands.weight.fill(|_, _| f64::NAN);
        }
    });
    Operands { weight, bias: Some(biases), ..operands }.check(&before, case, "late rows and biases");
}

#[test]
fn results_have_the_same_bits_in_any_order_of_threads_and_copies() {
    let tile = tile(96, 4);
    let case = Case { activation: 3, ..case(tile, 51, 4 * tile.depth() as usize, 136) };
    let bits = |order: u64| {
        let mut random = Random(9);
        let operands = Operands::new(Element::F16, case, &mut random);
        let kernel = Kernel::TensorProduct(Element::F16, tile);
        launch(kernel, Arguments::TensorProduct(operands.arguments), &mut Random(order));
        operands.y.bytes().to_vec()
    };
    assert!(bits(1) == bits(2) && bits(2) == bits(3));
}

/// The same weight in tiles, put there a few rows of tiles at a time.
fn tiled(weight: &Operand, (from, to): (usize, usize), outputs: u32, random: &mut Random) -> Operand {
    let (tiles, room) = (weight.clone(), weight.clone());
    let tiling = Tiling { weight: tiles.address(), from: from as i32, to: to as i32, outputs };
    let few = 2 * 2 * u64::from(outputs) * from as u64;
    for moved in tiling.launches(room.address(), few).expect("room for two rows of tiles") {
        let Launch::Kernel { kernel, arguments } = moved else { panic!("{moved:?}") };
        launch(kernel, arguments, random);
    }
    tiles
}

#[test]
fn a_weight_in_tiles_gives_the_same_bits() {
    let cases =
        [(48, 1, 1, 48 * 5), (72, 2, 1, 72 * 3 + 40), (96, 4, 1, 96 * 2 + 8), (128, 1, 3, 128 + 120), (48, 2, 2, 40)];
    for (seed, (outputs, cluster, parts, to)) in cases.into_iter().enumerate() {
        let tile = tile(outputs, cluster);
        let from = 2 * tile.depth() as usize * parts;
        let case = Case { parts, ..case(tile, 51, from, to) };
        let mut random = Random(30 + seed as u64);
        let element = HALVES[seed % 2];
        let mut operands = Operands::new(element, case, &mut random);
        let before = operands.y.clone();
        let dense = operands.arguments;
        let tiles = tiled(&operands.weight, (from, to), outputs, &mut random);
        assert_ne!(tiles.bytes(), operands.weight.bytes(), "{case:?}");
        let mut bits = |arguments| {
            operands.y.fill(|_, _| f64::NAN);
            launch(Kernel::TensorProduct(element, tile), Arguments::TensorProduct(arguments), &mut random);
            operands.check(&before, case, &format!("{case:?}"));
            operands.y.bytes().to_vec()
        };
        let in_tiles = TensorProductArguments { weight: tiles.address(), tiled: 1, ..dense };
        assert!(bits(dense) == bits(in_tiles), "{case:?}");
    }
}

#[test]
fn no_weight_is_put_into_tiles_without_room_for_a_row_of_them() {
    let tiling = Tiling { weight: 1 << 20, from: 128, to: 100, outputs: 48 };
    assert!(tiling.launches(1 << 30, 2 * 48 * 128 - 1).is_none());
    assert_eq!(tiling.launches(1 << 30, 2 * 48 * 128).map(|launches| launches.len()), Some(6));
    assert_eq!(tiling.launches(1 << 30, 4 * 48 * 128).map(|launches| launches.len()), Some(4));
}

#[test]
fn what_the_kernel_does_not_take_is_refused_by_name() {
    let tile = tile(96, 2);
    let matrix = Matrix { address: 1 << 20, stride: 512 };
    let (weight, rows, from, to, parts) = (1 << 20, 51, 512, 96, 1);
    let rest = TensorProductArguments::default();
    let good = TensorProductArguments { x: matrix, weight, y: matrix, rows, from, to, parts, ..rest };
    let refused = |element, tile, arguments, limits| {
        let arguments = Arguments::TensorProduct(arguments);
        match configuration(Kernel::TensorProduct(element, tile), &arguments, limits) {
            Err(LaunchError::Size { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    };
    let element = Element::F16;
    assert!(configuration(Kernel::TensorProduct(element, tile), &Arguments::TensorProduct(good), LIMITS).is_ok());
    let cases = [
        (Element::F32, tile, good, "element"),
        (element, TensorTile { outputs: 64, ..tile }, good, "outputs"),
        (element, TensorTile { cluster: 3, ..tile }, good, "cluster"),
        (element, tile, TensorProductArguments { rows: 65, ..good }, "rows"),
        (element, tile, TensorProductArguments { from: 192, ..good }, "from"),
        (element, tile, TensorProductArguments { to: 92, ..good }, "to"),
        (element, tile, TensorProductArguments { weight: 8, ..good }, "alignment"),
        (element, tile, TensorProductArguments { x: Matrix { stride: 516, ..matrix }, ..good }, "alignment"),
        (element, tile, TensorProductArguments { y: Matrix { stride: 100, ..matrix }, ..good }, "alignment"),
        (element, tile, TensorProductArguments { activation: 2, ..good }, "activation"),
        (element, tile, TensorProductArguments { parts: 0, ..good }, "parts"),
        (element, TensorTile { stages: 1, ..tile }, good, "stages"),
        (
            element,
            TensorTile { stages: 60, ..tile },
            TensorProductArguments { from: 64 * 128, ..good },
            "shared memory",
        ),
    ];
    for (element, tile, arguments, what) in cases {
        assert_eq!(refused(element, tile, arguments, LIMITS), what);
    }
    let without = Limits { warpgroups: false, ..LIMITS };
    assert_eq!(refused(element, tile, good, without), "warpgroups");
}
