//! Rotary positions, with and without a norm of the head.

use vla_cuda::launch::{Arguments, Element, Kernel, RotaryArguments};

use crate::support::{ELEMENTS, Operand, Random, launch, launch_after};

fn want(
    x: &Operand,
    tables: [&Operand; 2],
    norm: Option<&Operand>,
    group: usize,
    dim: usize,
    (row, column): (usize, usize),
) -> f64 {
    let (head, c) = (column / dim, column % dim);
    let squares = (0..dim).map(|i| x.at(row, head * dim + i).powi(2)).sum::<f64>() / dim as f64;
    let value = |c: usize| x.at(row, head * dim + c) * norm.map_or(1.0, |norm| norm.at(0, c) / (squares + 1e-6).sqrt());
    let other = if c < dim / 2 { -value(c + dim / 2) } else { value(c - dim / 2) };
    value(c) * tables[0].at(row % group, c) + other * tables[1].at(row % group, c)
}

fn run(element: Element, heads: usize, dim: usize, random: &mut Random) {
    let (group, groups) = (1 + random.below(6), 1 + random.below(3));
    let rows = group * groups;
    let x = Operand::random(element, rows, heads * dim, random);
    let y = random.coin().then(|| Operand::anywhere(element, rows, heads * dim, random));
    let [cos, sin] = [0, 1].map(|_| Operand::random(element, group, dim, random));
    let norm = random.coin().then(|| Operand::random(element, 1, dim, random));
    let arguments = RotaryArguments {
        x: x.matrix(),
        y: y.as_ref().unwrap_or(&x).matrix(),
        cos: cos.matrix(),
        sin: sin.matrix(),
        norm: norm.as_ref().map_or(0, Operand::address),
        eps: 1e-6,
        rows: rows as i32,
        group: group as i32,
        heads: heads as i32,
        dim: dim as i32,
        _padding: 0,
    };
    let (x_before, y_before) = (x.clone(), y.clone());
    launch(Kernel::Rotary(element), Arguments::Rotary(arguments), random);
    let (result, before) = (y.as_ref().unwrap_or(&x), y_before.as_ref().unwrap_or(&x_before));
    let what = format!("{element:?}, {rows} rows in groups of {group}, {heads} heads of {dim}");
    result.check(before, &what, 1e-5, |row, column| {
        want(&x_before, [&cos, &sin], norm.as_ref(), group, dim, (row, column))
    });
}

#[test]
fn rotary_equals_double_precision() {
    let mut random = Random(31);
    for element in ELEMENTS {
        for dim in [2, 6, 48, 64, 72, 128, 200] {
            for _ in 0..3 {
                let heads = 1 + random.below(5);
                run(element, heads, dim, &mut random);
            }
        }
    }
}

#[test]
fn rotary_reads_after_the_launch_before() {
    let mut random = Random(32);
    let mut x = Operand::new(Element::BF16, 3, 64, 8, 0);
    let [cos, sin] = [0, 1].map(|_| Operand::random(Element::BF16, 3, 32, &mut random));
    let y = x.clone();
    let before = y.clone();
    let (eps, rows, group, heads, dim) = (1e-6, 3, 3, 2, 32);
    let (cos_matrix, sin_matrix) = (cos.matrix(), sin.matrix());
    let arguments = RotaryArguments {
        x: x.matrix(),
        y: y.matrix(),
        cos: cos_matrix,
        sin: sin_matrix,
        norm: 0,
        eps,
        rows,
        group,
        heads,
        dim,
        _padding: 0,
    };
    launch_after(Kernel::Rotary(Element::BF16), Arguments::Rotary(arguments), || x.fill(|_, _| 2.0 * random.value()));
    y.check(&before, "rotary", 1e-5, |row, column| want(&x, [&cos, &sin], None, 3, 32, (row, column)));
}
