//! 8-bit rows, and results of the library's 8-bit products.

use vla_cuda::kernels::{LaunchError, configuration};
use vla_cuda::launch::{Arguments, DequantizeArguments, Element, Kernel, Matrix, NormArguments, QuantizeArguments};

use crate::product::{aligned, gelu};
use crate::support::{Bytes, LIMITS, Operand, Random, launch, scales};

const HALVES: [Element; 2] = [Element::F16, Element::BF16];

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
            let (address, integers) = (sums.address(), bytemuck::cast_slice::<_, i32>(sums.all()));
            let arguments = DequantizeArguments {
                x: Matrix { address, stride: to as i64 },
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
                let sum = f64::from(integers[row * to + column]);
                let sum = sum * row_scales.at(0, row) * channel_scales.at(0, column);
                let sum = sum + bias.as_ref().map_or(0.0, |bias| bias.at(0, column));
                if arguments.activation == 3 { gelu(sum) } else { sum }
            });
        }
    }
}

#[test]
fn rows_in_single_precision_are_refused() {
    let rows = QuantizeArguments { rows: 1, columns: 8, ..QuantizeArguments::default() };
    let refused = configuration(Kernel::Quantize(Element::F32), &Arguments::Quantize(rows), LIMITS);
    assert!(matches!(refused, Err(LaunchError::Size { what: "element", .. })), "{refused:?}");
}
