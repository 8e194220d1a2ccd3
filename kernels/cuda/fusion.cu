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

// Heads of two sizes.
template <typename T>
__device__ void fuse_at_size_at(const T* glance, i64 classes, int glance_rows, int glance_columns,
                                const T* focus, int focus_rows, int focus_columns, T* alpha, int rows,
                                int columns, int rosta) {
    const i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    const i64 area = i64(rows) * columns;
    if (at >= area) return;
    const i64 n = blockIdx.y, plane = i64(glance_rows) * glance_columns;
    const int y = int(at / columns), x = int(at % columns);
    const ClassAt<T> class_at = {glance + n * classes * plane, plane, glance_columns,
                                 rosta == ROSTA_TT};
    const FocusAt<T> focus_at = {focus + n * focus_rows * focus_columns, focus_columns};
    alpha[n * area + at] =
        fuse_at_size(class_at, place_of(glance_rows, glance_columns, rows, columns, y, x), focus_at,
                     place_of(focus_rows, focus_columns, rows, columns, y, x), rosta);
}

extern "C" __global__ void matter_fuse_float_at_size(const float* glance, i64 classes, int glance_rows,
                                                     int glance_columns, const float* focus,
                                                     int focus_rows, int focus_columns, float* alpha,
                                                     int rows, int columns, int rosta) {
    fuse_at_size_at(glance, classes, glance_rows, glance_columns, focus, focus_rows, focus_columns,
                    alpha, rows, columns, rosta);
}

extern "C" __global__ void matter_fuse_half_at_size(const Half* glance, i64 classes, int glance_rows,
                                                    int glance_columns, const Half* focus,
                                                    int focus_rows, int focus_columns, Half* alpha,
                                                    int rows, int columns, int rosta) {
    fuse_at_size_at(glance, classes, glance_rows, glance_columns, focus, focus_rows, focus_columns,
                    alpha, rows, columns, rosta);
}
