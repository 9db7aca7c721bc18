// What compute capability 9.0 has for products: barriers in shared memory, the tensor memory accelerator, and multiplications by a warpgroup.
// Only there, by the compiler's target sm_90a.
#pragma once

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// A barrier whose phase ends when `arrivals` have arrived and all bytes that they expect are there; its first phase is 0.
__device__ __forceinline__ void begin_barrier(Barrier *barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
// Makes barriers known to what copies. By the thread that began them, before the block's __syncthreads.
__device__ __forceinline__ void barriers_have_begun() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ __forceinline__ void arrive(Barrier *barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
// Arrives, and has the phase wait for so many bytes.
__device__ __forceinline__ void expect_bytes(Barrier *barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}
// Waits until the latest phase of this parity has ended.
__device__ __forceinline__ void wait_for_phase(Barrier *barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred ended;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 ended, [%0], %1;\n"
      "@!ended bra again;\n"
      "}" ::"r"(shared_address(barrier)), "r"(parity) : "memory");
}
// Copies the map's tile from this column and row on to shared memory; its bytes count at the barrier.
__device__ __forceinline__ void copy_tile(void *to, const TensorMap &map, int column, int row, Barrier *barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(shared_address(to)),
               "l"(&map), "r"(column), "r"(row), "r"(shared_address(barrier)) : "memory");
}

// Registers that the warpgroup's multiplications add to are ready.
__device__ __forceinline__ void multiply_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void multiply_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits for all groups of multiplications but the newest `pending`.
template <int pending>
__device__ __forceinline__ void multiply_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}
// What is done with the sums stays behind the wait before.
template <int n>
__device__ __forceinline__ void keep_behind(float (&c)[n]) {
#pragma unroll
  for (int i = 0; i < n; i++) asm volatile("" : "+f"(c[i])::"memory");
}

#define SUMS_4(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define SUMS_12(i) SUMS_4(i), SUMS_4(i + 4), SUMS_4(i + 8)
#define SUMS_24 SUMS_12(0), SUMS_12(12)
#define SUMS_36 SUMS_24, SUMS_12(24)
#define SUMS_48 SUMS_36, SUMS_12(36)
#define SUMS_64 SUMS_48, SUMS_12(48), SUMS_4(60)
#define NAMES_24 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23"
#define NAMES_36 NAMES_24 ",%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35"
#define NAMES_48 NAMES_36 ",%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
#define NAMES_64 NAMES_48 ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"

// c = a b, or c += a b where `add`: a 64x16 and b n x 16, rows of tiles; c 64 x n in single precision, of which a thread has columns
// 2 (lane % 4) and the next of every eight, of rows 16 warp + lane / 4 and eight further.
template <class T, int n>
__device__ __forceinline__ void multiply_tiles(float (&c)[n / 2], uint64_t a, uint64_t b, bool add);
#define MULTIPLY_TILES(T, type, n, half_n, a_name, b_name, add_name)                                                                          \
  template <>                                                                                                                            \
  __device__ __forceinline__ void multiply_tiles<T, n>(float (&c)[half_n], uint64_t a, uint64_t b, bool add) {                            \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " add_name ", 0;\n"                                                                   \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" NAMES_##half_n "}, " a_name ", " b_name ", p, 1, 1, 0, 0;\n}" \
                 : SUMS_##half_n : "l"(a), "l"(b), "r"(static_cast<int>(add)));                                                          \
  }
#define MULTIPLY_TILES_OF(T, type)                          \
  MULTIPLY_TILES(T, type, 48, 24, "%24", "%25", "%26")      \
  MULTIPLY_TILES(T, type, 72, 36, "%36", "%37", "%38")      \
  MULTIPLY_TILES(T, type, 96, 48, "%48", "%49", "%50")      \
  MULTIPLY_TILES(T, type, 128, 64, "%64", "%65", "%66")
MULTIPLY_TILES_OF(__half, "f16")
MULTIPLY_TILES_OF(__nv_bfloat16, "bf16")
#endif
