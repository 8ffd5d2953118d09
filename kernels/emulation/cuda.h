// What the kernels of kernels/cuda use of CUDA, for a host compiler. No warp intrinsics: there are
// none to emulate.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#define INVCONV_EMULATED
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define SHARED_MEMORY(name) unsigned char* const name = emulation::shared_memory

namespace emulation {

struct Coordinate {
    unsigned x;
};

inline unsigned char* shared_memory;

// Called by every thread of a block; returns once all of them have called it.
void barrier();

}  // namespace emulation

#ifdef EMULATE_WITH_THREADS
inline thread_local emulation::Coordinate threadIdx;
#else
inline emulation::Coordinate threadIdx;
#endif
inline emulation::Coordinate blockIdx, blockDim;

inline void __syncthreads() { emulation::barrier(); }

inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

using std::max;
using std::min;
