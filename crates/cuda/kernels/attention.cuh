// Attention by tensor cores: head dimensions up to 128, in half precision or bfloat16, softmax as it goes along the keys.
//
// A block has 16 query rows a query warp of one head. Keys and values stream through a ring of stages in shared memory. Of few
// query rows (`kKeyWarps` above 1) the warps take units of 16 keys in turn and merge their results at the end; of many
// (`kQueryWarps` above 1) each warp has 16 rows of its own and takes all keys. Dimensions are padded with zeros to kDim.
#pragma once
#include "elements.cuh"

template <int dim, int query_warps, int key_warps>
struct AttentionShape {
  static constexpr bool kMerged = key_warps > 1;
  static constexpr int kThreads = 32 * query_warps * key_warps;
  static constexpr int kQueries = 16 * query_warps;
  static constexpr int kUnit = kMerged ? 16 : dim < 64 ? 32 : 64;  // keys that a warp takes at a time
  static constexpr int kTile = kMerged ? 16 * key_warps : 64;      // keys of a stage
  static constexpr int kStride = dim + 8;                          // elements from row to row: ldmatrix without bank conflicts
  static constexpr int kStage = 2 * kTile * kStride;               // elements: keys, then values
  static constexpr int kStages = kMerged && 3 * 2 * kStage <= 88 << 10 ? 3 : 2;
  static constexpr int kMergeStride = dim + 4;  // floats from row to row of a warp's result
  // Whole chunks of keys and values are copied by groups of lanes, a row a group: as many lanes as chunks, rounded to a power of two.
  static constexpr int kGroup = dim <= 32 ? 4 : dim <= 64 ? 8 : 16;
  static constexpr int kApart = kThreads / kGroup;  // rows between a thread's chunks
  static_assert(kTile % kApart == 0);
  static_assert(query_warps == 1 || key_warps == 1);
};

template <class T, int dim, int query_warps, int key_warps>
struct AttentionBlock {
  using Shape = AttentionShape<dim, query_warps, key_warps>;

  const AttentionArguments &a;
  int head, kv_head, group, first_row;
  int keys;  // that a row of the block sees
  bool aligned;
  T *stages, *queries;

  __device__ __forceinline__ explicit AttentionBlock(const AttentionArguments &a) : a(a), head(blockIdx.x), group(blockIdx.z) {
    kv_head = static_cast<int>(static_cast<int64_t>(head) * a.kv_heads / a.heads);
    const int block = a.causal ? gridDim.y - 1 - blockIdx.y : blockIdx.y;  // those with most keys first
    first_row = block * Shape::kQueries;
    keys = a.causal ? min(a.keys, first_row + Shape::kQueries) : a.keys;
    aligned = a.dim % kChunk == 0 && is_aligned<T>(a.k | a.v, a.k_row | a.v_row | a.k_head | a.v_head);
    stages = reinterpret_cast<T *>(shared_memory());
    if constexpr (Shape::kMerged) {
      queries = stages;
      stages += Shape::kQueries * Shape::kStride;
    } else {
      queries = stages + (Shape::kStages - 1) * Shape::kStage;  // until its first keys are there
    }
  }

  // Keys or values of a tile into a stage, element by element.
  __device__ __forceinline__ void load_rows(T *to, Address address, int64_t row_stride, int64_t head_stride, int tile) const {
    const int first = tile * Shape::kTile, items = min(left(first), Shape::kTile) * dim;
    const T *from = pointer<const T>(address) + (static_cast<int64_t>(group) * a.keys + first) * row_stride + kv_head * head_stride;
#pragma unroll 1
    for (int i = threadIdx.x; i < items; i += Shape::kThreads) {
      const int row = i / dim, channel = i % dim;
      const bool exists = first + row < keys && channel < a.dim;
      to[row * Shape::kStride + channel] = exists ? from[row * row_stride + channel] : from_float<T>(0.f);
    }
  }
  // Rows from `first` on, to the end of the last unit.
  __device__ __forceinline__ int left(int first) const { return (keys - first + Shape::kUnit - 1) / Shape::kUnit * Shape::kUnit; }
  // Keys and values of a tile into a stage, by whole chunks.
  __device__ __forceinline__ void copy_rows(T *stage, int tile) const {
    const int chunk = threadIdx.x % Shape::kGroup * kChunk, mine = threadIdx.x / Shape::kGroup;
    if (chunk >= dim) return;
    const int first = tile * Shape::kTile + mine, end = tile * Shape::kTile + left(tile * Shape::kTile);
    const int64_t row = static_cast<int64_t>(group) * a.keys + first;
    const T *key = pointer<const T>(a.k) + row * a.k_row + kv_head * a.k_head + chunk;
    const T *value = pointer<const T>(a.v) + row * a.v_row + kv_head * a.v_head + chunk;
    T *to = stage + mine * Shape::kStride + chunk;
#pragma unroll
    for (int i = 0; i < Shape::kTile / Shape::kApart; i++) {
      const int at = first + i * Shape::kApart;
      if (at >= end) return;
      const bool exists = at < keys && chunk < a.dim;
      copy_async_16(to + i * Shape::kApart * Shape::kStride, key, exists);
      copy_async_16(to + (Shape::kTile + i * Shape::kApart) * Shape::kStride, value, exists);
      key += Shape::kApart * a.k_row, value += Shape::kApart * a.v_row;
    }
  }
  __device__ __forceinline__ void load_tile(int tile) const {
    T *stage = stages + tile % Shape::kStages * Shape::kStage;
    if (aligned) return copy_rows(stage, tile);
    load_rows(stage, a.k, a.k_row, a.k_head, tile);
    load_rows(stage + Shape::kTile * Shape::kStride, a.v, a.v_row, a.v_head, tile);
  }

  // Queries that are neither parts nor have a bias, without a stop for each of a thread's chunks.
  __device__ __forceinline__ bool queries_are_plain() const {
    return a.q && !a.parts.first.address && !a.parts.bias && a.dim % kChunk == 0 && is_aligned<T>(a.q, a.q_row | a.q_head);
  }
  __device__ __forceinline__ void copy_queries() const {
    const T *from = pointer<const T>(a.q) + (static_cast<int64_t>(group) * a.rows + first_row) * a.q_row + head * a.q_head;
#pragma unroll 1
    for (int i = threadIdx.x; i < Shape::kQueries * (dim / kChunk); i += Shape::kThreads) {
      const int row = i / (dim / kChunk), channel = i % (dim / kChunk) * kChunk;
      const bool exists = first_row + row < a.rows && channel < a.dim;
      const T *chunk = exists ? from + row * a.q_row + channel : pointer<const T>(a.q);
      copy_async_16(queries + row * Shape::kStride + channel, chunk, exists);
    }
  }
  // Queries, with parts and bias, rounded to T.
  template <int n>
  __device__ __forceinline__ void load_queries() const {
#pragma unroll 1
    for (int i = threadIdx.x; i < Shape::kQueries * (dim / n); i += Shape::kThreads) {
      const int row = i / (dim / n), channel = i % (dim / n) * n, column = head * a.dim + channel;
      const int64_t at = static_cast<int64_t>(group) * a.rows + first_row + row;
      float v[n] = {};
      if (first_row + row < a.rows && channel < a.dim) {
        load_vector<n, T>(a.parts.bias, column, true, 0.f, v);
        if (a.q) add_chunk(pointer<const T>(a.q) + at * a.q_row + head * a.q_head + channel, true, v);
        add_parts<n, T>(a.parts, at, column, true, v);
      }
      store_chunk(queries + row * Shape::kStride + channel, v);
    }
  }
};

// A warp's 16 query rows: maxima, sums and results so far. Lane's rows: lane / 4 and 8 below it.
template <class T, int dim, int unit, int stride>
struct AttentionRows {
  static constexpr int kSteps = dim / 16;
  uint32_t q[kSteps][4];
  float top[2], sum[2], out[2 * kSteps][4];

  __device__ __forceinline__ void start(const T *queries) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < kSteps; k++) load_matrices(q[k], queries + lane % 16 * stride + k * 16 + lane / 16 * 8);
    top[0] = top[1] = -INFINITY, sum[0] = sum[1] = 0.f;
#pragma unroll
    for (int n = 0; n < 2 * kSteps; n++) out[n][0] = out[n][1] = out[n][2] = out[n][3] = 0.f;
  }

  // `s` has scores, of which `factor` makes units of log2; they become weights, and what was summed before is scaled to the new
  // maxima.
  __device__ __forceinline__ void weigh(float factor, float (&s)[unit / 8][4]) {
#pragma unroll
    for (int row = 0; row < 2; row++) {
      float high = top[row];
#pragma unroll
      for (int t = 0; t < unit / 8; t++) high = fmaxf(high, fmaxf(s[t][2 * row], s[t][2 * row + 1]));
      high = fmaxf(high, __shfl_xor_sync(~0u, high, 1));
      high = fmaxf(high, __shfl_xor_sync(~0u, high, 2));
      const float keep = fast_exp2((top[row] - high) * factor), offset = high * factor;
      top[row] = high;
      float added = 0.f;
#pragma unroll
      for (int t = 0; t < unit / 8; t++)
#pragma unroll
        for (int i = 2 * row; i < 2 * row + 2; i++) added += s[t][i] = fast_exp2(s[t][i] * factor - offset);
      sum[row] = sum[row] * keep + added;
#pragma unroll
      for (int n = 0; n < 2 * kSteps; n++) out[n][2 * row] *= keep, out[n][2 * row + 1] *= keep;
    }
  }

  // A unit of keys, of which each row sees at least the first. `limit`: keys from there on are not there; row r sees keys up to
  // `last + r` where that is less.
  __device__ __forceinline__ void add(const T *keys, const T *values, float factor, int limit, int last) {
    const int lane = threadIdx.x % 32;
    float s[unit / 8][4] = {};
#pragma unroll
    for (int k = 0; k < kSteps; k++)
#pragma unroll
      for (int n = 0; n < unit / 16; n++) {
        uint32_t b[4];
        load_matrices(b, keys + (n * 16 + lane % 8 + lane / 16 * 8) * stride + k * 16 + lane / 8 % 2 * 8);
        multiply<T>(s[2 * n], q[k], b[0], b[1]);
        multiply<T>(s[2 * n + 1], q[k], b[2], b[3]);
      }
    if (limit < unit || last < unit - 1) {
#pragma unroll
      for (int t = 0; t < unit / 8; t++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int key = t * 8 + lane % 4 * 2 + i % 2, row = lane / 4 + i / 2 * 8;
          if (key >= limit || key > last + row) s[t][i] = -INFINITY;
        }
    }
    weigh(factor, s);
#pragma unroll
    for (int m = 0; m < unit / 16; m++) {
      const uint32_t p[4] = {pack<T>(s[2 * m][0], s[2 * m][1]), pack<T>(s[2 * m][2], s[2 * m][3]),
                             pack<T>(s[2 * m + 1][0], s[2 * m + 1][1]), pack<T>(s[2 * m + 1][2], s[2 * m + 1][3])};
#pragma unroll
      for (int n = 0; n < kSteps; n++) {
        uint32_t b[4];
        load_matrices_transposed(b, values + (m * 16 + lane % 16) * stride + n * 16 + lane / 16 * 8);
        multiply<T>(out[2 * n], p, b[0], b[1]);
        multiply<T>(out[2 * n + 1], p, b[2], b[3]);
      }
    }
  }

  // The sums of all lanes of a row.
  __device__ __forceinline__ void end() {
#pragma unroll
    for (int row = 0; row < 2; row++) {
      sum[row] += __shfl_xor_sync(~0u, sum[row], 1);
      sum[row] += __shfl_xor_sync(~0u, sum[row], 2);
    }
  }
};

// Where a head's channels of the rows of the result are.
template <class T>
struct AttentionResult {
  const AttentionArguments &a;
  T *first;    // channel 0 of the group's first row
  bool pairs;  // two channels begin at a multiple of four bytes

  __device__ __forceinline__ AttentionResult(const AttentionArguments &a, int group, int head)
      : a(a), first(pointer<T>(a.out) + static_cast<int64_t>(group) * a.rows * a.out_row + static_cast<int64_t>(head) * a.dim) {
    pairs = a.out % 4 == 0 && a.out_row % 2 == 0 && a.dim % 2 == 0;
  }
  __device__ __forceinline__ T *row(int row) const { return first + row * a.out_row; }
  // Two channels of a row.
  __device__ __forceinline__ void store(T *row, int channel, float2 v) const {
    if (channel >= a.dim) return;
    T *to = row + channel;
    if (pairs) {
      store_4(to, pack<T>(v.x, v.y));
    } else {
      to[0] = from_float<T>(v.x);
      if (channel + 1 < a.dim) to[1] = from_float<T>(v.y);
    }
  }
};

// Results of the key warps, which lie in shared memory, joined and stored.
template <class T, int dim, int key_warps, class Rows>
__device__ __forceinline__ void merge(const AttentionResult<T> &result, int first_row, float factor, float *memory, Rows &rows) {
  using Shape = AttentionShape<dim, 1, key_warps>;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float2 *about = reinterpret_cast<float2 *>(memory + key_warps * 16 * Shape::kMergeStride);  // maximum and sum of a row
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = warp * 16 + lane / 4 + half * 8;
    if (lane % 4 == 0) about[row] = make_float2(rows.top[half], rows.sum[half]);
#pragma unroll
    for (int n = 0; n < dim / 8; n++)
      *reinterpret_cast<float2 *>(memory + row * Shape::kMergeStride + n * 8 + lane % 4 * 2) =
          make_float2(rows.out[n][2 * half], rows.out[n][2 * half + 1]);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < 16 * dim / 2; i += Shape::kThreads) {
    const int row = i / (dim / 2), channel = i % (dim / 2) * 2;
    float high = -INFINITY, sum = 0.f;
#pragma unroll
    for (int w = 0; w < key_warps; w++) high = fmaxf(high, about[w * 16 + row].x);
    float2 out = make_float2(0.f, 0.f);
#pragma unroll
    for (int w = 0; w < key_warps; w++) {
      const float share = fast_exp2((about[w * 16 + row].x - high) * factor);
      const float2 part = *reinterpret_cast<const float2 *>(memory + (w * 16 + row) * Shape::kMergeStride + channel);
      sum += share * about[w * 16 + row].y;
      out.x += share * part.x, out.y += share * part.y;
    }
    if (first_row + row >= result.a.rows) continue;
    const float rate = fast_divide(1.f, sum);
    result.store(result.row(first_row + row), channel, make_float2(out.x * rate, out.y * rate));
  }
}

template <class T, int dim, int query_warps, int key_warps>
__device__ __forceinline__ void attention(const AttentionArguments &a) {
  using Shape = AttentionShape<dim, query_warps, key_warps>;
  const AttentionBlock<T, dim, query_warps, key_warps> block(a);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, query_warp = warp / key_warps, key_warp = warp % key_warps;
  const int tiles = (block.keys + Shape::kTile - 1) / Shape::kTile;
  if (a.release) start_launch_behind();
  if (!a.early_keys) wait_for_launch_before();
  if constexpr (Shape::kMerged) {
#pragma unroll 1
    for (int tile = 0; tile < Shape::kStages; tile++) {
      if (tile < tiles) block.load_tile(tile);
      copy_async_commit();
    }
  } else {
    block.load_tile(0);  // the queries are where the next one comes
  }
  if (a.early_keys) wait_for_launch_before();
  if (!Shape::kMerged && block.queries_are_plain()) {
    block.copy_queries();
    copy_async_commit();
    copy_async_wait<0>();
  } else {
    if (a.dim % kChunk == 0 && is_aligned<T>(a.q, a.q_row | a.q_head) && is_aligned<T>(a.parts))
      block.template load_queries<kChunk>();
    else
      block.template load_queries<1>();
    if constexpr (!Shape::kMerged) copy_async_commit();
  }
  __syncthreads();
  AttentionRows<T, dim, Shape::kUnit, Shape::kStride> rows;
  rows.start(block.queries + query_warp * 16 * Shape::kStride);
  if constexpr (!Shape::kMerged) {
    static_assert(Shape::kStages == 2);
    __syncthreads();
    if (tiles > 1) block.load_tile(1);
    copy_async_commit();
  }

  const int first_row = block.first_row + query_warp * 16;
  const int limit = a.causal ? min(block.keys, first_row + 16) : block.keys;
  const float factor = a.scale * 1.4426950408889634f;
  for (int tile = 0; tile < tiles; tile++) {
    copy_async_wait<Shape::kStages - 1>();
    __syncthreads();
    const T *keys = block.stages + tile % Shape::kStages * Shape::kStage, *values = keys + Shape::kTile * Shape::kStride;
    for (int unit = key_warp; unit < Shape::kTile / Shape::kUnit; unit += key_warps) {
      const int key = tile * Shape::kTile + unit * Shape::kUnit, offset = unit * Shape::kUnit * Shape::kStride;
      if (key >= limit) break;
      rows.add(keys + offset, values + offset, factor, limit - key, a.causal ? first_row - key : Shape::kUnit);
    }
    if (tile + Shape::kStages < tiles) {
      __syncthreads();
      block.load_tile(tile + Shape::kStages);
    }
    copy_async_commit();
  }
  rows.end();

  const AttentionResult<T> result(a, block.group, block.head);
  if constexpr (Shape::kMerged) {
    __syncthreads();
    merge<T, dim, key_warps>(result, first_row, factor, reinterpret_cast<float *>(block.stages), rows);
  } else {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int row = first_row + lane / 4 + half * 8;
      if (row >= a.rows) continue;
      const float rate = fast_divide(1.f, rows.sum[half]);
      T *to = result.row(row);
#pragma unroll
      for (int n = 0; n < dim / 8; n++)
        result.store(to, n * 8 + lane % 4 * 2, make_float2(rows.out[n][2 * half] * rate, rows.out[n][2 * half + 1] * rate));
    }
  }
}
