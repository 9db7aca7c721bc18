// STAND-IN for libcuda. Two blocks of ordinary memory represent device and pinned memory for stream readers, which must wait
// for the stream before each access. Also implements the part of the driver that ../../src/device.rs calls: device memory is
// host memory, a stream executes everything at once, launching a graph does nothing.
// Copies from and to device memory that is not allocated fail.
//   STANDIN_DEVICE_FREE_MIB   free memory of cuMemGetInfo at each query; the last value is repeated: `100,2000`
//   STANDIN_INTEGRATED        if set, the device shares the host's memory
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

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

EXPORT int cuStreamSynchronize(void*) {
  standin_waited = 1;
  return 0;
}

namespace {

constexpr int kINVALID = 1, kOUT_OF_MEMORY = 2;
constexpr size_t kALIGNMENT = 256;

std::mutex mutex;
std::map<uintptr_t, size_t> allocated;

bool holds(unsigned long long address, size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex);
  auto after = allocated.upper_bound(static_cast<uintptr_t>(address));
  if (after == allocated.begin()) return false;
  --after;
  return address + bytes <= after->first + after->second;
}

void* allocate(size_t bytes) {
  void* const block = std::aligned_alloc(kALIGNMENT, (bytes + kALIGNMENT - 1) / kALIGNMENT * kALIGNMENT);
  std::lock_guard<std::mutex> lock(mutex);
  if (block != nullptr) allocated[reinterpret_cast<uintptr_t>(block)] = bytes;
  return block;
}

int release(uintptr_t address) {
  std::lock_guard<std::mutex> lock(mutex);
  if (allocated.erase(address) == 0) return kINVALID;
  std::free(reinterpret_cast<void*>(address));
  return 0;
}

void* pointer(unsigned long long address) { return reinterpret_cast<void*>(static_cast<uintptr_t>(address)); }

// Something that is not null, for handles that nobody looks into.
int something(void** out) {
  static int object = 0;
  *out = &object;
  return 0;
}

}  // namespace

EXPORT int cuMemcpyHtoDAsync_v2(unsigned long long to, void const* from, size_t bytes, void*) {
  bool const readers = inside(standin_device_memory, to) && standin_waited != 0;
  if (!readers && !holds(to, bytes)) return kINVALID;
  std::memcpy(pointer(to), from, bytes);
  return 0;
}

EXPORT int cuMemcpyHtoD_v2(unsigned long long to, void const* from, size_t bytes) {
  return cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr);
}

EXPORT int cuMemcpyDtoHAsync_v2(void* to, unsigned long long from, size_t bytes, void*) {
  if (!holds(from, bytes)) return kINVALID;
  std::memcpy(to, pointer(from), bytes);
  return 0;
}

EXPORT int cuMemcpyDtoH_v2(void* to, unsigned long long from, size_t bytes) {
  return cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr);
}

EXPORT int cuMemAlloc_v2(unsigned long long* out, size_t bytes) {
  void* const block = allocate(bytes);
  *out = reinterpret_cast<uintptr_t>(block);
  return block != nullptr ? 0 : kOUT_OF_MEMORY;
}

EXPORT int cuMemFree_v2(unsigned long long address) { return release(static_cast<uintptr_t>(address)); }

EXPORT int cuMemsetD8_v2(unsigned long long to, unsigned char value, size_t bytes) {
  if (!holds(to, bytes)) return kINVALID;
  std::memset(pointer(to), value, bytes);
  return 0;
}

EXPORT int cuMemHostAlloc(void** out, size_t bytes, unsigned int) {
  *out = allocate(bytes);
  return *out != nullptr ? 0 : kOUT_OF_MEMORY;
}

EXPORT int cuMemHostGetDevicePointer_v2(unsigned long long* out, void* block, unsigned int) {
  *out = reinterpret_cast<uintptr_t>(block);
  return 0;
}

EXPORT int cuMemFreeHost(void* block) { return release(reinterpret_cast<uintptr_t>(block)); }

EXPORT int cuMemGetInfo_v2(size_t* free, size_t* total) {
  static size_t asked = 0;
  char const* const told = std::getenv("STANDIN_DEVICE_FREE_MIB");
  std::string list = told != nullptr ? told : "8192";
  for (size_t i = 0; i < asked && list.find(',') != std::string::npos; ++i) list.erase(0, list.find(',') + 1);
  ++asked;
  *free = static_cast<size_t>(std::atoll(list.c_str())) << 20U;
  *total = static_cast<size_t>(16) << 30U;
  return 0;
}

EXPORT int cuInit(unsigned int) { return 0; }
EXPORT int cuDriverGetVersion(int* out) {
  *out = 12060;
  return 0;
}
EXPORT int cuDeviceGet(int* out, int) {
  *out = 0;
  return 0;
}
EXPORT int cuDeviceGetName(char* out, int length, int) {
  std::strncpy(out, "stand-in", static_cast<size_t>(length));
  return 0;
}
EXPORT int cuDeviceGetAttribute(int* out, int attribute, int) {
  switch (attribute) {
    case 75: *out = 8; break;  // compute capability 8.7
    case 76: *out = 7; break;
    case 16: *out = 8; break;  // multiprocessors
    case 18: *out = std::getenv("STANDIN_INTEGRATED") != nullptr; break;
    default: *out = 0;
  }
  return 0;
}
EXPORT int cuDevicePrimaryCtxRetain(void** out, int) { return something(out); }
EXPORT int cuDevicePrimaryCtxRelease_v2(int) { return 0; }
EXPORT int cuCtxGetCurrent(void** out) { return something(out); }
EXPORT int cuCtxSetCurrent(void*) { return 0; }
EXPORT int cuCtxSynchronize() { return 0; }
EXPORT int cuStreamCreate(void** out, unsigned int) { return something(out); }
EXPORT int cuStreamDestroy_v2(void*) { return 0; }
EXPORT int cuStreamBeginCapture_v2(void*, int) { return 0; }
EXPORT int cuStreamEndCapture(void*, void** out) { return something(out); }
EXPORT int cuGraphInstantiateWithFlags(void** out, void*, unsigned long long) { return something(out); }
EXPORT int cuGraphUpload(void*, void*) { return 0; }
EXPORT int cuGraphLaunch(void*, void*) { return 0; }
EXPORT int cuGraphExecDestroy(void*) { return 0; }
EXPORT int cuGraphDestroy(void*) { return 0; }
EXPORT int cuEventCreate(void** out, unsigned int) { return something(out); }
EXPORT int cuEventDestroy_v2(void*) { return 0; }
EXPORT int cuEventRecordWithFlags(void*, void*, unsigned int) { return 0; }
EXPORT int cuEventElapsedTime(float* out, void*, void*) {
  *out = 1;
  return 0;
}
EXPORT int cuEventElapsedTime_v2(float* out, void* from, void* to) { return cuEventElapsedTime(out, from, to); }
EXPORT int cuGetErrorString(int, char const** out) {
  *out = "a stand-in's error";
  return 0;
}
EXPORT int cuGetErrorName(int, char const** out) {
  *out = "STANDIN_ERROR";
  return 0;
}
