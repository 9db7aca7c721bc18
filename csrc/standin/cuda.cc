// STAND-IN for libcuda: three functions over two blocks of ordinary memory that play device and pinned memory. A wait
// for the stream before each access is demanded, as TensorRT's stream readers do.
#include <cstddef>
#include <cstdint>
#include <cstring>

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT unsigned char standin_device_memory[1 << 20] = {};
EXPORT unsigned char standin_pinned_memory[1 << 20] = {};
// Whether the stream was waited for since an address was last asked about.
EXPORT unsigned char standin_waited = 0;

namespace {

bool inside(unsigned char const* block, unsigned long long address) {
  auto const start = reinterpret_cast<uintptr_t>(block);
  return address >= start && address < start + sizeof standin_device_memory;
}

}  // namespace

EXPORT int cuPointerGetAttribute(void* data, int attribute, unsigned long long address) {
  if (attribute != 2) return 1;
  bool const device = inside(standin_device_memory, address);
  if (!device && !inside(standin_pinned_memory, address)) return 1;
  *static_cast<unsigned int*>(data) = device ? 2 : 1;
  standin_waited = 0;
  return 0;
}

EXPORT int cuMemcpyHtoDAsync_v2(unsigned long long to, void const* from, size_t bytes, void*) {
  if (!inside(standin_device_memory, to) || standin_waited == 0) return 1;
  std::memcpy(reinterpret_cast<void*>(static_cast<uintptr_t>(to)), from, bytes);
  return 0;
}

EXPORT int cuStreamSynchronize(void*) {
  standin_waited = 1;
  return 0;
}
