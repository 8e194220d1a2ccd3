// What the kernels share. Every header here is plain C++17 without the standard library, so that g++,
// nvcc and NVRTC compile the same text: MATTER_HD code runs on the CPU and on the GPU.
//
// Both targets are built without contraction into fused multiply-adds (-ffp-contract=off, --fmad=false):
// an arithmetic expression written here has one value, whatever computes it.
#pragma once

#ifdef __CUDACC__
#define MATTER_HD __host__ __device__ inline
#define MATTER_ROLLED _Pragma("unroll 1")
#else
#define MATTER_HD inline
#define MATTER_ROLLED
#endif

namespace matter {

using u8 = unsigned char;
using i64 = long long;

MATTER_HD int smaller(int a, int b) { return a < b ? a : b; }
MATTER_HD int larger(int a, int b) { return a > b ? a : b; }

}  // namespace matter
