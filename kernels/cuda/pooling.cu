// CUDA wrapper of include/pooling.h. Grid: x over the windows or squares of a plane, y over the planes.
#include "../include/pooling.h"

using namespace matter;

// One thread for one window.
template <int Window, typename T>
__device__ void pool_at(const T* x, T* values, u8* offsets, i64 height, i64 width, i64 out_height,
                        i64 out_width) {
    const u32 at = blockIdx.x * blockDim.x + threadIdx.x;  // 32 bits divide several times faster
    if (at >= out_height * out_width) return;
    const u32 i = at / u32(out_width), j = at - i * u32(out_width);
    const Peak<T> peak = pool<Window>(x + blockIdx.y * height * width, height, width, i, j);
    values[blockIdx.y * out_height * out_width + at] = peak.value;
    offsets[blockIdx.y * out_height * out_width + at] = u8(peak.offset);
}

template <typename T>
struct alignas(2 * sizeof(T)) Pair {
    T left, right;
};

// Two neighbours in one store where memory allows it: a row may begin anywhere and may end between them.
template <typename T>
__device__ void store(T* row, i64 x, i64 width, bool in_pairs, T left, T right) {
    if (in_pairs) {
        *reinterpret_cast<Pair<T>*>(row + x) = {left, right};
    } else {
        row[x] = left;
        if (x + 1 < width) row[x + 1] = right;
    }
}

// One thread for one square of 2x2 output pixels.
template <int Window, typename T>
__device__ void unpool_at(const T* x, const u8* offsets, T* out, i64 height, i64 width, i64 out_height,
                          i64 out_width) {
    const u32 columns = u32((out_width + 1) / 2);
    const u32 at = blockIdx.x * blockDim.x + threadIdx.x;
    const u32 i = at / columns, j = at - i * columns;
    if (2 * i64(i) >= out_height) return;
    x += blockIdx.y * height * width;
    offsets += blockIdx.y * height * width;
    out += (blockIdx.y * out_height + 2 * i64(i)) * out_width;
    const i64 here = i * width + j;
    const bool row = i < height, column = j < width, below = i + 1 < height, right = j + 1 < width;
    const bool c00 = row && column, c01 = row && right, c10 = below && column, c11 = below && right;
    const T zero = 0, x00 = c00 ? x[here] : zero;
    const u8 o00 = c00 ? offsets[here] : no_window;
    Square<T> square;
    if (Window == 3)
        square = unpool(x00, o00, c01 ? x[here + 1] : zero, c01 ? offsets[here + 1] : no_window,
                        c10 ? x[here + width] : zero, c10 ? offsets[here + width] : no_window,
                        c11 ? x[here + width + 1] : zero,
                        c11 ? offsets[here + width + 1] : no_window);
    else
        square = unpool(x00, o00);
    const bool in_pairs =
        (reinterpret_cast<i64>(out) | out_width * i64(sizeof(T))) % i64(sizeof(Pair<T>)) == 0;
    store(out, 2 * i64(j), out_width, in_pairs, square.top_left, square.top_right);
    if (2 * i64(i) + 1 < out_height)
        store(out + out_width, 2 * i64(j), out_width, in_pairs, square.bottom_left,
              square.bottom_right);
}

#define MATTER_POOLING(name, window, T)                                                               \
    extern "C" __global__ void name(const T* x, T* values, u8* offsets, i64 height, i64 width,        \
                                    i64 out_height, i64 out_width) {                                  \
        pool_at<window>(x, values, offsets, height, width, out_height, out_width);                    \
    }
#define MATTER_UNPOOLING(name, window, T)                                                             \
    extern "C" __global__ void name(const T* x, const u8* offsets, T* out, i64 height, i64 width,     \
                                    i64 out_height, i64 out_width) {                                  \
        unpool_at<window>(x, offsets, out, height, width, out_height, out_width);                     \
    }

MATTER_POOLING(matter_max_pool2_float, 2, float)
MATTER_POOLING(matter_max_pool2_half, 2, u16)
MATTER_POOLING(matter_max_pool3_float, 3, float)
MATTER_POOLING(matter_max_pool3_half, 3, u16)
// No number is computed: floats are moved as 32 bits.
MATTER_UNPOOLING(matter_max_unpool2_float, 2, u32)
MATTER_UNPOOLING(matter_max_unpool2_half, 2, u16)
MATTER_UNPOOLING(matter_max_unpool3_float, 3, u32)
MATTER_UNPOOLING(matter_max_unpool3_half, 3, u16)
