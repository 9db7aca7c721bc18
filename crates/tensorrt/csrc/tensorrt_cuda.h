// The functions of the CUDA driver that the shim calls itself.
#ifndef VLA_TRT_TENSORRT_CUDA_H
#define VLA_TRT_TENSORRT_CUDA_H

#include <cstddef>
#include <cstdint>

#include <dlfcn.h>

namespace vla_trt {

// Functions for a stream reader: the memory type of an address, a copy, waiting for a stream. Looked up in the libcuda that the
// process has loaded; without one there is no device memory to write to.
class Driver {
 public:
  enum class Memory { kPAGEABLE, kPINNED, kDEVICE };

  Memory memory_of(void const* address) {
    if (!find()) {
      return Memory::kPAGEABLE;
    }
    unsigned int type = 0;
    // CU_POINTER_ATTRIBUTE_MEMORY_TYPE; fails for memory that CUDA does not know.
    if (attribute_(&type, 2, reinterpret_cast<uintptr_t>(address)) != 0) {
      return Memory::kPAGEABLE;
    }
    return type == 1 ? Memory::kPINNED : Memory::kDEVICE;  // CU_MEMORYTYPE_HOST
  }

  // Both return a CUresult, 0 on success.
  int copy(void* destination, void const* source, size_t bytes, void* stream) const {
    return copy_(reinterpret_cast<uintptr_t>(destination), source, bytes, stream);
  }

  int synchronize(void* stream) { return find() ? synchronize_(stream) : 0; }

 private:
  // Looked up again until found, because other code may load the library later. It is never unloaded.
  bool find() {
    if (synchronize_ != nullptr) {
      return true;
    }
    void* const cuda = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    if (cuda == nullptr) {
      return false;
    }
    attribute_ = reinterpret_cast<decltype(attribute_)>(dlsym(cuda, "cuPointerGetAttribute"));
    copy_ = reinterpret_cast<decltype(copy_)>(dlsym(cuda, "cuMemcpyHtoDAsync_v2"));
    auto const synchronize = reinterpret_cast<decltype(synchronize_)>(dlsym(cuda, "cuStreamSynchronize"));
    if (attribute_ != nullptr && copy_ != nullptr) {
      synchronize_ = synchronize;
    }
    return synchronize_ != nullptr;
  }

  int (*attribute_)(void*, int, unsigned long long) = nullptr;
  int (*copy_)(unsigned long long, void const*, size_t, void*) = nullptr;
  int (*synchronize_)(void*) = nullptr;
};

}  // namespace vla_trt

#endif
