// CUDA wrapper of include/fusion.h: one thread for one pixel. Grid: x over pixels, y over the batch.
#include "../include/fusion.h"

using namespace matter;

__device__ int thread_index() { return int(blockIdx.x * blockDim.x + threadIdx.x); }

template <typename T>
__device__ void fuse_at(const T* glance, const T* focus, T* alpha, int classes, int plane, int rosta) {
    const int at = thread_index();
    if (at >= plane) return;
    const i64 n = blockIdx.y;
    alpha[n * plane + at] =
        fuse(glance + n * classes * plane + at, plane, focus[n * plane + at], rosta);
}

extern "C" __global__ void matter_fuse_float(const float* glance, const float* focus, float* alpha,
                                             int classes, int plane, int rosta) {
    fuse_at(glance, focus, alpha, classes, plane, rosta);
}

extern "C" __global__ void matter_fuse_half(const Half* glance, const Half* focus, Half* alpha,
                                            int classes, int plane, int rosta) {
    fuse_at(glance, focus, alpha, classes, plane, rosta);
}

// Heads of two sizes. Axes, as the host reduced them, lead from the glance to the output (`class`), from
// the focus to the output (`fine`), and for an enlarged glance from the size that it lies at to the one that
// it is told at (`given`).
#define MATTER_FUSE_AT_SIZE(name, T)                                                                  \
    extern "C" __global__ void name(                                                                  \
        const T* glance, int classes, MATTER_AXIS(class_y), MATTER_AXIS(class_x), const T* focus,     \
        MATTER_AXIS(fine_y), MATTER_AXIS(fine_x), T* alpha, int rows, int columns, int rosta) {       \
        const int at = thread_index(), area = rows * columns, y = at / columns, x = at - y * columns; \
        if (at >= area) return;                                                                       \
        const i64 n = blockIdx.y, plane = class_y_length * class_x_length;                            \
        const ClassAt<T> class_at = {glance + n * classes * plane, plane, class_x_length,             \
                                     rosta == ROSTA_TT};                                              \
        const ValueAt<T> focus_at = {focus + n * fine_y_length * fine_x_length, fine_x_length};       \
        alpha[n * area + at] =                                                                        \
            fuse_at_size(class_at, place_of(MATTER_AXIS_OF(class_y, false), MATTER_AXIS_OF(class_x, false), y, x),  \
                         focus_at, place_of(MATTER_AXIS_OF(fine_y, false), MATTER_AXIS_OF(fine_x, false), y, x),    \
                         rosta);                                                                      \
    }
#define MATTER_FUSE_ENLARGED(name, T)                                                                 \
    extern "C" __global__ void name(                                                                  \
        const T* glance, int classes, MATTER_AXIS(given_y), MATTER_AXIS(given_x),                     \
        MATTER_AXIS(class_y), MATTER_AXIS(class_x), const T* focus, MATTER_AXIS(fine_y),              \
        MATTER_AXIS(fine_x), T* alpha, int rows, int columns, int rosta) {                            \
        const int at = thread_index(), area = rows * columns, y = at / columns, x = at - y * columns; \
        if (at >= area) return;                                                                       \
        const i64 n = blockIdx.y, plane = given_y_length * given_x_length;                            \
        const EnlargedClassAt<T> class_at = {glance + n * classes * plane, plane,                     \
                                             MATTER_AXIS_OF(given_y, false), MATTER_AXIS_OF(given_x, false),        \
                                             rosta == ROSTA_TT};                                      \
        const ValueAt<T> focus_at = {focus + n * fine_y_length * fine_x_length, fine_x_length};       \
        alpha[n * area + at] =                                                                        \
            fuse_at_size(class_at, place_of(MATTER_AXIS_OF(class_y, false), MATTER_AXIS_OF(class_x, false), y, x),  \
                         focus_at, place_of(MATTER_AXIS_OF(fine_y, false), MATTER_AXIS_OF(fine_x, false), y, x),    \
                         rosta);                                                                      \
    }

MATTER_FUSE_AT_SIZE(matter_fuse_float_at_size, float)
MATTER_FUSE_AT_SIZE(matter_fuse_half_at_size, Half)
MATTER_FUSE_ENLARGED(matter_fuse_float_enlarged, float)
MATTER_FUSE_ENLARGED(matter_fuse_half_enlarged, Half)
