//! Attention: by tensor cores and without, of few and many query rows.

use vla_cuda::kernels::Limits;
use vla_cuda::launch::{Arguments, AttentionArguments, Element, Kernel};

use crate::support::{ELEMENTS, LIMITS, Operand, PartsOperand, Random, launch_after, launch_within};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) element: Element,
    pub(crate) rows: usize,
    pub(crate) keys: usize,
    pub(crate) groups: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) dim: usize,
    pub(crate) causal: bool,
    pub(crate) limits: Limits,
}

/// Queries, keys or values: rows of heads, or heads of rows.
struct ByHead {
    operand: Operand,
    heads_first: bool,
    rows: usize,
    dim: usize,
}

impl ByHead {
    fn random(case: &Case, rows: usize, heads: usize, random: &mut Random) -> Self {
        let heads_first = case.groups == 1 && random.coin();
        let dim = case.dim;
        let (of_rows, columns) = if heads_first { (rows * heads, dim) } else { (rows, heads * dim) };
        Self { operand: Operand::random(case.element, of_rows, columns, random), heads_first, rows, dim }
    }

    fn strides(&self) -> (i64, i64) {
        let stride = self.operand.stride as i64;
        if self.heads_first { (stride, stride * self.rows as i64) } else { (stride, self.dim as i64) }
    }

    fn at(&self, row: usize, head: usize, c: usize) -> f64 {
        if self.heads_first {
            self.operand.at(head * self.rows + row, c)
        } else {
            self.operand.at(row, head * self.dim + c)
        }
    }
}

/// The result in double precision: `[row, head, channel]`.
fn expected(case: &Case, query: &dyn Fn(usize, usize, usize) -> f64, k: &ByHead, v: &ByHead, scale: f64) -> Vec<f64> {
    let &Case { rows, keys, groups, heads, kv_heads, dim, .. } = case;
    let all = |of: &ByHead, head: usize| -> Vec<f64> {
        (0..keys * groups).flat_map(|row| (0..dim).map(move |c| of.at(row, head, c))).collect()
    };
    let mut want = vec![0.0; rows * groups * heads * dim];
    for head in 0..heads {
        let [k, v] = [k, v].map(|of| all(of, head * kv_heads / heads));
        for at in 0..rows * groups {
            let (group, row) = (at / rows, at % rows);
            let seen = if case.causal { keys.min(row + 1) } else { keys };
            let of_query: Vec<f64> = (0..dim).map(|c| query(at, head, c)).collect();
            let from = group * keys * dim;
            let [k, v] = [&k, &v].map(|of| of[from..from + seen * dim].chunks_exact(dim));
            let scores: Vec<f64> =
                k.map(|k| k.iter().zip(&of_query).map(|(k, q)| k * q).sum::<f64>() * scale).collect();
            let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - high).exp()).collect();
            let sum: f64 = weights.iter().sum();
            let out = &mut want[(at * heads + head) * dim..][..dim];
            for (v, weight) in v.zip(&weights) {
                out.iter_mut().zip(v).for_each(|(out, v)| *out += weight * v / sum);
            }
        }
    }
    want
}

pub(crate) fn run(case: Case, random: &mut Random) -> &'static str {
    let Case { element, rows, keys, groups, heads, kv_heads, dim, causal, .. } = case;
    let count = if random.coin() { 0 } else { 1 + random.below(4) };
    let mut parts = PartsOperand::random(element, rows * groups, heads * dim, count, random);
    let q = (count == 0 || random.coin()).then(|| ByHead::random(&case, rows * groups, heads, random));
    if count == 0 && random.coin() {
        parts = PartsOperand::none();
    }
    let [k, v] = [0, 1].map(|_| ByHead::random(&case, keys * groups, kv_heads, random));
    let out = Operand::anywhere(element, rows * groups, heads * dim, random);
    let (q_row, q_head) = q.as_ref().map_or((0, 0), ByHead::strides);
    let scale = 1.0 / (dim as f32).sqrt() * if random.coin() { 1.0 } else { 3.0 };
    let arguments = AttentionArguments {
        q: q.as_ref().map_or(0, |q| q.operand.address()),
        k: k.operand.address(),
        v: v.operand.address(),
        out: out.address(),
        q_row,
        q_head,
        k_row: k.strides().0,
        k_head: k.strides().1,
        v_row: v.strides().0,
        v_head: v.strides().1,
        out_row: out.stride as i64,
        parts: parts.parts(),
        rows: rows as i32,
        keys: keys as i32,
        groups: groups as i32,
        heads: heads as i32,
        kv_heads: kv_heads as i32,
        dim: dim as i32,
        causal: i32::from(causal),
        scale,
        early_keys: i32::from(random.coin()),
        release: 0,
    };
    let before = out.clone();
    let arguments = Arguments::Attention(arguments);
    let c = launch_within(case.limits, Kernel::Attention(element), arguments, random);

    let query = |row: usize, head: usize, c: usize| {
        q.as_ref().map_or(0.0, |q| q.at(row, head, c)) + parts.at(row, head * dim + c)
    };
    let want = expected(&case, &query, &k, &v, f64::from(scale));
    // Weights are rounded to the element type, and so is a query that is a sum.
    let near = match (element, count > 0 || parts.has_bias()) {
        (Element::F32, _) => 2e-5,
        (Element::F16, false) => 1e-3,
        (Element::F16, true) => 8e-3,
        (Element::BF16, false) => 8e-3,
        (Element::BF16, true) => 6e-2,
    };
    out.check(&before, &format!("{} of {case:?}", c.function), near, |row, column| want[row * heads * dim + column]);
    c.function
}

fn case(element: Element, rows: usize, keys: usize, heads: usize, dim: usize) -> Case {
    Case { element, rows, keys, groups: 1, heads, kv_heads: heads, dim, causal: false, limits: LIMITS }
}

#[test]
fn attention_of_any_size_equals_double_precision() {
    let mut random = Random(41);
    for round in 0..60 {
        let kv_heads = 1 + random.below(3);
        let rows = 1 + random.below(40);
        let causal = random.coin();
        let keys = if causal { rows } else { 1 + random.below(90) };
        let element = ELEMENTS[round % 3];
        let (groups, heads, dim) = (1 + random.below(3), kv_heads * (1 + random.below(3)), 1 + random.below(40));
        run(Case { groups, kv_heads, heads, causal, ..case(element, rows, keys, heads, dim) }, &mut random);
    }
}

/// A device on which the rows of tests are few.
const LARGE: Limits = Limits { multiprocessors: 4096, shared: 227 << 10, clusters: true, warpgroups: true };

#[test]
fn attention_by_tensor_cores_equals_double_precision() {
    let mut random = Random(43);
    let mut functions = std::collections::BTreeSet::new();
    for round in 0..36 {
        let element = [Element::F16, Element::BF16][round % 2];
        let limits = [LARGE, LIMITS][round / 2 % 2];
        let dim = [48, 64, 72, 128, 80, 32, 8, 104, 20][round / 4];
        let kv_heads = 1 + random.below(2);
        let rows = 1 + random.below(100);
        let causal = random.below(3) == 0;
        let keys = if causal { rows } else { 1 + random.below(if limits == LARGE { 450 } else { 150 }) };
        let heads = kv_heads * if limits == LIMITS { 4 } else { 1 };
        let groups = 1 + random.below(2);
        functions.insert(run(
            Case { groups, kv_heads, heads, causal, limits, ..case(element, rows, keys, heads, dim) },
            &mut random,
        ));
    }
    assert_eq!(functions.len(), 20, "{functions:?}");
}

#[test]
fn channels_behind_a_head_are_not_read() {
    // One head, behind which there are NaNs.
    let mut random = Random(45);
    for multiprocessors in [1, 4096] {
        for dim in [8, 24, 72, 104] {
            for _ in 0..6 {
                let limits = Limits { multiprocessors, ..LARGE };
                run(
                    Case { limits, ..case(Element::F16, 1 + random.below(20), 1 + random.below(40), 1, dim) },
                    &mut random,
                );
            }
        }
    }
}

#[test]
fn attention_at_the_sizes_of_gr00t() {
    let mut random = Random(44);
    let gpu = Limits { multiprocessors: 132, shared: 227 << 10, clusters: true, warpgroups: true };
    // DiT: text, images, itself. Few heads of it, by a device that is as much smaller.
    for (rows, keys) in [(51, 53), (51, 324), (41, 41)] {
        let few = run(Case { limits: LARGE, ..case(Element::F16, rows, keys, 2, 48) }, &mut random);
        assert_eq!(few, "attention_few_f16_48");
    }
    // Language: two query heads a key head, causal.
    let language = Case { kv_heads: 1, causal: true, ..case(Element::F16, 280, 280, 2, 128) };
    assert_eq!(run(Case { limits: gpu, ..language }, &mut random), "attention_many_f16_128");
    // Vision and fusion.
    assert_eq!(
        run(Case { groups: 2, limits: gpu, ..case(Element::BF16, 257, 257, 1, 72) }, &mut random),
        "attention_many_bf16_80"
    );
    assert_eq!(run(Case { limits: gpu, ..case(Element::F16, 261, 261, 1, 64) }, &mut random), "attention_many_f16_64");
}

#[test]
fn attention_reads_keys_and_queries_after_the_launch_before() {
    for early in [false, true] {
        for element in ELEMENTS {
            let mut random = Random(42);
            let mut q = Operand::new(element, 5, 32, 8, 0);
            let [mut k, mut v] = [0, 1].map(|_| Operand::new(element, 7, 32, 8, 0));
            let out = Operand::new(element, 5, 32, 8, 0);
            let before = out.clone();
            if early {
                k.fill(|_, _| 2.0 * random.value());
                v.fill(|_, _| 0.5);
            }
            let arguments = AttentionArguments {
                q: q.address(),
                k: k.address(),
                v: v.address(),
                out: out.address(),
                q_row: 32,
                k_row: 32,
                v_row: 32,
                out_row: 32,
                rows: 5,
                keys: 7,
                groups: 1,
                heads: 1,
                kv_heads: 1,
                dim: 32,
                scale: 0.2,
                early_keys: i32::from(early),
                ..AttentionArguments::default()
            };
            launch_after(Kernel::Attention(element), Arguments::Attention(arguments), || {
                assert!(out.bytes() == before.bytes(), "written before the launch before has ended");
                q.fill(|_, _| 2.0 * random.value());
                if !early {
                    k.fill(|_, _| 2.0 * random.value());
                    v.fill(|_, _| 0.5);
                }
            });
            out.check(&before, &format!("{element:?}, early {early}"), 1e-3, |_, _| 0.5);
        }
    }
}
