// CUDA wrapper of include/foreground.h: five launches, one after the other. Strides of the frame are in
// bytes, of alpha in elements; everything between the launches is contiguous.
#include "../include/foreground.h"

using namespace matter;

__device__ i64 thread_index() { return i64(blockIdx.x) * blockDim.x + threadIdx.x; }

// One thread for one block: `sums` is rows x columns x 8.
extern "C" __global__ void matter_foreground_blocks(const u8* frame, i64 frame_row, const float* alpha,
                                                    i64 alpha_row, i64 height, i64 width, int* sums) {
    const Windows w = make_windows(int(height), int(width));
    const i64 at = thread_index();
    if (at >= i64(w.rows) * w.columns) return;
    const int y = int(at / w.columns) * w.block, x = int(at % w.columns) * w.block;
    sum_block(frame + y * frame_row + 3 * x, frame_row, alpha + y * alpha_row + x, alpha_row,
              smaller(w.block, int(height) - y), smaller(w.block, int(width) - x), sums + 8 * at);
}

// One thread for one block: `wide` is rows x columns x 8.
extern "C" __global__ void matter_foreground_wide(const int* sums, i64 height, i64 width, float* wide) {
    const Windows w = make_windows(int(height), int(width));
    const i64 at = thread_index();
    if (at >= i64(w.rows) * w.columns) return;
    estimate_block(sums, w, int(height), int(width), int(at / w.columns), int(at % w.columns),
                   wide + 8 * at);
}

// One thread for one pixel: `products` is height x width x 4.
extern "C" __global__ void matter_foreground_weigh(const u8* frame, i64 frame_row, const float* alpha,
                                                   i64 alpha_row, i64 height, i64 width,
                                                   const float* wide, unsigned short* products) {
    const i64 at = thread_index();
    if (at >= height * width) return;
    const Windows w = make_windows(int(height), int(width));
    const i64 y = at / width, x = at % width;
    weigh_pixel(frame + y * frame_row + 3 * x, level_of(alpha[y * alpha_row + x]), wide, w.columns,
                between_blocks(int(y), w.block, w.rows), between_blocks(int(x), w.block, w.columns),
                products + 4 * at);
}

// One thread for `segment` pixels of a column: `sums` is height x width x 4.
extern "C" __global__ void matter_foreground_columns(const unsigned short* products, i64 height,
                                                     i64 width, i64 segment, int* sums) {
    const i64 at = thread_index(), first = at / width * segment;
    if (first >= height) return;
    const i64 last = first + segment < height ? first + segment : height;
    sum_columns(products, height, width, make_windows(int(height), int(width)).radius, at % width,
                first, last, sums);
}

// One thread for one pixel: `out` is height x width x 3.
extern "C" __global__ void matter_foreground_finish(const u8* frame, i64 frame_row, const float* alpha,
                                                    i64 alpha_row, i64 height, i64 width,
                                                    const float* wide, const int* sums, u8* out) {
    const i64 at = thread_index();
    if (at >= height * width) return;
    const Windows w = make_windows(int(height), int(width));
    const i64 y = at / width, x = at % width;
    int total[4];
    sum_window(sums + y * width * 4, width, w.radius, x, total);
    const Between by = between_blocks(int(y), w.block, w.rows);
    const Between bx = between_blocks(int(x), w.block, w.columns);
    for (int c = 0; c < 3; ++c)
        out[3 * at + c] =
            foreground_value(frame[y * frame_row + 3 * x + c], level_of(alpha[y * alpha_row + x]),
                             total[c], total[3], at_pixel(wide, w.columns, by, bx, 4 + c));
}

// Instead of the last one: `estimates` is height x width x 8.
extern "C" __global__ void matter_foreground_estimates(const u8* frame, i64 frame_row, i64 height,
                                                       i64 width, const float* wide, const int* sums,
                                                       u8* estimates) {
    const i64 at = thread_index();
    if (at >= height * width) return;
    const Windows w = make_windows(int(height), int(width));
    const i64 y = at / width, x = at % width;
    int total[4];
    sum_window(sums + y * width * 4, width, w.radius, x, total);
    estimate_values(frame + y * frame_row + 3 * x, total, wide, w.columns,
                    between_blocks(int(y), w.block, w.rows),
                    between_blocks(int(x), w.block, w.columns), estimates + 8 * at);
}
