// CUDA wrapper of include/composite.h: some launches at the matte's size, one at the frame's. Strides of
// pictures are in bytes, of alpha in elements; everything between the launches is contiguous.
#include "../include/composite.h"
#include "../include/wide.h"

using namespace matter;

namespace {

__device__ int thread_index() { return int(blockIdx.x * blockDim.x + threadIdx.x); }

}  // namespace

// One thread for one pixel of the small matte.
extern "C" __global__ void matter_composite_matte(const float* alpha, int alpha_row, MATTER_AXIS(y),
                                                  MATTER_AXIS(x), int small_height, int small_width,
                                                  float* small) {
    const int at = thread_index();
    if (at >= small_height * small_width) return;
    const int row = at / small_width, column = at - row * small_width;
    const Axis ys = MATTER_AXIS_OF(y, false), xs = MATTER_AXIS_OF(x, false);
    small[at] = reduced_alpha(alpha, alpha_row, ys, axis_taps(ys, row), xs, axis_taps(xs, column));
}

// One thread for one pixel of the small frame: `small` is height x width x 3. Of a frame in planes, the two
// channels of colour have axes of their own.
extern "C" __global__ void matter_composite_reduce(const u8* samples0, int row0, int pixel0,
                                                   const u8* samples1, int row1, int pixel1,
                                                   const u8* samples2, int row2, int pixel2,
                                                   MATTER_AXIS(y), MATTER_AXIS(x), MATTER_AXIS(colour_y),
                                                   MATTER_AXIS(colour_x), int small_height,
                                                   int small_width, u8* small) {
    const int at = thread_index();
    if (at >= small_height * small_width) return;
    const int row = at / small_width, column = at - row * small_width;
    const u8* const samples[3] = {samples0, samples1, samples2};
    const int rows[3] = {row0, row1, row2}, pixels[3] = {pixel0, pixel1, pixel2};
    Axis ys = MATTER_AXIS_OF(y, false), xs = MATTER_AXIS_OF(x, false);
    Taps y = axis_taps(ys, row), x = axis_taps(xs, column);
#pragma unroll
    for (int c = 0; c < 3; ++c) {
        if (c == 1 && (colour_y_length != y_length || colour_x_length != x_length)) {
            ys = MATTER_AXIS_OF(colour_y, false);
            xs = MATTER_AXIS_OF(colour_x, false);
            y = axis_taps(ys, row);
            x = axis_taps(xs, column);
        }
        small[3 * i64(at) + c] = reduced_value(
            resample(samples[c], rows[c], pixels[c], ys, y, xs, x, 0), sum_scale(ys, xs));
    }
}

// One thread for one pixel of the small frame: `slopes` is height x width x 3.
extern "C" __global__ void matter_composite_slopes(const u8* frame, const float* alpha, int height,
                                                   int width, int planes, float* slopes) {
    const int at = thread_index();
    if (at >= height * width) return;
    const int y = at / width, x = at - y * width;
    const Slopes s = slopes_at(frame, alpha, height, width, y, x,
                               planes ? guide_epsilon_planes : guide_epsilon);
    slopes += 3 * i64(at);
    slopes[0] = s.b;
    slopes[1] = s.g;
    slopes[2] = s.r;
}

// One thread for one pixel of the small frame: `guide` is height x width x 4, slopes and rest.
extern "C" __global__ void matter_composite_guide(const u8* frame, const float* alpha,
                                                  const float* slopes, int height, int width,
                                                  float* guide) {
    const int at = thread_index();
    if (at >= height * width) return;
    const int y = at / width, x = at - y * width;
    Pack<float, 4> g;
    for (int c = 0; c < 3; ++c) g.value[c] = mean_slope(slopes + c, 3, height, width, y, x);
    g.value[3] = rest_of(alpha[at], g.value[0], g.value[1], g.value[2], frame + 3 * i64(at));
    *(Pack<float, 4>*)(guide + 4 * i64(at)) = g;
}

namespace {

// The places of neighbouring pixels on an axis that does not shrink, as between_pixels() gives them: one
// division is enough for all of them. Where a neighbour does not exist, it is the other one.
struct Walk {
    int step, total;
    int first, offset;
    __device__ Walk(const Axis& axis, int index) : step(2 * axis.output), total(2 * axis.source) {
        const unsigned int position = (2u * index + 1) * axis.output + axis.source;
        first = int(position / total) - 1;
        offset = int(position - unsigned(first + 1) * total);
    }
    __device__ float part() const { return float(offset) / float(total); }
    // To the next pixel; true where it lies between other neighbours.
    __device__ bool go() {
        offset += step;
        const bool passed = offset >= total;
        offset -= passed ? total : 0;
        first += passed;
        return passed;
    }
};

__device__ int inside(int at, int length) { return smaller(larger(at, 0), length - 1); }

// What is made at the matte's size. `guide` has `Lanes` values a pixel: 4 with a guide, and 1 where it is
// the matte itself. `estimates` has 8, and is not looked at unless the picture is cleaned.
struct Small {
    const float* guide;
    const u8* estimates;
    int height, width;
};

// A row of the frame between two of the small picture's.
struct Rows {
    i64 upper, lower;  // pixels
    float part;
    __device__ Rows(const Small& small, const Axis& axis, int index) {
        const Walk walk(axis, index);
        upper = i64(inside(walk.first, small.height)) * small.width;
        lower = i64(inside(walk.first + 1, small.height)) * small.width;
        part = walk.part();
    }
};

template <int Lanes, typename T>
__device__ Pack<T, Lanes> pixel_of(const T* values, i64 at) {
    return *(const Pack<T, Lanes>*)(values + Lanes * at);
}

// One column of the small picture at a row of the frame: the guide, and the estimates of the subject's
// colours in lanes 0..2 and of the background's in lanes 4..6.
template <int Lanes, bool Clean>
struct Column {
    float guide[Lanes];
    float estimates[Clean ? 8 : 1];
    __device__ void take(const Small& small, const Rows& rows, int column) {
        const int at = inside(column, small.width);
        const Pack<float, Lanes> upper = pixel_of<Lanes>(small.guide, rows.upper + at);
        const Pack<float, Lanes> lower = pixel_of<Lanes>(small.guide, rows.lower + at);
        for (int i = 0; i < Lanes; ++i) guide[i] = mix(upper.value[i], lower.value[i], rows.part);
        if (!Clean) return;
        const Pack<u8, 8> above = pixel_of<8>(small.estimates, rows.upper + at);
        const Pack<u8, 8> below = pixel_of<8>(small.estimates, rows.lower + at);
        for (int i = 0; i < (Clean ? 8 : 0); ++i)
            estimates[i] = mix(float(above.value[i]), float(below.value[i]), rows.part);
    }
};

// A pixel between two columns.
template <int Lanes, bool Clean>
__device__ float alpha_at(const Column<Lanes, Clean>& left, const Column<Lanes, Clean>& right,
                          float part, u8 first, u8 second, u8 third) {
    float value = mix(left.guide[Lanes - 1], right.guide[Lanes - 1], part);
    if (Lanes == 4)
        value = led(mix(left.guide[0], right.guide[0], part) * float(first),
                    mix(left.guide[1 % Lanes], right.guide[1 % Lanes], part) * float(second),
                    mix(left.guide[2 % Lanes], right.guide[2 % Lanes], part) * float(third), value);
    return unit(value);
}

// The frame's colour, or the subject's own.
template <bool Clean>
__device__ float colour_of(const float* left, const float* right, float part, int lane, float alpha,
                           u8 colour) {
    if (!Clean) return float(colour);
    return solve(mix(left[lane], right[lane], part), mix(left[lane + 4], right[lane + 4], part), alpha,
                 share_of(alpha), float(colour));
}

// A picture of three channels; null: a colour.
struct Behind {
    const u8* data;
    int row;
    float colour[3];
};

// One thread for four pixels of a row.
template <int Lanes, bool Clean>
__device__ void blend_pixels(const u8* frame, int frame_row, const Behind& behind, const Small& small,
                             const Axis& ys, const Axis& xs, int height, int width, u8* out,
                             float* alpha_out, bool with_alpha) {
    const int groups = (width + 3) / 4, at = thread_index(), row = at / groups;
    if (row >= height) return;
    const int begin = 4 * (at - row * groups), count = smaller(width - begin, 4);
    const Rows rows(small, ys, row);
    Walk walk(xs, begin);
    Column<Lanes, Clean> left, right;
    left.take(small, rows, walk.first);
    right.take(small, rows, walk.first + 1);
    Pack<u8, 12> pixels, under;
    Pack<float, 4> alphas;
    load(pixels, frame + i64(row) * frame_row + 3 * begin, 3 * count);
    if (behind.data != nullptr)
        load(under, behind.data + i64(row) * behind.row + 3 * begin, 3 * count);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if (i > 0 && walk.go()) {
            left = right;
            right.take(small, rows, walk.first + 1);
        }
        const float part = walk.part();
        u8* pixel = pixels.value + 3 * i;
        const float alpha = alpha_at(left, right, part, pixel[0], pixel[1], pixel[2]);
        for (int c = 0; c < 3; ++c) {
            const float colour =
                colour_of<Clean>(left.estimates, right.estimates, part, c, alpha, pixel[c]);
            const float other = behind.data != nullptr ? float(under.value[3 * i + c]) : behind.colour[c];
            pixel[c] = u8(nearest(over(colour, other, alpha)));
        }
        alphas.value[i] = alpha;
    }
    const i64 to = i64(row) * width + begin;
    store(out + 3 * to, pixels, 3 * count);
    if (with_alpha) store(alpha_out + to, alphas, count);
}

}  // namespace

// Where `background` is null it is a colour. `guided` has a guide, `clean` has estimates.
#define MATTER_BLEND(name, lanes, clean)                                                              \
    extern "C" __global__ void name(                                                                  \
        const u8* frame, int frame_row, const u8* background, int background_row, float colour0,      \
        float colour1, float colour2, const float* guide, const u8* estimates, int small_height,      \
        int small_width, MATTER_AXIS(y), MATTER_AXIS(x), int height, int width, u8* out,              \
        float* alpha_out, int with_alpha) {                                                           \
        const Behind behind = {background, background_row, {colour0, colour1, colour2}};              \
        const Small small = {guide, estimates, small_height, small_width};                            \
        blend_pixels<lanes, clean>(frame, frame_row, behind, small, MATTER_AXIS_OF(y, false),         \
                                   MATTER_AXIS_OF(x, false), height, width, out, alpha_out,           \
                                   with_alpha != 0);                                                  \
    }

MATTER_BLEND(matter_composite_blend, 1, false)
MATTER_BLEND(matter_composite_blend_clean, 1, true)
MATTER_BLEND(matter_composite_blend_guided, 4, false)
MATTER_BLEND(matter_composite_blend_guided_clean, 4, true)

namespace {

// Planes y, u, v; or y and uv, with `v` null. Rows follow one another in a result. With y null, a colour.
struct Planes {
    const u8 *y, *u, *v;
    int y_row, u_row, v_row;
};

struct Written {
    u8 *y, *u, *v;
};

// The colour samples of two neighbours: of U, and of V.
struct Samples {
    Pack<u8, 4> value;  // u, v, u, v
    __device__ void take(const Planes& planes, int row, int column, int count) {
        if (planes.v == nullptr) {
            load(value, planes.u + i64(row) * planes.u_row + 2 * column, 2 * count);
            return;
        }
        const u8* u = planes.u + i64(row) * planes.u_row + column;
        const u8* v = planes.v + i64(row) * planes.v_row + column;
        for (int k = 0; k < 2; ++k) {
            value.value[2 * k] = k < count ? u[k] : 0;
            value.value[2 * k + 1] = k < count ? v[k] : 0;
        }
    }
    __device__ void put(const Written& planes, i64 at, int count) const {
        if (planes.v == nullptr) {
            store(planes.u + 2 * at, value, 2 * count);
            return;
        }
#pragma unroll
        for (int k = 0; k < 2; ++k) {
            if (k >= count) return;
            planes.u[at + k] = value.value[2 * k];
            planes.v[at + k] = value.value[2 * k + 1];
        }
    }
};

// One thread for two colour samples and their pixels, which are 4x2. Of an odd last row or column, pixels
// count twice.
template <int Lanes, bool Clean>
__device__ void blend_blocks(const Planes& frame, const Planes& behind, const float (&colours)[3],
                             const Small& small, const Axis& ys, const Axis& xs, int height, int width,
                             const Written& out, float* alpha_out, bool with_alpha) {
    const int half_width = (width + 1) / 2, groups = (width + 3) / 4, at = thread_index();
    const int pair = at / groups, begin = 4 * (at - pair * groups);
    if (2 * pair >= height) return;
    const int count = smaller(width - begin, 4), blocks = (count + 1) / 2;
    const int lines[2] = {2 * pair, smaller(2 * pair + 1, height - 1)};
    const Rows rows[2] = {Rows(small, ys, lines[0]), Rows(small, ys, lines[1])};
    Walk walk(xs, begin);
    Column<Lanes, Clean> left[2], right[2];
    Pack<u8, 4> values[2], under[2];
    Pack<float, 4> alphas[2];
    Samples samples, beneath;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        left[i].take(small, rows[i], walk.first);
        right[i].take(small, rows[i], walk.first + 1);
        load(values[i], frame.y + i64(lines[i]) * frame.y_row + begin, count);
        if (behind.y != nullptr)
            load(under[i], behind.y + i64(lines[i]) * behind.y_row + begin, count);
    }
    samples.take(frame, pair, begin / 2, blocks);
    if (behind.y != nullptr) beneath.take(behind, pair, begin / 2, blocks);
#pragma unroll
    for (int k = 0; k < 2; ++k) {
        u8* sample = samples.value.value + 2 * k;
        float means[2], estimates[Clean ? 4 : 1];  // of the sample's columns; then of u, v, theirs behind
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const int x = 2 * k + j;
            if (x > 0 && x < count && walk.go()) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    left[i] = right[i];
                    right[i].take(small, rows[i], walk.first + 1);
                }
            }
            const float part = walk.part();
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                u8& value = values[i].value[x];
                const float alpha = x < count || j == 0
                                        ? alpha_at(left[i], right[i], part, value, sample[0], sample[1])
                                        : alphas[i].value[x - 1];
                const float luminance =
                    colour_of<Clean>(left[i].estimates, right[i].estimates, part, 0, alpha, value);
                const float other = behind.y != nullptr ? float(under[i].value[x]) : colours[0];
                value = u8(nearest(over(luminance, other, alpha)));
                alphas[i].value[x] = alpha;
            }
            means[j] = halfway(alphas[0].value[x], alphas[1].value[x]);
            for (int c = 0; c < (Clean ? 4 : 0); ++c) {
                const int lane = 1 + c % 2 + c / 2 * 4;
                const float mean = mix(halfway(left[0].estimates[lane], left[1].estimates[lane]),
                                       halfway(right[0].estimates[lane], right[1].estimates[lane]), part);
                estimates[c] = j == 0 ? mean : halfway(estimates[c], mean);
            }
        }
        const float alpha = halfway(means[0], means[1]);
        for (int c = 0; c < 2; ++c) {
            float colour = float(sample[c]);
            if (Clean) colour = solve(estimates[c], estimates[2 % (Clean ? 4 : 1) + c], alpha,
                                      share_of(alpha), colour);
            const float other =
                behind.y != nullptr ? float(beneath.value.value[2 * k + c]) : colours[1 + c];
            sample[c] = u8(nearest(over(colour, other, alpha)));
        }
    }
    samples.put(out, i64(pair) * half_width + begin / 2, blocks);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        if (2 * pair + i >= height) return;
        const i64 to = i64(lines[i]) * width + begin;
        store(out.y + to, values[i], count);
        if (with_alpha) store(alpha_out + to, alphas[i], count);
    }
}

}  // namespace

// As of a frame in one piece; where `background_y` is null, the colour is in Y, U and V.
#define MATTER_BLEND_PLANES(name, lanes, clean)                                                       \
    extern "C" __global__ void name(                                                                  \
        const u8* frame_y, int frame_y_row, const u8* frame_u, int frame_u_row, const u8* frame_v,    \
        int frame_v_row, const u8* background_y, int background_y_row, const u8* background_u,        \
        int background_u_row, const u8* background_v, int background_v_row, float colour0,            \
        float colour1, float colour2, const float* guide, const u8* estimates, int small_height,      \
        int small_width, MATTER_AXIS(y), MATTER_AXIS(x), int height, int width, u8* out_y, u8* out_u, \
        u8* out_v, float* alpha_out, int with_alpha) {                                                \
        const Planes frame = {frame_y, frame_u, frame_v, frame_y_row, frame_u_row, frame_v_row};      \
        const Planes behind = {background_y,     background_u,     background_v,                      \
                               background_y_row, background_u_row, background_v_row};                 \
        const float colours[3] = {colour0, colour1, colour2};                                         \
        const Small small = {guide, estimates, small_height, small_width};                            \
        blend_blocks<lanes, clean>(frame, behind, colours, small, MATTER_AXIS_OF(y, false),           \
                                   MATTER_AXIS_OF(x, false), height, width, {out_y, out_u, out_v},    \
                                   alpha_out, with_alpha != 0);                                       \
    }

MATTER_BLEND_PLANES(matter_composite_blend_planes, 1, false)
MATTER_BLEND_PLANES(matter_composite_blend_planes_clean, 1, true)
MATTER_BLEND_PLANES(matter_composite_blend_planes_guided, 4, false)
MATTER_BLEND_PLANES(matter_composite_blend_planes_guided_clean, 4, true)
