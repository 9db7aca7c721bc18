// Half precision and bfloat16: conversions round to nearest even, as the GPU's do.
#pragma once
#include <cstdint>
#include <cstring>

namespace emulator {
inline uint32_t bits_of(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  return u;
}
inline float float_of(uint32_t u) {
  float x;
  std::memcpy(&x, &u, 4);
  return x;
}
}  // namespace emulator

struct __half {
  uint16_t bits;
};
struct __nv_bfloat16 {
  uint16_t bits;
};

inline float __half2float(__half h) {
  const uint32_t sign = (h.bits & 0x8000u) << 16, exponent = h.bits >> 10 & 31, fraction = h.bits & 1023;
  if (exponent == 31) return emulator::float_of(sign | 0x7f800000u | fraction << 13);
  if (exponent == 0) return emulator::float_of(sign | emulator::bits_of(static_cast<float>(fraction) * 0x1p-24f));
  return emulator::float_of(sign | (exponent + 112) << 23 | fraction << 13);
}
inline __half __float2half_rn(float x) {
  uint32_t u = emulator::bits_of(x);
  const uint16_t sign = u >> 16 & 0x8000;
  u &= 0x7fffffff;
  uint32_t h;
  if (u > 0x7f800000)
    h = 0x7fff;
  else if (u >= 0x477ff000)  // 65520 and more round to infinity
    h = 0x7c00;
  else if (u < 0x38800000)  // subnormal: 0.5 has the same distance to its neighbours
    h = emulator::bits_of(emulator::float_of(u) + 0.5f) - emulator::bits_of(0.5f);
  else
    h = (u + 0xfff + (u >> 13 & 1) - 0x38000000) >> 13;
  return {static_cast<uint16_t>(sign | h)};
}
inline float __bfloat162float(__nv_bfloat16 b) { return emulator::float_of(static_cast<uint32_t>(b.bits) << 16); }
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  const uint32_t u = emulator::bits_of(x);
  if ((u & 0x7fffffff) > 0x7f800000) return {0x7fff};
  return {static_cast<uint16_t>((u + 0x7fff + (u >> 16 & 1)) >> 16)};
}
