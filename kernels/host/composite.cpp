// CPU wrapper of include/composite.h: by rows, with the matte's plain areas copied.
#include <nanobind/stl/optional.h>

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

MATTER_CLONES void round_row(const float* blue, const float* green, const float* red, float scale, u8* out,
                             i64 n) {
    for (i64 x = 0; x < n; ++x) {
        out[3 * x] = reduced_value(blue[x], scale);
        out[3 * x + 1] = reduced_value(green[x], scale);
        out[3 * x + 2] = reduced_value(red[x], scale);
    }
}

// ---- the guide

// A row of the small frame and the levels of alpha in planes, with an empty pixel at both ends.
struct Planes {
    const short *l, *b, *g, *r;
};

// slopes_at() for n pixels; `columns` are the neighbours() on the row, `rows` those across.
MATTER_CLONES void slope_row(const Planes& planes, i64 stride, const int* columns, int rows, float* b_out,
                             float* g_out, float* r_out, int n) {
    int sums[13][strip + 2];
    for (int x = 0; x < n + 2; ++x) {
        int s[13] = {};
        for (int i = 0; i < 3; ++i) {
            const i64 at = i * stride + x;
            const int l = planes.l[at], b = planes.b[at], g = planes.g[at], r = planes.r[at];
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
                                            s[7], s[8], s[9], s[10], s[11], s[12]});
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
        first = __builtin_shuffle(first, offsets);
        next = __builtin_shuffle(next, offsets);
        first += (next - first) * parts;
        std::memcpy(out + i, &first, sizeof first);
    }
}

MATTER_PART void take_apart(const u8* pixels, int n, float (*channels)[strip]) {
    u8 bytes[3 * strip] = {};
    std::memcpy(bytes, pixels, 3 * n);
    for (int i = 0; i < strip; ++i) {
        channels[0][i] = float(bytes[3 * i]);
        channels[1][i] = float(bytes[3 * i + 1]);
        channels[2][i] = float(bytes[3 * i + 2]);
    }
}

// The matte at the height of a row of the frame, plane after plane: alpha, or three of slopes and the rest;
// for `clean` then three of f and three of b.
struct Rows {
    const float* values;
    i64 stride;
    bool guided, clean;
};

// n pixels of a strip that begins at pixel x.
MATTER_CLONES void blend_strip(const u8* frame, const u8* background, const Rows& rows,
                               const Columns& columns, i64 x, u8* out, float* alphas, int n) {
    // Everything is enlarged before anything is used: what is stored by eights and read at once by
    // sixteens would wait for the stores.
    float values[10][strip], pixel[3][strip], behind[3][strip];
    u8 bytes[3 * strip];
    const int leading = rows.guided ? 3 : 0, count = leading + (rows.clean ? 7 : 1);
    for (int c = 0; c < count; ++c) enlarge(rows.values + c * rows.stride, columns, x, values[c]);
    take_apart(frame, n, pixel);
    take_apart(background, n, behind);
    float* alpha = values[leading];
    if (rows.guided)
        for (int i = 0; i < strip; ++i)
            alpha[i] = led(values[0][i] * pixel[0][i], values[1][i] * pixel[1][i],
                           values[2][i] * pixel[2][i], alpha[i]);
    for (int i = 0; i < strip; ++i) alpha[i] = unit(alpha[i]);
    if (rows.clean) {
        float share[strip];
        for (int i = 0; i < strip; ++i) share[i] = share_of(alpha[i]);
        for (int c = 0; c < 3; ++c) {
            const float *f = values[leading + 1 + c], *b = values[leading + 4 + c];
            for (int i = 0; i < strip; ++i)
                pixel[c][i] = solve(f[i], b[i], alpha[i], share[i], pixel[c][i]);
        }
    }
    for (int i = 0; i < strip; ++i) {
        bytes[3 * i] = u8(nearest(over(pixel[0][i], behind[0][i], alpha[i])));
        bytes[3 * i + 1] = u8(nearest(over(pixel[1][i], behind[1][i], alpha[i])));
        bytes[3 * i + 2] = u8(nearest(over(pixel[2][i], behind[2][i], alpha[i])));
    }
    std::memcpy(out, bytes, 3 * n);
    if (alphas != nullptr) std::memcpy(alphas, alpha, sizeof(float) * n);
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

struct Job {
    i64 height, width;
    const u8* frame;
    i64 frame_row;
    const u8* background;
    i64 background_row;
    const float* alpha;
    i64 alpha_height, alpha_width, alpha_row;
    bool guided, clean;
    u8* out;
    float* alpha_out;  // or null
};

class Composite {
public:
    explicit Composite(const Job& job)
        : job_(job), height_(std::min(job.height, job.alpha_height)),
          width_(std::min(job.width, job.alpha_width)), plane_(height_ * width_),
          guided_(job.guided && (height_ < job.height || width_ < job.width)),
          threads_(threads_for((job.clean ? colour_work : 1) * job.height * job.width)),
          planes_(scratch_.take<float>(4 * plane_)), kinds_(scratch_.take<u8>(plane_)),
          columns_(int(width_), int(job.width)) {}

    void run() {
        reduce_alpha();
        if (guided_ || job_.clean) reduce_frame();
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

    void reduce_frame() {
        const Resampler resampler(int(job_.height), int(job_.width), 3, int(height_), int(width_), false);
        const i64 padded = Resampler::padded(int(width_));
        frame_ = scratch_.take<u8>(3 * plane_);
#pragma omp parallel num_threads(threads_) if (threads_ > 1)
        {
            Resampler::Buffer buffer = resampler.buffer();
            std::vector<float> room(3 * padded);
            float* const sums[3] = {&room[0], &room[padded], &room[2 * padded]};
#pragma omp for schedule(static)
            for (i64 y = 0; y < height_; ++y) {
                resampler.row(job_.frame, job_.frame_row, int(y), 0, sums, buffer);
                round_row(sums[0], sums[1], sums[2], resampler.scale(), &frame_[y * width_ * 3], width_);
            }
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
                      neighbours(y, height_), to, to + plane, to + 2 * plane, n);
        });
        each_soft([&](i64 y, i64 x, int n) {
            const i64 at = y * width_ + x;
            guide_row(&slopes[y * stride + x], plane, stride, &columns[x], neighbours(y, height_),
                      alpha() + at, &frame_[3 * at], &planes_[at], plane_, n);
        });
    }

    // What a strip of the frame comes to between two rows of the matte.
    u8 kind_of(i64 x, Between y) const {
        const i64 first = columns_.places[x].first;
        const i64 n = columns_.places[std::min(x + strip, job_.width) - 1].next + 1 - first;
        const u8 *upper = &kinds_[y.first * width_ + first], *lower = &kinds_[y.next * width_ + first];
        const u8 kind = upper[0];
        int same = 1;
        for (i64 i = 0; i < n; ++i) same &= upper[i] == kind && lower[i] == kind;
        return same ? kind : u8(soft);
    }

    void blend() const {
        const Axis ys = make_axis(int(height_), int(job_.height));
        const i64 strips = (job_.width + strip - 1) / strip;
#pragma omp parallel num_threads(threads_) if (threads_ > 1)
        {
            std::vector<float> rows(10 * (width_ + 9));
            std::vector<u8> kinds(strips + 1, 3);  // ends with one that is like none
            Between last = {-1, -1, 0.0f};
#pragma omp for schedule(static)
            for (i64 y = 0; y < job_.height; ++y) {
                const Between at = between_pixels(ys, int(y));
                if (at.first != last.first || at.next != last.next)
                    for (i64 s = 0; s < strips; ++s) kinds[s] = kind_of(s * strip, at);
                last = at;
                for (i64 begin = 0, end; begin < strips; begin = end) {
                    for (end = begin + 1; kinds[end] == kinds[begin];) ++end;
                    blend_run(y, at, begin * strip, std::min(end * strip, job_.width), kinds[begin],
                              rows);
                }
            }
        }
    }

    void blend_run(i64 y, Between at, i64 begin, i64 end, u8 kind, std::vector<float>& values) const {
        const i64 n = end - begin, pixel = y * job_.width + begin;
        const u8* front = job_.frame + y * job_.frame_row + 3 * begin;
        const u8* back = job_.background + y * job_.background_row + 3 * begin;
        u8* out = job_.out + 3 * pixel;
        float* alphas = job_.alpha_out == nullptr ? nullptr : job_.alpha_out + pixel;
        if (kind != soft) {
            std::memmove(out, kind == nothing ? back : front, 3 * n);  // out may be one of them
            if (alphas != nullptr) std::fill_n(alphas, n, kind == nothing ? 0.0f : 1.0f);
            return;
        }
        const i64 stride = width_ + 9, first = columns_.places[begin].first;
        const i64 count = columns_.places[end - 1].next + 1 - first;
        const i64 upper = at.first * width_ + first, lower = at.next * width_ + first;
        float* row = values.data();
        for (int c = guided_ ? 0 : 3; c < 4; ++c, row += stride) {
            mix_floats(&planes_[c * plane_ + upper], &planes_[c * plane_ + lower], at.part, row + first,
                       count);
            row[width_] = row[width_ - 1];
        }
        for (int c = 0; job_.clean && c < 6; ++c, row += stride) {
            mix_bytes(&estimates_[c * plane_ + upper], &estimates_[c * plane_ + lower], at.part,
                      row + first, count);
            row[width_] = row[width_ - 1];
        }
        const Rows rows = {values.data(), stride, guided_, job_.clean};
        for (i64 x = 0; x < n; x += strip)
            blend_strip(front + 3 * x, back + 3 * x, rows, columns_, begin + x, out + 3 * x,
                        alphas == nullptr ? nullptr : alphas + x, int(std::min<i64>(strip, n - x)));
    }

    const Job& job_;
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

void composite(nb::ndarray<const std::uint8_t, nb::ndim<3>, nb::device::cpu> frame,
               nb::ndarray<const std::uint8_t, nb::ndim<3>, nb::device::cpu> background,
               nb::ndarray<const float, nb::ndim<2>, nb::device::cpu> alpha, bool guided, bool clean,
               nb::ndarray<std::uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu> out,
               std::optional<nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>> alpha_out) {
    Job job;
    job.height = i64(frame.shape(0));
    job.width = i64(frame.shape(1));
    job.frame = frame.data();
    job.frame_row = frame.stride(0);
    job.background = background.data();
    job.background_row = background.stride(0);
    job.alpha = alpha.data();
    job.alpha_height = i64(alpha.shape(0));
    job.alpha_width = i64(alpha.shape(1));
    job.alpha_row = alpha.stride(0);
    job.guided = guided;
    job.clean = clean;
    job.out = out.data();
    job.alpha_out = alpha_out ? alpha_out->data() : nullptr;
    nb::gil_scoped_release release;
    Composite(job).run();
}

}  // namespace

void bind_composite(nb::module_& m) {
    m.def("composite", &composite, nb::arg("frame").noconvert(), nb::arg("background").noconvert(),
          nb::arg("alpha").noconvert(), nb::arg("guided"), nb::arg("clean"),
          nb::arg("out").noconvert(), nb::arg("alpha_out").noconvert().none());
}

}  // namespace matter
