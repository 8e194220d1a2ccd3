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

// One thread for one pixel of the small frame: `small` is height x width x 3. Of a frame in planes, the two
// channels of colour have sides of their own.
extern "C" __global__ void matter_composite_reduce(const u8* samples0, i64 row0, i64 pixel0,
                                                   const u8* samples1, i64 row1, i64 pixel1,
                                                   const u8* samples2, i64 row2, i64 pixel2, i64 height,
                                                   i64 width, i64 colour_height, i64 colour_width,
                                                   i64 small_height, i64 small_width, u8* small) {
    const i64 at = thread_index();
    if (at >= small_height * small_width) return;
    const int row = int(at / small_width), column = int(at % small_width);
    const u8* const samples[3] = {samples0, samples1, samples2};
    const i64 rows[3] = {row0, row1, row2}, pixels[3] = {pixel0, pixel1, pixel2};
    Axis ys = make_axis(int(height), int(small_height)), xs = make_axis(int(width), int(small_width));
    Taps y = axis_taps(ys, row), x = axis_taps(xs, column);
    for (int c = 0; c < 3; ++c) {
        if (c == 1 && (colour_height != height || colour_width != width)) {
            ys = make_axis(int(colour_height), int(small_height));
            xs = make_axis(int(colour_width), int(small_width));
            y = axis_taps(ys, row);
            x = axis_taps(xs, column);
        }
        small[3 * at + c] = reduced_value(resample(samples[c], rows[c], pixels[c], ys, y, xs, x, 0),
                                          sum_scale(ys, xs));
    }
}

// One thread for one pixel of the small frame: `slopes` is height x width x 3.
extern "C" __global__ void matter_composite_slopes(const u8* frame, const float* alpha, i64 height,
                                                   i64 width, int planes, float* slopes) {
    const i64 at = thread_index();
    if (at >= height * width) return;
    const Slopes s = slopes_at(frame, alpha, height, width, at / width, at % width,
                               planes ? guide_epsilon_planes : guide_epsilon);
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

namespace {

// Alpha of one pixel of the frame. `lanes` is 4 with a guide, and 1 where `guide` is the matte itself.
__device__ float alpha_at(const float* guide, i64 lanes, i64 small_width, Between y, Between x, u8 first,
                          u8 second, u8 third) {
    float value = enlarged(guide, int(lanes), small_width, y, x, int(lanes) - 1);
    if (lanes == 4)
        value = led(enlarged(guide, 4, small_width, y, x, 0) * float(first),
                    enlarged(guide, 4, small_width, y, x, 1) * float(second),
                    enlarged(guide, 4, small_width, y, x, 2) * float(third), value);
    return unit(value);
}

}  // namespace

// One thread for one pixel of the frame. `lanes`: see alpha_at(); `estimates` is not looked at unless
// `clean`. Where `background` is null it is a colour.
extern "C" __global__ void matter_composite_blend(const u8* frame, i64 frame_row, const u8* background,
                                                  i64 background_row, float colour0, float colour1,
                                                  float colour2, const float* guide, i64 lanes,
                                                  const u8* estimates, int clean, i64 small_height,
                                                  i64 small_width, i64 height, i64 width, u8* out,
                                                  float* alpha_out, int with_alpha) {
    const i64 at = thread_index();
    if (at >= height * width) return;
    const Between y = between_pixels(make_axis(int(small_height), int(height)), int(at / width));
    const Between x = between_pixels(make_axis(int(small_width), int(width)), int(at % width));
    const u8* pixel = frame + at / width * frame_row + 3 * (at % width);
    float behind[3] = {colour0, colour1, colour2};
    if (background != nullptr)
        for (int c = 0; c < 3; ++c)
            behind[c] = float(background[at / width * background_row + 3 * (at % width) + c]);
    const float alpha = alpha_at(guide, lanes, small_width, y, x, pixel[0], pixel[1], pixel[2]);
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

// One thread for one colour sample and its pixels. Planes y, u, v; or y and uv, with `v` of each null. Rows
// of the result follow one another. Where `background_y` is null it is a colour in Y, U and V.
extern "C" __global__ void matter_composite_blend_planes(
    const u8* frame_y, i64 frame_y_row, const u8* frame_u, i64 frame_u_row, const u8* frame_v,
    i64 frame_v_row, const u8* background_y, i64 background_y_row, const u8* background_u,
    i64 background_u_row, const u8* background_v, i64 background_v_row, float colour0, float colour1,
    float colour2, const float* guide, i64 lanes, const u8* estimates, int clean, i64 small_height,
    i64 small_width, i64 height, i64 width, u8* out_y, u8* out_u, u8* out_v, float* alpha_out,
    int with_alpha) {
    const i64 half_width = (width + 1) / 2, at = thread_index();
    if (at >= (height + 1) / 2 * half_width) return;
    const i64 row = at / half_width, column = at % half_width;
    const Axis ys = make_axis(int(small_height), int(height));
    const Axis xs = make_axis(int(small_width), int(width));
    Between y[2], x[2];  // of an odd last row or column, twice the same
    for (int k = 0; k < 2; ++k) {
        y[k] = between_pixels(ys, smaller(int(2 * row) + k, int(height) - 1));
        x[k] = between_pixels(xs, smaller(int(2 * column) + k, int(width) - 1));
    }
    const bool pairs = frame_v == nullptr;  // U and V side by side
    const i64 from = pairs ? 2 * column : column;
    const u8 u = frame_u[row * frame_u_row + from];
    const u8 v = pairs ? frame_u[row * frame_u_row + from + 1] : frame_v[row * frame_v_row + from];
    float alphas[2][2];
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) {
            const i64 line = 2 * row + i, place = 2 * column + j;
            if (line >= height || place >= width) {
                alphas[i][j] = alphas[line < height ? i : 0][place < width ? j : 0];
                continue;
            }
            const u8 value = frame_y[line * frame_y_row + place];
            const float alpha = alpha_at(guide, lanes, small_width, y[i], x[j], value, u, v);
            float luminance = float(value);
            if (clean)
                luminance = solve(enlarged(estimates, 8, small_width, y[i], x[j], 0),
                                  enlarged(estimates, 8, small_width, y[i], x[j], 4), alpha,
                                  share_of(alpha), luminance);
            const float behind =
                background_y != nullptr ? float(background_y[line * background_y_row + place]) : colour0;
            out_y[line * width + place] = u8(nearest(over(luminance, behind, alpha)));
            if (with_alpha) alpha_out[line * width + place] = alpha;
            alphas[i][j] = alpha;
        }
    const float alpha =
        halfway(halfway(alphas[0][0], alphas[1][0]), halfway(alphas[0][1], alphas[1][1]));
    float behind[2] = {colour1, colour2};
    if (background_y != nullptr) {
        behind[0] = float(background_u[row * background_u_row + from]);
        behind[1] = float(pairs ? background_u[row * background_u_row + from + 1]
                                : background_v[row * background_v_row + from]);
    }
    u8 blended[2];
    for (int c = 0; c < 2; ++c) {
        float colour = float(c == 0 ? u : v);
        if (clean)
            colour = solve(enlarged_mean(estimates, 8, small_width, y, x, 1 + c),
                           enlarged_mean(estimates, 8, small_width, y, x, 5 + c), alpha, share_of(alpha),
                           colour);
        blended[c] = u8(nearest(over(colour, behind[c], alpha)));
    }
    if (pairs) {
        out_u[2 * at] = blended[0];
        out_u[2 * at + 1] = blended[1];
    } else {
        out_u[at] = blended[0];
        out_v[at] = blended[1];
    }
}
