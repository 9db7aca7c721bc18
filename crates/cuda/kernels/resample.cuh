// Pixels of camera frames, to the last bit as the host makes them: the slots, tables and sums of vla_engines::frames.
#pragma once
#include "elements.cuh"

constexpr int kChannels = 3;

// The channels of a pixel of the picture, black outside of the input.
__device__ __forceinline__ void picture_pixel(const ResampleStep &s, const uint8_t *input, int x, int y, int (&v)[kChannels]) {
  const int column = x - s.left, row = y - s.top;
  const bool inside = column >= 0 && column < s.width && row >= 0 && row < s.height;
  const uint8_t *p = input + (inside ? (row * s.width + column) * kChannels : 0);
#pragma unroll
  for (int c = 0; c < kChannels; c++) v[c] = inside ? p[c] : 0;
}

// The weights of an output pixel: `column` and `row` at their first taps, of `s.column_taps` and `s.row_taps`.
struct Weights {
  int x, y;
  const uint32_t *column, *row;
};
__device__ __forceinline__ float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

// In single precision, every product and sum rounded by itself.
__device__ __forceinline__ void weighted_sums(const ResampleStep &s, const uint8_t *input, const Weights &w, float (&sums)[kChannels]) {
  for (int r = 0; r < s.row_taps; r++) {
    float across[kChannels] = {0.f, 0.f, 0.f};
    for (int t = 0; t < s.column_taps; t++) {
      int v[kChannels];
      picture_pixel(s, input, w.x + t, w.y + r, v);
      const float by = float_of(w.column[t]);
#pragma unroll
      for (int c = 0; c < kChannels; c++) across[c] = add_once(across[c], multiply_once(static_cast<float>(v[c]), by));
    }
    const float by = float_of(w.row[r]);
#pragma unroll
    for (int c = 0; c < kChannels; c++) sums[c] = add_once(sums[c], multiply_once(by, across[c]));
  }
}

// In integers: sums along columns go through `settle` to be weighted along rows, and those through `weigh`.
template <class Settle, class Weigh>
__device__ __forceinline__ void weighted_sums(const ResampleStep &s, const uint8_t *input, const Weights &w, int start, int (&sums)[kChannels], Settle settle, Weigh weigh) {
  for (int r = 0; r < s.row_taps; r++) {
    int across[kChannels] = {start, start, start};
    for (int t = 0; t < s.column_taps; t++) {
      int v[kChannels];
      picture_pixel(s, input, w.x + t, w.y + r, v);
#pragma unroll
      for (int c = 0; c < kChannels; c++) across[c] += static_cast<int>(w.column[t]) * v[c];
    }
#pragma unroll
    for (int c = 0; c < kChannels; c++) sums[c] += weigh(static_cast<int>(w.row[r]), settle(across[c]));
  }
}

__device__ __forceinline__ int half_of(int bits) { return (1 << bits) >> 1; }
__device__ __forceinline__ int to_byte(int value) { return min(max(value, 0), 255); }

// The channels of an output pixel, 0 to 255.
__device__ __forceinline__ void resampled(const ResampleStep &s, const uint8_t *input, const Weights &w, int (&v)[kChannels]) {
  if (s.sums <= 1) {
    float sums[kChannels] = {0.f, 0.f, 0.f};
    weighted_sums(s, input, w, sums);
#pragma unroll
    for (int c = 0; c < kChannels; c++) {
      const float value = multiply_once(sums[c], s.scale);
      v[c] = s.sums == 0 ? to_nearest(value) : static_cast<int>(value + 0.5f);
    }
    return;
  }
  const bool fixed = s.sums == 2;
  const int start = fixed ? half_of(s.row_bits) : 2;
#pragma unroll
  for (int c = 0; c < kChannels; c++) v[c] = start;
  if (fixed) {
    weighted_sums(
        s, input, w, half_of(s.column_bits), v, [&](int sum) { return to_byte(sum >> s.column_bits); },
        [](int by, int value) { return by * value; });
  } else {
    weighted_sums(
        s, input, w, 0, v, [](int sum) { return sum >> 4; }, [](int by, int value) { return by * value >> 16; });
  }
#pragma unroll
  for (int c = 0; c < kChannels; c++) v[c] = fixed ? to_byte(v[c] >> s.row_bits) : v[c] >> 2;
}

// One step of one image a row of blocks; what an image's table does not have is left out.
__device__ __forceinline__ void resample_images(const ResampleArguments &a) {
  wait_for_launch_before();
  const int image = blockIdx.y, size = a.width * a.height;
  const int begin = blockIdx.x * blockDim.x + threadIdx.x, apart = gridDim.x * blockDim.x;
  const uint32_t *table = pointer<const uint32_t>(a.slots) + static_cast<int64_t>(image) * kTableWords;
  const uint32_t *slot = pointer<const uint32_t>(a.slots) + static_cast<int64_t>(a.images) * kTableWords + static_cast<int64_t>(image) * kChannels * size;
  float *pixels = pointer<float>(a.pixels) + static_cast<int64_t>(image) * kChannels * size;
  const int steps = static_cast<int>(table[0]);
  if (steps == 0 && a.step == 0)
    for (int i = begin; i < kChannels * size; i += apart) pixels[i] = float_of(slot[i]);
  if (a.step >= steps) return;
  const ResampleStep s = reinterpret_cast<const ResampleStep *>(table + kFirstStep)[a.step];
  // Images between steps take turns in two places of half of a slot each.
  uint8_t *between = pointer<uint8_t>(a.between) + static_cast<int64_t>(image) * kChannels * size * 4;
  const uint8_t *input = a.step == 0 ? reinterpret_cast<const uint8_t *>(slot) : between + (a.step - 1) % 2 * (kChannels * size * 2);
  uint8_t *output = between + a.step % 2 * (kChannels * size * 2);
  for (int i = begin; i < s.out_width * s.out_height; i += apart) {
    const int x = i % s.out_width, y = i / s.out_width;
    const Weights w = {static_cast<int>(table[s.column_first + x]), static_cast<int>(table[s.row_first + y]),
                       table + s.column_weights + x * s.column_taps, table + s.row_weights + y * s.row_taps};
    int v[kChannels];
    resampled(s, input, w, v);
#pragma unroll
    for (int c = 0; c < kChannels; c++) {
      if (a.step + 1 == steps)
        pixels[c * size + i] = (static_cast<float>(v[c]) - 127.5f) / 127.5f;
      else
        output[i * kChannels + c] = static_cast<uint8_t>(v[c]);
    }
  }
}
