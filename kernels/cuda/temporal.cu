// CUDA wrapper of include/temporal.h: one launch for all of it. Whether the frame is a cut is known when
// the last block has counted. Cuts are rare: every block filters as if it were none, and the last one puts
// the new matte in place of that if it was.
#include "../include/temporal.h"

using namespace matter;

// One thread for one pixel. Strides are in bytes for delta, in elements for the alphas. `counted` is 0 at
// first: blocks in its upper half, moved pixels in the lower. `out` may be `previous`, but not `current`.
extern "C" __global__ void matter_temporal_filter(const float* previous, int previous_row,
                                                  const float* current, int current_row,
                                                  const u8* delta, int delta_row, int channels,
                                                  int height, int width, unsigned long long* counted,
                                                  float* out) {
    const int at = int(blockIdx.x * blockDim.x + threadIdx.x), pixels = height * width;
    bool moved = false;
    if (at < pixels) {
        const int y = at / width, x = at - y * width;
        const u8* middle = delta + i64(y) * delta_row + x * channels;
        moved = change(middle, channels) > MOVED;
        int motion = 0;
        for (int j = y > 0 ? -1 : 0; j <= 1 && y + j < height; ++j)
            for (int i = x > 0 ? -1 : 0; i <= 1 && x + i < width; ++i)
                motion = larger(motion, change(middle + i64(j) * delta_row + i * channels, channels));
        out[at] = steady(previous[i64(y) * previous_row + x], current[i64(y) * current_row + x],
                         keep(motion));
    }
    __threadfence();  // what this block wrote is there before it is counted
    const int count = __syncthreads_count(moved);
    bool cut = false;
    if (threadIdx.x == 0) {
        const unsigned long long before = atomicAdd(counted, (1ull << 32) + count);
        cut = (before >> 32) + 1 == gridDim.x && is_cut(i64(before & 0xffffffffu) + count, pixels);
    }
    if (!__syncthreads_or(cut)) return;
    for (int i = int(threadIdx.x); i < pixels; i += int(blockDim.x)) {
        const int y = i / width;
        const float now = current[i64(y) * current_row + i - y * width];
        out[i] = steady(now, now, 0.0f);
    }
}
