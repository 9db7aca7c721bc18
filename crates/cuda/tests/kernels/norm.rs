//! Norm: residual, parts, bias, layer or RMS norm, modulation.

use vla_cuda::launch::{Arguments, Element, Kernel, NormArguments};

use crate::support::{ELEMENTS, Operand, PartsOperand, Random, launch, launch_after};

struct Case {
    rows: usize,
    groups: usize,
    width: usize,
    parts: usize,
}

/// The row's pieces, normed in double precision.
fn normed(values: &[f64], rms: bool, eps: f64) -> Vec<f64> {
    let n = values.len() as f64;
    let mean = if rms { 0.0 } else { values.iter().sum::<f64>() / n };
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    values.iter().map(|v| (v - mean) / (variance + eps).sqrt()).collect()
}

fn run(element: Element, case: &Case, seed: u64) {
    let mut random = Random(seed);
    let &Case { rows, groups, width, parts } = case;
    let columns = groups * width;
    let x = random.below(4).gt(&0).then(|| {
        let mut x = Operand::random(element, rows, columns, &mut random);
        // A mean that is large beside the deviations.
        let offset = if random.coin() { 30.0 } else { 0.0 };
        let drawn = x.clone();
        x.fill(|row, column| drawn.at(row, column) + offset);
        x
    });
    let parts = PartsOperand::random(element, rows, columns, parts, &mut random);
    let vectors: Vec<_> =
        (0..4).map(|_| random.coin().then(|| Operand::random(element, 1, width, &mut random))).collect();
    let vector = |i: usize| vectors[i].as_ref().map_or(0, Operand::address);
    let sum = random.coin().then(|| Operand::anywhere(element, rows, columns, &mut random));
    let y = Operand::anywhere(element, rows, columns, &mut random);
    // Results over x: the sum, or else y.
    let over = x.is_some() && random.coin();
    let (x_before, x) = (x.clone(), x);
    let x_matrix = x.as_ref().map(Operand::matrix).unwrap_or_default();
    let sum_over = over && sum.is_some();
    let y_over = over && sum.is_none();
    let rms = random.coin();
    let arguments = NormArguments {
        x: x_matrix,
        parts: parts.parts(),
        sum: if sum_over { x_matrix } else { sum.as_ref().map(Operand::matrix).unwrap_or_default() },
        y: if y_over { x_matrix } else { y.matrix() },
        weight: vector(0),
        bias: vector(1),
        gain: vector(2),
        shift: vector(3),
        rows: rows as i32,
        groups: groups as i32,
        width: width as i32,
        kind: i32::from(rms),
        eps: 1e-5,
        early: i32::from(random.coin()),
        ..NormArguments::default()
    };
    let (sum_before, y_before) = (sum.clone(), y.clone());
    launch(Kernel::Norm(element), Arguments::Norm(arguments), &mut random);

    let total =
        |row: usize, column: usize| x_before.as_ref().map_or(0.0, |x| x.at(row, column)) + parts.at(row, column);
    let want: Vec<Vec<f64>> = (0..rows)
        .map(|row| {
            let values: Vec<f64> = (0..columns).map(|column| total(row, column)).collect();
            values.chunks(width).flat_map(|piece| normed(piece, rms, f64::from(arguments.eps))).collect()
        })
        .collect();
    let of =
        |i: usize, column: usize, otherwise: f64| vectors[i].as_ref().map_or(otherwise, |v| v.at(0, column % width));
    let what = format!("{element:?} {rows} x {groups} x {width}, rms {rms}, seed {seed}");
    let (result, before) = if y_over { (x.as_ref().unwrap(), x_before.as_ref().unwrap()) } else { (&y, &y_before) };
    result.check(before, &what, 3e-5, |row, c| {
        (want[row][c] * of(0, c, 1.0) + of(1, c, 0.0)) * of(2, c, 1.0) + of(3, c, 0.0)
    });
    if let (Some(sum), Some(before)) = (&sum, &sum_before) {
        let (result, before) = if sum_over { (x.as_ref().unwrap(), x_before.as_ref().unwrap()) } else { (sum, before) };
        result.check(before, &format!("sum of {what}"), 4e-6, total);
    }
}

#[test]
fn norms_equal_double_precision_at_the_widths_of_gr00t() {
    let cases = [
        Case { rows: 5, groups: 1, width: 1536, parts: 4 },
        Case { rows: 3, groups: 1, width: 2048, parts: 0 },
        Case { rows: 3, groups: 1, width: 1152, parts: 2 },
        Case { rows: 2, groups: 1, width: 4096, parts: 0 },
        Case { rows: 3, groups: 16, width: 128, parts: 0 },
        Case { rows: 3, groups: 8, width: 64, parts: 3 },
    ];
    for (i, case) in cases.iter().enumerate() {
        for element in ELEMENTS {
            for seed in 0..4 {
                run(element, case, 100 * i as u64 + seed);
            }
        }
    }
}

#[test]
fn norms_equal_double_precision_at_any_width() {
    let mut random = Random(7);
    for seed in 0..120 {
        let widest = [9, 300, 900, 2500][random.below(4)];
        let case = Case {
            rows: 1 + random.below(5),
            groups: 1 + random.below(3),
            width: 1 + random.below(widest),
            parts: random.below(6),
        };
        run(ELEMENTS[seed as usize % 3], &case, 1000 + seed);
    }
}

#[test]
fn norms_of_rows_beyond_the_registers_of_a_block() {
    for seed in 0..6 {
        for element in ELEMENTS {
            run(
                element,
                &Case {
                    rows: 2,
                    groups: 1,
                    width: 4096 + 8 * (seed as usize % 2) + 4001 * (seed as usize / 2),
                    parts: 1,
                },
                seed,
            );
        }
    }
}

#[test]
fn norms_read_only_weights_before_the_launch_before_has_ended() {
    for (width, early) in [(64, true), (1536, true), (9000, true), (64, false), (1536, false)] {
        let mut random = Random(3);
        let element = Element::F16;
        let mut x = Operand::new(element, 2, width, 8, 8);
        let mut weight = Operand::new(element, 1, width, 8, 0);
        if early {
            weight.fill(|_, _| 2.0 * random.value());
        }
        let y = Operand::new(element, 2, width, 8, 8);
        let y_before = y.clone();
        let arguments = NormArguments {
            x: x.matrix(),
            y: y.matrix(),
            weight: weight.address(),
            rows: 2,
            groups: 1,
            width: width as i32,
            kind: 1,
            eps: 1e-6,
            early: i32::from(early),
            ..NormArguments::default()
        };
        launch_after(Kernel::Norm(element), Arguments::Norm(arguments), || {
            assert!(y.bytes() == y_before.bytes(), "written before the launch before has ended");
            x.fill(|_, _| 2.0 * random.value());
            if !early {
                weight.fill(|_, _| 2.0 * random.value());
            }
        });
        let want = [0, 1].map(|row| normed(&(0..width).map(|c| x.at(row, c)).collect::<Vec<_>>(), true, 1e-6));
        y.check(&y_before, &format!("width {width}"), 3e-5, |row, c| want[row][c] * weight.at(0, c));
    }
}
