// CUDA wrapper of include/temporal.h: the moved pixels are counted in groups of groups, then one thread
// for one pixel filters. No atomics, so nothing needs to be zeroed first.
#include "../include/temporal.h"

using namespace matter;

// One thread for STRIP pixels of a row. Strides are in bytes.
extern "C" __global__ void matter_count_moved(const u8* delta, i64 row_stride, int channels,
                                              i64 height, i64 width, int* counts) {
    const i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    const i64 strips = (width + STRIP - 1) / STRIP;
    if (at >= height * strips) return;
    const i64 begin = at % strips * STRIP;
    const i64 end = begin + STRIP < width ? begin + STRIP : width;
    const u8* row = delta + at / strips * row_stride;
    int count = 0;
    for (i64 x = begin; x < end; ++x) count += change(row + x * channels, channels) > MOVED;
    counts[at] = count;
}

// One thread for STRIP counts.
extern "C" __global__ void matter_sum_counts(const int* counts, i64 length, int* sums) {
    const i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    const i64 begin = at * STRIP;
    if (begin >= length) return;
    const i64 end = begin + STRIP < length ? begin + STRIP : length;
    int sum = 0;
    for (i64 i = begin; i < end; ++i) sum += counts[i];
    sums[at] = sum;
}

// Strides are in bytes for delta, in elements for the alphas. `counts` has at most STRIP left.
extern "C" __global__ void matter_temporal_filter(const float* previous, i64 previous_row,
                                                  const float* current, i64 current_row,
                                                  const u8* delta, i64 row_stride, int channels,
                                                  i64 height, i64 width, const int* counts,
                                                  int length, float* out) {
    const i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= height * width) return;
    const i64 y = at / width, x = at % width;
    i64 moved = 0;
    for (int i = 0; i < length; ++i) moved += counts[i];
    float kept = 0.0f;
    if (!is_cut(moved, height * width)) {
        int motion = 0;
        for (i64 j = y > 0 ? y - 1 : 0; j <= y + 1 && j < height; ++j)
            for (i64 i = x > 0 ? x - 1 : 0; i <= x + 1 && i < width; ++i)
                motion = larger(motion, change(delta + j * row_stride + i * channels, channels));
        kept = keep(motion);
    }
    out[at] = steady(previous[y * previous_row + x], current[y * current_row + x], kept);
}
