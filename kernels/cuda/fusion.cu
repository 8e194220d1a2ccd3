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

// Heads of two sizes; the glance lies at given_rows×given_columns and is told at its own size.
template <typename T>
__device__ void fuse_at_size_at(const T* glance, i64 classes, int given_rows, int given_columns,
                                int glance_rows, int glance_columns, const T* focus, int focus_rows,
                                int focus_columns, T* alpha, int rows, int columns, int rosta) {
    const i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    const i64 area = i64(rows) * columns;
    if (at >= area) return;
    const i64 n = blockIdx.y, plane = i64(given_rows) * given_columns;
    const int y = int(at / columns), x = int(at % columns);
    const bool three = rosta == ROSTA_TT;
    const T* first = glance + n * classes * plane;
    const Place place = place_of(glance_rows, glance_columns, rows, columns, y, x);
    const Place detail = place_of(focus_rows, focus_columns, rows, columns, y, x);
    const ValueAt<T> focus_at = {focus + n * focus_rows * focus_columns, focus_columns};
    if (given_rows == glance_rows && given_columns == glance_columns) {
        const ClassAt<T> class_at = {first, plane, glance_columns, three};
        alpha[n * area + at] = fuse_at_size(class_at, place, focus_at, detail, rosta);
    } else {
        const EnlargedClassAt<T> class_at = {first, given_rows, given_columns, glance_rows,
                                             glance_columns, three};
        alpha[n * area + at] = fuse_at_size(class_at, place, focus_at, detail, rosta);
    }
}

extern "C" __global__ void matter_fuse_float_at_size(const float* glance, i64 classes, int given_rows,
                                                     int given_columns, int glance_rows,
                                                     int glance_columns, const float* focus,
                                                     int focus_rows, int focus_columns, float* alpha,
                                                     int rows, int columns, int rosta) {
    fuse_at_size_at(glance, classes, given_rows, given_columns, glance_rows, glance_columns, focus,
                    focus_rows, focus_columns, alpha, rows, columns, rosta);
}

extern "C" __global__ void matter_fuse_half_at_size(const Half* glance, i64 classes, int given_rows,
                                                    int given_columns, int glance_rows,
                                                    int glance_columns, const Half* focus,
                                                    int focus_rows, int focus_columns, Half* alpha,
                                                    int rows, int columns, int rosta) {
    fuse_at_size_at(glance, classes, given_rows, given_columns, glance_rows, glance_columns, focus,
                    focus_rows, focus_columns, alpha, rows, columns, rosta);
}
