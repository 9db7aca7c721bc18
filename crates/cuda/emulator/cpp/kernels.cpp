// The kernels, compiled for the CPU.
#define VLA_CUDA_EMULATOR
#include "kernels.cu"

// Referred to by emulator.cpp, so that the linker keeps this file.
namespace emulator {
extern const int kernels_are_linked;
const int kernels_are_linked = 1;
}  // namespace emulator
