// CUDA wrapper of include/composite.h: some launches at the matte's size, one at the frame's. Strides of
// pictures are in bytes, of alpha in elements; everything between the launches is contiguous.
#include "../include/composite.h"

using namespace matter;

__device__ i64 thread_index() { return i64(blockIdx.x) * blockDim.x + threadIdx.x; }

// One thread for one pixel of the small matte.
extern "C" __global__ void matter_composite_matte(const float* alpha, i64 alpha_row, i64 height,
                                                  i64 width, i64 small_height, i64 small_width,
                                                  float* small) {
    const i64 at = thread_index();
    if (at >= small_height * small_width) return;
    const Axis ys = make_axis(int(height), int(small_height));
    const Axis xs = make_axis(int(width), int(small_width));
    small[at] = reduced_alpha(alpha, alpha_row, ys, axis_taps(ys, int(at / small_width)), xs,
                              axis_taps(xs, int(at % small_width)));
}

// One thread for one pixel of the small frame.
extern "C" __global__ void matter_composite_reduce(const u8* frame, i64 frame_row, i64 height, i64 width,
                                                   i64 small_height, i64 small_width, u8* small) {
    const i64 at = thread_index();
    if (at >= small_height * small_width) return;
    const Axis ys = make_axis(int(height), int(small_height));
    const Axis xs = make_axis(int(width), int(small_width));
    for (int c = 0; c < 3; ++c)
        small[3 * at + c] =
            reduced_value(resample(frame + c, frame_row, 3, ys, axis_taps(ys, int(at / small_width)), xs,
                                   axis_taps(xs, int(at % small_width)), 0),
                          sum_scale(ys, xs));
}

// One thread for one pixel of the small frame: `slopes` is height x width x 3.
extern "C" __global__ void matter_composite_slopes(const u8* frame, const float* alpha, i64 height,
                                                   i64 width, float* slopes) {
    const i64 at = thread_index();
    if (at >= height * width) return;
    const Slopes s = slopes_at(frame, alpha, height, width, at / width, at % width);
    slopes[3 * at] = s.b;
    slopes[3 * at + 1] = s.g;
    slopes[3 * at + 2] = s.r;
}

// One thread for one pixel of the small frame: `guide` is height x width x 4, slopes and rest.
extern "C" __global__ void matter_composite_guide(const u8* frame, const float* alpha,
                                                  const float* slopes, i64 height, i64 width,
                                                  float* guide) {
    const i64 at = thread_index();
    if (at >= height * width) return;
    float* g = guide + 4 * at;
    for (int c = 0; c < 3; ++c)
        g[c] = mean_slope(slopes + c, 3, height, width, at / width, at % width);
    g[3] = rest_of(alpha[at], g[0], g[1], g[2], frame + 3 * at);
}

// One thread for one pixel of the frame. `lanes` is 4 with a guide, and 1 where `guide` is the matte
// itself; `estimates` is not looked at unless `clean`. Where `background` is null it is a colour.
extern "C" __global__ void matter_composite_blend(const u8* frame, i64 frame_row, const u8* background,
                                                  i64 background_row, float colour0, float colour1,
                                                  float colour2, const float* guide, i64 lanes, const u8* estimates,
                                                  int clean, i64 small_height, i64 small_width,
                                                  i64 height, i64 width, u8* out, float* alpha_out,
                                                  int with_alpha) {
    const i64 at = thread_index();
    if (at >= height * width) return;
    const Between y = between_pixels(make_axis(int(small_height), int(height)), int(at / width));
    const Between x = between_pixels(make_axis(int(small_width), int(width)), int(at % width));
    const u8* pixel = frame + at / width * frame_row + 3 * (at % width);
    float behind[3] = {colour0, colour1, colour2};
    if (background != nullptr)
        for (int c = 0; c < 3; ++c)
            behind[c] = float(background[at / width * background_row + 3 * (at % width) + c]);
    float value = enlarged(guide, int(lanes), small_width, y, x, int(lanes) - 1);
    if (lanes == 4)
        value = led(enlarged(guide, 4, small_width, y, x, 0) * float(pixel[0]),
                    enlarged(guide, 4, small_width, y, x, 1) * float(pixel[1]),
                    enlarged(guide, 4, small_width, y, x, 2) * float(pixel[2]), value);
    const float alpha = unit(value);
    for (int c = 0; c < 3; ++c) {
        float colour = float(pixel[c]);
        if (clean)
            colour = solve(enlarged(estimates, 8, small_width, y, x, c),
                           enlarged(estimates, 8, small_width, y, x, 4 + c), alpha, share_of(alpha),
                           colour);
        out[3 * at + c] = u8(nearest(over(colour, behind[c], alpha)));
    }
    if (with_alpha) alpha_out[at] = alpha;
}
