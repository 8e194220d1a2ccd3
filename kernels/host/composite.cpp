// CPU wrapper of include/composite.h: by rows, with the matte's plain areas copied.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <vector>

#include "../include/composite.h"
#include "blur_fusion.h"
#include "host.h"
#include "resample.h"

namespace matter {
namespace {

constexpr int strip = 32;  // pixels of a row that are looked at together

// ---- the frame at the matte's size

MATTER_CLONES void round_row(const float* blue, const float* green, const float* red, float scale,
                             float colour_scale, u8* out, i64 n) {
    for (i64 x = 0; x < n; ++x) {
        out[3 * x] = reduced_value(blue[x], scale);
        out[3 * x + 1] = reduced_value(green[x], colour_scale);
        out[3 * x + 2] = reduced_value(red[x], colour_scale);
    }
}

// Interleaved channels of a frame: all of them, or those of one plane.
struct Channels {
    const u8* samples;
    i64 height, width, row;
    int count;
};

// `planes` with three channels in all into `out`, height x width x 3.
void reduce(const std::vector<Channels>& planes, i64 height, i64 width, int threads, u8* out) {
    std::vector<Resampler> resamplers;
    for (const Channels& plane : planes)
        resamplers.emplace_back(int(plane.height), int(plane.width), plane.count, int(height), int(width),
                                false);
    const i64 padded = Resampler::padded(int(width));
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<Resampler::Buffer> buffers;
        for (const Resampler& resampler : resamplers) buffers.push_back(resampler.buffer());
        std::vector<float> room(3 * padded);
        float* const sums[3] = {&room[0], &room[padded], &room[2 * padded]};
#pragma omp for schedule(static)
        for (i64 y = 0; y < height; ++y) {
            int channel = 0;
            for (std::size_t p = 0; p < planes.size(); channel += planes[p++].count)
                resamplers[p].row(planes[p].samples, planes[p].row, int(y), 0, sums + channel, buffers[p]);
            round_row(sums[0], sums[1], sums[2], resamplers.front().scale(), resamplers.back().scale(),
                      &out[y * width * 3], width);
        }
    }
}

// ---- the guide

// A row of the small frame and the levels of alpha in planes, with an empty pixel at both ends.
struct Levels {
    const short *l, *b, *g, *r;
};

// slopes_at() for n pixels; `columns` are the neighbours() on the row, `rows` those across.
MATTER_CLONES void slope_row(const Levels& levels, i64 stride, const int* columns, int rows, float epsilon,
                             float* b_out, float* g_out, float* r_out, int n) {
    int sums[13][strip + 2];
    for (int x = 0; x < n + 2; ++x) {
        int s[13] = {};
        for (int i = 0; i < 3; ++i) {
            const i64 at = i * stride + x;
            const int l = levels.l[at], b = levels.b[at], g = levels.g[at], r = levels.r[at];
            s[0] += l, s[1] += b, s[2] += g, s[3] += r;
            s[4] += b * b, s[5] += b * g, s[6] += b * r, s[7] += g * g, s[8] += g * r, s[9] += r * r;
            s[10] += l * b, s[11] += l * g, s[12] += l * r;
        }
        for (int k = 0; k < 13; ++k) sums[k][x] = s[k];
    }
    for (int x = 0; x < n; ++x) {
        int s[13];
        for (int k = 0; k < 13; ++k) s[k] = sums[k][x] + sums[k][x + 1] + sums[k][x + 2];
        const Slopes slopes = solve_slopes({rows * columns[x], s[0], s[1], s[2], s[3], s[4], s[5], s[6],
                                            s[7], s[8], s[9], s[10], s[11], s[12]},
                                           epsilon);
        b_out[x] = slopes.b;
        g_out[x] = slopes.g;
        r_out[x] = slopes.r;
    }
}

MATTER_CLONES void spread_row(const float* alpha, const u8* frame, short* out, i64 plane, i64 n) {
    for (i64 x = 0; x < n; ++x) out[x] = short(level_of(alpha[x]));
    for (i64 x = 0; x < n; ++x) {
        out[plane + x] = frame[3 * x];
        out[2 * plane + x] = frame[3 * x + 1];
        out[3 * plane + x] = frame[3 * x + 2];
    }
}

// mean_slope() for n pixels of a plane with an empty pixel around it.
MATTER_PART void mean_row(const float* slopes, i64 stride, const int* columns, int rows, float* out,
                          int n) {
    float sums[strip + 2];
    for (int x = 0; x < n + 2; ++x)
        sums[x] = slopes[x] + slopes[stride + x] + slopes[2 * stride + x];
    for (int x = 0; x < n; ++x)
        out[x] = (sums[x] + sums[x + 1] + sums[x + 2]) / float(rows * columns[x]);
}

// Means of the slopes and the rest, each in its plane, `plane` values apart.
MATTER_CLONES void guide_row(const float* slopes, i64 slope_plane, i64 stride, const int* columns,
                             int rows, const float* alpha, const u8* frame, float* guide, i64 plane,
                             int n) {
    for (int c = 0; c < 3; ++c)
        mean_row(slopes + c * slope_plane, stride, columns, rows, guide + c * plane, n);
    const float *b = guide, *g = guide + plane, *r = guide + 2 * plane;
    float* rest = guide + 3 * plane;
    for (int x = 0; x < n; ++x) rest[x] = rest_of(alpha[x], b[x], g[x], r[x], frame + 3 * x);
}

// ---- plain areas

enum : u8 { nothing, soft, whole };

MATTER_CLONES void settle_row(const float* alpha, float* out, u8* kinds, i64 n) {
    for (i64 x = 0; x < n; ++x) {
        const float a = settled(alpha[x]);
        out[x] = a;
        kinds[x] = u8(1 + (a == 1.0f) - (a == 0.0f));
    }
}

// What is not the same in all of five, `step` apart, becomes soft.
MATTER_CLONES void spread_soft(const u8* kinds, i64 step, u8* out, i64 n) {
    for (i64 x = 0; x < n; ++x) {
        const u8 *at = kinds + x - 2 * step, kind = at[2 * step];
        const bool same = at[0] == kind && at[step] == kind && at[3 * step] == kind &&
                          at[4 * step] == kind;
        out[x] = same ? kind : u8(soft);
    }
}

MATTER_CLONES void join_kinds(const u8* upper, const u8* lower, u8* joined, i64 n) {
    for (i64 i = 0; i < n; ++i) joined[i] = upper[i] == lower[i] ? upper[i] : u8(soft);
}

// The kind of n pixels.
u8 kind_of(const u8* kinds, i64 n) {
    if (n < 8) {
        bool same = true;
        for (i64 i = 1; i < n; ++i) same &= kinds[i] == kinds[0];
        return same ? kinds[0] : u8(soft);
    }
    const std::uint64_t all = kinds[0] * 0x0101010101010101u;
    std::uint64_t apart = 0, eight;
    for (i64 i = 0; i < n; i += 8) {
        std::memcpy(&eight, kinds + std::min(i, n - 8), sizeof eight);
        apart |= eight ^ all;
    }
    return apart == 0 ? kinds[0] : u8(soft);
}

// ---- the picture

typedef float Float8 __attribute__((vector_size(32)));
typedef int Int8 __attribute__((vector_size(32)));

// The frame's columns between the matte's: those of eight pixels begin within eight of the matte's.
struct Columns {
    std::vector<Between> places;
    std::vector<int> bases;    // for each eight, the first of the matte's columns
    std::vector<int> offsets;  // from there
    std::vector<float> parts;

    Columns(int from, int to) {
        const Axis axis = make_axis(from, to);
        for (int x = 0; x < (to + strip - 1) / strip * strip; ++x) {
            places.push_back(between_pixels(axis, smaller(x, to - 1)));
            if (x % 8 == 0) bases.push_back(places.back().first);
            offsets.push_back(places.back().first - bases.back());
            parts.push_back(places.back().part);
        }
    }
};

MATTER_PART void pick(Float8& values, const Int8& places) {
#ifdef __clang__
    const Float8 from = values;
    for (int i = 0; i < 8; ++i) values[i] = from[places[i]];
#else
    values = __builtin_shuffle(values, places);
#endif
}

// Values of the matte's columns at the frame's, for a strip that begins at pixel x: mix() of eight. The
// last column is there twice, and nine more may be read.
MATTER_PART void enlarge(const float* values, const Columns& columns, i64 x, float* out) {
    for (int i = 0; i < strip; i += 8) {
        const float* at = values + columns.bases[(x + i) / 8];
        Float8 first, next, parts;
        Int8 offsets;
        std::memcpy(&first, at, sizeof first);
        std::memcpy(&next, at + 1, sizeof next);
        std::memcpy(&parts, &columns.parts[x + i], sizeof parts);
        std::memcpy(&offsets, &columns.offsets[x + i], sizeof offsets);
        pick(first, offsets);
        pick(next, offsets);
        first += (next - first) * parts;
        std::memcpy(out + i, &first, sizeof first);
    }
}

// The matte, and with `clean` the estimates, at the heights of the rows that are blended together: for each
// row the lanes of the matte and those of its own estimates, then the estimates that the rows share.
struct Lanes {
    const float* values;
    i64 stride;  // of lanes
    bool guided, clean;

    int of_matte() const { return guided ? 4 : 1; }  // three of slopes and the rest, or alpha
};

// Alpha of a strip, in place of the rest or the matte that is its last lane.
MATTER_PART void lead_strip(bool guided, float (*lanes)[strip], const float* first, const float* second,
                            const float* third) {
    float* alpha = lanes[guided ? 3 : 0];
    if (guided)
        for (int i = 0; i < strip; ++i)
            alpha[i] = led(lanes[0][i] * first[i], lanes[1][i] * second[i], lanes[2][i] * third[i],
                           alpha[i]);
    for (int i = 0; i < strip; ++i) alpha[i] = unit(alpha[i]);
}

MATTER_PART void share_strip(const float* alpha, float* share, int n) {
    for (int i = 0; i < n; ++i) share[i] = share_of(alpha[i]);
}

MATTER_PART void clean_strip(const float* f, const float* b, const float* alpha, const float* share,
                             float* colour, int n) {
    for (int i = 0; i < n; ++i) colour[i] = solve(f[i], b[i], alpha[i], share[i], colour[i]);
}

// The frame, the background and the result in pixels of three channels.
struct Interleaved {
    static constexpr int rows = 1;  // that are blended together
    static constexpr float epsilon = guide_epsilon;
    // Of the planes of estimates, f and then b: those of each row, and those that the rows share.
    static constexpr std::array<int, 6> estimates = {0, 1, 2, 3, 4, 5};
    static constexpr std::array<int, 0> shared = {};

    i64 height, width;
    const u8* frame;
    i64 frame_row;
    const u8* background;
    i64 background_row;
    u8* out;

    std::vector<Channels> channels() const { return {{frame, height, width, frame_row, 3}}; }

    void copy(bool whole, i64 y, i64 x, i64 n) const {
        const u8* from = whole ? frame + y * frame_row : background + y * background_row;
        std::memmove(out + 3 * (y * width + x), from + 3 * x, 3 * n);  // out may be one of them
    }
};

MATTER_PART void take_apart(const u8* pixels, int n, float (*channels)[strip]) {
    u8 bytes[3 * strip] = {};
    std::memcpy(bytes, pixels, 3 * n);
    for (int i = 0; i < strip; ++i) {
        channels[0][i] = float(bytes[3 * i]);
        channels[1][i] = float(bytes[3 * i + 1]);
        channels[2][i] = float(bytes[3 * i + 2]);
    }
}

// Pixels begin .. end - 1 of row y by alpha alone, which lies within 0..1 as those it is mixed from do.
MATTER_PART void blend_plain(const Interleaved& pictures, const Lanes& lanes, const Columns& columns, i64 y,
                             i64 begin, i64 end, float* alphas) {
    constexpr int most = 8 * strip;
    float alpha[most] = {}, each[3 * most];
    for (i64 x = begin; x < end; x += most) {
        const int n = int(std::min<i64>(most, end - x));
        for (int i = 0; i < n; i += strip) enlarge(lanes.values, columns, x + i, alpha + i);
        repeat<3>(alpha, each, most);
        const u8* front = pictures.frame + y * pictures.frame_row + 3 * x;
        const u8* behind = pictures.background + y * pictures.background_row + 3 * x;
        u8* out = pictures.out + 3 * (y * pictures.width + x);
        MATTER_IVDEP  // out may be one of them
        for (int i = 0; i < 3 * n; ++i)
            out[i] = u8(nearest(over(float(front[i]), float(behind[i]), each[i])));
        if (alphas != nullptr) std::memcpy(alphas + x, alpha, sizeof(float) * n);
    }
}

// n pixels of a strip that begins at pixel x of row y; `alphas` is null, or where alpha of row y begins.
MATTER_PART void blend_strip(const Interleaved& pictures, const Lanes& lanes, const Columns& columns,
                             i64 y, i64 x, int n, float* alphas) {
    // Everything is enlarged before anything is used: what is stored by eights and read at once by
    // sixteens would wait for the stores.
    float values[10][strip], pixel[3][strip], behind[3][strip];
    u8 bytes[3 * strip];
    const int matte = lanes.of_matte(), count = matte + (lanes.clean ? 6 : 0);
    for (int c = 0; c < count; ++c) enlarge(lanes.values + c * lanes.stride, columns, x, values[c]);
    take_apart(pictures.frame + y * pictures.frame_row + 3 * x, n, pixel);
    take_apart(pictures.background + y * pictures.background_row + 3 * x, n, behind);
    lead_strip(lanes.guided, values, pixel[0], pixel[1], pixel[2]);
    const float* alpha = values[matte - 1];
    if (lanes.clean) {
        float share[strip];
        share_strip(alpha, share, strip);
        for (int c = 0; c < 3; ++c)
            clean_strip(values[matte + c], values[matte + 3 + c], alpha, share, pixel[c], strip);
    }
    for (int i = 0; i < strip; ++i) {
        bytes[3 * i] = u8(nearest(over(pixel[0][i], behind[0][i], alpha[i])));
        bytes[3 * i + 1] = u8(nearest(over(pixel[1][i], behind[1][i], alpha[i])));
        bytes[3 * i + 2] = u8(nearest(over(pixel[2][i], behind[2][i], alpha[i])));
    }
    std::memcpy(pictures.out + 3 * (y * pictures.width + x), bytes, 3 * n);
    if (alphas != nullptr) std::memcpy(alphas + x, alpha, sizeof(float) * n);
}

MATTER_CLONES void blend_run(const Interleaved& pictures, const Lanes& lanes, const Columns& columns, i64 y,
                             i64 begin, i64 end, float* alphas) {
    if (!lanes.guided && !lanes.clean)
        return blend_plain(pictures, lanes, columns, y, begin, end, alphas);
    for (i64 x = begin; x < end; x += strip)
        blend_strip(pictures, lanes, columns, y, x, int(std::min<i64>(strip, end - x)), alphas);
}

// The same in planes: luminance, then U and V with one sample each, or both in one plane with two.
struct Planar {
    static constexpr int rows = 2;
    static constexpr float epsilon = guide_epsilon_planes;
    static constexpr std::array<int, 2> estimates = {0, 3};
    static constexpr std::array<int, 4> shared = {1, 2, 4, 5};

    i64 height, width;
    int planes;
    const u8* frame[3];
    i64 frame_row[3];
    const u8* background[3];
    i64 background_row[3];
    u8* out[3];

    int samples() const { return planes == 2 ? 2 : 1; }
    i64 out_row(int plane) const { return plane == 0 ? width : (width + 1) / 2 * samples(); }

    std::vector<Channels> channels() const {
        std::vector<Channels> all = {{frame[0], height, width, frame_row[0], 1}};
        for (int p = 1; p < planes; ++p)
            all.push_back({frame[p], (height + 1) / 2, (width + 1) / 2, frame_row[p], samples()});
        return all;
    }

    // Of two rows from y on, n pixels from x on: both even.
    void copy(bool whole, i64 y, i64 x, i64 n) const {
        const u8* const* from = whole ? frame : background;
        const i64* row = whole ? frame_row : background_row;
        for (i64 i = y; i < std::min(y + 2, height); ++i)
            std::memmove(out[0] + i * width + x, from[0] + i * row[0] + x, n);
        for (int p = 1; p < planes; ++p) {
            const i64 at = x / 2 * samples();
            std::memmove(out[p] + y / 2 * out_row(p) + at, from[p] + y / 2 * row[p] + at,
                         (n + 1) / 2 * samples());
        }
    }
};

MATTER_PART void widen(const u8* samples, int n, float* out, int most) {
    u8 bytes[strip] = {};
    std::memcpy(bytes, samples, n);
    for (int i = 0; i < most; ++i) out[i] = float(bytes[i]);
}

// U and V of a strip.
MATTER_PART void take_colours(const Planar& pictures, const u8* const* planes, const i64* rows, i64 y,
                              i64 x, int n, float (*colours)[strip / 2]) {
    const int blocks = (n + 1) / 2;
    if (pictures.planes == 3) {
        for (int c = 0; c < 2; ++c)
            widen(planes[1 + c] + y / 2 * rows[1 + c] + x / 2, blocks, colours[c], strip / 2);
        return;
    }
    float both[strip];
    widen(planes[1] + y / 2 * rows[1] + x, 2 * blocks, both, strip);
    for (int i = 0; i < strip / 2; ++i) {
        colours[0][i] = both[2 * i];
        colours[1][i] = both[2 * i + 1];
    }
}

MATTER_PART void store_colours(const Planar& pictures, const u8 (*colours)[strip / 2], i64 y, i64 x,
                               int n) {
    const int blocks = (n + 1) / 2;
    if (pictures.planes == 3) {
        for (int c = 0; c < 2; ++c)
            std::memcpy(pictures.out[1 + c] + y / 2 * pictures.out_row(1) + x / 2, colours[c], blocks);
        return;
    }
    u8 both[strip];
    for (int i = 0; i < strip / 2; ++i) {
        both[2 * i] = colours[0][i];
        both[2 * i + 1] = colours[1][i];
    }
    std::memcpy(pictures.out[1] + y / 2 * pictures.out_row(1) + x, both, 2 * blocks);
}

// Means of pixels two by two.
MATTER_PART void halve(const float* values, float* out) {
    for (int i = 0; i < strip / 2; ++i) out[i] = halfway(values[2 * i], values[2 * i + 1]);
}

// n pixels of a strip that begins at pixel x of rows y and y + 1. Without the latter row y is done twice,
// and counts twice in the colours.
MATTER_PART void blend_pair(const Planar& pictures, const Lanes& lanes, const Columns& columns, i64 y,
                            i64 x, int n, float* alphas) {
    constexpr int half = strip / 2;
    const i64 lines[2] = {y, std::min(y + 1, pictures.height - 1)};
    const int matte = lanes.of_matte(), count = matte + (lanes.clean ? 2 : 0);
    float values[2][6][strip], shared[4][strip];  // as the lanes are
    float luminance[2][strip], behind[2][strip], colours[2][half], colours_behind[2][half];
    for (int k = 0; k < 2; ++k)
        for (int c = 0; c < count; ++c)
            enlarge(lanes.values + (k * count + c) * lanes.stride, columns, x, values[k][c]);
    for (int c = 0; lanes.clean && c < 4; ++c)
        enlarge(lanes.values + (2 * count + c) * lanes.stride, columns, x, shared[c]);
    for (int k = 0; k < 2; ++k) {
        widen(pictures.frame[0] + lines[k] * pictures.frame_row[0] + x, n, luminance[k], strip);
        widen(pictures.background[0] + lines[k] * pictures.background_row[0] + x, n, behind[k], strip);
    }
    take_colours(pictures, pictures.frame, pictures.frame_row, y, x, n, colours);
    take_colours(pictures, pictures.background, pictures.background_row, y, x, n, colours_behind);
    float each[2][strip], mean[strip];
    for (int c = 0; c < 2; ++c)
        for (int i = 0; i < strip; ++i) each[c][i] = colours[c][i / 2];
    for (int k = 0; k < 2; ++k) {
        lead_strip(lanes.guided, values[k], luminance[k], each[0], each[1]);
        float* alpha = values[k][matte - 1];
        if (n % 2 == 1) alpha[n] = alpha[n - 1];
        if (lanes.clean) {
            float share[strip];
            share_strip(alpha, share, strip);
            clean_strip(values[k][matte], values[k][matte + 1], alpha, share, luminance[k], strip);
        }
        u8 bytes[strip];
        for (int i = 0; i < strip; ++i)
            bytes[i] = u8(nearest(over(luminance[k][i], behind[k][i], alpha[i])));
        std::memcpy(pictures.out[0] + lines[k] * pictures.width + x, bytes, n);
        if (alphas != nullptr)
            std::memcpy(alphas + (lines[k] - y) * pictures.width + x, alpha, sizeof(float) * n);
    }
    const float *above = values[0][matte - 1], *below = values[1][matte - 1];
    for (int i = 0; i < strip; ++i) mean[i] = halfway(above[i], below[i]);
    float alpha[half];
    halve(mean, alpha);
    if (lanes.clean) {
        float share[half], f[half], b[half];
        share_strip(alpha, share, half);
        for (int c = 0; c < 2; ++c) {
            halve(shared[c], f);
            halve(shared[2 + c], b);
            clean_strip(f, b, alpha, share, colours[c], half);
        }
    }
    u8 bytes[2][half];
    for (int c = 0; c < 2; ++c)
        for (int i = 0; i < half; ++i)
            bytes[c][i] = u8(nearest(over(colours[c][i], colours_behind[c][i], alpha[i])));
    store_colours(pictures, bytes, y, x, n);
}

MATTER_CLONES void blend_run(const Planar& pictures, const Lanes& lanes, const Columns& columns, i64 y,
                             i64 begin, i64 end, float* alphas) {
    i64 x = begin;
    for (; x + strip <= end; x += strip)  // a number of pixels that the compiler knows
        blend_pair(pictures, lanes, columns, y, x, strip, alphas);
    if (x < end) blend_pair(pictures, lanes, columns, y, x, int(end - x), alphas);
}

template <typename T>
MATTER_PART void mix_row(const T* upper, const T* lower, float part, float* out, i64 n) {
    for (i64 x = 0; x < n; ++x) out[x] = mix(float(upper[x]), float(lower[x]), part);
}

MATTER_CLONES void mix_floats(const float* upper, const float* lower, float part, float* out, i64 n) {
    mix_row(upper, lower, part, out, n);
}

MATTER_CLONES void mix_bytes(const u8* upper, const u8* lower, float part, float* out, i64 n) {
    mix_row(upper, lower, part, out, n);
}

// The mean of two rows of mixed bytes.
MATTER_CLONES void mix_means(const u8* const* upper, const u8* const* lower, const Between* at, float* out,
                             i64 n) {
    for (i64 x = 0; x < n; ++x)
        out[x] = halfway(mix(float(upper[0][x]), float(lower[0][x]), at[0].part),
                         mix(float(upper[1][x]), float(lower[1][x]), at[1].part));
}

struct Job {
    const float* alpha;
    i64 alpha_height, alpha_width, alpha_row;
    bool guided, clean;
    float* alpha_out;  // or null
};

template <typename Pictures>
class Composite {
public:
    Composite(const Job& job, const Pictures& pictures)
        : job_(job), pictures_(pictures), height_(std::min(pictures.height, job.alpha_height)),
          width_(std::min(pictures.width, job.alpha_width)), plane_(height_ * width_),
          guided_(job.guided && (height_ < pictures.height || width_ < pictures.width)),
          threads_(threads_for((job.clean ? colour_work : 1) * pictures.height * pictures.width)),
          planes_(scratch_.take<float>(4 * plane_)), kinds_(scratch_.take<u8>(plane_)),
          columns_(int(width_), int(pictures.width)) {}

    void run() {
        reduce_alpha();
        if (guided_ || job_.clean) {
            frame_ = scratch_.take<u8>(3 * plane_);
            reduce(pictures_.channels(), height_, width_, threads_, frame_);
        }
        if (job_.clean) {
            estimates_ = scratch_.take<u8>(6 * plane_);
            blur_estimates({height_, width_, frame_, 3 * width_, alpha(), width_}, estimates_);
        }
        if (guided_) lead();
        blend();
    }

private:
    // The matte, of which the guide leaves the rest.
    float* alpha() const { return &planes_[3 * plane_]; }

    void reduce_alpha() {
        const Axis ys = make_axis(int(job_.alpha_height), int(height_));
        const Axis xs = make_axis(int(job_.alpha_width), int(width_));
        const bool same = job_.alpha_height == height_ && job_.alpha_width == width_;
        std::vector<float> row(width_);
        for (i64 y = 0; y < height_; ++y) {
            if (!same)
                for (i64 x = 0; x < width_; ++x)
                    row[x] = reduced_alpha(job_.alpha, job_.alpha_row, ys, axis_taps(ys, int(y)), xs,
                                           axis_taps(xs, int(x)));
            settle_row(same ? job_.alpha + y * job_.alpha_row : row.data(), alpha() + y * width_,
                       &kinds_[y * width_], width_);
        }
    }

    // Slopes are not 0 within two pixels of where alpha is not plain: `kinds_` become soft there.
    void lead() {
        const i64 stride = width_ + 4;
        u8* across = scratch_.take<u8>((height_ + 4) * width_);
        std::vector<u8> row(stride);
        for (i64 y = 0; y < height_; ++y) {
            const u8* kinds = &kinds_[y * width_];
            std::memcpy(&row[2], kinds, width_);
            row[0] = row[1] = kinds[0];
            row[width_ + 2] = row[width_ + 3] = kinds[width_ - 1];
            spread_soft(&row[2], 1, &across[(y + 2) * width_], width_);
        }
        for (const i64 y : {0, 1}) {
            std::memcpy(&across[y * width_], &across[2 * width_], width_);
            std::memcpy(&across[(height_ + 2 + y) * width_], &across[(height_ + 1) * width_], width_);
        }
        for (i64 y = 0; y < height_; ++y)
            spread_soft(&across[(y + 2) * width_], width_, &kinds_[y * width_], width_);
        fit();
    }

    void fit() {
        const i64 stride = width_ + 2, plane = (height_ + 2) * stride;
        short* bytes = scratch_.take<short>(4 * plane);  // l, b, g, r with an empty pixel around each
        for (int c = 0; c < 4; ++c) {
            short* of = bytes + c * plane;
            std::fill_n(of, stride, short(0));
            for (i64 y = 1; y <= height_; ++y) of[y * stride] = of[(y + 1) * stride - 1] = 0;
            std::fill_n(of + (height_ + 1) * stride, stride, short(0));
        }
        float* slopes = scratch_.take<float>(3 * plane);
        std::fill_n(slopes, 3 * plane, 0.0f);
        std::vector<int> columns;
        for (i64 x = 0; x < width_; ++x) columns.push_back(neighbours(x, width_));
        for (i64 y = 0; y < height_; ++y)
            spread_row(alpha() + y * width_, &frame_[y * width_ * 3], &bytes[(y + 1) * stride + 1],
                       plane, width_);
        std::fill_n(planes_, 3 * plane_, 0.0f);
        const auto each_soft = [&](const auto& visit) {
            for (i64 y = 0; y < height_; ++y)
                for (i64 x = 0; x < width_; x += strip) {
                    const int n = int(std::min<i64>(strip, width_ - x));
                    if (std::memchr(&kinds_[y * width_ + x], soft, n) != nullptr) visit(y, x, n);
                }
        };
        each_soft([&](i64 y, i64 x, int n) {
            const short* at = &bytes[y * stride + x];
            float* to = &slopes[(y + 1) * stride + x + 1];
            slope_row({at, at + plane, at + 2 * plane, at + 3 * plane}, stride, &columns[x],
                      neighbours(y, height_), Pictures::epsilon, to, to + plane, to + 2 * plane, n);
        });
        each_soft([&](i64 y, i64 x, int n) {
            const i64 at = y * width_ + x;
            guide_row(&slopes[y * stride + x], plane, stride, &columns[x], neighbours(y, height_),
                      alpha() + at, &frame_[3 * at], &planes_[at], plane_, n);
        });
    }

    // What each strip of the frame comes to between two rows of the matte, and one kind that is like none.
    void fill_strips(i64 upper, i64 lower, u8* row, u8* out) const {
        join_kinds(&kinds_[upper * width_], &kinds_[lower * width_], row, width_);
        for (i64 x = 0; x < pictures_.width; x += strip) {
            const i64 first = columns_.places[x].first;
            const i64 next = columns_.places[std::min(x + strip, pictures_.width) - 1].next;
            *out++ = kind_of(row + first, next + 1 - first);
        }
        *out = 3;
    }

    // The rows that are blended together, between those of the matte.
    using Places = std::array<Between, Pictures::rows>;

    void blend() {
        const Axis ys = make_axis(int(height_), int(pictures_.height));
        const i64 width = pictures_.width, strips = (width + strip - 1) / strip;
        u8* const strip_kinds = scratch_.take<u8>(height_ * (strips + 1));
        std::vector<u8> joined(width_);
        for (i64 row = 0; row < height_; ++row)
            fill_strips(row, std::min(row + 1, height_ - 1), joined.data(),
                        &strip_kinds[row * (strips + 1)]);
#pragma omp parallel num_threads(threads_) if (threads_ > 1)
        {
            std::vector<float> room(most_lanes * (width_ + 9));
            const Lanes lanes = {room.data(), width_ + 9, guided_, job_.clean};
            std::vector<u8> both(strips + 1);
#pragma omp for schedule(static)
            for (i64 y = 0; y < pictures_.height; y += Pictures::rows) {
                Places at;
                for (int k = 0; k < Pictures::rows; ++k)
                    at[k] = between_pixels(ys, int(std::min(y + k, pictures_.height - 1)));
                const u8* kinds = &strip_kinds[at.front().first * (strips + 1)];
                if (at.back().first != at.front().first) {
                    join_kinds(kinds, &strip_kinds[at.back().first * (strips + 1)], both.data(), strips + 1);
                    kinds = both.data();
                }
                for (i64 begin = 0, end; begin < strips; begin = end) {
                    for (end = begin + 1; kinds[end] == kinds[begin];) ++end;
                    const i64 x = begin * strip, stop = std::min(end * strip, width);
                    if (kinds[begin] != soft) {
                        copy_run(y, x, stop, kinds[begin] == whole);
                        continue;
                    }
                    fill_lanes(at, x, stop, room.data(), lanes.stride);
                    blend_run(pictures_, lanes, columns_, y, x, stop, alphas_of(y));
                }
            }
        }
    }

    float* alphas_of(i64 y) const {
        return job_.alpha_out == nullptr ? nullptr : job_.alpha_out + y * pictures_.width;
    }

    void copy_run(i64 y, i64 begin, i64 end, bool all) const {
        pictures_.copy(all, y, begin, end - begin);
        if (job_.alpha_out == nullptr) return;
        for (i64 row = y; row < std::min(y + Pictures::rows, pictures_.height); ++row)
            std::fill_n(alphas_of(row) + begin, end - begin, all ? 1.0f : 0.0f);
    }

    // The lanes of the matte's columns that pixels begin .. end - 1 lie between.
    void fill_lanes(const Places& at, i64 begin, i64 end, float* lane, i64 stride) const {
        const i64 first = columns_.places[begin].first;
        const i64 count = columns_.places[end - 1].next + 1 - first;
        const auto above = [&](int k) { return at[k].first * width_ + first; };
        const auto below = [&](int k) { return at[k].next * width_ + first; };
        const auto finish = [&] {
            lane[width_] = lane[width_ - 1];
            lane += stride;
        };
        for (int k = 0; k < Pictures::rows; ++k) {
            for (int c = guided_ ? 0 : 3; c < 4; ++c, finish()) {
                const float* plane = planes_ + c * plane_;
                mix_floats(plane + above(k), plane + below(k), at[k].part, lane + first, count);
            }
            if (!job_.clean) continue;
            for (const int c : Pictures::estimates) {
                const u8* plane = estimates_ + c * plane_;
                mix_bytes(plane + above(k), plane + below(k), at[k].part, lane + first, count);
                finish();
            }
        }
        if constexpr (Pictures::rows == 2) {
            if (!job_.clean) return;
            for (const int c : Pictures::shared) {
                const u8* plane = estimates_ + c * plane_;
                const u8* const upper[2] = {plane + above(0), plane + above(1)};
                const u8* const lower[2] = {plane + below(0), plane + below(1)};
                mix_means(upper, lower, at.data(), lane + first, count);
                finish();
            }
        }
    }

    static constexpr std::size_t most_lanes =
        Pictures::rows * (4 + Pictures::estimates.size()) + Pictures::shared.size();

    const Job& job_;
    const Pictures& pictures_;
    const i64 height_, width_;  // of the matte, where it is not larger than the frame
    const i64 plane_;
    const bool guided_;
    const int threads_;
    Scratch scratch_;
    float* const planes_;      // three of slopes, and alpha or its rest
    u8* const kinds_;          // of the small pixels: nothing, soft or whole
    u8* frame_ = nullptr;      // small
    u8* estimates_ = nullptr;  // three planes of f, three of b
    const Columns columns_;
};

using Image = nb::ndarray<const std::uint8_t, nb::ndim<3>, nb::device::cpu>;
using OutImage = nb::ndarray<std::uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Alpha = nb::ndarray<const float, nb::ndim<2>, nb::device::cpu>;
using OutAlpha = std::optional<nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>>;

Job make_job(const Alpha& alpha, bool guided, bool clean, const OutAlpha& alpha_out) {
    return {alpha.data(), i64(alpha.shape(0)), i64(alpha.shape(1)), alpha.stride(0),
            guided,       clean,               alpha_out ? alpha_out->data() : nullptr};
}

void composite(Image frame, Image background, Alpha alpha, bool guided, bool clean, OutImage out,
               OutAlpha alpha_out) {
    const Interleaved pictures = {i64(out.shape(0)), i64(out.shape(1)),    frame.data(),
                                  frame.stride(0),   background.data(),    background.stride(0),
                                  out.data()};
    const Job job = make_job(alpha, guided, clean, alpha_out);
    nb::gil_scoped_release release;
    Composite(job, pictures).run();
}

void composite_planes(Planes frame, Planes background, Alpha alpha, bool guided, bool clean,
                      OutPlanes out, OutAlpha alpha_out) {
    Planar pictures = {};
    pictures.height = i64(out[0].shape(0));
    pictures.width = i64(out[0].shape(1));
    pictures.planes = int(out.size());
    for (int p = 0; p < pictures.planes; ++p) {
        pictures.frame[p] = frame[p].data();
        pictures.frame_row[p] = frame[p].stride(0);
        pictures.background[p] = background[p].data();
        pictures.background_row[p] = background[p].stride(0);
        pictures.out[p] = out[p].data();
    }
    const Job job = make_job(alpha, guided, clean, alpha_out);
    nb::gil_scoped_release release;
    Composite(job, pictures).run();
}

}  // namespace

void bind_composite(nb::module_& m) {
    m.def("composite", &composite, nb::arg("frame").noconvert(), nb::arg("background").noconvert(),
          nb::arg("alpha").noconvert(), nb::arg("guided"), nb::arg("clean"),
          nb::arg("out").noconvert(), nb::arg("alpha_out").noconvert().none());
    m.def("composite_planes", &composite_planes, nb::arg("frame").noconvert(),
          nb::arg("background").noconvert(), nb::arg("alpha").noconvert(), nb::arg("guided"),
          nb::arg("clean"), nb::arg("out").noconvert(), nb::arg("alpha_out").noconvert().none());
}

}  // namespace matter
