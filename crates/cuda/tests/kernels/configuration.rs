//! The host's side: layouts of arguments, sizes that kernels do not take.

use std::mem::offset_of;

use vla_cuda::kernels::{LaunchError, configuration};
use vla_cuda::launch::*;

use crate::support::LIMITS;

#[test]
fn arguments_have_the_layout_of_the_kernels() {
    macro_rules! layouts {
        ($($structure:ident: $($field:ident),*;)*) => {
            vec![$((stringify!($structure).to_owned(), size_of::<$structure>()),
                $((concat!(stringify!($structure), ".", stringify!($field)).to_owned(), offset_of!($structure, $field)),)*)*]
        };
    }
    let here: Vec<(String, usize)> = layouts! {
        Matrix: address, stride;
        Parts: first, apart, bias, count, single;
        NormArguments: x, parts, sum, y, weight, bias, gain, shift, quantized, scales, rows, groups, width, kind, eps, early, release;
        AttentionArguments: q, k, v, out, q_row, q_head, k_row, k_head, v_row, v_head, out_row, parts, rows, keys, groups, heads,
            kv_heads, dim, causal, scale, early_keys, release;
        ProductArguments: x, weight, bias, y, apart, rows, from, to, parts, single, activation, row_scales, channel_scales;
        TensorMap: words;
        TensorProductArguments: x, weight, bias, y, apart, rows, from, to, parts, single, activation, tiled;
        MappedTensorProduct: x_map, weight_map, arguments;
        QuantizeArguments: x, y, scales, rows, columns, release;
        DequantizeArguments: x, row_scales, channel_scales, bias, y, rows, columns, activation, release;
        RotaryHeads: x, y, norm, heads, eps;
        RotaryArguments: first, second, cos, sin, rows, group, dim;
        ElementwiseArguments: x, parts, by, add, y, rows, columns, add_rows, activation, release;
        GatherArguments: table, y, index, bytes, rows, entries;
        PermuteArguments: x, y, strides, dims, size;
        CastArguments: x, y, rows, columns, from, to;
        ResampleStep: width, height, left, top, out_width, out_height, column_taps, row_taps, column_first, column_weights, row_first,
            row_weights, sums, column_bits, row_bits, scale;
        ResampleArguments: slots, between, pixels, images, width, height, step;
        EulerArguments: actions, velocity, dt, strength, out, rows, columns;
    };
    assert_eq!(here, vla_cuda_emulator::layouts());
}

#[test]
fn sizes_that_a_kernel_does_not_take_are_refused() {
    let size = |kernel, arguments| match configuration(kernel, &arguments, LIMITS) {
        Err(LaunchError::Size { what, found, .. }) => (what, found),
        other => panic!("{other:?}"),
    };
    let norm = NormArguments { rows: 1, groups: 1, width: 64, ..Default::default() };
    assert_eq!(size(Kernel::Norm(Element::F16), Arguments::Norm(NormArguments { rows: 0, ..norm })), ("rows", 0));
    assert_eq!(
        size(Kernel::Norm(Element::F16), Arguments::Norm(NormArguments { width: 40000, ..norm })).0,
        "shared memory"
    );
    let first = RotaryHeads { heads: 1, ..Default::default() };
    let rotary = RotaryArguments { first, rows: 1, group: 1, dim: 5, ..Default::default() };
    assert_eq!(size(Kernel::Rotary(Element::F32), Arguments::Rotary(rotary)), ("dim", 5));
    let permute = PermuteArguments { dims: [1 << 20, 1 << 20, 1 << 20, 1 << 20, 1, 1], size: 2, ..Default::default() };
    assert_eq!(size(Kernel::Permute, Arguments::Permute(permute)).0, "the number of elements");
    assert_eq!(
        size(Kernel::Permute, Arguments::Permute(PermuteArguments { dims: [1; 6], size: 3, ..permute })),
        ("size", 3)
    );
    let attention =
        AttentionArguments { rows: 1, keys: 1, groups: 1, heads: 3, kv_heads: 2, dim: 48, ..Default::default() };
    assert_eq!(size(Kernel::Attention(Element::F16), Arguments::Attention(attention)), ("kv_heads", 2));
    let cast = CastArguments { rows: 1, columns: 1, from: 3, ..Default::default() };
    assert_eq!(size(Kernel::Cast, Arguments::Cast(cast)), ("from", 3));
    let other = configuration(Kernel::Gather, &Arguments::Cast(cast), LIMITS);
    assert!(matches!(other, Err(LaunchError::OtherArguments { .. })), "{other:?}");
}
