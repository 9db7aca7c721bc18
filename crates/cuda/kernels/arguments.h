// Arguments of the kernels: the structures of src/launch.rs, field by field. A test compares sizes and offsets.
#pragma once
#include <stdint.h>

typedef uint64_t Address;  // on the device; 0: none

struct Matrix {
  Address address;
  int64_t stride;  // elements from row to row
};

struct Parts {
  Matrix first;
  int64_t apart;
  Address bias;
  int32_t count;
  int32_t single;
};

struct NormArguments {
  Matrix x;
  Parts parts;
  Matrix sum, y;
  Address weight, bias, gain, shift;
  Matrix quantized;
  Address scales;
  int32_t rows, groups, width, kind;
  float eps;
  int32_t early, release;
  int32_t _padding;
};

struct AttentionArguments {
  Address q, k, v, out;
  int64_t q_row, q_head, k_row, k_head, v_row, v_head, out_row;
  Parts parts;
  int32_t rows, keys, groups, heads, kv_heads, dim, causal;
  float scale;
  int32_t early_keys, release;
};

struct ProductArguments {
  Matrix x;
  Address weight, bias;
  Matrix y;
  int64_t apart;
  int32_t rows, from, to, parts, single, activation;
  Address row_scales, channel_scales;
};

// Of a matrix in memory and its tiles: the driver's CUtensorMap.
struct alignas(64) TensorMap {
  uint64_t words[16];
};

struct TensorProductArguments {
  Matrix x;
  Address weight, bias;
  Matrix y;
  int64_t apart;
  int32_t rows, from, to, parts, single, activation, tiled;
  int32_t _padding;
};

struct MappedTensorProduct {
  TensorMap x_map, weight_map;
  TensorProductArguments arguments;
};

struct QuantizeArguments {
  Matrix x, y;
  Address scales;
  int32_t rows, columns, release;
  int32_t _padding;
};

struct DequantizeArguments {
  Matrix x;
  Address row_scales, channel_scales, bias;
  Matrix y;
  int32_t rows, columns, activation, release;
};

struct RotaryHeads {
  Matrix x, y;
  Address norm;
  int32_t heads;
  float eps;
};

struct RotaryArguments {
  RotaryHeads first, second;
  Matrix cos, sin;
  int32_t rows, group, dim;
  int32_t _padding;
};

struct ElementwiseArguments {
  Matrix x;
  Parts parts;
  Matrix by, add, y;
  int32_t rows, columns, add_rows, activation, release;
  int32_t _padding;
};

struct GatherArguments {
  Matrix table, y;
  Address index;
  int64_t bytes;
  int32_t rows, entries;
};

struct PermuteArguments {
  Address x, y;
  int64_t strides[6];
  int32_t dims[6];
  int32_t size;
  int32_t _padding;
};

struct CastArguments {
  Matrix x, y;
  int32_t rows, columns;
  uint32_t from, to;
};

// Of vla_engines::frames: words of the table of a slot, and the one of the first step.
constexpr int kTableWords = 16 << 10, kFirstStep = 8;

struct ResampleStep {
  int32_t width, height, left, top, out_width, out_height, column_taps, row_taps;
  int32_t column_first, column_weights, row_first, row_weights, sums, column_bits, row_bits;
  float scale;
};

struct ResampleArguments {
  Address slots, between, pixels;
  int32_t images, width, height, step;
};

struct EulerArguments {
  Address actions;
  Matrix velocity;
  Address dt, strength, out;
  int32_t rows, columns;
};
