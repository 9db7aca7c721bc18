//! Elementwise, cast and Euler.

use vla_cuda::launch::{Arguments, CastArguments, Element, ElementwiseArguments, EulerArguments, Kernel, Matrix};

use crate::support::{Bytes, ELEMENTS, Operand, PartsOperand, Random, launch, launch_after};

/// Complementary error function by its continued fraction and series, to 1e-13.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return 1.0 - sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let mut fraction = 0.0;
    for n in (1..200).rev() {
        fraction = f64::from(n) / 2.0 / (x + fraction);
    }
    (-x * x).exp() / (x + fraction) / std::f64::consts::PI.sqrt()
}

fn activated(x: f64, activation: i32) -> f64 {
    match activation {
        0 => x,
        1 => x.max(0.0),
        2 => x / (1.0 + (-x).exp()),
        3 => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
        _ => 0.5 * x * erfc(-x / 2_f64.sqrt()),
    }
}

fn elementwise(element: Element, seed: u64) {
    let mut random = Random(seed);
    let widest = [7, 64, 300][random.below(3)];
    let (add_rows, repeats, columns) = (1 + random.below(4), 1 + random.below(3), 1 + random.below(widest));
    let rows = add_rows * repeats;
    let maybe =
        |rows: usize, random: &mut Random| random.coin().then(|| Operand::random(element, rows, columns, random));
    let (x, by, add) = (maybe(rows, &mut random), maybe(rows, &mut random), maybe(add_rows, &mut random));
    let count = random.below(4);
    let parts = PartsOperand::random(element, rows, columns, count, &mut random);
    let y =
        if x.is_some() && random.coin() { None } else { Some(Operand::anywhere(element, rows, columns, &mut random)) };
    let matrix = |operand: &Option<Operand>| operand.as_ref().map_or(Matrix::default(), Operand::matrix);
    let activation = random.below(5) as i32;
    let arguments = ElementwiseArguments {
        x: matrix(&x),
        parts: parts.parts(),
        by: matrix(&by),
        add: matrix(&add),
        y: if y.is_some() { matrix(&y) } else { matrix(&x) },
        rows: rows as i32,
        columns: columns as i32,
        add_rows: add_rows as i32,
        activation,
        ..ElementwiseArguments::default()
    };
    let (x_before, y_before) = (x.clone(), y.clone());
    launch(Kernel::Elementwise(element), Arguments::Elementwise(arguments), &mut random);
    let (result, before) = if y.is_some() { (&y, &y_before) } else { (&x, &x_before) };
    let of = |operand: &Option<Operand>, row: usize, column: usize, otherwise: f64| {
        operand.as_ref().map_or(otherwise, |operand| operand.at(row, column))
    };
    let what = format!("{element:?} {rows} x {columns}, activation {activation}, seed {seed}");
    result.as_ref().unwrap().check(before.as_ref().unwrap(), &what, 2e-6, |row, column| {
        let value = of(&x_before, row, column, 0.0) + parts.at(row, column);
        activated(value, activation) * of(&by, row, column, 1.0) + of(&add, row % add_rows, column, 0.0)
    });
}

#[test]
fn elementwise_equals_double_precision() {
    for seed in 0..240 {
        elementwise(ELEMENTS[seed as usize % 3], seed);
    }
}

#[test]
fn activations_are_accurate_relative_to_small_results() {
    let values: Vec<f64> = (-90..=90).map(|i| f64::from(i) / 10.0).collect();
    for activation in 1..=4 {
        let mut x = Operand::new(Element::F32, 1, values.len(), 4, 0);
        x.fill(|_, column| values[column]);
        let y = Operand::new(Element::F32, 1, values.len(), 4, 0);
        let arguments = ElementwiseArguments {
            x: x.matrix(),
            y: y.matrix(),
            rows: 1,
            columns: values.len() as i32,
            activation,
            ..ElementwiseArguments::default()
        };
        launch(Kernel::Elementwise(Element::F32), Arguments::Elementwise(arguments), &mut Random(1));
        for column in 0..values.len() {
            let (got, want) = (y.at(0, column), activated(x.at(0, column), activation));
            // By tanh, 1 + tanh of the expected value itself cancels below -4.
            let relative = if activation == 3 && x.at(0, column) < -4.0 { continue } else { 3e-5 };
            assert!(
                (got - want).abs() <= relative * want.abs(),
                "{activation} of {}: {got}, expected {want}",
                x.at(0, column)
            );
        }
    }
    assert!(
        (erfc(3.0) - 2.209_049_699_858_544e-5).abs() < 1e-17 && (erfc(0.5) - 0.479_500_122_186_953_5).abs() < 1e-14
    );
}

#[test]
fn activations_of_extremes() {
    let extremes = [f64::INFINITY, f64::NEG_INFINITY, 60000.0, -60000.0, f64::NAN];
    for (activation, want) in [(1, [f64::INFINITY, 0.0, 60000.0, 0.0]), (2, [f64::INFINITY, f64::NAN, 60000.0, 0.0])] {
        for element in ELEMENTS {
            let mut x = Operand::new(element, 1, extremes.len(), 8, 0);
            x.fill(|_, column| extremes[column]);
            let y = Operand::new(element, 1, extremes.len(), 8, 0);
            let arguments = ElementwiseArguments {
                x: x.matrix(),
                y: y.matrix(),
                rows: 1,
                columns: 5,
                activation,
                ..Default::default()
            };
            launch(Kernel::Elementwise(element), Arguments::Elementwise(arguments), &mut Random(1));
            for (column, want) in want.iter().enumerate() {
                let got = y.at(0, column);
                let near = (got - want).abs() <= 0.01 * want.abs() || got == *want || (got.is_nan() && want.is_nan());
                assert!(near, "{element:?}, activation {activation} of {}: {got}", extremes[column]);
            }
            assert!(y.at(0, 4).is_nan(), "{activation} of NaN");
        }
    }
}

#[test]
fn casts_round_to_nearest_even() {
    let mut random = Random(11);
    for from in ELEMENTS {
        for to in ELEMENTS {
            for _ in 0..4 {
                let (rows, columns) = (1 + random.below(4), 1 + random.below(90));
                let mut x = Operand::anywhere(from, rows, columns, &mut random);
                x.fill(|_, _| 2.0 * random.value() * 2_f64.powi(random.below(44) as i32 - 26));
                let y = Operand::anywhere(to, rows, columns, &mut random);
                let before = y.clone();
                let (from, to) = (from as u32, to as u32);
                let (rows, columns) = (rows as i32, columns as i32);
                let arguments = CastArguments { x: x.matrix(), y: y.matrix(), rows, columns, from, to };
                launch(Kernel::Cast, Arguments::Cast(arguments), &mut random);
                let mut want = y.clone();
                want.fill(|row, column| x.at(row, column));
                y.check(&before, "cast", 0.0, |row, column| want.at(row, column));
            }
        }
    }
}

#[test]
fn every_half_is_cast_to_single_precision_and_back() {
    for element in [Element::F16, Element::BF16] {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let single = Operand::new(Element::F32, 256, 256, 0, 0);
        let back = Operand::new(element, 256, 256, 0, 0);
        let mut halves = Bytes::new(256, 512);
        halves.all().copy_from_slice(bytemuck::cast_slice(&all));
        let x = Matrix { address: halves.address(), stride: 256 };
        let (rows, columns) = (256, 256);
        let arguments = CastArguments { x, y: single.matrix(), rows, columns, from: element as u32, to: 0 };
        launch(Kernel::Cast, Arguments::Cast(arguments), &mut Random(1));
        let arguments =
            CastArguments { x: single.matrix(), y: back.matrix(), rows, columns, from: 0, to: element as u32 };
        launch(Kernel::Cast, Arguments::Cast(arguments), &mut Random(1));
        for (i, bits) in all.iter().enumerate() {
            let (want, got) = match element {
                Element::F16 => (f64::from(half::f16::from_bits(*bits)), back.at(i / 256, i % 256)),
                _ => (f64::from(half::bf16::from_bits(*bits)), back.at(i / 256, i % 256)),
            };
            let middle = single.at(i / 256, i % 256);
            assert!(
                (middle == want && got == want) || (want.is_nan() && middle.is_nan() && got.is_nan()),
                "{element:?} {bits:#x}"
            );
        }
    }
}

#[test]
fn a_value_in_the_middle_of_two_halves_is_cast_to_the_even_one() {
    for (element, largest) in [(Element::F16, 0x7bff_u16), (Element::BF16, 0x7f7f)] {
        let of = |bits: u16| match element {
            Element::F16 => f64::from(half::f16::from_bits(bits)),
            _ => f64::from(half::bf16::from_bits(bits)),
        };
        let (rows, columns) = (i32::from(largest), 1);
        let mut x = Operand::new(Element::F32, usize::from(largest), 1, 0, 0);
        x.fill(|row, _| (of(row as u16) + of(row as u16 + 1)) / 2.0);
        let y = Operand::new(element, usize::from(largest), 1, 0, 0);
        let arguments = CastArguments { x: x.matrix(), y: y.matrix(), rows, columns, from: 0, to: element as u32 };
        launch(Kernel::Cast, Arguments::Cast(arguments), &mut Random(1));
        for bits in 0..largest {
            assert_eq!(y.at(usize::from(bits), 0), of(bits + bits % 2), "{element:?} {bits:#x}");
        }
    }
}

#[test]
fn euler_adds_in_single_precision() {
    let mut random = Random(5);
    for element in ELEMENTS {
        for over in [false, true] {
            let (rows, columns) = (1 + random.below(50), 1 + random.below(40));
            let actions = Operand::new(Element::F32, rows, columns, 4, 0);
            let mut actions = actions;
            actions.fill(|_, _| 2.0 * random.value());
            let velocity = Operand::anywhere(element, rows, columns, &mut random);
            let mut velocity = velocity;
            let (dt, strength) =
                (Operand::random(Element::F32, 1, 1, &mut random), Operand::random(Element::F32, 1, rows, &mut random));
            let out = Operand::new(Element::F32, rows, columns, 4, 0);
            let (before, out_before) = (actions.clone(), out.clone());
            let arguments = EulerArguments {
                actions: actions.address(),
                velocity: velocity.matrix(),
                dt: dt.address(),
                strength: strength.address(),
                out: if over { actions.address() } else { out.address() },
                rows: rows as i32,
                columns: columns as i32,
            };
            launch_after(Kernel::Euler(element), Arguments::Euler(arguments), || {
                velocity.fill(|_, _| 2.0 * random.value())
            });
            let (result, result_before) = if over { (&actions, &before) } else { (&out, &out_before) };
            result.check(result_before, "euler", 1e-6, |row, column| {
                before.at(row, column) + dt.at(0, 0) * strength.at(0, row) * velocity.at(row, column)
            });
        }
    }
}
