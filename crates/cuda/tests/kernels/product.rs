//! Our own products of 8-bit factors: rows, tiles, clusters, parts, bias, activation.

use vla_cuda::kernels::{LaunchError, Limits, configuration};
use vla_cuda::launch::{Arguments, ByteTile, Element, Kernel, Matrix, ProductArguments};

use crate::support::{Bytes, LIMITS, Operand, Random, launch, launch_after, scales};

const HALVES: [Element; 2] = [Element::F16, Element::BF16];

#[derive(Clone, Copy, Debug)]
struct Case {
    rows: usize,
    from: usize,
    to: usize,
    parts: usize,
    single: bool,
    tile: ByteTile,
}

/// A matrix whose rows begin at multiples of 16 bytes.
pub(crate) fn aligned(element: Element, rows: usize, columns: usize, random: &mut Random) -> Operand {
    let mut operand = Operand::new(element, rows, columns, 8, 8 * random.below(3));
    operand.fill(|_, _| random.value());
    operand
}

pub(crate) fn gelu(x: f64) -> f64 {
    x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh())
}

struct Operands {
    x: Bytes,
    weight: Bytes,
    scales: [Operand; 2],
    bias: Option<Operand>,
    y: Operand,
    arguments: ProductArguments,
}

impl Operands {
    fn new(element: Element, case: Case, random: &mut Random) -> Self {
        let Case { rows, from, to, parts, single, .. } = case;
        let (x, weight) = (Bytes::random(rows, from + 16 * random.below(3), random), Bytes::random(to, from, random));
        let scales = [scales(rows, random), scales(to, random)];
        let bias = (parts == 1 && random.coin()).then(|| aligned(element, 1, to, random));
        let y = Operand::new(if single { Element::F32 } else { element }, rows * parts, to, 8, 8 * random.below(2));
        let arguments = ProductArguments {
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
            activation: if parts == 1 && random.coin() { 3 } else { 0 },
            row_scales: scales[0].address(),
            channel_scales: scales[1].address(),
        };
        Self { x, weight, scales, bias, y, arguments }
    }

    fn sum(&self, row: usize, column: usize, channels: std::ops::Range<usize>) -> i32 {
        channels.map(|c| i32::from(self.x.at(row, c)) * i32::from(self.weight.at(column, c))).sum()
    }

    fn check(&self, before: &Operand, case: Case, what: &str) {
        let share = case.from / case.parts;
        let want = |row: usize, column: usize| {
            let (row, part) = (row % case.rows, row / case.rows);
            let sum = f64::from(self.sum(row, column, part * share..(part + 1) * share));
            let scaled = sum * self.scales[0].at(0, row) * self.scales[1].at(0, column);
            let sum = scaled + self.bias.as_ref().map_or(0.0, |bias| bias.at(0, column));
            if self.arguments.activation == 3 { gelu(sum) } else { sum }
        };
        self.y.check(before, what, 1e-5, want);
    }
}

fn run(element: Element, case: Case, seed: u64) {
    let mut random = Random(seed);
    let operands = Operands::new(element, case, &mut random);
    let before = operands.y.clone();
    launch(Kernel::Product(element, case.tile), Arguments::Product(operands.arguments), &mut random);
    operands.check(&before, case, &format!("{element:?} {case:?}, seed {seed}"));
}

fn tile(out_warps: u32, channel_warps: u32, cluster: u32) -> ByteTile {
    ByteTile { out_warps, channel_warps, cluster, resident: 1 }
}

#[test]
fn every_tile_gives_the_product_of_its_rows() {
    for (at, (out_warps, channel_warps)) in ByteTile::WARPS.into_iter().enumerate() {
        for (cluster, rows) in [(1, 48), (2, 51), (4, 64), (2, 3)] {
            let tile = tile(out_warps, channel_warps, cluster);
            // Outputs that do not fill the last tile, and more steps than one.
            let (from, to) = (2 * tile.depth() as usize, 48 * out_warps as usize + 40);
            let case = Case { rows, from, to, parts: 1, single: false, tile };
            run(HALVES[at % 2], case, 7 + at as u64);
        }
    }
}

#[test]
fn few_rows_and_clusters_larger_than_them_are_whole() {
    for (element, rows, cluster) in [(Element::F16, 1, 4), (Element::BF16, 3, 8), (Element::F16, 9, 2)] {
        let tile = tile(1, 4, cluster);
        let case = Case { rows, from: tile.depth() as usize, to: 96, parts: 1, single: false, tile };
        (1..4).for_each(|seed| run(element, case, seed));
    }
}

#[test]
fn parts_lie_apart_in_either_precision_and_are_scaled_each() {
    for (single, parts, cluster) in [(false, 2, 2), (true, 3, 1), (true, 2, 4)] {
        let tile = tile(2, 4, cluster);
        let from = tile.depth() as usize * parts;
        run(Element::F16, Case { rows: 17, from, to: 200, parts, single, tile }, 5);
    }
}

#[test]
fn a_ring_smaller_than_the_weights_is_used_again() {
    // 48 x 256 bytes a stage: 12 KiB of the 81 KiB that two blocks may have each, in 16 steps.
    let tile = ByteTile { resident: 2, ..tile(1, 4, 1) };
    let case = Case { rows: 20, from: 16 * 256, to: 48, parts: 1, single: false, tile };
    let mut random = Random(3);
    let arguments = Arguments::Product(Operands::new(Element::F16, case, &mut random).arguments);
    let shared = configuration(Kernel::Product(Element::F16, tile), &arguments, LIMITS).unwrap().shared;
    assert!(shared < 81 << 10, "{shared}");
    run(Element::F16, case, 3);
}

#[test]
fn weights_are_read_before_the_launch_before_has_ended_and_rows_and_their_scales_are_not() {
    let tile = tile(1, 4, 2);
    let case = Case { rows: 20, from: 2 * tile.depth() as usize, to: 96, parts: 1, single: false, tile };
    let mut random = Random(11);
    let mut operands = Operands::new(Element::F16, case, &mut random);
    let (before, mut late, scales) = (operands.y.clone(), operands.x.clone(), operands.scales[0].clone());
    operands.x.all().fill(1);
    operands.scales[0].fill(|_, _| f64::NAN);
    let arguments = Arguments::Product(operands.arguments);
    launch_after(Kernel::Product(Element::F16, tile), arguments, || {
        operands.x.all().copy_from_slice(late.all());
        operands.scales[0].fill(|_, row| scales.at(0, row));
    });
    operands.check(&before, case, "x that comes late");
}

#[test]
fn the_same_product_has_the_same_bits_in_any_order_of_threads() {
    let tile = tile(3, 2, 4);
    let case = Case { rows: 51, from: 3 * tile.depth() as usize, to: 144, parts: 1, single: false, tile };
    let bits = |order: u64| {
        let mut random = Random(2);
        let operands = Operands::new(Element::F16, case, &mut random);
        launch(Kernel::Product(Element::F16, tile), Arguments::Product(operands.arguments), &mut Random(order));
        operands.y.bytes().to_vec()
    };
    assert!(bits(1) == bits(2) && bits(2) == bits(3));
}

#[test]
fn what_the_kernel_does_not_take_is_refused_by_name() {
    let tile = tile(1, 4, 2);
    let matrix = Matrix { address: 1 << 20, stride: 512 };
    let good = ProductArguments {
        x: matrix,
        weight: 1 << 20,
        y: matrix,
        rows: 51,
        from: 512,
        to: 96,
        parts: 1,
        row_scales: 1 << 20,
        channel_scales: 1 << 20,
        ..ProductArguments::default()
    };
    let refused = |element, tile, arguments, limits| match configuration(
        Kernel::Product(element, tile),
        &Arguments::Product(arguments),
        limits,
    ) {
        Err(LaunchError::Size { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert!(configuration(Kernel::Product(Element::F16, tile), &Arguments::Product(good), LIMITS).is_ok());
    let element = Element::F16;
    let cases = [
        (Element::F32, tile, good, "element"),
        (element, ByteTile { channel_warps: 5, ..tile }, good, "warps"),
        (element, ByteTile { cluster: 9, ..tile }, good, "cluster"),
        (element, tile, ProductArguments { rows: 65, ..good }, "rows"),
        (element, tile, ProductArguments { from: 768, ..good }, "from"),
        (element, tile, ProductArguments { to: 92, ..good }, "to"),
        (element, tile, ProductArguments { weight: 8, ..good }, "alignment"),
        (element, tile, ProductArguments { x: Matrix { stride: 520, ..matrix }, ..good }, "alignment"),
        (element, tile, ProductArguments { y: Matrix { stride: 100, ..matrix }, ..good }, "alignment"),
        (element, tile, ProductArguments { row_scales: 0, ..good }, "row_scales"),
        (element, tile, ProductArguments { channel_scales: 4, ..good }, "channel_scales"),
        (element, tile, ProductArguments { activation: 5, ..good }, "activation"),
        (element, ByteTile { resident: 40, ..tile }, good, "shared memory"),
    ];
    for (element, tile, arguments, what) in cases {
        assert_eq!(refused(element, tile, arguments, LIMITS), what);
    }
    let without = Limits { clusters: false, ..LIMITS };
    assert_eq!(refused(element, tile, good, without), "cluster", "before compute capability 9.0");
}
