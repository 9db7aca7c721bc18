//! Gather and permute: bytes in other places.

use vla_cuda::launch::{Arguments, Element, GatherArguments, Kernel, Matrix, PermuteArguments};

use crate::support::{Bytes, Operand, Random, launch, launch_after, size};

fn in_bytes(operand: &Operand) -> Matrix {
    Matrix { stride: (operand.stride * size(operand.element)) as i64, ..operand.matrix() }
}

#[test]
fn gather_takes_rows_by_index_and_clamps_the_index() {
    let mut random = Random(21);
    for round in 0..40 {
        let element = [Element::F32, Element::F16][round % 2];
        let (entries, rows, columns) = (1 + random.below(9), 1 + random.below(20), 1 + random.below(70));
        let table = Operand::random(element, entries, columns, &mut random);
        let y = Operand::anywhere(element, rows, columns, &mut random);
        let index: Vec<i32> = (0..rows).map(|_| random.below(entries + 4) as i32 - 2).collect();
        let mut indices = Bytes::new(1, 4 * rows);
        indices.all()[..4 * rows].copy_from_slice(bytemuck::cast_slice(&index));
        let before = y.clone();
        let arguments = GatherArguments {
            table: in_bytes(&table),
            y: in_bytes(&y),
            index: indices.address(),
            bytes: (columns * size(element)) as i64,
            rows: rows as i32,
            entries: entries as i32,
        };
        launch(Kernel::Gather, Arguments::Gather(arguments), &mut random);
        y.check(&before, "gather", 0.0, |row, column| {
            table.at(index[row].clamp(0, entries as i32 - 1) as usize, column)
        });
    }
}

#[test]
fn gather_without_index_copies_a_matrix() {
    let mut random = Random(22);
    for _ in 0..20 {
        let (rows, columns) = (1 + random.below(20), 1 + random.below(70));
        let mut x = Operand::anywhere(Element::BF16, rows, columns, &mut random);
        let y = Operand::anywhere(Element::BF16, rows, columns, &mut random);
        let before = y.clone();
        let (table, to, bytes) = (in_bytes(&x), in_bytes(&y), 2 * columns as i64);
        let arguments = GatherArguments { table, y: to, index: 0, bytes, rows: rows as i32, entries: 0 };
        launch_after(Kernel::Gather, Arguments::Gather(arguments), || x.fill(|_, _| 2.0 * random.value()));
        y.check(&before, "copy", 0.0, |row, column| x.at(row, column));
    }
}

#[test]
fn permute_puts_axes_in_another_order() {
    let mut random = Random(23);
    for round in 0..60 {
        let element = [Element::F32, Element::F16][round % 2];
        let sizes = [[1, 5, 9], [1, 2, 3], [1, 2, 8]][round % 3];
        let mut dims = [0; 6].map(|_| sizes[random.below(3)]);
        if random.coin() {
            dims[5] = 8 * (1 + random.below(4));
        }
        // Elements side by side, or eight apart as those of one column.
        let apart = if random.coin() { 1 } else { 8 };
        let strides: Vec<usize> = (0..6).map(|axis| apart * dims[axis + 1..].iter().product::<usize>()).collect();
        let total: usize = dims.iter().product();
        let mut order = [0, 1, 2, 3, 4, 5];
        for i in (1..if random.coin() { 6 } else { 5 }).rev() {
            order.swap(i, random.below(i + 1));
        }
        let x = Operand::random(element, 1, total * apart, &mut random);
        let y = Operand::anywhere(element, 1, total, &mut random);
        let before = y.clone();
        let (of, strides) = (order.map(|axis| dims[axis]), order.map(|axis| strides[axis]));
        let arguments = PermuteArguments {
            x: x.address(),
            y: y.address(),
            strides: strides.map(|stride| stride as i64),
            dims: of.map(|dim| dim as i32),
            size: size(element) as i32,
            _padding: 0,
        };
        launch(Kernel::Permute, Arguments::Permute(arguments), &mut random);
        y.check(&before, &format!("{of:?} by {strides:?}"), 0.0, |_, i| {
            let (mut left, mut from) = (i, 0);
            for axis in (0..6).rev() {
                from += left % of[axis] * strides[axis];
                left /= of[axis];
            }
            x.at(0, from)
        });
    }
}
