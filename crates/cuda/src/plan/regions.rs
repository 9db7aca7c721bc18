//! What memory a launch reads and writes.

use super::operand::bytes_of;
use crate::launch::{
    Address, Arguments, AttentionArguments, Element, ElementwiseArguments, Kernel, Launch, Matrix, NormArguments,
    Parts, PermuteArguments, Product, ProductArguments, RotaryArguments, RotaryHeads, TensorProductArguments,
};

/// Memory that a launch touches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Region {
    pub(super) address: Address,
    /// From the first byte to behind the last.
    pub(super) span: u64,
    /// Bytes of them that are touched.
    pub(super) bytes: u64,
    pub(super) written: bool,
}

/// The regions of a launch, reads before writes.
pub(super) fn regions(launch: &Launch) -> Vec<Region> {
    let mut list = match launch {
        Launch::Product(product) => of_product(product),
        Launch::Kernel { kernel, arguments } => of_kernel(*kernel, arguments),
    };
    list.retain(|region| region.address != 0);
    list.sort_by_key(|region| region.written);
    list
}

fn count(n: i32) -> u64 {
    u64::try_from(n).unwrap_or_default()
}

fn of_matrix(matrix: Matrix, rows: u64, columns: u64, size: u64, written: bool) -> Region {
    let between = rows.saturating_sub(1) * matrix.stride.unsigned_abs();
    let span = if rows == 0 { 0 } else { (between + columns) * size };
    Region { address: matrix.address, span, bytes: rows * columns * size, written }
}

fn of_vector(address: Address, elements: u64, size: u64) -> Region {
    of_matrix(Matrix { address, stride: 0 }, 1, elements, size, false)
}

fn of_parts(parts: &Parts, rows: u64, columns: u64, element: Element, out: &mut Vec<Region>) {
    let size = if parts.single == 1 { 4 } else { bytes_of(element) };
    let one = of_matrix(parts.first, rows, columns, size, false);
    let n = count(parts.count);
    let between = n.saturating_sub(1) * parts.apart.unsigned_abs() * size;
    out.push(Region { span: one.span + between, bytes: one.bytes * n, ..one });
    out.push(of_vector(parts.bias, columns, bytes_of(element)));
}

fn of_product(p: &Product) -> Vec<Region> {
    let (rows, from, to) = (count(p.rows), count(p.from), count(p.to));
    let size = bytes_of(p.element);
    let result = if p.single || p.eight_bits { 4 } else { size };
    let factor = if p.eight_bits { 1 } else { size };
    vec![
        of_matrix(p.x, rows, from, factor, false),
        of_vector(p.weight, from * to, factor),
        of_vector(p.bias, to, size),
        of_result(of_matrix(p.y, rows, to, result, true), count(p.parts), p.apart.unsigned_abs() * result),
    ]
}

fn of_own_product(a: &ProductArguments, size: u64) -> Vec<Region> {
    let (rows, from, to) = (count(a.rows), count(a.from), count(a.to));
    let result = if a.single == 1 { 4 } else { size };
    vec![
        of_matrix(a.x, rows, from, 1, false),
        of_vector(a.weight, from * to, 1),
        of_vector(a.bias, to, size),
        of_vector(a.row_scales, rows, 4),
        of_vector(a.channel_scales, to, 4),
        of_result(of_matrix(a.y, rows, to, result, true), count(a.parts), a.apart.unsigned_abs() * result),
    ]
}

fn of_tensor_product(a: &TensorProductArguments, size: u64) -> Vec<Region> {
    let (rows, from, to) = (count(a.rows), count(a.from), count(a.to));
    let result = if a.single == 1 { 4 } else { size };
    vec![
        of_matrix(a.x, rows, from, size, false),
        of_vector(a.weight, from * to, size),
        of_vector(a.bias, to, size),
        of_result(of_matrix(a.y, rows, to, result, true), count(a.parts), a.apart.unsigned_abs() * result),
    ]
}

/// A result in `parts` that lie `apart` bytes behind each other.
fn of_result(one: Region, parts: u64, apart: u64) -> Region {
    Region { span: one.span + parts.saturating_sub(1) * apart, bytes: one.bytes * parts, ..one }
}

fn of_kernel(kernel: Kernel, arguments: &Arguments) -> Vec<Region> {
    let element = match kernel {
        Kernel::Norm(e) | Kernel::Product(e, _) | Kernel::TensorProduct(e, _) | Kernel::Attention(e) => e,
        Kernel::Quantize(e) | Kernel::Dequantize(e) => e,
        Kernel::Rotary(e) | Kernel::Elementwise(e) | Kernel::Euler(e) => e,
        Kernel::Gather | Kernel::Permute | Kernel::Cast | Kernel::Resample => Element::F32,
    };
    let size = bytes_of(element);
    match arguments {
        Arguments::Norm(a) => of_norm(a, element),
        Arguments::Product(a) => of_own_product(a, size),
        Arguments::TensorProduct(a) => of_tensor_product(a, size),
        Arguments::Quantize(a) => {
            let (rows, columns) = (count(a.rows), count(a.columns));
            let scales = Region { written: true, ..of_vector(a.scales, rows, 4) };
            vec![of_matrix(a.x, rows, columns, size, false), of_matrix(a.y, rows, columns, 1, true), scales]
        }
        Arguments::Dequantize(a) => {
            let (rows, columns) = (count(a.rows), count(a.columns));
            vec![
                of_matrix(a.x, rows, columns, 4, false),
                of_vector(a.row_scales, rows, 4),
                of_vector(a.channel_scales, columns, 4),
                of_vector(a.bias, columns, size),
                of_matrix(a.y, rows, columns, size, true),
            ]
        }
        Arguments::Attention(a) => of_attention(a, element),
        Arguments::Rotary(a) => of_rotary(a, size),
        Arguments::Elementwise(a) => of_elementwise(a, element),
        Arguments::Gather(a) => {
            let (rows, bytes) = (count(a.rows), a.bytes.unsigned_abs());
            let table = of_matrix(a.table, count(a.entries), bytes, 1, false);
            let table = Region { bytes: rows * bytes, ..table };
            vec![table, of_vector(a.index, rows, 4), of_matrix(a.y, rows, bytes, 1, true)]
        }
        Arguments::Permute(a) => of_permute(a),
        Arguments::Cast(a) => {
            let (rows, columns) = (count(a.rows), count(a.columns));
            let size = |element: u32| if element == Element::F32 as u32 { 4 } else { 2 };
            vec![of_matrix(a.x, rows, columns, size(a.from), false), of_matrix(a.y, rows, columns, size(a.to), true)]
        }
        // Of no list of operations.
        Arguments::Resample(_) => Vec::new(),
        Arguments::Euler(a) => {
            let (rows, columns) = (count(a.rows), count(a.columns));
            let out = Matrix { address: a.out, stride: i64::from(a.columns) };
            vec![
                of_vector(a.actions, rows * columns, 4),
                of_matrix(a.velocity, rows, columns, size, false),
                of_vector(a.dt, 1, 4),
                of_vector(a.strength, rows, 4),
                of_matrix(out, rows, columns, 4, true),
            ]
        }
    }
}

fn of_norm(a: &NormArguments, element: Element) -> Vec<Region> {
    let (rows, columns, size) = (count(a.rows), count(a.groups) * count(a.width), bytes_of(element));
    let mut out = vec![of_matrix(a.x, rows, columns, size, false)];
    if a.parts.first.address != 0 {
        of_parts(&a.parts, rows, columns, element, &mut out);
    }
    out.extend([a.weight, a.bias, a.gain, a.shift].map(|address| of_vector(address, count(a.width), size)));
    out.extend([a.sum, a.y].map(|matrix| of_matrix(matrix, rows, columns, size, true)));
    out.push(of_matrix(a.quantized, rows, columns, 1, true));
    out.push(Region { written: true, ..of_vector(a.scales, rows, 4) });
    out
}

fn of_attention(a: &AttentionArguments, element: Element) -> Vec<Region> {
    let size = bytes_of(element);
    let by_head = |address, rows: u64, row: i64, heads: i32, head: i64| {
        let (dim, heads) = (count(a.dim), count(heads));
        let last = rows.saturating_sub(1) * row.unsigned_abs() + heads.saturating_sub(1) * head.unsigned_abs();
        let span = if rows == 0 { 0 } else { (last + dim) * size };
        Region { address, span, bytes: rows * heads * dim * size, written: false }
    };
    let (queries, keys) = (count(a.groups) * count(a.rows), count(a.groups) * count(a.keys));
    let mut out = vec![
        by_head(a.k, keys, a.k_row, a.kv_heads, a.k_head),
        by_head(a.v, keys, a.v_row, a.kv_heads, a.v_head),
        Region { written: true, ..by_head(a.out, queries, a.out_row, a.heads, i64::from(a.dim)) },
    ];
    if a.parts.first.address == 0 {
        out.push(by_head(a.q, queries, a.q_row, a.heads, a.q_head));
    } else {
        of_parts(&a.parts, queries, count(a.heads) * count(a.dim), element, &mut out);
    }
    out
}

fn of_rotary(a: &RotaryArguments, size: u64) -> Vec<Region> {
    let (rows, dim) = (count(a.rows), count(a.dim));
    let tables = [a.cos, a.sin].map(|table| of_matrix(table, count(a.group), dim, size, false));
    let of_heads = |of: RotaryHeads| {
        let columns = count(of.heads) * dim;
        let x = of_matrix(of.x, rows, columns, size, false);
        [x, of_vector(of.norm, dim, size), of_matrix(of.y, rows, columns, size, true)]
    };
    [a.first, a.second].into_iter().flat_map(of_heads).chain(tables).collect()
}

fn of_elementwise(a: &ElementwiseArguments, element: Element) -> Vec<Region> {
    let (rows, columns, size) = (count(a.rows), count(a.columns), bytes_of(element));
    let mut out = vec![
        of_matrix(a.x, rows, columns, size, false),
        of_matrix(a.by, rows, columns, size, false),
        of_matrix(a.add, count(a.add_rows).min(rows), columns, size, false),
        of_matrix(a.y, rows, columns, size, true),
    ];
    if a.parts.first.address != 0 {
        of_parts(&a.parts, rows, columns, element, &mut out);
    }
    out
}

fn of_permute(a: &PermuteArguments) -> Vec<Region> {
    let size = count(a.size);
    let elements: u64 = a.dims.iter().map(|n| count(*n)).product();
    let last: u64 = a.dims.iter().zip(a.strides).map(|(n, s)| count(*n).saturating_sub(1) * s.unsigned_abs()).sum();
    let bytes = elements * size;
    let x = Region { address: a.x, span: if elements == 0 { 0 } else { (last + 1) * size }, bytes, written: false };
    vec![x, Region { address: a.y, span: bytes, bytes, written: true }]
}
