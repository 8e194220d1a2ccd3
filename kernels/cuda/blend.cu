// CUDA wrapper of include/blend.h: one thread for one pixel. Grid: x over pixels, y over the batch.
#include "../include/blend.h"

using namespace matter;

// Strides are in bytes, in elements for alpha; the background's are 0 where a row or an image repeats.
// `background_pixel` is 3, or 0 for a colour.
extern "C" __global__ void matter_alpha_blend(const u8* foreground, i64 foreground_frame,
                                              i64 foreground_row, const u8* background,
                                              i64 background_frame, i64 background_row,
                                              i64 background_pixel, const float* alpha,
                                              i64 alpha_frame, i64 alpha_row, u8* out, i64 height,
                                              i64 width) {
    const i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= height * width) return;
    const i64 n = blockIdx.y, y = at / width, x = at % width;
    const u8* f = foreground + n * foreground_frame + y * foreground_row + 3 * x;
    const u8* b = background + n * background_frame + y * background_row + background_pixel * x;
    const float a = unit(alpha[n * alpha_frame + y * alpha_row + x]);
    u8* o = out + (n * height * width + at) * 3;
    for (int c = 0; c < 3; ++c) o[c] = blend(f[c], b[c], a);
}
