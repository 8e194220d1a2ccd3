// CUDA wrapper of include/foreground.h: five launches, one after the other. Strides of the frame are in
// bytes, of alpha in elements; everything between the launches is contiguous.
#include "../include/foreground.h"

using namespace matter;

namespace {

__device__ int thread_index() { return int(blockIdx.x * blockDim.x + threadIdx.x); }

// The thread's block of a frame, or its pixel of a picture of `columns` a row.
struct Spot {
    int y, x;
    __device__ Spot(int at, int columns) : y(at / columns), x(at - y * columns) {}
};

// A frame and its matte.
struct Picture {
    const u8* frame;
    int frame_row;
    const float* alpha;
    int alpha_row;
    __device__ const u8* pixel(int y, int x) const { return frame + i64(y) * frame_row + 3 * x; }
    __device__ const float* matte(int y, int x) const { return alpha + i64(y) * alpha_row + x; }
    __device__ int level(int y, int x) const { return level_of(*matte(y, x)); }
};

}  // namespace

// One thread for one block: `sums` is rows x columns x 8.
extern "C" __global__ void matter_foreground_blocks(const u8* frame, int frame_row, const float* alpha,
                                                    int alpha_row, int height, int width, int* sums) {
    const Windows w = make_windows(height, width);
    const int at = thread_index();
    if (at >= w.rows * w.columns) return;
    const Spot block(at, w.columns);
    const int y = block.y * w.block, x = block.x * w.block;
    const Picture from = {frame, frame_row, alpha, alpha_row};
    sum_block(from.pixel(y, x), frame_row, from.matte(y, x), alpha_row, smaller(w.block, height - y),
              smaller(w.block, width - x), sums + 8 * at);
}

// One thread for one block: `wide` is rows x columns x 8.
extern "C" __global__ void matter_foreground_wide(const int* sums, int height, int width, float* wide) {
    const Windows w = make_windows(height, width);
    const int at = thread_index();
    if (at >= w.rows * w.columns) return;
    const Spot block(at, w.columns);
    estimate_block(sums, w, height, width, block.y, block.x, wide + 8 * at);
}

// One thread for one pixel: `products` is height x width x 4.
extern "C" __global__ void matter_foreground_weigh(const u8* frame, int frame_row, const float* alpha,
                                                   int alpha_row, int height, int width,
                                                   const float* wide, unsigned short* products) {
    const int at = thread_index();
    if (at >= height * width) return;
    const Windows w = make_windows(height, width);
    const Spot here(at, width);
    const Picture from = {frame, frame_row, alpha, alpha_row};
    weigh_pixel(from.pixel(here.y, here.x), from.level(here.y, here.x), wide, w.columns,
                between_blocks(here.y, w.block, w.rows), between_blocks(here.x, w.block, w.columns),
                products + 4 * i64(at));
}

// One thread for `segment` pixels of a column: `sums` is height x width x 4.
extern "C" __global__ void matter_foreground_columns(const unsigned short* products, int height,
                                                     int width, int segment, int* sums) {
    const Spot here(thread_index(), width);
    const int first = here.y * segment;
    if (first >= height) return;
    sum_columns(products, height, width, make_windows(height, width).radius, here.x, first,
                smaller(first + segment, height), sums);
}

// One thread for one pixel: `out` is height x width x 3.
extern "C" __global__ void matter_foreground_finish(const u8* frame, int frame_row, const float* alpha,
                                                    int alpha_row, int height, int width,
                                                    const float* wide, const int* sums, u8* out) {
    const int at = thread_index();
    if (at >= height * width) return;
    const Windows w = make_windows(height, width);
    const Spot here(at, width);
    const Picture from = {frame, frame_row, alpha, alpha_row};
    int total[4];
    sum_window(sums + i64(here.y) * width * 4, width, w.radius, here.x, total);
    const Between y = between_blocks(here.y, w.block, w.rows);
    const Between x = between_blocks(here.x, w.block, w.columns);
    const u8* pixel = from.pixel(here.y, here.x);
    const int level = from.level(here.y, here.x);
    for (int c = 0; c < 3; ++c)
        out[3 * i64(at) + c] = foreground_value(pixel[c], level, total[c], total[3],
                                                at_pixel(wide, w.columns, y, x, 4 + c));
}

// Instead of the last one: `estimates` is height x width x 8.
extern "C" __global__ void matter_foreground_estimates(const u8* frame, int frame_row, int height,
                                                       int width, const float* wide, const int* sums,
                                                       u8* estimates) {
    const int at = thread_index();
    if (at >= height * width) return;
    const Windows w = make_windows(height, width);
    const Spot here(at, width);
    int total[4];
    sum_window(sums + i64(here.y) * width * 4, width, w.radius, here.x, total);
    estimate_values(frame + i64(here.y) * frame_row + 3 * here.x, total, wide, w.columns,
                    between_blocks(here.y, w.block, w.rows), between_blocks(here.x, w.block, w.columns),
                    estimates + 8 * i64(at));
}
