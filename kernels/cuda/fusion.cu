// CUDA wrapper of include/fusion.h: one thread for one pixel. Grid: x over pixels, y over the batch.
#include "../include/fusion.h"

using namespace matter;

template <typename T>
__device__ void fuse_at(const T* glance, const T* focus, T* alpha, i64 classes, i64 plane, int rosta) {
    const i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= plane) return;
    const i64 n = blockIdx.y;
    alpha[n * plane + at] =
        fuse(glance + n * classes * plane + at, plane, focus[n * plane + at], rosta);
}

extern "C" __global__ void matter_fuse_float(const float* glance, const float* focus, float* alpha,
                                             i64 classes, i64 plane, int rosta) {
    fuse_at(glance, focus, alpha, classes, plane, rosta);
}

extern "C" __global__ void matter_fuse_half(const Half* glance, const Half* focus, Half* alpha,
                                            i64 classes, i64 plane, int rosta) {
    fuse_at(glance, focus, alpha, classes, plane, rosta);
}
