// CUDA wrapper of include/preprocess.h: one thread for one output pixel, one launch for a batch.
#include "../include/preprocess.h"

using namespace matter;

// Samples of one channel, with strides in bytes.
struct Channel {
    const u8* samples;
    i64 frame, row, pixel;
};

struct Side {
    int length;   // of the source
    int divisor;  // the greatest that is common to it and the output
};

// `out` is count x 3 x height x width. Grid: x over the pixels of a frame, y over the batch. `swap`:
// output plane 0 is channel 2.
template <typename Out>
__device__ void preprocess_at(const Channel (&channels)[3], const Side (&ys)[2], const Side (&xs)[2],
                              Out* out, int height, int width, bool linear, bool swap, bool yuv,
                              const Matrix& matrix, const Norm (&norm)[3]) {
    const i64 area = i64(height) * width, at = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= area) return;
    const int row = int(at / width), column = int(at % width);
    const i64 n = blockIdx.y;
    Axis y, x;
    Taps rows, columns;
    float value[3];
    for (int c = 0; c < 3; ++c) {
        if (c == 0 || (c == 1 && yuv)) {  // colour planes of YUV have axes of their own
            const Side &side_y = ys[c], &side_x = xs[c];
            y = reduced_axis(side_y.length, height, side_y.divisor, linear);
            x = reduced_axis(side_x.length, width, side_x.divisor, linear);
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
        const u8* samples0, i64 frame0, i64 row0, i64 pixel0, const u8* samples1, i64 frame1,         \
        i64 row1, i64 pixel1, const u8* samples2, i64 frame2, i64 row2, i64 pixel2, int length_y,     \
        int divisor_y, int length_x, int divisor_x, int colour_length_y, int colour_divisor_y,        \
        int colour_length_x, int colour_divisor_x, Out* out, int height, int width, int linear,       \
        int swap, int yuv, int black, float gain, float red_v, float green_u, float green_v,          \
        float blue_u, float mean0, float mean1, float mean2, float inverse0, float inverse1,          \
        float inverse2) {                                                                             \
        const Channel channels[3] = {{samples0, frame0, row0, pixel0},                                \
                                     {samples1, frame1, row1, pixel1},                                \
                                     {samples2, frame2, row2, pixel2}};                               \
        const Side ys[2] = {{length_y, divisor_y}, {colour_length_y, colour_divisor_y}};              \
        const Side xs[2] = {{length_x, divisor_x}, {colour_length_x, colour_divisor_x}};              \
        const Matrix matrix = {black, gain, red_v, green_u, green_v, blue_u};                         \
        const Norm norm[3] = {{mean0, inverse0}, {mean1, inverse1}, {mean2, inverse2}};               \
        preprocess_at(channels, ys, xs, out, height, width, linear != 0, swap != 0, yuv != 0, matrix, \
                      norm);                                                                          \
    }

MATTER_PREPROCESS(matter_preprocess_float32, float)
MATTER_PREPROCESS(matter_preprocess_float16, Half)
MATTER_PREPROCESS(matter_preprocess_uint8, u8)
