//! Rotary positions, with and without a norm of the head.

use vla_cuda::launch::{Arguments, Element, Kernel, RotaryArguments, RotaryHeads};

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

/// Heads of random rows in place or apart, with or without a norm.
struct Heads {
    x: Operand,
    y: Option<Operand>,
    norm: Option<Operand>,
    count: usize,
}

impl Heads {
    fn random(element: Element, rows: usize, count: usize, dim: usize, random: &mut Random) -> Self {
        let x = Operand::random(element, rows, count * dim, random);
        let y = random.coin().then(|| Operand::anywhere(element, rows, count * dim, random));
        let norm = random.coin().then(|| Operand::random(element, 1, dim, random));
        Self { x, y, norm, count }
    }

    fn result(&self) -> &Operand {
        self.y.as_ref().unwrap_or(&self.x)
    }

    fn arguments(&self) -> RotaryHeads {
        let norm = self.norm.as_ref().map_or(0, Operand::address);
        RotaryHeads { x: self.x.matrix(), y: self.result().matrix(), norm, heads: self.count as i32, eps: 1e-6 }
    }
}

/// `second`: heads beside the first.
fn run(element: Element, heads: usize, second: usize, dim: usize, random: &mut Random) {
    let (group, groups) = (1 + random.below(6), 1 + random.below(3));
    let rows = group * groups;
    let first = Heads::random(element, rows, heads, dim, random);
    let other = (second > 0).then(|| Heads::random(element, rows, second, dim, random));
    let [cos, sin] = [0, 1].map(|_| Operand::random(element, group, dim, random));
    let arguments = RotaryArguments {
        first: first.arguments(),
        second: other.as_ref().map(Heads::arguments).unwrap_or_default(),
        cos: cos.matrix(),
        sin: sin.matrix(),
        rows: rows as i32,
        group: group as i32,
        dim: dim as i32,
        _padding: 0,
    };
    let all: Vec<&Heads> = std::iter::once(&first).chain(&other).collect();
    let before: Vec<(Operand, Operand)> = all.iter().map(|of| (of.x.clone(), of.result().clone())).collect();
    launch(Kernel::Rotary(element), Arguments::Rotary(arguments), random);
    for (of, (x, result)) in all.into_iter().zip(&before) {
        let what = format!(
            "{element:?}, {rows} rows in groups of {group}, {} of {heads} and {second} heads of {dim}",
            of.count
        );
        of.result().check(result, &what, 1e-5, |row, column| {
            want(x, [&cos, &sin], of.norm.as_ref(), group, dim, (row, column))
        });
    }
}

#[test]
fn rotary_equals_double_precision() {
    let mut random = Random(31);
    for element in ELEMENTS {
        for dim in [2, 6, 48, 64, 72, 128, 200] {
            for _ in 0..3 {
                let heads = 1 + random.below(5);
                let second = random.below(4);
                run(element, heads, second, dim, &mut random);
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
    let (rows, group, dim) = (3, 3, 32);
    let first = RotaryHeads { x: x.matrix(), y: y.matrix(), heads: 2, ..RotaryHeads::default() };
    let tables = RotaryArguments { cos: cos.matrix(), sin: sin.matrix(), ..RotaryArguments::default() };
    let arguments = RotaryArguments { first, rows, group, dim, ..tables };
    launch_after(Kernel::Rotary(Element::BF16), Arguments::Rotary(arguments), || x.fill(|_, _| 2.0 * random.value()));
    y.check(&before, "rotary", 1e-5, |row, column| want(&x, [&cos, &sin], None, 3, 32, (row, column)));
}
