// CUDA wrapper of include/preprocess.h: one thread for one output pixel, one launch for a batch.
#include "../include/preprocess.h"

using namespace matter;

// Samples of one channel, with strides in bytes.
struct Channel {
    const u8* samples;
    i64 frame;
    int row, pixel;
};

// `out` is count x 3 x height x width. Grid: x over the pixels of a frame, y over the batch. `swap`:
// output plane 0 is channel 2.
template <typename Out>
__device__ void preprocess_at(const Channel (&channels)[3], const Axis& ys, const Axis& xs,
                              const Axis& colour_ys, const Axis& colour_xs, Out* out, int height,
                              int width, bool swap, bool yuv, const Matrix& matrix,
                              const Norm (&norm)[3]) {
    const int area = height * width, at = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (at >= area) return;
    const int row = at / width, column = at - row * width;
    const i64 n = blockIdx.y;
    Axis y = ys, x = xs;
    Taps rows = axis_taps(y, row), columns = axis_taps(x, column);
    float value[3];
#pragma unroll
    for (int c = 0; c < 3; ++c) {
        if (c == 1 && yuv) {  // colour planes have axes of their own
            y = colour_ys;
            x = colour_xs;
            rows = axis_taps(y, row);
            columns = axis_taps(x, column);
        }
        const Channel& from = channels[c];
        const int bias = !yuv ? 0 : (c == 0 ? matrix.black : GREY);
        value[c] = resample(from.samples + n * from.frame, from.row, from.pixel, y, rows, x, columns,
                            bias) *
                   sum_scale(y, x);
    }
    if (yuv) {
        const Rgb rgb = to_rgb(value[0], value[1], value[2], matrix);
        value[0] = rgb.red;
        value[1] = rgb.green;
        value[2] = rgb.blue;
    }
    out += 3 * n * area + at;
    out[0] = from_float<Out>(normalise(swap ? value[2] : value[0], norm[0]));
    out[area] = from_float<Out>(normalise(value[1], norm[1]));
    out[2 * area] = from_float<Out>(normalise(swap ? value[0] : value[2], norm[2]));
}

#define MATTER_PREPROCESS(name, Out)                                                                  \
    extern "C" __global__ void name(                                                                  \
        const u8* samples0, i64 frame0, int row0, int pixel0, const u8* samples1, i64 frame1,         \
        int row1, int pixel1, const u8* samples2, i64 frame2, int row2, int pixel2, MATTER_AXIS(y),   \
        MATTER_AXIS(x), MATTER_AXIS(colour_y), MATTER_AXIS(colour_x), Out* out, int height,           \
        int width, int linear, int swap, int yuv, int black, float gain, float red_v, float green_u,  \
        float green_v, float blue_u, float mean0, float mean1, float mean2, float inverse0,           \
        float inverse1, float inverse2) {                                                             \
        const Channel channels[3] = {{samples0, frame0, row0, pixel0},                                \
                                     {samples1, frame1, row1, pixel1},                                \
                                     {samples2, frame2, row2, pixel2}};                               \
        const Matrix matrix = {black, gain, red_v, green_u, green_v, blue_u};                         \
        const Norm norm[3] = {{mean0, inverse0}, {mean1, inverse1}, {mean2, inverse2}};               \
        preprocess_at(channels, MATTER_AXIS_OF(y, linear), MATTER_AXIS_OF(x, linear),                 \
                      MATTER_AXIS_OF(colour_y, linear), MATTER_AXIS_OF(colour_x, linear), out,        \
                      height, width, swap != 0, yuv != 0, matrix, norm);                              \
    }

MATTER_PREPROCESS(matter_preprocess_float32, float)
MATTER_PREPROCESS(matter_preprocess_float16, Half)
MATTER_PREPROCESS(matter_preprocess_uint8, u8)
