// TensorRT's headers include CUDA's for the names of these two opaque handles and for nothing else. Declared here, so
// that the shim compiles without a CUDA toolkit; both are pointers to structs that no caller sees inside.
#ifndef VLA_TRT_CUDA_RUNTIME_API_H
#define VLA_TRT_CUDA_RUNTIME_API_H

typedef struct CUstream_st* cudaStream_t;
typedef struct CUevent_st* cudaEvent_t;

#endif
