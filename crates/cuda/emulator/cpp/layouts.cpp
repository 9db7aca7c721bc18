// Sizes and offsets of kernels/arguments.h, for the test that compares them with src/launch.rs.
#include <cstddef>
#include "arguments.h"

namespace {

struct Layout {
  const char *field;  // "Structure.field"; "Structure" has its size
  size_t value;
};
#define SIZE(S) {#S, sizeof(S)}
#define FIELD(S, f) {#S "." #f, offsetof(S, f)}

const Layout layouts[] = {
    SIZE(Matrix), FIELD(Matrix, address), FIELD(Matrix, stride),
    SIZE(Parts), FIELD(Parts, first), FIELD(Parts, apart), FIELD(Parts, bias), FIELD(Parts, count), FIELD(Parts, single),
    SIZE(NormArguments), FIELD(NormArguments, x), FIELD(NormArguments, parts), FIELD(NormArguments, sum), FIELD(NormArguments, y),
    FIELD(NormArguments, weight), FIELD(NormArguments, bias), FIELD(NormArguments, gain), FIELD(NormArguments, shift),
    FIELD(NormArguments, quantized), FIELD(NormArguments, scales),
    FIELD(NormArguments, rows), FIELD(NormArguments, groups), FIELD(NormArguments, width), FIELD(NormArguments, kind),
    FIELD(NormArguments, eps), FIELD(NormArguments, early), FIELD(NormArguments, release),
    SIZE(AttentionArguments), FIELD(AttentionArguments, q), FIELD(AttentionArguments, k), FIELD(AttentionArguments, v),
    FIELD(AttentionArguments, out), FIELD(AttentionArguments, q_row), FIELD(AttentionArguments, q_head),
    FIELD(AttentionArguments, k_row), FIELD(AttentionArguments, k_head), FIELD(AttentionArguments, v_row),
    FIELD(AttentionArguments, v_head), FIELD(AttentionArguments, out_row), FIELD(AttentionArguments, parts),
    FIELD(AttentionArguments, rows), FIELD(AttentionArguments, keys), FIELD(AttentionArguments, groups),
    FIELD(AttentionArguments, heads), FIELD(AttentionArguments, kv_heads), FIELD(AttentionArguments, dim),
    FIELD(AttentionArguments, causal), FIELD(AttentionArguments, scale), FIELD(AttentionArguments, early_keys), FIELD(AttentionArguments, release),
    SIZE(ProductArguments), FIELD(ProductArguments, x), FIELD(ProductArguments, weight), FIELD(ProductArguments, bias),
    FIELD(ProductArguments, y), FIELD(ProductArguments, apart), FIELD(ProductArguments, rows), FIELD(ProductArguments, from),
    FIELD(ProductArguments, to), FIELD(ProductArguments, parts), FIELD(ProductArguments, single),
    FIELD(ProductArguments, activation), FIELD(ProductArguments, row_scales), FIELD(ProductArguments, channel_scales),
    SIZE(TensorMap), FIELD(TensorMap, words),
    SIZE(TensorProductArguments), FIELD(TensorProductArguments, x), FIELD(TensorProductArguments, weight), FIELD(TensorProductArguments, bias),
    FIELD(TensorProductArguments, y), FIELD(TensorProductArguments, apart), FIELD(TensorProductArguments, rows),
    FIELD(TensorProductArguments, from), FIELD(TensorProductArguments, to), FIELD(TensorProductArguments, parts),
    FIELD(TensorProductArguments, single), FIELD(TensorProductArguments, activation), FIELD(TensorProductArguments, tiled),
    SIZE(MappedTensorProduct), FIELD(MappedTensorProduct, x_map), FIELD(MappedTensorProduct, weight_map),
    FIELD(MappedTensorProduct, arguments),
    SIZE(QuantizeArguments), FIELD(QuantizeArguments, x), FIELD(QuantizeArguments, y), FIELD(QuantizeArguments, scales),
    FIELD(QuantizeArguments, rows), FIELD(QuantizeArguments, columns), FIELD(QuantizeArguments, release),
    SIZE(DequantizeArguments), FIELD(DequantizeArguments, x), FIELD(DequantizeArguments, row_scales),
    FIELD(DequantizeArguments, channel_scales), FIELD(DequantizeArguments, bias), FIELD(DequantizeArguments, y),
    FIELD(DequantizeArguments, rows), FIELD(DequantizeArguments, columns), FIELD(DequantizeArguments, activation),
    FIELD(DequantizeArguments, release),
    SIZE(RotaryHeads), FIELD(RotaryHeads, x), FIELD(RotaryHeads, y), FIELD(RotaryHeads, norm), FIELD(RotaryHeads, heads), FIELD(RotaryHeads, eps),
    SIZE(RotaryArguments), FIELD(RotaryArguments, first), FIELD(RotaryArguments, second), FIELD(RotaryArguments, cos), FIELD(RotaryArguments, sin),
    FIELD(RotaryArguments, rows), FIELD(RotaryArguments, group), FIELD(RotaryArguments, dim),
    SIZE(ElementwiseArguments), FIELD(ElementwiseArguments, x), FIELD(ElementwiseArguments, parts),
    FIELD(ElementwiseArguments, by), FIELD(ElementwiseArguments, add), FIELD(ElementwiseArguments, y),
    FIELD(ElementwiseArguments, rows), FIELD(ElementwiseArguments, columns), FIELD(ElementwiseArguments, add_rows),
    FIELD(ElementwiseArguments, activation), FIELD(ElementwiseArguments, release),
    SIZE(GatherArguments), FIELD(GatherArguments, table), FIELD(GatherArguments, y), FIELD(GatherArguments, index),
    FIELD(GatherArguments, bytes), FIELD(GatherArguments, rows), FIELD(GatherArguments, entries),
    SIZE(PermuteArguments), FIELD(PermuteArguments, x), FIELD(PermuteArguments, y), FIELD(PermuteArguments, strides),
    FIELD(PermuteArguments, dims), FIELD(PermuteArguments, size),
    SIZE(CastArguments), FIELD(CastArguments, x), FIELD(CastArguments, y), FIELD(CastArguments, rows),
    FIELD(CastArguments, columns), FIELD(CastArguments, from), FIELD(CastArguments, to),
    SIZE(ResampleStep), FIELD(ResampleStep, width), FIELD(ResampleStep, height), FIELD(ResampleStep, left), FIELD(ResampleStep, top),
    FIELD(ResampleStep, out_width), FIELD(ResampleStep, out_height), FIELD(ResampleStep, column_taps), FIELD(ResampleStep, row_taps),
    FIELD(ResampleStep, column_first), FIELD(ResampleStep, column_weights), FIELD(ResampleStep, row_first),
    FIELD(ResampleStep, row_weights), FIELD(ResampleStep, sums), FIELD(ResampleStep, column_bits), FIELD(ResampleStep, row_bits),
    FIELD(ResampleStep, scale),
    SIZE(ResampleArguments), FIELD(ResampleArguments, slots), FIELD(ResampleArguments, between), FIELD(ResampleArguments, pixels),
    FIELD(ResampleArguments, images), FIELD(ResampleArguments, width), FIELD(ResampleArguments, height), FIELD(ResampleArguments, step),
    SIZE(EulerArguments), FIELD(EulerArguments, actions), FIELD(EulerArguments, velocity), FIELD(EulerArguments, dt),
    FIELD(EulerArguments, strength), FIELD(EulerArguments, out), FIELD(EulerArguments, rows), FIELD(EulerArguments, columns),
};

}  // namespace

extern "C" const Layout *vla_cuda_emulator_layout(size_t i) {
  return i < sizeof(layouts) / sizeof(*layouts) ? &layouts[i] : nullptr;
}
