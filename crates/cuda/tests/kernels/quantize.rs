//! 8-bit rows, products of 8-bit factors by our own kernel, and results of the library's.

use vla_cuda::kernels::{LaunchError, configuration};
use vla_cuda::launch::{
    Address, Arguments, DequantizeArguments, Element, Kernel, Matrix, NormArguments, ProductArguments,
    QuantizeArguments, Tile,
};

use crate::product::{aligned, gelu};
use crate::support::{LIMITS, Operand, Random, launch, launch_after};

const HALVES: [Element; 2] = [Element::F16, Element::BF16];

/// Rows of bytes or of INT32 in memory of their own, `stride` bytes apart.
#[derive(Clone)]
struct Bytes {
    stride: usize,
    memory: Vec<u128>,
}

impl Bytes {
    fn new(rows: usize, stride: usize) -> Self {
        Self { stride, memory: vec![u128::MAX; (rows * stride).div_ceil(16)] }
    }

    fn random(rows: usize, stride: usize, random: &mut Random) -> Self {
        let mut bytes = Self::new(rows, stride);
        bytes.all().fill_with(|| (random.below(255) as i32 - 127) as i8 as u8);
        bytes
    }

    fn all(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.memory)
    }

    fn at(&self, row: usize, column: usize) -> i8 {
        bytemuck::cast_slice::<_, i8>(&self.memory)[row * self.stride + column]
    }

    fn address(&self) -> Address {
        self.memory.as_ptr() as Address
    }

    fn matrix(&self) -> Matrix {
        Matrix { address: self.address(), stride: self.stride as i64 }
    }
}

/// Scales of a usual size, in a row.
fn scales(count: usize, random: &mut Random) -> Operand {
    let mut scales = Operand::new(Element::F32, 1, count, 4, 0);
    scales.fill(|_, _| (1.5 + random.value()) / 127.0);
    scales
}

#[test]
fn a_row_is_rounded_to_the_nearest_of_its_own_scale() {
    let mut random = Random(4);
    for (at, (rows, columns)) in [(1, 16), (3, 250), (5, 1536), (2, 6144), (7, 33)].into_iter().enumerate() {
        for element in HALVES {
            let x = Operand::random(element, rows, columns, &mut random);
            let stride = columns + [0, 3, 16][at % 3];
            let (mut y, mut kept) = (Bytes::new(rows, stride), Operand::new(Element::F32, 1, rows, 4, 0));
            let before = kept.clone();
            let arguments = QuantizeArguments {
                x: x.matrix(),
                y: y.matrix(),
                scales: kept.address(),
                rows: rows as i32,
                columns: columns as i32,
                ..QuantizeArguments::default()
            };
            launch(Kernel::Quantize(element), Arguments::Quantize(arguments), &mut random);
            let most = |row| (0..columns).map(|column| x.at(row, column).abs()).fold(0.0, f64::max);
            kept.check(&before, "scales", 1e-7, |_, row| most(row) / 127.0);
            for row in 0..rows {
                for column in 0..stride {
                    let found = f64::from(y.at(row, column));
                    if column >= columns {
                        assert_eq!(found, -1.0, "memory between the rows was written");
                        continue;
                    }
                    let want = x.at(row, column) * 127.0 / most(row);
                    assert!((found - want).abs() <= 0.5 + 1e-4, "({row}, {column}): {found}, expected {want}");
                }
            }
            // SAFETY of the address: it lives until here.
            y.all().fill(0);
            kept.fill(|_, _| 0.0);
        }
    }
}

#[test]
fn rows_of_zeros_are_zeros_and_what_is_no_number_stays_none() {
    let mut random = Random(5);
    let mut x = aligned(Element::F16, 5, 64, &mut random);
    for column in 0..64 {
        x.set(1, column, 0.0);
    }
    x.set(2, 63, f64::NAN);
    x.set(3, 0, f64::INFINITY);
    let half = [0.5, -0.5, 1.5, 2.5];
    for column in 0..64 {
        x.set(4, column, half.get(column).copied().unwrap_or(127.0));
    }
    let (mut y, kept) = (Bytes::new(5, 64), Operand::new(Element::F32, 1, 5, 4, 0));
    let scales = kept.address();
    let arguments =
        QuantizeArguments { x: x.matrix(), y: y.matrix(), scales, rows: 5, columns: 64, ..Default::default() };
    launch(Kernel::Quantize(Element::F16), Arguments::Quantize(arguments), &mut random);
    assert!(kept.at(0, 0) > 0.0 && kept.at(0, 1) == 0.0 && y.all()[64..128].iter().all(|byte| *byte == 0));
    assert!(kept.at(0, 2).is_nan() && kept.at(0, 3).is_infinite());
    assert_eq!([0, 1, 2, 3, 4].map(|column| y.at(4, column)), [0, 0, 2, 2, 127], "halves go to the even neighbour");
}

#[test]
fn a_norm_makes_its_rows_in_8_bits_with_and_without_the_others() {
    let mut random = Random(8);
    for (rows, width, with_y) in [(5, 1536, false), (9, 64, true), (3, 1000, true), (2, 2049, false), (6, 250, false)] {
        for element in HALVES {
            let x = Operand::random(element, rows, width, &mut random);
            let weight = Operand::random(element, 1, width, &mut random);
            let (y, bytes) = (Operand::new(element, rows, width, 8, 0), Bytes::new(rows, width.next_multiple_of(4)));
            let kept = Operand::new(Element::F32, 1, rows, 4, 0);
            let (before, y_before) = (kept.clone(), y.clone());
            let arguments = NormArguments {
                x: x.matrix(),
                y: if with_y { y.matrix() } else { Matrix::default() },
                weight: weight.address(),
                quantized: bytes.matrix(),
                scales: kept.address(),
                rows: rows as i32,
                groups: 1,
                width: width as i32,
                kind: 1,
                eps: 1e-5,
                ..NormArguments::default()
            };
            launch(Kernel::Norm(element), Arguments::Norm(arguments), &mut random);
            let squares = |row| (0..width).map(|column| x.at(row, column).powi(2)).sum::<f64>() / width as f64;
            let want = |row, column| x.at(row, column) / (squares(row) + 1e-5).sqrt() * weight.at(0, column);
            let most = |row| (0..width).map(|column: usize| want(row, column).abs()).fold(0.0, f64::max);
            kept.check(&before, "scales", 1e-5, |_, row| most(row) / 127.0);
            for row in 0..rows {
                let rate = 127.0 / most(row);
                for column in 0..width {
                    let (found, want) = (f64::from(bytes.at(row, column)), want(row, column) * rate);
                    assert!((found - want).abs() <= 0.5 + 1e-2, "({row}, {column}): {found}, expected {want}");
                }
            }
            if with_y {
                y.check(&y_before, "y", 3e-5, want);
            } else {
                assert!(y.bytes() == y_before.bytes(), "y was written");
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Case {
    rows: usize,
    from: usize,
    to: usize,
    parts: usize,
    single: bool,
    tile: Tile,
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
        let (x, weight) = (Bytes::random(rows, from + 16, random), Bytes::random(to, from, random));
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
    launch(Kernel::Product8(element, case.tile), Arguments::Product(operands.arguments), &mut random);
    operands.check(&before, case, &format!("{element:?} {case:?}, seed {seed}"));
}

fn tile(out_warps: u32, channel_warps: u32, cluster: u32) -> Tile {
    Tile { out_warps, channel_warps, cluster, resident: 1 }
}

/// Channels that the tile's warps take at a time.
fn depth(tile: Tile) -> usize {
    2 * tile.depth() as usize
}

#[test]
fn every_tile_gives_the_product_of_its_rows() {
    for (at, (out_warps, channel_warps)) in Tile::WARPS.into_iter().enumerate() {
        for (cluster, rows) in [(1, 48), (2, 51), (4, 64), (2, 3)] {
            let tile = tile(out_warps, channel_warps, cluster);
            // Outputs that do not fill the last tile, and more steps than one.
            let (from, to) = (2 * depth(tile), 48 * out_warps as usize + 40);
            run(HALVES[at % 2], Case { rows, from, to, parts: 1, single: false, tile }, 7 + at as u64);
        }
    }
}

#[test]
fn parts_are_scaled_each() {
    for (single, parts, cluster) in [(false, 2, 2), (true, 3, 1), (true, 2, 4)] {
        let tile = tile(2, 4, cluster);
        run(Element::F16, Case { rows: 17, from: parts * depth(tile), to: 200, parts, single, tile }, 5);
    }
}

#[test]
fn weights_are_read_before_the_launch_before_has_ended_and_rows_and_their_scales_are_not() {
    let tile = tile(1, 4, 2);
    let case = Case { rows: 20, from: 2 * depth(tile), to: 96, parts: 1, single: false, tile };
    let mut random = Random(11);
    let mut operands = Operands::new(Element::F16, case, &mut random);
    let (before, mut late, scales) = (operands.y.clone(), operands.x.clone(), operands.scales[0].clone());
    operands.x.all().fill(1);
    operands.scales[0].fill(|_, _| f64::NAN);
    let arguments = Arguments::Product(operands.arguments);
    launch_after(Kernel::Product8(Element::F16, tile), arguments, || {
        operands.x.all().copy_from_slice(late.all());
        operands.scales[0].fill(|_, row| scales.at(0, row));
    });
    operands.check(&before, case, "x that comes late");
}

#[test]
fn sums_of_the_library_are_scaled_by_row_and_output() {
    let mut random = Random(6);
    for (rows, to) in [(5, 64), (9, 33), (70, 24)] {
        for element in HALVES {
            let mut sums = Bytes::random(rows, 4 * to, &mut random);
            bytemuck::cast_slice_mut::<_, i32>(sums.all()).iter_mut().for_each(|sum| *sum %= 1 << 22);
            let (row_scales, channel_scales) = (scales(rows, &mut random), scales(to, &mut random));
            let bias = random.coin().then(|| aligned(element, 1, to, &mut random));
            let y = Operand::anywhere(element, rows, to, &mut random);
            let arguments = DequantizeArguments {
                x: Matrix { address: sums.address(), stride: to as i64 },
                row_scales: row_scales.address(),
                channel_scales: channel_scales.address(),
                bias: bias.as_ref().map_or(0, Operand::address),
                y: y.matrix(),
                rows: rows as i32,
                columns: to as i32,
                activation: if random.coin() { 3 } else { 0 },
                release: 0,
            };
            let before = y.clone();
            launch(Kernel::Dequantize(element), Arguments::Dequantize(arguments), &mut random);
            y.check(&before, "dequantized", 1e-5, |row, column| {
                let sum = f64::from(bytemuck::cast_slice::<_, i32>(&sums.memory)[row * to + column]);
                let sum = sum * row_scales.at(0, row) * channel_scales.at(0, column);
                let sum = sum + bias.as_ref().map_or(0.0, |bias| bias.at(0, column));
                if arguments.activation == 3 { gelu(sum) } else { sum }
            });
        }
    }
}

#[test]
fn what_the_kernels_do_not_take_is_refused_by_name() {
    let tile = tile(1, 4, 1);
    let good = ProductArguments {
        x: Matrix { address: 1 << 20, stride: 512 },
        weight: 1 << 20,
        y: Matrix { address: 1 << 20, stride: 96 },
        rows: 51,
        from: 512,
        to: 96,
        parts: 1,
        row_scales: 1 << 20,
        channel_scales: 1 << 20,
        ..ProductArguments::default()
    };
    let refused =
        |arguments| match configuration(Kernel::Product8(Element::F16, tile), &Arguments::Product(arguments), LIMITS) {
            Err(LaunchError::Size { what, .. }) => what,
            other => panic!("{other:?}"),
        };
    let cases = [
        (ProductArguments { row_scales: 0, ..good }, "row_scales"),
        (ProductArguments { channel_scales: 4, ..good }, "channel_scales"),
        (ProductArguments { from: 384, ..good }, "from"),
        (ProductArguments { x: Matrix { stride: 520, ..good.x }, ..good }, "alignment"),
    ];
    for (arguments, what) in cases {
        assert_eq!(refused(arguments), what);
    }
    let rows = QuantizeArguments { rows: 1, columns: 8, ..QuantizeArguments::default() };
    assert!(configuration(Kernel::Quantize(Element::F32), &Arguments::Quantize(rows), LIMITS).is_err());
}
